"""Checks the expectations of a scenario against the measured figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, get_args

from harness.analysis import rounds
from harness.analysis.intervals import (
    LEAST_EVENTS,
    LEAST_ROUNDS,
    Interval,
    never_needs,
    proportion,
    rate,
    ratio_of_sums,
)
from harness.analysis.points import because, missing
from harness.authcache.words import ObjectKind
from harness.domain.rates import PER, answered, of_scope, per_answered
from harness.domain.result import (
    Cell,
    Clock,
    Estimate,
    ExpectationResult,
    Freshness,
    OwnerBudget,
    State,
    VariantResult,
)
from harness.domain.series import ALL
from harness.scenario.schema import (
    CellExpectation,
    Expectation,
    LimitExpectation,
    RatioExpectation,
)
from harness.targets.registry import matches

_WORST_FIRST: tuple[Cell, ...] = get_args(Cell)
_TOO_LITTLE = "too little was seen for a bound that is sure enough; more rounds would have one"
_MOST_ROUNDS = 1000
"""An expectation that this many rounds would not decide is one that no run decides."""

Figure = Callable[[VariantResult, str, ObjectKind | None], float | None]


Estimated = CellExpectation | LimitExpectation | RatioExpectation
"""Expectations whose figures have intervals: all but those about faults."""

Fresh = Mapping[str, Mapping[str, Freshness]]
"""What became of a variant's changes, by action and key scope."""


class MeasuredFigure(NamedTuple):
    """A figure with its interval."""

    value: float
    low: float
    high: float
    rounds: int
    """Measured windows that it rests on; 0 for figures of changes, which rounds do not repeat."""
    events: float = 0.0
    """Counted events; 0 with 0 requests if it is not a count."""
    requests: float = 0.0
    """Requests in which they were counted."""
    interval: bool = False
    """Whether its bounds are those of a clock, which further rounds would not narrow."""
    untimed: int = 0
    """Changes without such a clock, which may be longer; then ``high`` is not known."""

    @property
    def counted(self) -> bool:
        """Whether it is a number of events per request."""
        return self.requests > 0


Interpreted = Callable[[VariantResult, str, ObjectKind | None, float], MeasuredFigure | None]
"""Estimates a figure of a variant, scope and object; the last argument is the ``error`` of each end
of its interval. None without a figure."""


class Metric(NamedTuple):
    """A metric that an expectation can name."""

    figure: Figure
    measure: str
    """Its name in `harness.analysis.points`."""
    measure_of_all: str | None = None
    """The measure over all scopes, if that one depends on fewer points."""
    estimate: Interpreted | None = None
    """The figure with its interval; None if it has no noise, such as a greatest age."""
    scales: bool = False
    """Whether it is a time, whose bounds scale with the run's."""
    of_changes: Callable[[Sequence[Freshness], float], MeasuredFigure | None] | None = None
    """The figure with its interval, of all changes in its scope; None if it is not of changes."""

    def read(
        self,
        result: VariantResult,
        scope: str,
        kind: ObjectKind | None,
        error: float,
        fresh: Fresh | None = None,
    ) -> MeasuredFigure | None:
        """The figure with its interval."""
        if self.of_changes is not None:
            ones = [one for by in (fresh or {}).values() for one in of_scope(by, scope)]
            return self.of_changes(ones, error) if ones else None
        if self.estimate is not None:
            return self.estimate(result, scope, kind, error)
        value = self.figure(result, scope, kind)
        if value is None:
            return None
        return MeasuredFigure(value, value, value, len(rounds.measured(result)))

    def blind(self, result: VariantResult, scope: str) -> tuple[str, ...]:
        """The points of a release that are missing for it."""
        over_all = self.measure_of_all if scope == ALL else None
        return missing(result, over_all or self.measure)


def applicable(
    expectations: Sequence[Expectation],
    variants: Sequence[str],
    *,
    premises: bool,
    time_scale: float = 1.0,
) -> list[Expectation]:
    """The expectations that name a variant of the run and fit its premises.

    An expectation for a range of releases becomes one for each release of the run in that range. A
    ratio to a variant that is not in the run cannot be checked and is left out. Bounds in seconds
    are scaled.
    """
    word = "on" if premises else "off"
    return [
        e.model_copy(update={"variant": name, **_scaled(e, time_scale)})
        for e in expectations
        for name in variants
        if matches(e.variant, name)
        and e.premises in ("any", word)
        and (not isinstance(e, RatioExpectation) or e.to in variants)
    ]


