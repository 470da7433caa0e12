"""Reports of the fault sheet: the terminal, ``faults.md`` and the page that the docs have."""

from __future__ import annotations

from rich.console import Console

from harness.domain.result import Result
from harness.errors import UsageError
from harness.report import facts
from harness.report.faults import callers_table, servers_table, sheet_table
from harness.report.grid import draw, say
from harness.report.markdown import bullets, escape, markdown_table
from harness.report.study import head_markdown, say_head

SHEET = "faults.md"
PAGE = "docs/faults.md"
TITLE = "What happens when a part fails?"


def require_faults(result: Result) -> None:
    """Raise UsageError if nothing was broken in a run."""
    if not result.faults:
        raise UsageError(
            f"Nothing was broken in the run [{result.run_id}], so there is no fault sheet to show. "
            "`harness faults` breaks parts."
        )


def print_faults(result: Result, console: Console) -> None:
    """Print the fault sheet of a run."""
    say_head(TITLE, result, console)
    if not result.faults:
        return
    draw(console, sheet_table(result))
    draw(console, callers_table(result))
    draw(console, servers_table(result))
    for line in asked(result):
        say(console, f"- {line}", indent=2)


def faults_files(result: Result) -> dict[str, str]:
    """The texts of the sheet's files by name."""
    parts = [head_markdown(TITLE, result), *_tables(result), bullets(result.notes)]
    return {SHEET: "\n\n".join(part for part in parts if part) + "\n"}


def asked(result: Result) -> list[str]:
    """What was expected of the faults, and what came of it."""
    return [
        f"{e.variant}: {e.name}, expected {e.limit}: {e.state}, {e.reason or e.measured}"
        for e in result.expectations
        if " under " in e.name
    ]


_HOW = (
    "`{}` breaks one part after the other under load, and writes this page. How each figure is "
    "made: [method](method.md#the-fault-sheet). The last column of the last table is the "
    "counter that proves that a fault took effect; one that did not makes the run invalid."
)


def faults_page(result: Result) -> str:
    """The page that the docs have, made from a run."""
    command = f"harness faults --variants {','.join(result.faults)} --scenario {result.scenario}"
    parts = [
        "# What happens when a part fails",
        _HOW.format(f"{command} --replicas {result.replicas} --write"),
        f"{result.started_at[:10]}, {escape(facts.set_up(result))}: {result.verdict}.",
        *_tables(result),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _tables(result: Result) -> list[str]:
    if not result.faults:
        return []
    return [
        markdown_table(sheet_table(result)),
        bullets(asked(result)),
        markdown_table(callers_table(result)),
        markdown_table(servers_table(result)),
    ]
