"""The fault sheet: what each fault did to each variant, as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harness.analysis.faults import recovery_text
from harness.domain.result import FaultResult, Result
from harness.report.numbers import NOT_MEASURED, count, rate, seconds, share, time_ms
from harness.report.table import Cell, Column, Row, Table


def faults_of(result: Result) -> list[str]:
    """The faults of a run, in order of time."""
    return list(dict.fromkeys(name for by_name in result.faults.values() for name in by_name))


def sheet_table(result: Result) -> Table:
    """The verdict of each fault and variant, with all that speaks for it."""
    rows = tuple(
        Row(Cell(name), tuple(_verdict(by_name.get(name)) for by_name in result.faults.values()))
        for name in faults_of(result)
    )
    balancers = {one.balancer for by_name in result.faults.values() for one in by_name.values()}
    return Table(
        "fault-sheet",
        "What each fault did to each variant",
        "fault",
        tuple(Column(name, numeric=False) for name in result.faults),
        rows,
        "wrong: an answer that was never right, was let through, or was stale. outage: a second or "
        "more without a timely 2xx. degraded: more errors, latency or source reads than the "
        f"scenario allows. Load balancer: {', '.join(sorted(balancers))}.",
    )


def _verdict(one: FaultResult | None) -> Cell:
    if one is None:
        return Cell(NOT_MEASURED)
    return Cell(one.verdict, "\n".join(one.reasons), one.verdict)


def callers_table(result: Result) -> Table:
    """What callers saw of each fault and variant."""
    return _table(
        result,
        "fault-callers",
        "Faults: what callers saw",
        (
            Column("errors", "of requests"),
            Column("longest, s", "without a timely 2xx"),
            Column("latency, ms", "greatest"),
            Column("recovered", "after the fault's end"),
            Column("wrong"),
            Column("stale"),
            Column("let through"),
        ),
        _to_callers,
        "Of the requests that ended after the fault began, until the end of its window. Timely: "
        "within a second of when it was due. Recovered: until three good seconds in a row begin, "
        "with timely 2xx alone.",
    )


def servers_table(result: Result) -> Table:
    """What servers, logs and books saw of each fault and variant."""
    return _table(
        result,
        "fault-servers",
        "Faults: what servers and books saw",
        (
            Column("stampede", "before"),
            Column("spend lost, µUSD"),
            Column("log records", "per 1,000 requests"),
            Column("log bytes", "per request"),
            Column("took effect", numeric=False),
        ),
        _to_servers,
        "Stampede: source reads in the worst second over those of a correct cache in it, and the "
        "same before the fault.",
    )


def _table(
    result: Result,
    name: str,
    caption: str,
    columns: tuple[Column, ...],
    cells: Callable[[FaultResult], tuple[Cell, ...]],
    foot: str,
) -> Table:
    rows = tuple(
        Row(Cell(f"{fault}: {variant}"), cells(one)) for fault, variant, one in _each(result)
    )
    return Table(name, caption, "fault and variant", columns, rows, foot)


def _to_callers(one: FaultResult) -> tuple[Cell, ...]:
    kinds = ", ".join(f"{kind}: {n:,}" for kind, n in one.errors.items())
    return (
        Cell(share(sum(one.errors.values()), one.requests), kinds),
        Cell(seconds(one.errors_longest_s)),
        Cell(time_ms(one.latency_ms_max)),
        Cell(recovery_text(one)),
        Cell(count(one.wrong)),
        Cell(count(one.stale)),
        Cell(count(one.let_through)),
    )


def _to_servers(one: FaultResult) -> tuple[Cell, ...]:
    records = one.log_records_per_request
    return (
        Cell(_times(one.stampede), _times(one.stampede_before)),
        Cell(count(one.spend_lost_micro)),
        Cell(rate(None if records is None else 1000 * records)),
        Cell(rate(one.log_bytes_per_request)),
        Cell(f"{one.bit:,} {one.bit_what}"),
    )


def _times(value: float | None) -> str:
    return NOT_MEASURED if value is None else f"{value:.2f}"


def timeline_table(result: Result) -> Table:
    """Every second of every window with a fault."""
    rows = tuple(
        Row(
            Cell(name),
            (
                Cell(variant),
                Cell(f"{row.second}", _when(one, row.second)),
                Cell(count(row.ok)),
                Cell(count(row.late)),
                Cell(count(row.errors)),
                Cell(count(row.reads)),
                Cell(time_ms(row.latency_max_ms)),
            ),
        )
        for name, variant, one in _each(result)
        for row in one.timeline
    )
    return Table(
        "fault-timeline",
        "Faults: every second",
        "fault",
        (
            Column("variant", numeric=False),
            Column("second"),
            Column("in time"),
            Column("late"),
            Column("errors"),
            Column("source reads"),
            Column("greatest latency, ms"),
        ),
        rows,
        "A request counts in the second in which it was due.",
    )


def _when(one: FaultResult, second: int) -> str:
    return "fault" if one.begun_s < second + 1 and second < one.ended_s else ""


def _each(result: Result) -> Iterator[tuple[str, str, FaultResult]]:
    for name in faults_of(result):
        for variant, by_name in result.faults.items():
            if name in by_name:
                yield name, variant, by_name[name]