def _scaled(e: Expectation, time_scale: float) -> dict[str, float]:
    if not isinstance(e, LimitExpectation) or not METRICS[e.metric].scales:
        return {}
    bounds = {"min": e.min, "max": e.max}
    return {name: bound * time_scale for name, bound in bounds.items() if bound is not None}


def bounds(expectations: Sequence[Estimated]) -> int:
    """The limits that they assert: a band has two, everything else one."""
    return sum(
        (e.min is not None) + (e.max is not None) if isinstance(e, LimitExpectation) else 1
        for e in expectations
    )


def hold(
    expectations: Sequence[Estimated],
    variants: Mapping[str, VariantResult],
    *,
    error: float,
    bad_share_max: float,
    freshness: Mapping[str, Fresh] | None = None,
) -> list[ExpectationResult]:
    """Every expectation with its estimate and interval; without a figure it is undecided.

    Args:
        expectations: about measured variants.
        variants: the measured variants.
        error: of each bound, from `harness.analysis.intervals.per_bound`.
        bad_share_max: the scenario's, for what must never happen.
        freshness: of each variant in which something changed.
    """
    fresh = freshness or {}
    level = Level(error, bad_share_max)
    return [_hold_one(expectation, variants, fresh, level) for expectation in expectations]


class Level(NamedTuple):
    """How sure a verdict must be."""

    error: float
    bad_share_max: float


def _hold_one(
    e: Estimated,
    variants: Mapping[str, VariantResult],
    fresh: Mapping[str, Fresh],
    level: Level,
) -> ExpectationResult:
    result = variants[e.variant]
    if isinstance(e, CellExpectation):
        return _hold_cell(e, result, level)
    metric = METRICS[e.metric]
    kind = e.object if isinstance(e, LimitExpectation) else None
    subject = f"{kind} " if kind else ""
    name = f"{subject}{e.metric} in {e.scope}"
    if isinstance(e, RatioExpectation):
        other = variants[e.to]
        # Each of the two may be wrong with half the chance: then their quotient is with all of it.
        figures = [
            metric.read(variants[name], e.scope, None, level.error / 2, fresh.get(name))
            for name in (e.variant, e.to)
        ]
        blind = dict.fromkeys(p for v in (result, other) for p in metric.blind(v, e.scope))
        ratio = _quotient(*figures)
        text = f"{ratio.value:.4f}" if ratio is not None else None
        found = _Found(f"{name} / {e.to}'s", text, f"<= {e.max:g}", tuple(blind))
        return _judged(e, found, ratio, None, e.max)
    figure = metric.read(result, e.scope, kind, level.error, fresh.get(e.variant))
    limits = [f">= {e.min:g}"] if e.min is not None else []
    limits += [f"<= {e.max:g}"] if e.max is not None else []
    text = _text(figure) if figure is not None else None
    found = _Found(name, text, " and ".join(limits), metric.blind(result, e.scope))
    if figure is not None and figure.counted and e.max == 0 and e.min is None:
        share = f" (at most {level.bad_share_max:.3g} a request)"
        found = found._replace(limit=found.limit + share)
        return _outcome(e, found, figure, never(figure, level))
    if figure is not None and figure.interval:
        return _outcome(e, found, figure, clock_within(figure, e.min, e.max))
    return _judged(e, found, figure, e.min, e.max)


def _text(figure: MeasuredFigure) -> str:
    text = f"{figure.value:.4g}"
    if not figure.interval or not math.isinf(figure.high):
        return text
    return f"at least {text}" if figure.untimed else f"at least {text}, open"


def clock_within(figure: MeasuredFigure, least: float | None, greatest: float | None) -> Decision:
    """As `within`, of a clock: one that is open at the window's end is above any limit.

    Where a change has no clock, only what was seen of the others can decide.
    """
    if greatest is not None and math.isinf(figure.high) and not figure.untimed:
        return Decision("fails")
    decision = within(figure, least, greatest)
    if decision.state != "undecided":
        return decision
    if figure.untimed:
        return Decision(
            "undecided",
            f"{figure.untimed} change{'s' if figure.untimed > 1 else ''} could not be timed",
        )
    return Decision(
        "undecided", "the limit is between the last old answer and the first new one of a worker"
    )


