"""The referee: is the head of a change better than its base, the same, or worse?

`RULES` is the whole table: what is judged, in which direction, and from which difference on. Times
and sizes are shown and never judged: a busy machine changes the first, and a right repair may need
the second.

Counts differ by chance alone, because entries expire at the edges of windows, and two requests that
miss together both read. A difference is judged if it is larger than all of: the rule's least
difference, its least number of events, and `SPREADS` standard deviations. The variance is that of
the model (`_read_variance`), or more where the differences between the rounds of both sides, which
are driven alike, say so (`_variance`).
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Literal

from harness.analysis import rounds
from harness.analysis.analyse import analyse
from harness.analysis.clock import late
from harness.analysis.difference import LEAST_EVENTS
from harness.analysis.expectations import BAD, total_in
from harness.analysis.points import because, missing
from harness.analysis.reads import grows
from harness.domain.rates import PER, answered, per_answered
from harness.domain.result import Clock, Result, VariantResult, Window
from harness.domain.series import ALL
from harness.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INVALID,
    EXIT_PASS,
    EXIT_REGRESSION,
    UsageError,
)
from harness.observe.evidence import Evidence
from harness.plan.plan import RunPlan

SPREADS = 3.0
"""A normal figure is so many standard deviations off in 0.27 % of cases. About a dozen counts of a
run are noisy, most of them together: some 2 % of runs of equal sides would end otherwise."""
PLAIN = 2.0
"""A difference of so many times the least that is judged needs no further round."""
SEEN_PER_1000 = 10.0
"""Where nothing differs, one source read more in a hundred requests must have been seen."""
LEAST_ROUNDS = 2
_EDGE = 0.1
"""Variance of the reads of one object in one window: its first or last expiry falls within the
window or beyond. A coin has 1/4; both sides meet the same arrivals, so that most edges are alike.
Simulated: at most 0.05 with regular arrivals (docs/decisions/0034)."""
_TIMER = 1 / 6
"""The same of one statement that reads, which may be a timer's: no arrival makes two of them alike.
The mean of f (1 - f), where f is what a window leaves of the timer's last period."""
_EXPIRY = 0.2
"""Variance that each expiry adds: two requests may miss together, and one statement may read what
expired at two moments. Of two equal trees of 1.105.7, counted in 16 rounds; simulated 0.05."""
_MODEL_ROUNDS = 2
"""The model weighs as much as so many differences between rounds: two rounds have but one, whose
square is more than three times the variance in one case of twelve, and makes `same` a matter of
luck. Simulated in docs/decisions/0034."""
_FOUR_DIGITS = 999.5
"""From here on, three digits round to 1,000 (`f"{999.5:.3g}"` is ``1e+03``)."""
_RANKS = ("healthy", "wasteful", "stale", "broken", "hidden")
"""Cells, the best first."""
_ALIKE = 0.01
"""Sides admit alike where the shares of 2xx replies differ by up to this much in every scope."""
TIMES_SLOWER = 2.0
"""A side that is too slow to be measured is worse than one that sustains so many times as much.
Either rate is of one closed loop of a few seconds, some twenty replies at the least rate."""

Word = Literal["better", "same", "worse", "mixed", "undecided", "invalid", "interrupted"]


class RefereeOutcome(StrEnum):
    """How the head compares with the base in one figure."""

    BETTER = "better"
    SAME = "same"
    WORSE = "worse"
    UNSEEN = "not seen"
    SHOWN = "shown only"


