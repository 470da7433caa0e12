"""The command `bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.options import GROUPS, Group, Options
from benchmarks.report import finish
from benchmarks.run import run_bench
from harness.cli.commands.options import with_signals
from harness.errors import EXIT_REGRESSION
from harness.process.stop import Stop
from harness.report.progress import progress_for


def bench(
    *, rounds: int, only: tuple[Group, ...], json_file: Path | None, no_bars: bool, quick: bool
) -> None:
    """Measure what each part costs, against bars. Exits with 1 where a bar is missed."""
    console = Console()
    progress = progress_for(console)

    async def go(stop: Stop) -> Any:
        try:
            return await run_bench(Options(rounds, only or GROUPS, quick), progress, stop)
        finally:
            progress.close()

    measured, code = with_signals(go)
    held = finish(measured, console, json_file)
    sys.exit(code or (0 if held or no_bars else EXIT_REGRESSION))