class _Found(NamedTuple):
    """An expectation's words."""

    name: str
    text: str | None
    """The measured figure; None without one."""
    limit: str
    blind: tuple[str, ...] = ()
    """Points of a release that are missing for it."""


class Decision(NamedTuple):
    """Of one expectation."""

    state: State
    reason: str = ""
    more_rounds: int | None = None


def never(figure: MeasuredFigure, level: Level) -> Decision:
    """Whether something that must never happen does not.

    0 of any number does not prove 0: it holds once no more than the scenario's share is possible.
    One event is suspect: a time-out on a busy machine, or a fault. A second one is a finding.
    """
    if figure.events > 1:
        return Decision("fails")
    if figure.events:
        return Decision(
            "undecided",
            f"suspect: once in {figure.requests:,.0f} requests. Run again, with more rounds: a "
            "second time it fails",
        )
    needed = math.ceil(never_needs(level.error, level.bad_share_max))
    if figure.requests >= needed:
        return Decision("holds")
    more = _times_more(needed / figure.requests, figure.rounds) if figure.requests else None
    too_few = f"0 in {figure.requests:,.0f} requests, and {needed:,} are needed"
    if not figure.rounds:
        return Decision("undecided", f"{too_few}: more changes, or a longer window of them")
    return Decision("undecided", too_few + _would_decide(more), more)


def within(figure: MeasuredFigure, least: float | None, greatest: float | None) -> Decision:
    """Whether the whole interval is within two limits, or all of it outside of one."""
    inside = (least is None or figure.low >= least) and (
        greatest is None or figure.high <= greatest
    )
    if inside:
        return Decision("holds")
    if (least is not None and figure.high < least) or (
        greatest is not None and figure.low > greatest
    ):
        return Decision("fails")
    # An end of the interval comes closer to the estimate as the root of the number of rounds.
    times = 0.0
    for limit in (least, greatest):
        if limit is None:
            continue
        end = figure.low if figure.value > limit else figure.high
        if math.isinf(end):
            return Decision("undecided", _TOO_LITTLE)
        gap = abs(limit - figure.value)
        gaps = abs(end - figure.value) / gap if gap else math.inf
        times = max(times, gaps * gaps)
    more = _times_more(times, figure.rounds)
    return Decision("undecided", "the limit is within the interval" + _would_decide(more), more)


def _times_more(times: float, rounds: int) -> int | None:
    """Further rounds for so many times the load; None beyond any run."""
    if not times * rounds < _MOST_ROUNDS:
        return None
    return max(1, math.ceil(times * rounds) - rounds)


def _would_decide(more: int | None) -> str:
    if more is None:
        return f"; fewer than {_MOST_ROUNDS:,} rounds would not decide it"
    return f"; about {more} more round{'s' if more != 1 else ''} would decide it"


def _quotient(above: MeasuredFigure | None, below: MeasuredFigure | None) -> MeasuredFigure | None:
    if above is None or below is None or not below.value:
        return None
    return MeasuredFigure(
        above.value / below.value,
        above.low / below.high,
        above.high / below.low if below.low else math.inf,
        min(above.rounds, below.rounds),
    )


def _judged(
    e: Estimated,
    found: _Found,
    figure: MeasuredFigure | None,
    least: float | None,
    greatest: float | None,
) -> ExpectationResult:
    decision = Decision("undecided") if figure is None else within(figure, least, greatest)
    return _outcome(e, found, figure, decision)


def _outcome(
    e: Estimated, found: _Found, figure: MeasuredFigure | None, decision: Decision
) -> ExpectationResult:
    measured = because(found.blind) if found.blind else found.text or "not measured"
    if found.blind or found.text is None:
        figure, decision = None, Decision("undecided", measured)
    return ExpectationResult(
        name=found.name,
        variant=e.variant,
        scope=e.scope,
        measured=measured,
        limit=found.limit,
        estimate=None if figure is None else round(figure.value, 6),
        # An end that is not known, as of a ratio to what may be 0, has no number in JSON.
        low=None if figure is None or math.isinf(figure.low) else round(figure.low, 6),
        high=None if figure is None or math.isinf(figure.high) else round(figure.high, 6),
        rounds=0 if figure is None else figure.rounds,
        state=decision.state,
        reason=decision.reason,
        more_rounds=decision.more_rounds,
        not_instrumented=list(found.blind),
    )