@dataclass(frozen=True, slots=True)
class Count:
    """Events, in so many requests (or of so much that was due)."""

    events: float
    requests: float
    variance: float
    """Of the events, by the model."""
    parts: tuple[tuple[float, float], ...] = ()
    """The same by round; empty where only the sum is known."""
    per: float = PER

    @property
    def value(self) -> float:
        """Events per 1,000 requests, or per `per`."""
        return self.events / self.requests * self.per


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a scope, the worst first."""

    names: tuple[str, ...]
    suspect: tuple[str, ...] = ()
    """Cells that so few replies speak for that they are left out of ``names``."""

    @property
    def ranks(self) -> tuple[int, ...]:
        """Lists of them compare as the cells do: first by the worst, then by the next."""
        return tuple(sorted((_RANKS.index(name) for name in self.names), reverse=True))


Reading = Count | Cells | Clock | float
"""A float is a size or a time: no rule judges it."""
Places = Mapping[str, Reading]
"""What a side has of a measure, by place: a scope, an object, a change."""


@dataclass(frozen=True, slots=True)
class Side:
    """One variant of a run."""

    result: Result
    name: str

    @property
    def variant(self) -> VariantResult:
        """Its figures."""
        return self.result.variants[self.name]

    @property
    def windows(self) -> list[Window]:
        """Its measured windows."""
        return rounds.measured(self.variant)


def _may_be_absent(_: Side, __: Side) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class RefereeRule:
    """One measure. Less is better in all that are judged; of cells, the better one."""

    label: str
    unit: str
    read: Callable[[Side, Side], Places]
    """Its figures of the first side; some depend on what the second does."""
    least: float = 0.0
    """The least difference that is judged, in units of the figure."""
    least_events: float = 0.0
    judged: bool = True
    seen_as: str = ""
    """Its name in `harness.analysis.points`; empty if it depends on no point of a release."""
    lacking: Callable[[Side, Side], str] = _may_be_absent
    """Why it is not seen where neither side has any figure; empty where it may be absent."""

    @property
    def name(self) -> str:
        """Label and unit."""
        return f"{self.label} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Line:
    """One figure of both sides."""

    rule: RefereeRule
    place: str
    base: Reading | None
    head: Reading | None
    outcome: RefereeOutcome
    judged_from: float | None = None
    """The least difference that this run would have judged; None where there is no number."""
    reason: str = ""
    """Why it was not seen."""


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of the fleets' roles, per 1,000 answered requests; None where it never ran."""

    text: str
    base: float | None
    head: float | None


@dataclass(frozen=True, slots=True)
class OneSided:
    """A verb and a table that one side alone runs, whatever its WHERE."""

    side: Literal["base", "head"]
    text: str
    """As ``SELECT LiteLLM_TagTable``."""
    per_request: float


@dataclass(frozen=True, slots=True)
class Ruling:
    """What the referee says of a run."""

    word: Word
    exit_code: int
    reasons: tuple[str, ...]
    lines: tuple[Line, ...] = ()
    statements: tuple[Statement, ...] = ()
    """Those that differ; shown, not judged."""
    only: tuple[OneSided, ...] = ()
    """Verbs and tables that one side alone runs; shown, not judged."""
    seen_per_1000: float | None = None
    """The least number of source reads more in 1,000 requests that this run would have judged."""
    short_of_power: bool = False
    """Whether further rounds could still make it a verdict."""

    def of(self, outcome: RefereeOutcome) -> list[Line]:
        """The lines with this outcome."""
        return [line for line in self.lines if line.outcome is outcome]


def referee(result: Result, base: str, head: str) -> Ruling:
    """Compare two variants of one run.

    Exit codes: 0 not worse, 1 worse or mixed, 3 something could not be seen or the run was too
    short to see it, 4 invalid; that of the signal where one ended the run.

    Raises:
        UsageError: the run lacks one of them, or planted a premise.
    """
    if result.premises:
        raise UsageError(
            f"The run [{result.run_id}] plants a premise, which no change of LiteLLM's can repair. "
            "Run it with --premise off."
        )
    if result.verdict == "interrupted":
        return Ruling("interrupted", result.exit_code, tuple(result.reasons))
    if result.too_slow:
        return _too_slow(result, base, head)
    if result.verdict == "invalid":
        return Ruling("invalid", EXIT_INVALID, tuple(result.reasons))
    absent = [name for name in (base, head) if name not in result.variants]
    if absent:
        raise UsageError(
            f"The run [{result.run_id}] did not measure [{', '.join(absent)}]. Name two of: "
            f"{', '.join(result.variants) or 'none'}."
        )
    sides = Side(result, base), Side(result, head)
    lines = tuple(line for rule in RULES for line in _lines(rule, *sides))
    ruled = _ruled(lines, min(len(side.windows) for side in sides))
    return replace(ruled, statements=_statements(*sides), only=_one_sided(*sides))


