"""Reports of the twin test: its tables, the terminal, ``twins.md``."""

from __future__ import annotations

from rich.console import Console

from harness.analysis.difference import (
    LEAST_EVENTS,
    LIMIT_PERCENT,
    ComparisonOutcome,
    Reading,
    RoundedFigure,
)
from harness.analysis.twin_measures import Measure
from harness.analysis.twins import Comparison, TwinLine, TwinTest
from harness.domain.result import Result
from harness.report.grid import draw, say
from harness.report.instrumented import points_line
from harness.report.markdown import bullets, markdown_table
from harness.report.numbers import (
    NOT_MEASURED,
    count,
    difference_text,
    plain,
    plural,
    rate,
    share,
)
from harness.report.study import head_markdown, say_head
from harness.report.table import Cell, Column, Row, Table, Tone, columns

TWINS = "twins.md"
"""Name of the file in a run's folder."""
TITLE = "Twins: reference variants and the releases they stand for"
EXPLAINED = "explained"
_PERCENT = 100
_TONES: dict[ComparisonOutcome, Tone] = {
    ComparisonOutcome.SAME: "",
    ComparisonOutcome.NOISE: "quiet",
    ComparisonOutcome.DIFFERS: "broken",
    ComparisonOutcome.NOT_MEASURED: "wasteful",
}
_RULE = (
    "Source reads, log pairs and wrong values are per 1,000 answered requests of the scope, "
    "statuses in percent of them, payloads in bytes. Off by: release minus twin, in percent of the "
    f"larger. Same: at most {plain(LIMIT_PERCENT)} %. Within noise: more, but fewer than "
    f"{LEAST_EVENTS} events, or the ranges over the rounds overlap."
)
_ONE_ROUND = " One round has no range: only the number of events shows noise."


def print_twins(test: TwinTest, result: Result, console: Console) -> None:
    """Print the twin test of a run."""
    say_head(TITLE, result, console)
    if not result.variants:
        return
    for comparison in test.comparisons:
        if comparison.lines:
            draw(console, pair_table(comparison))
    draw(console, overview_table(test, result))
    console.print()
    total, *rest = conclusions(test)
    for line in (*_causes(test), *rest):
        say(console, line, "yellow")
    say(console, total, "bold red" if test.unexplained else "bold")


def twins_files(test: TwinTest, result: Result) -> dict[str, str]:
    """The texts of the twin test's files by name."""
    return {TWINS: twins_markdown(test, result)}


def twins_markdown(test: TwinTest, result: Result) -> str:
    """The twin test of a run as GitHub-flavoured Markdown."""
    if not result.variants:
        return head_markdown(TITLE, result) + "\n"
    parts = [
        head_markdown(TITLE, result),
        f"**{_sum(test)}**",
        markdown_table(overview_table(test, result)),
        bullets(_causes(test)),
        bullets(_remarks(test)),
        *(markdown_table(pair_table(c)) for c in test.comparisons if c.lines),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def conclusions(test: TwinTest) -> list[str]:
    """What the test found, in sentences; the first is the sum."""
    return [_sum(test), *_remarks(test)]


def overview_table(test: TwinTest, result: Result) -> Table:
    """One row per pair: its number of figures by outcome."""
    labels = ("release", "same", "noise", EXPLAINED, "unexplained", "not measured")
    return Table(
        "twins",
        "All pairs",
        "variant",
        (Column(labels[0], numeric=False), *columns(labels[1:])),
        tuple(_overview_row(comparison) for comparison in test.comparisons),
        _RULE + (_ONE_ROUND if result.rounds == 1 else ""),
    )


def pair_table(comparison: Comparison) -> Table:
    """One row per figure: the variant's, the release's, their difference and the outcome."""
    twin, release = comparison.pair
    return Table(
        f"twins-{twin}",
        f"{twin} and {release}",
        "figure",
        (*columns(("twin", "release", "off by")), Column("outcome", numeric=False)),
        tuple(_row(line) for line in comparison.lines),
        code=False,
    )


def _overview_row(comparison: Comparison) -> Row:
    twin, release = comparison.pair
    counts = [
        comparison.count(ComparisonOutcome.SAME),
        comparison.count(ComparisonOutcome.NOISE),
        len(comparison.explained),
        len(comparison.unexplained),
        comparison.count(ComparisonOutcome.NOT_MEASURED),
    ]
    cells = [Cell(count(n) if comparison.lines else NOT_MEASURED) for n in counts]
    if comparison.unexplained:
        cells[3] = Cell(cells[3].text, tone="broken")
    return Row(Cell(twin), (Cell(release.partition("==")[2] or release), *cells))


def _row(line: TwinLine) -> Row:
    head = ", ".join(part for part in (line.measure.label, line.scope, line.part) if part)
    percent = line.difference.percent
    outcome = line.difference.outcome
    verdict = Cell(outcome, tone=_TONES[outcome])
    if line.explanation is not None:
        verdict = Cell(EXPLAINED, line.explanation.name, "strong")
    return Row(
        Cell(head),
        (
            Cell(_figure(line.measure, line.twin)),
            Cell(_figure(line.measure, line.release)),
            Cell(NOT_MEASURED if percent is None else difference_text(percent)),
            verdict,
        ),
    )


def _figure(measure: Measure, reading: Reading) -> str:
    if isinstance(reading, RoundedFigure):
        return share(reading.value, _PERCENT) if measure.percent else rate(reading.value)
    return NOT_MEASURED if reading is None else reading


def _causes(test: TwinTest) -> list[str]:
    return [f"Explained, {e.name}: {e.cause}" for e in test.explanations]


def _remarks(test: TwinTest) -> list[str]:
    lines = []
    for comparison in test.comparisons:
        twin, release = comparison.pair
        if comparison.missing:
            names = " and ".join(comparison.missing)
            lines.append(f"Not compared, {twin} and {release}: no measured window of {names}.")
        lines += [
            f"Stale, {e.name}: {release} no longer differs in this. Remove the release from the "
            "explanation, or the explanation from the register."
            for e in comparison.stale
        ]
        if comparison.unwrapped:
            lines.append(points_line(release, comparison.unwrapped))
    return lines


def _sum(test: TwinTest) -> str:
    compared = sum(len(comparison.lines) for comparison in test.comparisons)
    explained = sum(len(comparison.explained) for comparison in test.comparisons)
    unknown = sum(
        comparison.count(ComparisonOutcome.NOT_MEASURED) for comparison in test.comparisons
    )
    return (
        f"{plural(compared, 'figure')} of {plural(len(test.comparisons), 'pair')}: "
        f"{plural(test.unexplained, 'unexplained difference')}, {explained:,} explained, "
        f"{unknown:,} not measured."
    )
