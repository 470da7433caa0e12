"""The tables behind the charts, and tables of figures without a chart."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from harness.analysis.points import missing
from harness.authcache.words import LOAD_SCOPES, Tier
from harness.domain.rates import answered, of_scope
from harness.domain.result import Estimate, MemberResult, Result, VariantResult, Window, in_order
from harness.domain.series import ALL
from harness.report.freshness import ages_table, clocks_table, workers_table
from harness.report.instrumented import NOTE
from harness.report.matrix import scopes_of
from harness.report.measures import counted, objects_of, outcomes_of, tiers_of, total, words
from harness.report.numbers import (
    MINUS,
    NOT_MEASURED,
    TIMES,
    between,
    count,
    nothing_in,
    rate,
    seconds,
    share,
    time_ms,
)
from harness.report.table import Cell, Column, Row, Table


def reads_by_object_table(result: Result) -> Table:
    """Source reads per 1,000 by object, their sum, and its ratio to the reference line."""
    objects = objects_of(
        [by for v in result.variants.values() for by in v.source_reads_per_1000_by_object.values()]
    )
    rows = [
        Row(Cell(name), cells)
        for name, variant in result.variants.items()
        for cells in _reads_by_scope(variant, objects)
    ]
    columns = (
        Column("scope", numeric=False),
        *(Column(o) for o in objects),
        Column("all objects"),
        Column("reference line"),
        Column("times the line"),
    )
    return Table(
        "reads-by-object", "Source reads per 1,000 requests by object", "variant", columns,
        tuple(rows),
    )  # fmt: skip


def _reads_by_scope(variant: VariantResult, objects: list[str]) -> Iterator[tuple[Cell, ...]]:
    if missing(variant, "source_reads_by_scope"):
        yield (Cell(NOTE, tone="quiet"), *((Cell(NOT_MEASURED),) * (len(objects) + 3)))
    for scope in in_order(variant.source_reads_per_1000_by_object, LOAD_SCOPES):
        by = variant.source_reads_per_1000_by_object[scope]
        whole = variant.source_reads_per_1000.get(scope)
        line = variant.reference_line_per_1000.get(scope)
        times = NOT_MEASURED if whole is None or not line else f"{whole / line:,.2f} {TIMES}"
        figures = [*(by.get(o, 0.0) for o in objects), whole, line]
        yield (Cell(scope), *(Cell(rate(n)) for n in figures), Cell(times))


def expiry_table(result: Result, *, scopes: bool) -> Table:
    """What expires and what grows with requests, by variant, or by variant and scope."""
    rows = [
        Row(
            Cell(name), (Cell(scope), *_expiry(variant, scope)) if scopes else _expiry(variant, ALL)
        )
        for name, variant in result.variants.items()
        for scope in ((*in_order(variant.requests, LOAD_SCOPES), ALL) if scopes else (ALL,))
    ]
    columns = (
        *([Column("scope", numeric=False)] if scopes else []),
        Column("TTL kept"),
        Column("reads/TTL", "per object"),
        Column("expected"),
        Column("ratio"),
        Column("other", "per request"),
        Column("elasticity"),
    )
    return Table(
        "expiry",
        "Source reads: what expires, and what grows with requests",
        "variant",
        columns,
        tuple(rows),
        "TTL kept: tenth percentile of the time between two reads of one object, over the TTL; a "
        "correct cache lies between 0.99 and 1.03. Reads/TTL: reads per object and TTL of what "
        "expires; expected: those of a correct cache of these workers at this rate; ratio: the "
        "first over the second. Other: reads per request of what does not decode, is read past the "
        "cache or is never cached. Elasticity: 0 where a TTL causes the reads, 1 where requests "
        "do; the steepest. Bounds as sure as the verdict asks, at least at 95 %; of the elasticity "
        "one-sided at 99 %.",
    )


def _expiry(variant: VariantResult, scope: str) -> tuple[Cell, ...]:
    slopes = [
        one
        for by_object in of_scope(variant.elasticity, scope)
        for one in by_object.values()
        if one.low is not None
    ]
    steepest = max(slopes, key=lambda one: one.low or 0.0, default=None)
    return (
        _estimate(variant.ttl_kept.get(scope)),
        Cell(_two(variant.reads_per_object_and_ttl.get(scope))),
        Cell(_two(variant.expected_reads_per_object_and_ttl.get(scope))),
        _estimate(variant.reads_over_expected.get(scope)),
        Cell(_two(variant.other_reads_per_request.get(scope))),
        Cell(_two(steepest.value), f"≥ {_two(steepest.low)}") if steepest else Cell(NOT_MEASURED),
    )


def _estimate(one: Estimate | None) -> Cell:
    if one is None:
        return Cell(NOT_MEASURED)
    bounds = "" if one.low is None or one.high is None else between(_two(one.low), _two(one.high))
    return Cell(_two(one.value), bounds)


def _two(value: float | None) -> str:
    """A ratio near 1: two decimals tell what a run can tell."""
    return NOT_MEASURED if value is None else f"{value:,.2f}".replace("-", MINUS)


Flat = Mapping[str, float] | None
"""None if the figures could not be seen."""
Nested = Callable[[VariantResult], Mapping[str, Flat]]
Scoped = Callable[[VariantResult], Mapping[str, Flat] | None]


def outcomes_table(result: Result) -> Table:
    """Lookups by tier and outcome, with the share of each."""
    outcomes = outcomes_of(result)
    rows = tuple(
        Row(Cell(name), (Cell(tier), *_outcomes(variant.lookups.get(tier), outcomes)))
        for tier in tiers_of(result)
        for name, variant in result.variants.items()
    )
    columns = (
        Column("tier", numeric=False),
        Column("lookups"),
        *(Column(words(outcome)) for outcome in outcomes),
    )
    return Table("outcomes", "Lookups by tier and outcome", "variant", columns, rows)


def windows_table(result: Result) -> Table:
    """All windows in order of time."""
    scopes = scopes_of(result)
    windows = sorted(
        (w for v in result.variants.values() for w in v.windows), key=lambda w: w.started_s
    )
    columns = (
        Column("started, s"),
        Column("variant", numeric=False),
        Column("phase", numeric=False),
        Column("length, s"),
        Column("requests"),
        Column("source reads"),
        *(Column(scope, "per 1,000") for scope in scopes),
        Column("log pairs"),
    )
    rows = tuple(Row(Cell(w.name), _window(w, scopes)) for w in windows)
    return Table("windows", "All windows in order of time", "window", columns, rows)


def latency_table(result: Result) -> Table:
    """Percentiles of both latencies in ms."""
    rows = []
    for name, variant in result.variants.items():
        latency = variant.latency_ms
        figures = [
            getattr(part, p)
            for part in (latency.from_intended, latency.service)
            for p in ("p50", "p95", "p99")
        ]
        texts = [*map(time_ms, figures), count(latency.samples)]
        rows.append(Row(Cell(name), tuple(Cell(text) for text in texts)))
    firsts = sum(v.latency_ms.first_of_connection for v in result.variants.values())
    left = f"The first request of each connection is in none of them: {firsts:,} are left out."
    parts = ("from intended", "service")
    columns = [Column(p, part) for part in parts for p in ("p50", "p95", "p99")]
    return Table(
        "latency",
        "Latency in ms",
        "variant",
        (*columns, Column("samples")),
        tuple(rows),
        f"A percentile with fewer than ten samples beyond it is not printed. {left}",
    )


def payload_table(result: Result) -> Table:
    """Mean encoded size and mean time of one decode, by object."""
    objects = objects_of([v.payload_bytes for v in result.variants.values()])
    decoded = objects_of([v.codec_us.get("decode", {}) for v in result.variants.values()])
    rows = tuple(
        Row(
            Cell(name),
            (
                *(Cell(rate(v.payload_bytes.get(o))) for o in objects),
                *(Cell(rate(v.codec_us.get("decode", {}).get(o))) for o in decoded),
            ),
        )
        for name, v in result.variants.items()
    )
    columns = (
        *(Column(o, "bytes") for o in objects),
        *(Column(o, "decode, µs") for o in decoded),
    )
    return Table("payload", "Mean payload and mean time to decode it", "variant", columns, rows)


def other_tables(result: Result) -> list[Table]:
    """Figures without a chart; a table for which no variant has figures is left out."""
    tables = [
        _flat(result, "age", "Greatest entry age, s", lambda v: v.entry_age_max_s, seconds),
        _flat(result, "cpu", "CPU per request, ms", lambda v: v.cpu_ms_per_request, time_ms),
        _flat(result, "drift", "Spend drift, millionths of a US dollar",
              lambda v: v.spend_drift_micro, _whole),
        _flat(result, "coalesced", "Lookups that waited for another's answer",
              lambda v: v.coalesced, _whole, absent="0"),
        _flat(result, "records", "Log records by signature",
              lambda v: v.log_records, _whole, absent="0"),
    ]  # fmt: skip
    return [replace(t, foot=_FEET.get(t.name, "")) for t in tables if t.columns]


def long_tables(result: Result) -> list[Table]:
    """Figures by variant and a second key; a table without figures is left out."""
    scoped: list[tuple[str, str, Scoped]] = [
        ("statuses", "Requests by scope and status", lambda v: v.requests),
        ("unexpected", "Unexpected statuses by scope", lambda v: v.unexpected_statuses),
        ("wrong", "Wrong values served, by scope and object", lambda v: v.wrong_values),
        ("failures", "Deserialize failures by scope and object", lambda v: v.deserialize_failures),
    ]

    def none_of(variant: str, scope: str) -> str:
        requests = answered(result.variants[variant].requests, scope)
        return nothing_in(requests, result.bound_error)

    tables = [
        # Counters leave out zeros: in a scope with requests, a missing count is 0.
        _nested(
            result,
            name,
            caption,
            "scope",
            _every_scope(part),
            _whole,
            absent=(lambda *_: "0") if name == "statuses" else none_of,
        )
        for name, caption, part in scoped
    ]
    tables.append(_nested(result, "codec", "Mean codec time, µs", "object", _by_object, rate))
    tables.append(_scoped_outcomes(result))
    tables.append(members_table(result))
    tables += change_tables(result)
    return [table for table in tables if table.rows and len(table.columns) > 1]


def members_table(result: Result) -> Table:
    """Figures by replica's variant, of fleets that run two."""
    rows = [
        Row(Cell(name), (Cell(member), *_member(of)))
        for name, variant in result.variants.items()
        for member, of in variant.by_member.items()
    ]
    columns = (
        Column("runs", numeric=False),
        Column("replicas", numeric=False),
        Column("requests"),
        Column("unexpected", "by a status that nothing called for"),
        Column("reads", "per 1,000 requests"),
        Column("unread", numeric=False),
        Column("wrong", numeric=False),
        Column("p50, ms"),
    )
    foot = (
        "Unread: entries that were found and could not be read, by the variant that wrote them. "
        "Wrong: objects served that Postgres never held, by the variant that wrote the entry. The "
        "entries of a release do not say who wrote them."
    )
    caption = "Fleets of two variants, by what a replica runs"
    return Table("members", caption, "fleet", columns, tuple(rows), foot)