def settled(
    plan: RunPlan, evidence: Sequence[Evidence], samples_dir: Path, *, base: str, head: str
) -> bool:
    """Whether no further round is needed: asked after each round of a run that may go on.

    It looks at the power: a run that would otherwise be called too short goes on. So does one with
    a difference that is barely judged, or each look would be a further chance to err.
    """
    result = analyse(
        plan,
        evidence,
        samples_dir,
        run_id="",
        started_at="",
        elapsed_s=0.0,
        complete=False,
        interrupted=0,
        problem=None,
    )
    return not referee(result, base, head).short_of_power


def _too_slow(result: Result, base: str, head: str) -> Ruling:
    """A side that bears less than any run needs is worse than one that bears far more."""
    rates = result.sustained_per_s
    per_s = ", ".join(f"{name} {n:.1f}" for name, n in rates.items())
    reason = f"Too slow to be measured: {', '.join(result.too_slow)} (requests/s: {per_s})."
    slow = (base in result.too_slow, head in result.too_slow)
    if all(slow) or not any(slow):
        return Ruling("invalid", EXIT_INVALID, (reason, *result.reasons))
    slower, faster = (head, base) if slow[1] else (base, head)
    if rates.get(faster, 0.0) < TIMES_SLOWER * rates.get(slower, math.inf):
        near = (
            f"The other side does not sustain {TIMES_SLOWER:g} times as much: other load on the "
            "machine may be the difference. Stop other programs that use the CPUs; then run again."
        )
        return Ruling("invalid", EXIT_INVALID, (reason, near, *result.reasons))
    if slower == head:
        return Ruling("worse", EXIT_REGRESSION, (reason,))
    return Ruling("better", EXIT_PASS, (reason,))


def _ruled(lines: tuple[Line, ...], measured_rounds: int) -> Ruling:
    better, worse = (
        [x for x in lines if x.outcome is o] for o in (RefereeOutcome.BETTER, RefereeOutcome.WORSE)
    )
    unseen = [line for line in lines if line.outcome is RefereeOutcome.UNSEEN]
    seen_per_1000 = _seen(lines)
    reasons = [f"{say(line)}: {line.outcome.value}." for line in (*worse, *better)]
    reasons += [f"{line.rule.name}, {line.place}: {line.reason}." for line in unseen]
    weak = seen_per_1000 is None or seen_per_1000 > SEEN_PER_1000
    if worse:
        word: Word = "mixed" if better else "worse"
        return Ruling(
            word,
            EXIT_REGRESSION,
            tuple(reasons),
            lines,
            seen_per_1000=seen_per_1000,
            short_of_power=weak and not any(_plain(line) for line in (*worse, *better)),
        )
    short = True
    if measured_rounds < LEAST_ROUNDS:
        reasons.append(
            f"Too little power: {measured_rounds} round of each side, at least {LEAST_ROUNDS} are "
            f"needed. Give --rounds {LEAST_ROUNDS} or more."
        )
    elif weak or seen_per_1000 is None:
        needed = math.ceil(measured_rounds * ((seen_per_1000 or 0) / SEEN_PER_1000) ** 2)
        reasons.append(
            f"Too little power: a difference is judged from {seen_per_1000 or math.inf:.1f} reads "
            f"in 1,000 requests on, and {SEEN_PER_1000:g} must be seen. "
            f"Give --rounds {max(needed, measured_rounds + 1)}, or leave other programs off the "
            "machine."
        )
    elif not unseen:
        word = "better" if better else "same"
        reasons.append(f"One source read more in {PER / seen_per_1000:.0f} requests would be seen.")
        return Ruling(word, EXIT_PASS, tuple(reasons), lines, seen_per_1000=seen_per_1000)
    else:
        short = False
    return Ruling(
        "undecided",
        EXIT_INCONCLUSIVE,
        tuple(reasons),
        lines,
        seen_per_1000=seen_per_1000,
        short_of_power=short,
    )


