"""The charts of a report, each with its legend and a table of the same figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.authcache.words import Tier
from harness.domain.changes import ACTIONS
from harness.domain.result import FaultSecond, Percentiles, Result, VariantResult, in_order
from harness.report import details
from harness.report.charts import (
    Bar,
    Dot,
    grouped_bars,
    lines,
    log_bars,
    stacked_shares,
)
from harness.report.faults import callers_table, faults_of, servers_table
from harness.report.freshness import clock_text, freshness_table
from harness.report.matrix import SCOPE_NOTES, reference_line, reference_text, scopes_of
from harness.report.measures import objects_of, outcomes_of, tiers_of, words
from harness.report.numbers import plain, rate, time_ms
from harness.report.scale import LinearScale, LogScale
from harness.report.series import VariantSeries
from harness.report.table import Table
from harness.style import marks

_PERCENTILES = ("p50", "p95", "p99")
_TIME = "seconds since the start"
_SINCE = "seconds since the start of the window"
_LONG = 12
"""A table with at least this many rows is folded below its chart."""


@dataclass(frozen=True, slots=True)
class Panel:
    """One drawing of a figure."""

    title: str
    note: str
    svg: str


@dataclass(frozen=True, slots=True)
class LegendKey:
    """One entry of a legend: the class of the mark, its label, and its shape."""

    mark: str
    label: str
    shape: str = "box"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its panels, legend and table."""

    name: str
    title: str
    short: str
    """For the list of contents."""
    lead: str
    panels: tuple[Panel, ...]
    legend: tuple[LegendKey, ...]
    table: Table
    main: bool = False
    """Whether its table is read first."""

    @property
    def folded(self) -> bool:
        """Whether its table is long, and the chart says most of it."""
        return not self.main and len(self.table.rows) >= _LONG


def figures(result: Result, series: Sequence[VariantSeries]) -> list[Figure]:
    """All figures for which the run has data."""
    made = [
        freshness_figure(result),
        *fault_figures(result),
        _reads(result),
        _outcomes(result),
        _over_time(result, series),
        _latency(result),
        _payload(result),
    ]
    return [figure for figure in made if figure.panels]


def _variants(result: Result, shape: str = "box") -> tuple[LegendKey, ...]:
    return tuple(LegendKey(mark, name, shape) for name, mark in marks(result.variants).items())


def _middle(result: Result, scope: str) -> float | None:
    line = reference_line(result, scope)
    return None if line is None else sum(line) / 2


def _scope_note(result: Result, scope: str) -> str:
    note = SCOPE_NOTES.get(scope, "")
    line = f"reference line {reference_text(result, scope)}"
    return f"{note} · {line}" if note else line


def freshness_figure(result: Result) -> Figure:
    """How long old answers went on, with a panel for each variant."""
    table = freshness_table(result)
    # Not a variant's colour: the panels are the variants.
    sides = {"handler": "v0 again", "others": "v0"}
    panels = []
    for name, by_action in result.freshness.items():
        pairs = [
            (f"{action}, {scope}", one)
            for action in in_order(by_action, ACTIONS)
            for scope, one in by_action[action].items()
        ]
        series = [
            [
                Bar(pair, None if clock is None else clock.low, clock_text(clock), mark)
                for pair, one in pairs
                for clock in (one.handler_s if side == "handler" else one.others_s,)
            ]
            for side, mark in sides.items()
        ]
        promise_s = max((one.promise_s for _, one in pairs), default=0.0)
        label = f"Seconds until the last old answer after each change, {name}: the table has them"
        svg = grouped_bars([pair for pair, _ in pairs], series, label, promise_s)
        panels.append(Panel(name, f"promise {plain(promise_s)} s", svg))
    return Figure(
        "freshness",
        "Freshness",
        "Freshness",
        "Seconds from the answer to a change to the start of the last request that got an old "
        "answer. ≥: old answers had not ended with the window.",
        tuple(panels),
        (
            LegendKey(sides["handler"], "handler: the worker that took the change"),
            LegendKey(sides["others"], "others: the greatest of all other workers"),
            LegendKey("reference", "promise", "dash"),
        ),
        table,
        main=True,
    )