def _member(of: MemberResult) -> tuple[Cell, ...]:
    unexpected = sum(sum(by.values()) for by in of.unexpected_statuses.values())
    return (
        Cell(", ".join(map(str, of.replicas))),
        Cell(count(sum(sum(by.values()) for by in of.requests.values()))),
        Cell(count(unexpected)),
        Cell(rate(of.source_reads_per_1000)),
        Cell(by_writer(of.unread)),
        Cell(by_writer(of.wrong)),
        Cell(time_ms(of.service_ms.p50)),
    )


def by_writer(found: Mapping[str, Mapping[str, int]] | None) -> str:
    """``from litellm_1_84: user 214``, for each writer."""
    if found is None:
        return NOT_MEASURED
    texts = [
        f"from {writer}: " + ", ".join(f"{kind} {n:,}" for kind, n in by.items())
        for writer, by in found.items()
    ]
    return "; ".join(texts) or "none"


def change_tables(result: Result) -> list[Table]:
    """What became of every change, in full."""
    return [clocks_table(result), workers_table(result), ages_table(result)]


_FEET = {
    "age": "Time since the served object was read from Postgres.",
    "drift": "Cost of the answered requests minus the spend in Postgres. A finding about the "
    "variant; only the key's own spend is part of the ledger's validity.",
    "cpu": "All processes of a group, over the measured windows.",
}