def _plain(line: Line) -> bool:
    """Whether a difference is far beyond what chance makes."""
    if line.judged_from is None:
        return True
    assert isinstance(line.base, Count)
    assert isinstance(line.head, Count)
    return abs(line.head.value - line.base.value) > PLAIN * line.judged_from


def _seen(lines: Iterable[Line]) -> float | None:
    """The least number of source reads more in 1,000 requests that a run would have judged.

    Figures that differ are decided. Where all of them do, the noise between rounds is that of the
    difference, and the model alone says what a further read would have had to exceed.
    """
    totals = [x for x in lines if x.place == ALL and x.rule.label in (_READS, _STATEMENTS)]
    same = [x.judged_from for x in totals if x.outcome is RefereeOutcome.SAME and x.judged_from]
    if same:
        return max(same)
    alone = (judged_from(x.rule, x.base, x.head, by_model=True) for x in totals)
    return max((n for n in alone if n is not None), default=None)


def say(line: Line) -> str:
    """One line in words: measure, place, and both figures."""
    where = f", {line.place}" if line.place else ""
    return f"{line.rule.name}{where}: {reading_text(line.base)} to {reading_text(line.head)}"


def reading_text(reading: Reading | None) -> str:
    """A reading as text, with about three digits."""
    if reading is None:
        return "not seen"
    if isinstance(reading, Cells):
        suspect = f" (suspect: {', '.join(reading.suspect)})" if reading.suspect else ""
        return ", ".join(reading.names) + suspect
    if isinstance(reading, Clock):
        return f"{reading.low:.2f} s" if reading.high is not None else f"over {reading.low:.2f} s"
    return three_digits(reading.value if isinstance(reading, Count) else reading)


def three_digits(value: float) -> str:
    """A figure that is not negative with about three digits, and never with an exponent of 3."""
    return f"{value:.3g}" if value < _FOUR_DIGITS else f"{value:,.0f}"


def _lines(rule: RefereeRule, base: Side, head: Side) -> Iterable[Line]:
    blind = [
        point
        for side in (base, head)
        if rule.seen_as
        for point in missing(side.variant, rule.seen_as)
    ]
    ours, theirs = rule.read(base, head), rule.read(head, base)
    places = list(dict.fromkeys((*ours, *theirs)))
    lacking = because(tuple(dict.fromkeys(blind))) if blind else rule.lacking(base, head)
    for place in places or ([ALL] if lacking else []):
        here, there = ours.get(place), theirs.get(place)
        if not rule.judged:
            yield Line(rule, place, here, there, RefereeOutcome.SHOWN)
        elif blind or here is None or there is None:
            reason = lacking if blind or not places else "only one side has it"
            yield Line(rule, place, here, there, RefereeOutcome.UNSEEN, reason=reason)
        else:
            least = judged_from(rule, here, there)
            yield Line(rule, place, here, there, _outcome(here, there, least), least)


def _outcome(base: Reading, head: Reading, least: float | None) -> RefereeOutcome:
    if isinstance(base, Cells) and isinstance(head, Cells):
        worse, better = head.ranks > base.ranks, head.ranks < base.ranks
    elif isinstance(base, Clock) and isinstance(head, Clock):
        worse, better = head.low > base.longest, base.low > head.longest
    else:
        assert isinstance(base, Count), base
        assert isinstance(head, Count), head
        assert least is not None
        by = head.value - base.value
        worse, better = by > least, -by > least
    return (
        RefereeOutcome.WORSE if worse else RefereeOutcome.BETTER if better else RefereeOutcome.SAME
    )


