"""The tables that stand behind the charts, and those of figures that have none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from harness.authcache.words import LOAD_SCOPES, ObjectKind, Tier
from harness.report.matrix import in_order, scopes_of
from harness.report.measures import objects_of, outcomes_of, tiers_of, words
from harness.report.numbers import NOT_MEASURED, TIMES, count, rate, seconds, share, time_ms
from harness.report.table import Cell, Column, Row, Table
from harness.result import Result, VariantResult, Window


def reads_by_object_table(result: Result) -> Table:
    """Source reads per 1,000 by object, their sum, and how often the reference line that is."""
    objects = objects_of(
        [by for v in result.variants.values() for by in v.source_reads_per_1000_by_object.values()]
    )
    rows = []
    for name, variant in result.variants.items():
        for scope in in_order(variant.source_reads_per_1000_by_object, LOAD_SCOPES):
            by = variant.source_reads_per_1000_by_object[scope]
            whole = variant.source_reads_per_1000.get(scope)
            line = variant.reference_line_per_1000.get(scope)
            times = NOT_MEASURED if whole is None or not line else f"{whole / line:,.2f} {TIMES}"
            figures = [*(by.get(o) for o in objects), whole, line]
            cells = (Cell(scope), *(Cell(rate(n)) for n in figures), Cell(times))
            rows.append(Row(Cell(name), cells))
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


def outcomes_table(result: Result) -> Table:
    """Lookups per tier and outcome, with the share of each."""
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
        *(Column(f"{scope}, per 1,000") for scope in scopes),
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
    parts = ("from intended", "service")
    columns = [Column(p, part) for part in parts for p in ("p50", "p95", "p99")]
    return Table(
        "latency",
        "Latency in ms",
        "variant",
        (*columns, Column("samples")),
        tuple(rows),
        "A percentile with fewer than ten samples beyond it is not printed.",
    )


def payload_table(result: Result) -> Table:
    """Mean encoded size and mean time of one decode, by object."""
    objects = objects_of([v.payload_bytes for v in result.variants.values()])
    decoded = objects_of([v.codec_us for v in result.variants.values()])
    rows = tuple(
        Row(
            Cell(name),
            (
                *(Cell(rate(v.payload_bytes.get(o))) for o in objects),
                *(Cell(rate(v.codec_us.get(o, {}).get("decode"))) for o in decoded),
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
    """Everything that has no chart; a table that no variant has figures for is left out."""
    tables = [
        _flat(result, "age", "Greatest entry age, s", lambda v: v.entry_age_max_s, seconds),
        _flat(result, "cpu", "CPU per request, ms", lambda v: v.cpu_ms_per_request, time_ms),
        _flat(result, "drift", "Spend drift, millionths of a US dollar",
              lambda v: v.spend_drift_micro, _whole),
        _flat(result, "coalesced", "Lookups that waited for another's answer",
              lambda v: v.coalesced, _whole),
        _flat(result, "records", "Log records by signature", lambda v: v.log_records, _whole),
    ]  # fmt: skip
    return [_explained(table) for table in tables if table.columns]


def long_tables(result: Result) -> list[Table]:
    """Figures by variant and a second word; a table without figures is left out."""
    scope, kind = ("scope", LOAD_SCOPES), ("object", ObjectKind)
    tables = [
        # Of the statuses all are known: one that is absent did not occur.
        _nested(result, "statuses", "Requests by scope and status", scope,
                lambda v: v.requests, _whole, absent="0"),
        _nested(result, "unexpected", "Unexpected statuses by scope", scope,
                lambda v: v.unexpected_statuses, _whole, absent="0"),
        _nested(result, "wrong", "Wrong values served, by scope and object", scope,
                lambda v: v.wrong_values, _whole),
        _nested(result, "failures", "Deserialize failures by scope and object", scope,
                lambda v: v.deserialize_failures, _whole),
        _nested(result, "codec", "Mean codec time, µs", kind, lambda v: v.codec_us, rate),
        _scoped_outcomes(result),
    ]  # fmt: skip
    return [table for table in tables if table.rows and len(table.columns) > 1]


def switches_table(result: Result) -> Table:
    """Every switch of every variant."""
    base = next(iter(result.variants.values()), None)
    names = list(dict.fromkeys(s for v in result.variants.values() for s in v.switches))
    rows = tuple(
        Row(Cell(name), tuple(_switch(v, name, base) for v in result.variants.values()))
        for name in names
    )
    columns = tuple(Column(name, numeric=False) for name in result.variants)
    return Table(
        "switches", "Switches", "switch", columns, rows,
        "Bold differs from the first variant; * was changed on the command line.",
    )  # fmt: skip


_FEET = {
    "age": "Time since what was served had been read from Postgres.",
    "drift": "Cost of the answered requests minus what Postgres holds. A finding about the "
    "variant; only the key's own spend is part of the ledger's validity.",
    "cpu": "Of all processes of a group over the measured windows.",
}


def _explained(table: Table) -> Table:
    foot = _FEET.get(table.name, "")
    return Table(table.name, table.caption, table.corner, table.columns, table.rows, foot)


def _flat(
    result: Result,
    name: str,
    caption: str,
    part: Callable[[VariantResult], Mapping[str, float]],
    text: Callable[[float], str],
) -> Table:
    maps = {variant: part(v) for variant, v in result.variants.items()}
    labels = objects_of(list(maps.values()))
    rows = tuple(
        Row(
            Cell(variant),
            tuple(Cell(text(by[n]) if n in by else NOT_MEASURED) for n in labels),
        )
        for variant, by in maps.items()
    )
    return Table(name, caption, "variant", tuple(Column(n) for n in labels), rows)


def _nested(
    result: Result,
    name: str,
    caption: str,
    second: tuple[str, Iterable[str]],
    part: Callable[[VariantResult], Mapping[str, Mapping[str, float]]],
    text: Callable[[float], str],
    absent: str = NOT_MEASURED,
) -> Table:
    maps = {variant: part(v) for variant, v in result.variants.items()}
    labels = objects_of([inner for outer in maps.values() for inner in outer.values()])
    rows = []
    for variant, by in maps.items():
        for key in in_order(by, second[1]):
            inner = by[key]
            figures = (Cell(text(inner[n]) if n in inner else absent) for n in labels)
            rows.append(Row(Cell(variant), (Cell(key), *figures)))
    columns = (Column(second[0], numeric=False), *(Column(n) for n in labels))
    return Table(name, caption, "variant", columns, tuple(rows))


def _scoped_outcomes(result: Result) -> Table:
    outcomes = outcomes_of(result)
    rows = tuple(
        Row(
            Cell(name),
            (
                Cell(scope),
                Cell(tier),
                *(Cell(count(variant.lookups_by_scope[scope][tier].get(o))) for o in outcomes),
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
    if lookups is None:
        return [Cell(NOT_MEASURED)] * (len(outcomes) + 1)
    whole = sum(lookups.values())
    cells = [Cell(count(whole))]
    for outcome in outcomes:
        n = lookups.get(outcome)
        cells.append(Cell(count(n), "" if n is None or not whole else share(n, whole)))
    return cells


def _window(window: Window, scopes: list[str]) -> tuple[Cell, ...]:
    requests = sum(sum(by.values()) for by in window.requests.values())
    reads = sum(sum(by.values()) for by in window.source_reads.values())
    phase = "cold fill" if window.phase == "cold_fill" else f"round {window.round}"
    texts = [
        f"{window.started_s:,.1f}",
        window.variant,
        phase,
        f"{window.duration_s:,.2f}",
        count(requests),
        count(reads),
        *(rate(window.source_reads_per_1000.get(scope)) for scope in scopes),
        count(sum(window.log_pairs.values())) if window.log_pairs else NOT_MEASURED,
    ]
    return tuple(Cell(text) for text in texts)


def _switch(variant: VariantResult, name: str, base: VariantResult | None) -> Cell:
    if name not in variant.switches:
        return Cell(NOT_MEASURED)
    value = variant.switches[name]
    star = " *" if name in variant.overridden else ""
    same = base is not None and base.switches.get(name) == value
    return Cell(f"{value}{star}", tone="" if same else "strong")