def _flat(
    result: Result,
    name: str,
    caption: str,
    part: Callable[[VariantResult], Flat],
    text: Callable[[float], str],
    absent: str = NOT_MEASURED,
) -> Table:
    maps = {variant: part(v) for variant, v in result.variants.items()}
    labels = objects_of([by for by in maps.values() if by is not None])
    rows = tuple(
        Row(Cell(variant), _figures(by, labels, text, absent)) for variant, by in maps.items()
    )
    return Table(name, caption, "variant", tuple(Column(n) for n in labels), rows)


def _nested(
    result: Result,
    name: str,
    caption: str,
    second: str,
    part: Nested,
    text: Callable[[float], str],
    absent: Callable[[str, str], str] = lambda *_: NOT_MEASURED,
) -> Table:
    maps = {variant: part(v) for variant, v in result.variants.items()}
    labels = objects_of([by for outer in maps.values() for by in outer.values() if by is not None])
    rows = [
        Row(Cell(variant), (Cell(key), *_figures(by, labels, text, absent(variant, key))))
        for variant, outer in maps.items()
        for key, by in outer.items()
    ]
    columns = (Column(second, numeric=False), *(Column(n) for n in labels))
    return Table(name, caption, "variant", columns, tuple(rows))


def _figures(
    by: Flat, labels: list[str], text: Callable[[float], str], absent: str
) -> tuple[Cell, ...]:
    if by is None:
        return (Cell(NOT_MEASURED),) * len(labels)
    return tuple(Cell(text(by[n]) if n in by else absent) for n in labels)