def judged_from(
    rule: RefereeRule, base: Reading | None, head: Reading | None, *, by_model: bool = False
) -> float | None:
    """The difference of two counts from which on a rule judges them; None of other readings.

    Args:
        rule: has the least difference.
        base: of one side.
        head: of the other.
        by_model: leave out what the rounds say about the noise.
    """
    if not (isinstance(base, Count) and isinstance(head, Count)):
        return None
    fewer = min(base.requests, head.requests)
    return max(
        rule.least,
        rule.least_events * base.per / fewer,
        SPREADS * math.sqrt(_variance(base, head, by_model=by_model)) * base.per,
    )


def _variance(base: Count, head: Count, *, by_model: bool) -> float:
    """Of the difference of two counts a request: the model's, or more where the rounds say so."""
    model = sum(side.variance / side.requests**2 for side in (base, head))
    differences = [
        theirs[0] / theirs[1] - ours[0] / ours[1]
        for ours, theirs in zip(base.parts, head.parts, strict=False)
    ]
    free = len(differences) - 1
    if by_model or len(differences) < LEAST_ROUNDS:
        return model
    by_round = statistics.variance(differences) / len(differences)
    return max(model, (_MODEL_ROUNDS * model + free * by_round) / (_MODEL_ROUNDS + free))


def _cells(side: Side, other: Side) -> Places:
    return {
        scope: _cells_of(scope, side, other) for scope, cells in side.variant.cells.items() if cells
    }


def _cells_of(scope: str, side: Side, other: Side) -> Cells:
    """Without the cells that come of what may be a time-out or two."""
    cells = side.variant.cells[scope]
    suspect = tuple(cell for cell in cells if _is_suspect(cell, scope, side, other))
    names = [cell for cell in cells if cell not in suspect]
    # Reads that grow make a cell only where nothing is broken.
    slopes = side.variant.elasticity.get(scope, {}).values()
    if "broken" in suspect and (any(map(grows, slopes)) or scope in side.variant.uncached):
        names.append("wasteful")
    return Cells(tuple(names) or ("healthy",), suspect)


def _is_suspect(cell: str, scope: str, side: Side, other: Side) -> bool:
    """Whether replies alone speak for a cell, and on both sides fewer than `_LEAST_OF_NEVER`."""
    counts = BAD.get(cell, ())
    ours, theirs = (
        sum(total_in(part(one.variant), scope) for part in counts) for one in (side, other)
    )
    # Without any, it is of something else: what requests keep alive, or failures without a number.
    if not 0 < ours < _LEAST_OF_NEVER or theirs >= _LEAST_OF_NEVER:
        return False
    old = side.variant.kept_alive.get(scope) or late(
        side.result.freshness.get(side.name, {}), scope
    )
    return cell != "stale" or not old


def _no_cells(_: Side, __: Side) -> str:
    return "neither side has any"


def _source_reads(side: Side, _: Side) -> Places:
    found: dict[str, Reading] = {}
    for scope in (*side.variant.requests, ALL):
        parts = rounds.parts(side.variant, scope, partial(_reads_of, scope))
        if parts:
            variance = _read_variance(side, scope, sum(reads for reads, _ in parts))
            found[scope] = _count(parts, variance)
    return found


def _reads_of(scope: str, window: Window) -> int | None:
    return rounds.source_reads(window, scope)