def fault_figures(result: Result) -> list[Figure]:
    """What callers got and what Postgres was asked, second by second, a panel for each fault."""
    answered = _fault_figure(
        result,
        "fault-answers",
        "Answers during faults",
        "Requests that got the right status within a second, in percent of those due in each "
        "second. Between the dashed lines something was broken.",
        lambda row: 100 * row.ok / due if (due := row.ok + row.late + row.errors) else None,
        " %",
        callers_table(result),
    )
    reads = _fault_figure(
        result,
        "fault-reads",
        "Source reads during faults",
        "Source reads in each second. A correct cache reads an object once when it has expired.",
        lambda row: row.reads,
        "",
        servers_table(result),
    )
    return [answered, reads]


def _fault_figure(
    result: Result,
    name: str,
    title: str,
    lead: str,
    figure: Callable[[FaultSecond], float | None],
    unit: str,
    table: Table,
) -> Figure:
    panels = []
    for fault in faults_of(result):
        ones = {variant: by[fault] for variant, by in result.faults.items() if fault in by}
        drawn = [
            (
                mark,
                [
                    Dot(row.second + 0.5, n, f"{variant}, second {row.second}: {rate(n)}{unit}")
                    for row in ones[variant].timeline
                    if (n := figure(row)) is not None
                ],
            )
            for variant, mark in marks(result.faults).items()
            if variant in ones
        ]
        top = 100.0 if unit else max((dot.y for _, dots in drawn for dot in dots), default=1.0)
        edges = (
            min(one.begun_s for one in ones.values()),
            max(one.ended_s for one in ones.values()),
        )
        said = ", ".join(f"{variant} {one.verdict}" for variant, one in ones.items())
        svg = lines(drawn, f"{title}, {fault}: {said}", _SINCE, LinearScale(top, unit), edges=edges)
        panels.append(Panel(fault, said, svg))
    legend = tuple(LegendKey(m, n, "line") for n, m in marks(result.faults).items())
    return Figure(
        name,
        title,
        title,
        lead,
        tuple(panels),
        (*legend, LegendKey("reference", "the fault begins, and is mended", "dash")),
        table,
    )


def _reads(result: Result) -> Figure:
    panels = []
    scopes = scopes_of(result)
    # One scale for all panels, so that bars can be compared across them.
    scale = LogScale.over(
        (
            n
            for v in _all(result)
            for by in (v.source_reads_per_1000, v.reference_line_per_1000)
            for scope, n in by.items()
            if scope in scopes
        ),
        from_one=True,
    )
    for scope in scopes:
        bars = []
        for name, mark in marks(result.variants).items():
            value = result.variants[name].source_reads_per_1000.get(scope)
            bars.append(Bar(name, value, rate(value), mark))
        label = f"Source reads per 1,000 requests in scope {scope}: {_read_out(bars)}"
        svg = log_bars(bars, label, scale, _middle(result, scope))
        panels.append(Panel(scope, _scope_note(result, scope), svg))
    return Figure(
        "reads",
        "Source reads by scope and variant",
        "By scope",
        "Per 1,000 requests, on a logarithmic scale: each step to the right is ten times as many "
        "queries to Postgres.",
        tuple(panels),
        (LegendKey("reference", "reference line", "dash"),),
        details.reads_by_object_table(result),
    )


def _outcomes(result: Result) -> Figure:
    outcomes = outcomes_of(result)
    panels = []
    for tier in tiers_of(result):
        shares: dict[str, list[float | None]] = {words(o): [] for o in outcomes}
        for variant in result.variants.values():
            lookups = variant.lookups.get(tier, {})
            whole = sum(lookups.values())
            for outcome in outcomes:
                n = lookups.get(outcome, 0)
                shares[words(outcome)].append(100 * n / whole if whole else None)
        label = f"Outcomes of lookups in {tier} by variant, in percent: the table has the figures"
        svg = stacked_shares(list(result.variants), shares, label)
        note = "in each worker" if tier == Tier.MEMORY else "shared by all replicas"
        panels.append(Panel(tier, note, svg))
    return Figure(
        "outcomes",
        "Outcomes of lookups, by tier",
        "Outcomes",
        "Each row is 100 % of a variant's lookups in that tier. A deserialize failure is neither "
        "a hit nor a miss. An empty row had no lookups in that tier, "
        "or they could not be observed.",
        tuple(panels),
        tuple(LegendKey(f"o-{outcome}", words(outcome)) for outcome in outcomes),
        details.outcomes_table(result),
    )


