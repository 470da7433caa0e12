"""One compact table of all other measures: one row per measure, one column per variant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from harness.analysis.rounds import judged_requests
from harness.authcache.words import LOAD_SCOPES, ObjectKind, Outcome, Tier
from harness.domain.population import KINDS
from harness.domain.rates import answered
from harness.domain.result import OwnerBudget, Result, VariantResult, in_order
from harness.report.instrumented import noted
from harness.report.numbers import NOT_MEASURED, count, nothing_in, rate, seconds, time_ms
from harness.report.table import Cell, Column, Row, Table

Measure = Callable[[VariantResult], Cell]

_OK = range(200, 300)


def measures_table(result: Result) -> Table:
    """Requests, log pairs, wrong values, bytes, outcomes, ages and latency of every variant."""
    rows = [
        _row(result, "requests by status", _statuses),
        _row(result, "unexpected statuses", _bounded(result, _unexpected, judged_requests)),
        _row(result, "let through", _bounded(result, _let_through, _to_be_refused)),
        _stale_row(result),
        _row(result, "log pairs", _bounded(result, _pairs)),
        _row(result, "wrong values served", _bounded(result, _wrong, judged_requests)),
        _row(result, "deserialize failures", _bounded(result, _failures)),
        *_budget_rows(result),
        *_outcome_rows(result),
        _row(result, "source reads", _reads),
        _row(result, "source reads, cold fill", _cold_reads),
        _row(result, "key payload, bytes", _key_bytes),
        *_age_rows(result),
        _row(result, "p50 / p95 from intended, ms", _intended),
        _row(result, "p50 / p95 service, ms", _service),
    ]
    return Table(
        "measures",
        "The same windows in other measures",
        "measure",
        tuple(Column(name) for name in result.variants),
        tuple(rows),
        "Counts are sums over all measured windows, without the cold fill; unexpected statuses, "
        "let through, stale answers and wrong values also over the windows of refusals, of changes "
        "and after faults. Beside a 0: the greatest share that it leaves possible, of the requests "
        "of these windows; of let through, of those that should be refused; of stale answers, of "
        "the replies that were sent longer after a change than the promise.",
        code=False,
    )


def has_refusals(result: Result) -> bool:
    """Whether any variant was asked to refuse; runs of before 0025 were not."""
    return any(variant.refusals for variant in result.variants.values())


def refusals_table(result: Result) -> Table:
    """What each kind of key that tests refusals was answered, over all scopes that have it."""
    kinds = in_order(
        (k for v in result.variants.values() for by in v.refusals.values() for k in by), KINDS
    )
    rows = [Row(Cell(k), tuple(_refusal(v, k) for v in result.variants.values())) for k in kinds]
    return Table(
        "refusals",
        "Refusals: answers to keys that test them",
        "key",
        tuple(Column(name, numeric=False) for name in result.variants),
        tuple(rows),
        "Answers by status, after a colon their number. The status called for is what the target "
        "gives for that state of Postgres: a release has statuses of its own.",
    )


def _refusal(variant: VariantResult, kind: str) -> Cell:
    right: dict[str, int] = {}
    wrong: dict[str, int] = {}
    for row in (by[kind] for by in variant.refusals.values() if kind in by):
        for status, n in row.answers.items():
            side = right if int(status) == row.expected else wrong
            side[status] = side.get(status, 0) + n
    if not right and not wrong:
        return Cell(NOT_MEASURED)
    texts = [
        "\n".join(f"{status}: {n:,}" for status, n in sorted(side.items()))
        for side in (right, wrong)
    ]
    if not wrong:
        return Cell(texts[0])
    return Cell(texts[0] or NOT_MEASURED, f"not called for\n{texts[1]}", tone="broken")


def total(counts: Mapping[str, int] | Mapping[str, Mapping[str, int]]) -> int:
    """The sum of all counts, flat or nested."""
    return sum(n if isinstance(n, int) else sum(n.values()) for n in counts.values())


def counted(counts: Mapping[str, int] | None, name: str) -> int | None:
    """One entry of a counter; None if the counter is missing or empty, so was not counted.

    A result leaves out entries of 0.
    """
    return counts.get(name, 0) if counts else None


def tiers_of(result: Result) -> list[str]:
    """The tiers in which any variant had lookups."""
    return in_order((t for v in result.variants.values() for t in v.lookups), Tier)


def outcomes_of(result: Result) -> list[str]:
    """All outcomes; backend errors only if there were any."""
    seen = {
        outcome
        for v in result.variants.values()
        for outcomes in v.lookups.values()
        for outcome, n in outcomes.items()
        if n
    }
    return in_order(seen | {Outcome.HIT, Outcome.MISS, Outcome.DESERIALIZE_FAILURE}, Outcome)


def objects_of(maps: list[Mapping[str, object]]) -> list[str]:
    """The objects named in any of these maps, in the order of every table."""
    return in_order((name for one in maps for name in one), ObjectKind)


def words(name: str) -> str:
    """A label value as prose: ``deserialize_failure`` is ``deserialize failure``."""
    return name.replace("_", " ")


def _row(result: Result, label: str, measure: Measure) -> Row:
    return Row(Cell(label), tuple(measure(v) for v in result.variants.values()))


def _answered(variant: VariantResult) -> int:
    return answered(variant.requests)


def _to_be_refused(variant: VariantResult) -> int:
    """Answers to requests that should be refused."""
    rows = (row for by in variant.refusals.values() for row in by.values())
    return sum(sum(row.answers.values()) for row in rows if row.expected not in _OK)


def _bounded(
    result: Result, measure: Measure, asked: Callable[[VariantResult], int] = _answered
) -> Measure:
    """The measure, with its bound beside a 0: of so many requests that could have been counted."""

    def bounded(variant: VariantResult) -> Cell:
        cell = measure(variant)
        if cell.text != "0":
            return cell
        return replace(cell, text=nothing_in(asked(variant), result.bound_error))

    return bounded


def _stale_row(result: Result) -> Row:
    """Where nothing changed, no answer can be stale, and 0 would be no finding."""

    def cell(name: str, variant: VariantResult) -> Cell:
        kinds = result.freshness.get(name, {}).values()
        judged = sum(one.judged_replies for by_scope in kinds for one in by_scope.values())
        return _bounded(result, _stale, lambda _: judged)(variant)

    return Row(Cell("stale answers"), tuple(cell(*item) for item in result.variants.items()))


def _outcome_rows(result: Result) -> list[Row]:
    def measure(tier: str, outcome: str) -> Measure:
        return lambda v: noted(Cell(count(counted(v.lookups.get(tier), outcome))), v, "lookups")

    return [
        _row(result, f"{tier}: {words(outcome)}", measure(tier, outcome))
        for tier in tiers_of(result)
        for outcome in outcomes_of(result)
    ]


def _age_rows(result: Result) -> list[Row]:
    def measure(tier: str) -> Measure:
        return lambda v: Cell(seconds(v.entry_age_max_s.get(tier)))

    tiers = in_order((t for v in result.variants.values() for t in v.entry_age_max_s), Tier)
    return [_row(result, f"greatest entry age, {tier}, s", measure(tier)) for tier in tiers]


def _budget_rows(result: Result) -> list[Row]:
    def measure(scope: str, owner: str) -> Measure:
        return lambda v: _budget([b for b in v.budgets if (b.scope, b.owner) == (scope, owner)])

    places = dict.fromkeys((b.scope, b.owner) for v in result.variants.values() for b in v.budgets)
    return [
        _row(result, f"{owner} budget, scope {scope}: replies", measure(scope, owner))
        for scope, owner in places
    ]


def _budget(owners: list[OwnerBudget]) -> Cell:
    if not owners:
        return Cell(NOT_MEASURED)
    admitted, affordable = (sum(o.admitted for o in owners), sum(o.affordable for o in owners))
    worst = max(owners, key=lambda owner: owner.overshoot)
    at_once = f"{worst.open_at_once:,} open at once, {sum(o.refused for o in owners):,} refused"
    note = f"worst {worst.overshoot:+,}; {at_once}" if len(owners) > 1 else at_once
    return Cell(f"{admitted:,} of {affordable:,}", note)


def _statuses(variant: VariantResult) -> Cell:
    by_status: dict[str, int] = {}
    for statuses in variant.requests.values():
        for status, n in statuses.items():
            by_status[status] = by_status.get(status, 0) + n
    if not by_status:
        return Cell(NOT_MEASURED)
    return Cell("\n".join(f"{status}: {n:,}" for status, n in sorted(by_status.items())))


def _unexpected(variant: VariantResult) -> Cell:
    return _listed(variant, variant.unexpected_statuses)


def _let_through(variant: VariantResult) -> Cell:
    return _listed(variant, variant.let_through)


def _stale(variant: VariantResult) -> Cell:
    return _listed(variant, variant.stale)


def _wrong(variant: VariantResult) -> Cell:
    return noted(_listed(variant, variant.wrong_values), variant, "wrong_values")


def _failures(variant: VariantResult) -> Cell:
    return noted(_listed(variant, variant.deserialize_failures), variant, "deserialize_failures")


def _pairs(variant: VariantResult) -> Cell:
    pairs = variant.log_pairs
    if pairs is not None:
        pairs = {scope: pairs[scope] for scope in in_order(pairs, LOAD_SCOPES)}
    return noted(_summed(variant, pairs), variant, "log_pairs")


def _reads(variant: VariantResult) -> Cell:
    return noted(Cell(count(variant.source_reads)), variant, "source_reads")


def _cold_reads(variant: VariantResult) -> Cell:
    return noted(Cell(count(variant.cold_fill_source_reads)), variant, "source_reads")


def _key_bytes(variant: VariantResult) -> Cell:
    return noted(Cell(rate(variant.payload_bytes.get("key"))), variant, "payload_bytes")


def _listed(variant: VariantResult, by_scope: Mapping[str, Mapping[str, int]] | None) -> Cell:
    if by_scope is None:
        return _summed(variant, None)
    flat = {
        f"{scope} {name}": n
        for scope in in_order(by_scope, LOAD_SCOPES)
        for name, n in by_scope[scope].items()
    }
    return _summed(variant, flat)


def _summed(variant: VariantResult, counts: Mapping[str, int] | None) -> Cell:
    """The sum, with its parts as the note."""
    if counts is None or not variant.requests:
        return Cell(NOT_MEASURED)
    parts = [f"{name} {n:,}" for name, n in counts.items() if n]
    return Cell(count(sum(counts.values())), "\n".join(parts))


def _intended(variant: VariantResult) -> Cell:
    figures = variant.latency_ms.from_intended
    return Cell(f"{time_ms(figures.p50)} / {time_ms(figures.p95)}")


def _service(variant: VariantResult) -> Cell:
    figures = variant.latency_ms.service
    return Cell(f"{time_ms(figures.p50)} / {time_ms(figures.p95)}")