def _read_variance(side: Side, scope: str, reads: float) -> float:
    """Of the source reads of a cache whose entries expire, in all windows of a side.

    Reads beyond those of the reference line grow with requests, which both sides get alike; their
    noise is left to the rounds.
    """
    objects = sum(row.objects for row in side.result.sizing if scope in (ALL, row.scope))
    line = side.variant.reference_line_per_1000.get(scope, 0.0)
    expiries = min(reads, line * answered(side.variant.requests, scope) / PER)
    return _EDGE * objects * len(side.windows) + _EXPIRY * expiries


def _reading(side: Side, _: Side) -> Places:
    """Statements that read: those of objects, and those of timers, each with edges of its own."""
    parts = _statements_of(side, _is_read)
    if not parts:
        return {}
    texts = {text for window in side.windows for text in window.statements or () if _is_read(text)}
    timers = _TIMER * len(texts) * len(side.windows)
    return {ALL: _count(parts, _read_variance(side, ALL, sum(n for n, _ in parts)) + timers)}


def _no_statements(_: Side, __: Side) -> str:
    return "Postgres did not count them, as without pg_stat_statements"


def _writing(side: Side, other: Side) -> Places:
    """Writes, transactions and the rest; nothing where the sides admit other requests.

    Admitted requests are charged. Their writes are sent in batches, as many as happen to be
    waiting: the number of batches has the variance of a Poisson distribution, and the statements of
    a batch come together, so that their standard deviations add up.
    """
    parts = _statements_of(side, lambda text: not _is_read(text))
    if not parts or not _admit_alike(side.variant, other.variant):
        return {}
    sums, _ = _counted(side)
    variance = sum(math.sqrt(n) for text, n in sums.items() if n > 0 and not _is_read(text)) ** 2
    return {ALL: _count(parts, variance)}


def _no_writes(base: Side, head: Side) -> str:
    """Where the sides admit other requests, writes are left out on purpose."""
    return _no_statements(base, head) if _admit_alike(base.variant, head.variant) else ""


def _statements_of(side: Side, wanted: Callable[[str], bool]) -> list[tuple[int, int]]:
    """Statements and answered requests of each window in which they were counted."""
    return [
        (sum(n for text, n in window.statements.items() if wanted(text)), requests)
        for window in side.windows
        if window.statements is not None and (requests := answered(window.requests))
    ]


_READ = re.compile(r"(?:SELECT|WITH) \w+(?: WHERE .*)?")


def _is_read(text: str) -> bool:
    """Whether a statement, by its shape, reads a table: a lock or a ping has none."""
    return _READ.fullmatch(text) is not None


def _admit_alike(one: VariantResult, other: VariantResult) -> bool:
    def admitted(variant: VariantResult, scope: str) -> float:
        statuses = variant.requests.get(scope, {})
        ok = sum(n for status, n in statuses.items() if status.startswith("2"))
        return per_answered(ok, sum(statuses.values()), per=1) or 0.0

    scopes = {*one.requests, *other.requests}
    return all(abs(admitted(one, s) - admitted(other, s)) <= _ALIKE for s in scopes)


def _log_pairs(side: Side, _: Side) -> Places:
    found: dict[str, Reading] = {}
    for scope in side.variant.requests:
        parts = rounds.parts(side.variant, scope, partial(_pairs_of, scope))
        if parts:
            found[scope] = _count(parts, _EXPIRY * sum(n for n, _ in parts))
    return found


def _pairs_of(scope: str, window: Window) -> int | None:
    return rounds.log_pairs(window, scope)


def _wrong_data(side: Side, _: Side) -> Places:
    if side.variant.wrong_values is None:
        return {}
    return _by_scope(side, side.variant.wrong_values)


def _wrong_statuses(side: Side, _: Side) -> Places:
    refused, let = side.variant.unexpected_statuses, side.variant.let_through or {}
    # A reply has one status: refused and let through are of one kind.
    sums = {s: {"status": total_in(refused, s) + total_in(let, s)} for s in {*refused, *let}}
    return _by_scope(side, sums)