def _hold_cell(e: CellExpectation, result: VariantResult, level: Level) -> ExpectationResult:
    cells = result.cells.get(e.scope, [])
    wanted, worst = e.has or e.is_, cells[0] if cells else None
    assert wanted is not None, "the schema demands one of them"
    # The cells that were seen decide, but for one that could stand beside them or before them.
    may_be = worst is None or (
        wanted not in (*cells, "healthy")
        and (e.has is not None or _WORST_FIRST.index(wanted) < _WORST_FIRST.index(worst))
    )
    blind = missing(result, "cells") if may_be else ()
    limit = f"{wanted} (at most {level.bad_share_max:.3g} bad)" if wanted == "healthy" else wanted
    name = f"cell in {e.scope}"
    if e.has is not None:
        name, limit = f"cells in {e.scope}", f"{limit} among them"
    found = _Found(name, ", ".join(cells) or None, limit, blind)
    if worst is None:
        return _outcome(e, found, None, Decision("undecided"))
    holds = wanted in cells if e.has is not None else wanted == worst
    decision = Decision("holds" if holds else "fails")
    # What decides is the cell that must not be there, or the one that must.
    asked = wanted if e.has is not None or wanted in _GOOD or worst in _GOOD else worst
    if asked == "wasteful" and e.has is not None:
        # Among others it rests on its own bound alone.
        return _outcome(e, found, None, decision)
    figure = bad_replies(result, e.scope, asked, level.error)
    seen = worst if asked in _GOOD else asked
    if seen in BAD and seen in cells and not figure.events:
        # A release's failures were seen, and their number was not.
        return _outcome(e, found, None, decision)
    sure = never(figure, level)
    return _outcome(e, found, figure, sure if sure.state == "undecided" else decision)


def bad_replies(result: VariantResult, scope: str, cell: str, error: float) -> MeasuredFigure:
    """Replies that speak for a cell (against it, for ``healthy``), per 1,000.

    Failures and wrong values are counted by object: a reply with two of them counts as two, up to
    one a request. Those of the window of refusals count too, its requests do not.
    """
    counts = [part for name, parts in BAD.items() if cell in (name, *_GOOD) for part in parts]
    requests = answered(result.requests, scope)
    events = min(requests, sum(total_in(part(result), scope) for part in counts))
    low, high = proportion(events, requests, error) if requests else Interval(0.0, 1.0)
    value = events / requests if requests else 0.0
    return MeasuredFigure(
        value * PER, low * PER, high * PER, len(rounds.measured(result)), events, requests
    )


def total_in(counts: Mapping[str, Mapping[str, int]] | None, scope: str) -> int:
    """The sum of a nested counter in one scope, or in `ALL`."""
    return sum(sum(by.values()) for by in of_scope(counts or {}, scope))


_GOOD = ("wasteful", "healthy")
BAD: Mapping[str, tuple[Callable[[VariantResult], Mapping[str, Mapping[str, int]] | None], ...]] = {
    "hidden": (lambda v: v.wrong_values, lambda v: v.let_through),
    "broken": (lambda v: v.deserialize_failures, lambda v: v.unexpected_statuses),
    "stale": (lambda v: v.stale,),
}
"""The counts that speak for each cell; all of them speak against a healthy one."""


