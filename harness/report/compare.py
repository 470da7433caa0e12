"""``harness compare``: two runs or more side by side, in the terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from harness.domain.result import Result
from harness.report.comparison import labels, tables, warnings
from harness.report.grid import draw, say
from harness.report.markdown import bullets, escape, markdown_table


def compare_terminal(results: Sequence[Result], console: Console) -> None:
    """Print runs side by side. Raises UsageError for fewer than two."""
    say(console, _title(results), "bold")
    for line in warnings(results):
        say(console, f"Warning: {line}", "bold yellow")
    for table in tables(results):
        draw(console, table)


def compare_markdown(results: Sequence[Result]) -> str:
    """Runs side by side as GitHub-flavoured Markdown. Raises UsageError for fewer than two."""
    parts = [
        f"## {escape(_title(results))}",
        bullets(f"Warning: {line}" for line in warnings(results)),
        *(markdown_table(table) for table in tables(results)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(results: Sequence[Result]) -> str:
    names = [
        f"{label} ({result.run_id})" for label, result in zip(labels(results), results, strict=True)
    ]
    return f"Runs {', '.join(names)}"
