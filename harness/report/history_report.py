"""The history for people: the terminal, ``history.md`` and ``history.svg``."""

from __future__ import annotations

from rich.console import Console

from harness.domain.result import Result
from harness.report.grid import draw, say
from harness.report.history import history_table, releases_of, remarks
from harness.report.history_chart import LABEL, history_svg
from harness.report.markdown import bullets, escape, markdown_table
from harness.report.study import head_markdown, say_head

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
    """The history of a run as GitHub-flavoured Markdown, the chart a file beside it."""
    if not releases_of(result):
        return head_markdown(TITLE, result) + "\n"
    parts = [
        head_markdown(TITLE, result),
        f"![{escape(LABEL)}]({CHART})",
        markdown_table(history_table(result)),
        bullets(remarks(result)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