def _source_reads(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    if kind is None or scope not in result.source_reads_per_1000:
        return result.source_reads_per_1000.get(scope)
    if scope == ALL:
        return _source_reads_of_all(result, kind)
    return result.source_reads_per_1000_by_object.get(scope, {}).get(kind.value, 0.0)


def _source_reads_of_all(result: VariantResult, kind: ObjectKind) -> float | None:
    """Including reads for keys that were never resolved."""
    return rounds.of_all(result, ALL, lambda w: rounds.source_reads(w, ALL, kind))


def _over_reference(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    reads = _source_reads(result, scope, kind)
    line = result.reference_line_per_1000.get(scope)
    return reads / line if reads is not None and line else None


def _ttl_kept(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    kept = result.ttl_kept.get(scope)
    return None if kept is None else kept.value


def _over_expected(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    over = result.reads_over_expected.get(scope)
    return None if over is None else over.value


def _service_p50(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    return result.latency_ms.service.p50 if scope == ALL else None


def _log_pairs(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    return _per_1000(result, scope, result.log_pairs)


def _failures(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    if result.deserialize_failures is None:
        return None
    sums = {s: sum(by.values()) for s, by in result.deserialize_failures.items()}
    return _per_1000(result, scope, sums)


def _wrong_values(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    wanted = result.wrong_values
    if wanted is None or not answered(result.requests, scope):
        return None
    tables = of_scope(wanted, scope)
    return float(
        sum(n for table in tables for k, n in table.items() if kind is None or k == kind.value)
    )


def _entry_age(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    """Over all tiers, scopes and objects."""
    del scope, kind
    return max(result.entry_age_max_s.values(), default=None)


def _memory_hits(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    """Hits of the memory tier over all its lookups, from 0 to 1."""
    tiers = result.lookups if scope == ALL else result.lookups_by_scope.get(scope, {})
    outcomes = tiers.get("memory", {})
    return per_answered(outcomes.get("hit", 0), sum(outcomes.values()), per=1)


def _per_1000(result: VariantResult, scope: str, counts: Mapping[str, int] | None) -> float | None:
    if counts is None:
        return None
    return per_answered(sum(of_scope(counts, scope)), answered(result.requests, scope))


def _by_window(
    result: VariantResult, scope: str, count: rounds.Count, error: float, scale: float = PER
) -> MeasuredFigure | None:
    """Events per request, the ratio of the sums over the windows, times ``scale``.

    Rounds are the unit where there are enough, else requests.
    """
    parts = rounds.parts(result, scope, count)
    events, requests = (sum(part[i] for part in parts) for i in (0, 1))
    if not requests:
        return None
    found = None
    if len(parts) >= LEAST_ROUNDS and events >= LEAST_EVENTS:
        found = ratio_of_sums(parts, error)
    low, high = (found or rate(events, requests, error)).times(scale)
    return MeasuredFigure(events / requests * scale, low, high, len(parts), events, requests)


def _reads(
    result: VariantResult, scope: str, kind: ObjectKind | None, error: float
) -> MeasuredFigure | None:
    if scope not in result.source_reads_per_1000:
        return None
    return _by_window(result, scope, lambda w: rounds.source_reads(w, scope, kind), error)


def _reads_over_line(
    result: VariantResult, scope: str, kind: ObjectKind | None, error: float
) -> MeasuredFigure | None:
    line = result.reference_line_per_1000.get(scope)
    reads = _reads(result, scope, kind, error)
    if reads is None or not line:
        return None
    # Reads of the line are not events of a request: 0 of them is no proof of anything.
    return MeasuredFigure(reads.value / line, reads.low / line, reads.high / line, reads.rounds)


def _pairs(
    result: VariantResult, scope: str, _: ObjectKind | None, error: float
) -> MeasuredFigure | None:
    return _by_window(result, scope, lambda w: rounds.log_pairs(w, scope), error)


def _of_sum(figure: Figure, scale: float | None = PER) -> Interpreted:
    """An estimate from events of all windows together, for counts that no window has.

    Args:
        figure: events per ``scale`` requests, or, without a scale, their number.
        scale: see ``figure``.
    """

    def estimate(
        result: VariantResult, scope: str, kind: ObjectKind | None, error: float
    ) -> MeasuredFigure | None:
        value, requests = figure(result, scope, kind), answered(result.requests, scope)
        if value is None or not requests:
            return None
        per = requests if scale is None else scale
        events = round(value * requests / per)
        low, high = rate(events, requests, error).times(per)
        return MeasuredFigure(value, low, high, len(rounds.measured(result)), events, requests)

    return estimate


def _of_reads(figures: Callable[[VariantResult], Mapping[str, Estimate]]) -> Interpreted:
    """An estimate of `harness.analysis.reads`, whose bounds have the ``error`` of the run.

    A bound that is not known, as where reads were not seen one by one, is not a bound at all.
    """

    def estimate(
        result: VariantResult, scope: str, _: ObjectKind | None, __: float
    ) -> MeasuredFigure | None:
        found = figures(result).get(scope)
        if found is None:
            return None
        low = -math.inf if found.low is None else found.low
        high = math.inf if found.high is None else found.high
        return MeasuredFigure(found.value, low, high, len(rounds.measured(result)))

    return estimate


def _overshoot(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    return _worst(result, scope, kind, lambda budget: budget.overshoot)


def _beyond_open(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    return _worst(result, scope, kind, lambda budget: budget.overshoot - budget.open_at_once)


def _worst(
    result: VariantResult,
    scope: str,
    kind: ObjectKind | None,
    figure: Callable[[OwnerBudget], int],
) -> float | None:
    figures = [
        figure(budget)
        for budget in result.budgets
        if scope in (ALL, budget.scope) and (kind is None or budget.owner == kind.value)
    ]
    return float(max(figures)) if figures else None


def _greatest(clocks: Sequence[Clock | None], untimed: int) -> MeasuredFigure | None:
    """The greatest of several clocks: 0 where none was old after the change, None without any.

    Args:
        clocks: of each kind of change in a scope.
        untimed: changes without one. An open clock is above any other, so they do not matter then.
    """
    known = [one for one in clocks if one is not None]
    if not known:
        return None
    low, high = max(one.low for one in known), max(one.longest for one in known)
    untimed = 0 if math.isinf(high) else untimed
    high = math.inf if untimed else high
    return MeasuredFigure(low, low, high, 0, interval=True, untimed=untimed)


def _stale_replies(ones: Sequence[Freshness], error: float) -> MeasuredFigure | None:
    """Of the replies that could be stale: sent longer after a change than the promise."""
    judged = sum(one.judged_replies for one in ones)
    if not judged:
        return None
    stale = sum(one.stale_replies for one in ones)
    low, high = rate(stale, judged, error).times(judged)
    return MeasuredFigure(stale, low, high, 0, stale, judged)


def _none(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    """Of metrics that are figures of changes, not of the variant."""
    del result, scope, kind
    return None


METRICS: Mapping[str, Metric] = {
    "source_reads_per_1000": Metric(_source_reads, "source_reads_by_scope", "source_reads", _reads),
    "source_reads_over_reference_line": Metric(
        _over_reference, "source_reads_by_scope", "source_reads", _reads_over_line
    ),
    "log_pairs_per_1000": Metric(_log_pairs, "log_pairs", estimate=_pairs),
    "wrong_values": Metric(_wrong_values, "wrong_values", estimate=_of_sum(_wrong_values, None)),
    "deserialize_failures_per_1000": Metric(
        _failures, "deserialize_failures", estimate=_of_sum(_failures)
    ),
    "entry_age_max_s": Metric(_entry_age, "wrong_values", scales=True),
    "ttl_kept": Metric(
        _ttl_kept, "reads_by_object", estimate=_of_reads(lambda result: result.ttl_kept)
    ),
    "reads_per_object_and_ttl": Metric(
        _over_expected,
        "source_reads_by_scope",
        "source_reads",
        _of_reads(lambda result: result.reads_over_expected),
    ),
    "overshoot": Metric(_overshoot, "budgets"),
    "overshoot_beyond_open": Metric(_beyond_open, "budgets"),
    "service_p50_ms": Metric(_service_p50, "latency"),
    "memory_hit_share": Metric(_memory_hits, "lookups"),
    "handler_s_max": Metric(
        _none,
        "clocks",
        scales=True,
        of_changes=lambda ones, _: _greatest(
            [one.handler_s for one in ones], sum(one.handler_untimed for one in ones)
        ),
    ),
    "others_s_max": Metric(
        _none,
        "clocks",
        scales=True,
        of_changes=lambda ones, _: _greatest(
            [one.others_s for one in ones], sum(one.untimed for one in ones)
        ),
    ),
    "stale_replies": Metric(_none, "clocks", of_changes=_stale_replies),
}
"""By its name in a scenario file."""
