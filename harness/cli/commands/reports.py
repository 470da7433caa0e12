"""Commands on finished runs: `report` and `compare`."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from harness.archive.directory import load_result, resolve_run
from harness.errors import UsageError
from harness.report.compare import check_load, compare_markdown, compare_terminal
from harness.report.terminal import print_result
from harness.report.write import write_reports


def report(run: str, runs_dir: Path) -> None:
    """Rebuild the report of a run from its data (an id, a path, or latest)."""
    run_dir = resolve_run(run, runs_dir)
    result = load_result(run_dir)
    write_reports(result, run_dir)
    print_result(result, Console(), run_dir)


def compare(runs: tuple[str, ...], *, markdown: bool, anyway: bool, runs_dir: Path) -> None:
    """Show two or more runs side by side."""
    if len(runs) < 2:  # noqa: PLR2004 - a comparison takes two
        raise UsageError("A comparison takes two runs or more. Name them by id, path or latest.")
    results = [load_result(resolve_run(run, runs_dir)) for run in runs]
    if not anyway:
        check_load(results)
    if markdown:
        click.echo(compare_markdown(results))
    else:
        compare_terminal(results, Console())