def _by_scope(side: Side, counts: Mapping[str, Mapping[str, int]]) -> Places:
    """Events that must never happen, of each kind at most one in a request.

    Kinds may be wrong in the same requests or in others: their standard deviations add up.
    """
    found: dict[str, Reading] = {}
    for scope in side.variant.requests:
        by_kind, requests = counts.get(scope, {}), rounds.judged_requests(side.variant, scope)
        if requests:
            deviation = sum(math.sqrt(_of_share(n, requests)) for n in by_kind.values())
            found[scope] = Count(sum(by_kind.values()), requests, deviation**2)
    return found


def _of_share(events: int, requests: int) -> float:
    """Variance of the events of a share of requests.

    Beyond one a request, as where a result does not list all windows that were judged, that of a
    Poisson distribution.
    """
    return events if events > requests else events - events**2 / requests


def _spend_lost(side: Side, _: Side) -> Places:
    """The share of the cost that Postgres lacks, or has too much, in percent.

    ``owners`` are the rows of users, teams and memberships.
    """
    windows = {window.name for window in side.windows}
    found: dict[str, Reading] = {}
    for name, place in (("key_spend", "key"), ("spend_by_row", "owners")):
        parts = [
            (abs(equation.residual or 0.0), equation.left)
            for equation in side.result.ledger.equations
            if (equation.name, equation.variant) == (name, side.name)
            and equation.window in windows
            and equation.left
        ]
        if parts:
            # Lost are whole replies, one by one: a Poisson distribution.
            paid = sum(_paid(window) for window in side.windows)
            each = sum(due for _, due in parts) / paid if paid else 0.0
            found[place] = _count(parts, each * sum(lost for lost, _ in parts), per=100)
    return found


def _paid(window: Window) -> int:
    return sum(
        n
        for statuses in window.requests.values()
        for status, n in statuses.items()
        if status.startswith("2")
    )


def _freshness(side: Side, _: Side) -> Places:
    found: dict[str, Reading] = {}
    for action, by_scope in side.result.freshness.get(side.name, {}).items():
        for scope, fresh in by_scope.items():
            for worker, clock in (("handler", fresh.handler_s), ("others", fresh.others_s)):
                if clock is not None:
                    found[f"{action}, {scope}, {worker}"] = clock
    return found


def _no_clocks(base: Side, head: Side) -> str:
    """Where something was changed; idle objects have no clocks."""
    changed = any(
        one.outcome in ("done", "committed") and one.idle is None
        for side in (base, head)
        for by_scope in side.result.freshness.get(side.name, {}).values()
        for one in by_scope.values()
    )
    return "objects were changed, and neither side has a clock" if changed else ""


def _payload(side: Side, _: Side) -> Places:
    return dict(side.variant.payload_bytes)


def _latency(side: Side, _: Side) -> Places:
    p50 = side.variant.latency_ms.service.p50
    return {} if p50 is None else {ALL: p50}


def _sustained(side: Side, _: Side) -> Places:
    found = side.result.sustained_per_s.get(side.name)
    return {} if found is None else {ALL: found}


def _count(parts: Sequence[tuple[float, float]], variance: float, per: float = PER) -> Count:
    events, requests = (sum(part[i] for part in parts) for i in (0, 1))
    return Count(events, requests, variance, tuple(parts), per)


_READS, _STATEMENTS = "source reads", "statements that read"
_PER_REQUESTS = "per 1,000 requests"
_LEAST_OF_NEVER = 3
"""Of events that must never happen, for a cell too: what comes once or twice may be a time-out."""
_LEAST_ONE_SIDED = 5
"""Where so many events are to be expected, there are none in 0.7 % of cases."""