def _every_scope(part: Scoped) -> Nested:
    """The part, with an entry for each scope that had requests, in the order of every table."""

    def filled(variant: VariantResult) -> dict[str, Flat]:
        by = part(variant)
        if by is None:
            return dict.fromkeys(in_order(variant.requests, LOAD_SCOPES))
        return {s: by.get(s, {}) for s in in_order({*variant.requests, *by}, LOAD_SCOPES)}

    return filled


def _by_object(variant: VariantResult) -> dict[str, dict[str, float]]:
    by_op = variant.codec_us
    return {
        kind: {op: times[kind] for op, times in by_op.items() if kind in times}
        for kind in objects_of(list(by_op.values()))
    }


def _scoped_outcomes(result: Result) -> Table:
    outcomes = outcomes_of(result)
    rows = tuple(
        Row(
            Cell(name),
            (
                Cell(scope),
                Cell(tier),
                *(Cell(count(counted(variant.lookups_by_scope[scope][tier], o))) for o in outcomes),
            ),
        )
        for name, variant in result.variants.items()
        for scope in in_order(variant.lookups_by_scope, LOAD_SCOPES)
        for tier in in_order(variant.lookups_by_scope[scope], Tier)
    )
    columns = (
        Column("scope", numeric=False),
        Column("tier", numeric=False),
        *(Column(words(o)) for o in outcomes),
    )
    caption = "Lookups by scope, tier and outcome"
    return Table("scoped-outcomes", caption, "variant", columns, rows)


def _whole(value: float) -> str:
    return count(int(value))


def _outcomes(lookups: Mapping[str, int] | None, outcomes: list[str]) -> list[Cell]:
    if not lookups:
        return [Cell(NOT_MEASURED)] * (len(outcomes) + 1)
    whole = sum(lookups.values())
    cells = [Cell(count(whole))]
    for outcome in outcomes:
        n = lookups.get(outcome, 0)
        cells.append(Cell(count(n), share(n, whole) if whole else ""))
    return cells


def _window(window: Window, scopes: list[str]) -> tuple[Cell, ...]:
    requests = sum(sum(by.values()) for by in window.requests.values())
    reads, pairs = window.source_reads, window.log_pairs
    phase = f"round {window.round}" if window.phase == "measured" else words(window.phase)
    texts = [
        f"{window.started_s:,.1f}",
        window.variant,
        phase,
        f"{window.duration_s:,.2f}",
        count(requests),
        NOT_MEASURED if reads is None else count(total(reads)),
        *(rate(window.source_reads_per_1000.get(scope)) for scope in scopes),
        NOT_MEASURED if pairs is None or not window.requests else count(total(pairs)),
    ]
    return tuple(Cell(text) for text in texts)
