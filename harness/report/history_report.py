"""Reports of the history: the terminal, ``history.md`` and ``history.svg``.

The chart is a separate file, which pages without this project's style sheet can show; so it
contains its own colours and background, light and dark.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from rich.console import Console

from harness.domain.result import Result, VariantResult
from harness.report.charts import Bar, columns
from harness.report.grid import draw, say
from harness.report.history import FAILING, history_table, log_pairs, releases_of, remarks
from harness.report.markdown import bullets, escape, markdown_table
from harness.report.numbers import rate
from harness.report.study import head_markdown, say_head

LABEL = "Log pairs and source reads per 1,000 requests of shared_id and member, release by release"
_STYLE = "history.css"
_NAMESPACE = "http://www.w3.org/2000/svg"

HISTORY = "history.md"
CHART = "history.svg"
TITLE = "The history of the defect, release by release"


def print_history(result: Result, console: Console) -> None:
    """Print the history of a run."""
    say_head(TITLE, result, console)
    if not releases_of(result):
        return
    draw(console, history_table(result))
    for line in remarks(result):
        say(console, line, "yellow")


def history_files(result: Result) -> dict[str, str]:
    """The texts of the history's files by name."""
    chart = {CHART: history_svg(result)} if releases_of(result) else {}
    return {HISTORY: history_markdown(result), **chart}


def history_markdown(result: Result) -> str:
    """The history of a run as GitHub-flavoured Markdown; the chart is a separate file."""
    if not releases_of(result):
        return head_markdown(TITLE, result) + "\n"
    parts = [
        head_markdown(TITLE, result),
        f"![{escape(LABEL)}]({CHART})",
        markdown_table(history_table(result)),
        bullets(remarks(result)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _reads(variant: VariantResult, scope: str) -> float | None:
    return variant.source_reads_per_1000.get(scope)


_MEASURES: dict[str, Callable[[VariantResult, str], float | None]] = {
    "log pairs": log_pairs,
    "source reads": _reads,
}


def history_svg(result: Result) -> str:
    """The chart as a file."""
    releases = releases_of(result)
    series: dict[str, list[Bar]] = {}
    for scope in FAILING:
        for name, measure in _MEASURES.items():
            values = [(version, measure(variant, scope)) for version, _, variant in releases]
            series[f"{scope}: {name}"] = [
                Bar(f"{version}, {scope}, {name}", value, rate(value), mark="")
                for version, value in values
            ]
    drawn = columns([r.version for r in releases], series, LABEL, title="per 1,000 requests")
    return standalone(drawn)


def standalone(drawn: str, rules: str = "") -> str:
    """A chart as a file of its own, with its colours, light and dark.

    Args:
        drawn: the chart.
        rules: CSS after that of the file: colours of series beyond the fourth, or other ones.
    """
    style = files("harness.report").joinpath("templates", _STYLE).read_text(encoding="utf-8")
    head, rest = drawn.split(">", 1)
    head = head.replace("<svg", f'<svg xmlns="{_NAMESPACE}"', 1)
    return f"{head}>\n<style>\n{style}{rules}</style>\n{rest}\n"
