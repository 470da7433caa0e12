"""How a benchmark ends: tables in the terminal, JSON in a file."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.bars import judge
from benchmarks.population import SEED
from benchmarks.run import QUIET_BEFORE, QUIET_DURING, BenchResult
from benchmarks.statistics import Summary, figure
from benchmarks.tables import tables
from harness.archive.manifest import manifest
from harness.errors import EXIT_INCONCLUSIVE, EXIT_PASS, EXIT_REGRESSION
from harness.report.grid import draw, say

SCHEMA_VERSION = 2


def finish(measured: BenchResult, console: Console, json_file: Path | None) -> int:
    """Print the tables and write the JSON.

    Args:
        measured: one benchmark, whole or cut short.
        console: where the tables go.
        json_file: where the JSON goes; None makes a new file in ``runs/bench``.

    Returns:
        The exit code: 0 every bar was held, 1 one was missed, 3 one is undecided or nothing was
        measured.
    """
    if not measured.rounds:
        say(console, "No round was completed: there is nothing to show.", "bold yellow")
        return EXIT_INCONCLUSIVE
    for table in tables(measured):
        draw(console, table)
    say(console, conditions(measured), "dim" if measured.quiet else "bold yellow")
    if measured.options.quick:
        say(console, "Tiny counts: these figures test the benchmark, not the code.", "bold yellow")
    path = json_file or Path("runs", "bench", f"{datetime.now(UTC):%Y%m%d-%H%M%S}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(measured), indent=1) + "\n", encoding="utf-8")
    say(console, f"JSON: {path}", "dim")
    states = {one.state for one in judge(measured.rounds)}
    if "missed" in states:
        return EXIT_REGRESSION
    return EXIT_INCONCLUSIVE if "undecided" in states else EXIT_PASS


def conditions(measured: BenchResult) -> str:
    """The conditions of the ratios: Python, its build, how CPU was counted, and what else ran."""
    _, built = platform.python_build()
    clock = "the scheduler's" if Path("/proc/self/schedstat").exists() else "psutil's"
    said = (
        f"Python {platform.python_version()} (built {built}, {platform.python_compiler()}), "
        f"{clock} CPU time, load average {measured.load_before:.1f} before, "
        f"{max(measured.load_averages):.1f} at most during, "
        f"{measured.load_averages[-1]:.1f} at the end of the rounds"
    )
    if measured.quiet:
        return f"{said}: a quiet machine."
    return (
        f"{said}: the machine was not quiet (at most {QUIET_BEFORE:g} before and "
        f"{QUIET_DURING:g} during). These ratios are no evidence for or against a bar: run again."
    )


def as_json(measured: BenchResult) -> dict[str, Any]:
    """Everything, for a program: raw figures by round, their summaries, the bars."""
    rounds = measured.rounds
    names = sorted({name for each in rounds for name in each})
    return {
        "schema_version": SCHEMA_VERSION,
        "quick": measured.options.quick,
        "interrupted": measured.interrupted,
        "pinned": measured.pinned,
        "rounds": len(rounds),
        "load_before": measured.load_before,
        "load_averages": measured.load_averages,
        "quiet": measured.quiet,
        "servers": measured.servers,
        "manifest": manifest({}, SEED),
        "figures": {
            name: {
                **_summary(figure(rounds, name)),
                "by_round": [each.get(name) for each in rounds],
            }
            for name in names
        },
        "bars": [
            {
                "name": one.bar.name,
                "title": one.bar.title,
                "unit": one.bar.unit,
                "limit": one.bar.limit,
                **_summary(one.measured),
                "floor": one.floor,
                "above_floor": one.above_floor,
                "state": one.state,
            }
            for one in judge(rounds)
        ],
    }


def _summary(found: Summary | None) -> dict[str, Any]:
    return {} if found is None else asdict(found)