def _over_time(result: Result, series: Sequence[VariantSeries]) -> Figure:
    by_name = {one.variant: one for one in series}
    panels = []
    scopes = scopes_of(result)
    shown = [p.per_1000[s] for one in series for p in one.points for s in scopes if s in p.per_1000]
    references = [n for s in scopes if (n := _middle(result, s)) is not None]
    scale = LogScale.over([*shown, *references])
    for scope in scopes:
        drawn = []
        for name, mark in marks(result.variants).items():
            points = by_name[name].points if name in by_name else ()
            dots = [
                Dot(p.at_s, n, f"{name}, {p.name}: {rate(n)}", hollow=p.cold)
                for p in points
                if (n := p.per_1000.get(scope)) is not None
            ]
            drawn.append((mark, dots))
        if any(dots for _, dots in drawn):
            label = f"Source reads per 1,000 requests in scope {scope} over time, by variant"
            svg = lines(drawn, label, _TIME, scale, _middle(result, scope))
            panels.append(Panel(scope, _scope_note(result, scope), svg))
    return Figure(
        "over-time",
        "Source reads over time",
        "Over time",
        "One point per window, per 1,000 requests, at the middle of the window. Hollow points are "
        "the cold fill, which the figures exclude.",
        tuple(panels),
        (*_variants(result, "line"), LegendKey("reference", "reference line", "dash")),
        details.windows_table(result),
    )


def _latency(result: Result) -> Figure:
    notes = {
        "from intended start": "ms from when a request should have started",
        "service time": "ms from when it did start",
    }
    parts = {
        "from intended start": [v.latency_ms.from_intended for v in _all(result)],
        "service time": [v.latency_ms.service for v in _all(result)],
    }
    panels = []
    for kind, part in parts.items():
        groups = [p for p in _PERCENTILES if any(_has(percentiles, p) for percentiles in part)]
        series = [
            [_percentile_bar(p, one, mark) for p in groups]
            for mark, one in zip(marks(result.variants).values(), part, strict=True)
        ]
        if groups:
            svg = grouped_bars(groups, series, f"Latency in ms, {kind}, by percentile and variant")
            panels.append(Panel(kind, notes[kind], svg))
    return Figure(
        "latency",
        "Latency",
        "Latency",
        "Over all measured windows and scopes. The two differ where requests waited to be sent.",
        tuple(panels),
        _variants(result),
        details.latency_table(result),
    )


def _payload(result: Result) -> Figure:
    sizes = [v.payload_bytes for v in _all(result)]
    times = [v.codec_us.get("decode", {}) for v in _all(result)]
    panels = [
        Panel(title, note, _by_object(result, maps, f"{note}, by object and variant"))
        for title, note, maps in (
            ("payload", "bytes of one encoded object, mean", sizes),
            ("decode", "µs to decode one object, mean", times),
        )
        if any(maps)
    ]
    return Figure(
        "payload",
        "Payload and codec, by object",
        "Payload",
        "The size of one entry in Redis and on the wire, and the time each hit takes to decode it.",
        tuple(panels),
        _variants(result),
        details.payload_table(result),
    )


def _by_object(result: Result, maps: Sequence[Mapping[str, float]], label: str) -> str:
    objects = objects_of(list(maps))
    series = [
        [Bar(kind, by.get(kind), rate(by.get(kind)), mark) for kind in objects]
        for mark, by in zip(marks(result.variants).values(), maps, strict=True)
    ]
    return grouped_bars(objects, series, label)


def _all(result: Result) -> list[VariantResult]:
    return list(result.variants.values())


def _has(percentiles: Percentiles, name: str) -> bool:
    return getattr(percentiles, name) is not None


def _percentile_bar(name: str, percentiles: Percentiles, mark: str) -> Bar:
    value: float | None = getattr(percentiles, name)
    return Bar(name, value, time_ms(value), mark)


def _read_out(bars: Sequence[Bar]) -> str:
    return ", ".join(f"{bar.label} {bar.text}" for bar in bars)