RULES = (
    RefereeRule("cell", "", _cells, seen_as="cells", lacking=_no_cells),
    RefereeRule(
        _READS,
        _PER_REQUESTS,
        _source_reads,
        least=5,
        least_events=LEAST_EVENTS,
        seen_as="source_reads_by_scope",
    ),
    RefereeRule(
        _STATEMENTS,
        _PER_REQUESTS,
        _reading,
        least=5,
        least_events=LEAST_EVENTS,
        lacking=_no_statements,
    ),
    RefereeRule(
        "other statements",
        _PER_REQUESTS,
        _writing,
        least=5,
        least_events=LEAST_EVENTS,
        lacking=_no_writes,
    ),
    RefereeRule(
        "log pairs",
        _PER_REQUESTS,
        _log_pairs,
        least=5,
        least_events=LEAST_EVENTS,
        seen_as="log_pairs",
    ),
    RefereeRule(
        "wrong data",
        _PER_REQUESTS,
        _wrong_data,
        least_events=_LEAST_OF_NEVER,
        seen_as="wrong_values",
    ),
    RefereeRule("wrong statuses", _PER_REQUESTS, _wrong_statuses, least_events=_LEAST_OF_NEVER),
    RefereeRule("spend lost", "% of the cost", _spend_lost, least=1, seen_as="spend_drift"),
    RefereeRule("freshness", "s", _freshness, seen_as="clocks", lacking=_no_clocks),
    RefereeRule("payload", "bytes", _payload, judged=False),
    RefereeRule("service time, median", "ms", _latency, judged=False),
    RefereeRule("sustained in a closed loop", "requests/s", _sustained, judged=False),
)
"""In the order of the tables."""


def _counted(side: Side) -> tuple[Counter[str], int]:
    """How often a side ran each statement in its windows, and the requests that it answered."""
    sums: Counter[str] = Counter()
    for window in side.windows:
        sums.update(window.statements or {})
    return sums, sum(answered(window.requests) for window in side.windows)


def _one_sided(base: Side, head: Side) -> tuple[OneSided, ...]:
    """Verbs and tables that one side alone runs, the most frequent first.

    Those with fewer than `_LEAST_ONE_SIDED` may be a timer's that fell into the other's pause.
    """
    counted = []
    for side in (base, head):
        sums, requests = _counted(side)
        tables: Counter[str] = Counter()
        for text, n in sums.items():
            tables[_verb_and_table(text)] += n
        counted.append((tables, requests))
    (ours, requested), (theirs, of_head) = counted
    found = [
        *(OneSided("base", text, n / requested) for text, n in _absent(ours, theirs)),
        *(OneSided("head", text, n / of_head) for text, n in _absent(theirs, ours)),
    ]
    return tuple(sorted(found, key=lambda one: -one.per_request))


def _absent(mine: Counter[str], other: Counter[str]) -> list[tuple[str, int]]:
    return [(text, n) for text, n in mine.items() if n >= _LEAST_ONE_SIDED and text not in other]


def _verb_and_table(text: str) -> str:
    """``SELECT LiteLLM_TagTable WHERE …`` without its condition."""
    return text.partition(" WHERE ")[0]


def _statements(base: Side, head: Side) -> tuple[Statement, ...]:
    """Statements that one side runs more often, by more than chance, the greatest first."""
    (ours, requested), (theirs, of_head) = _counted(base), _counted(head)
    counts, requests = (ours, theirs), (requested, of_head)
    if not all(requests):
        return ()
    found = []
    for text in dict.fromkeys(text for sums in counts for text in sums):
        events = [sums.get(text, 0) for sums in counts]
        rates = [n / of for n, of in zip(events, requests, strict=True)]
        noise = SPREADS * math.sqrt(sum(n / of**2 for n, of in zip(events, requests, strict=True)))
        by = abs(rates[1] - rates[0])
        if by * min(requests) >= LEAST_EVENTS and by > noise:
            found.append((by, text, rates, events))
    found.sort(reverse=True)
    return tuple(
        Statement(text, *(rate * PER if n else None for rate, n in zip(rates, events, strict=True)))
        for _, text, rates, events in found
    )
