"""``python -m benchmarks``, which is ``make bench``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.options import GROUPS, Group, Options
from benchmarks.report import finish
from benchmarks.run import run_bench
from harness.cli.lazy import reported
from harness.process.stop import Stop, with_signals
from harness.report.progress import progress_for


@click.command()
@click.option("--rounds", type=click.IntRange(1, 100), default=8, show_default=True)
@click.option("--only", type=click.Choice(GROUPS), multiple=True, help="Repeatable.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    help="Instead of a new file in runs/bench/.",
)
@click.option("--no-bars", is_flag=True, help="Exit with 0 whatever the bars say.")
@click.option("--quick", is_flag=True, help="Tiny counts, to test the benchmark itself.")
def bench(
    *, rounds: int, only: tuple[Group, ...], json_file: Path | None, no_bars: bool, quick: bool
) -> None:
    """Measure what each part costs. Exits with 1 where a bar is missed, 3 if one is undecided."""
    console = Console()
    progress = progress_for(console)

    async def go(stop: Stop) -> Any:
        try:
            return await run_bench(Options(rounds, only or GROUPS, quick), progress, stop)
        finally:
            progress.close()

    with reported():
        measured, code = with_signals(go)
        outcome = finish(measured, console, json_file)
    sys.exit(code or (0 if no_bars else outcome))


if __name__ == "__main__":
    bench()
