"""One benchmark from a request to its figures: everything in one run, steps taking turns."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.arms import FULL, QUICK, TTL_S, MeasuredServer, arms, floor_target
from benchmarks.codecs import CodecStep
from benchmarks.machine import two_cores
from benchmarks.options import Options
from benchmarks.requests import open_arm
from benchmarks.startup import StartStep
from benchmarks.step import Figures, Step, in_turn, least
from harness.archive.directory import LOGS
from harness.authcache.variants import load_variants
from harness.domain.progress import Progress
from harness.process.stop import Stop
from harness.process.waiting import while_alive
from harness.stack.base import FleetSpec, ProcessStack, Servers
from harness.stack.registry import embedded_stack
from harness.targets.reference.target import ReferenceTarget
from harness.targets.settings import RunSettings

QUIET_BEFORE, QUIET_DURING = 0.5, 3.0
"""Load averages of a quiet machine; the benchmark itself keeps a server, its load, and for some
arms the servers behind it busy."""
_LOAD_S = 3.0
_QUICK_LOAD_S = 1.0


@dataclass(slots=True)
class BenchResult:
    """The results of a benchmark, complete rounds only."""

    options: Options
    rounds: list[dict[str, float]] = field(default_factory=list)
    load_before: float = field(default_factory=lambda: psutil.getloadavg()[0])
    """Load average of the last minute before anything was started."""
    load_averages: list[float] = field(default_factory=list)
    """Of the last minute, at the end of each round."""
    arms: list[MeasuredServer] = field(default_factory=list)
    refusing: list[str] = field(default_factory=list)
    """Codecs that encode no key."""
    pinned: bool = False
    """Whether server and load had a core each."""
    servers: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False

    @property
    def quiet(self) -> bool:
        """Whether the machine had next to nothing else to do, before and during the rounds."""
        return self.load_before <= QUIET_BEFORE and max(self.load_averages) <= QUIET_DURING


async def run_bench(options: Options, progress: Progress, stop: Stop) -> BenchResult:
    """Measure what the options select; always stop everything that was started.

    Raises:
        SetupError: something could not be started.
        InvalidRunError: a server died, or a tier other than the intended one answered.
    """
    measured = BenchResult(options, pinned=two_cores() is not None)

    def stopping() -> None:
        measured.interrupted = True
        progress.phase("stopping: ending what was started")

    await stop.cancels(_run(measured, progress), stopping)
    return measured


async def _run(measured: BenchResult, progress: Progress) -> None:
    options = measured.options
    steps: list[Step] = []
    if "codecs" in options.groups:
        codecs = CodecStep(quick=options.quick)
        measured.refusing = codecs.refusing
        steps.append(codecs)
    if not {"requests", "start"} & set(options.groups):
        await _rounds(measured, steps, progress)
        return
    with tempfile.TemporaryDirectory(prefix="authcache-bench-") as name:
        folder = Path(name)
        stack = embedded_stack(folder / LOGS, Servers())
        try:
            progress.phase("starting servers")
            await stack.open()
            await while_alive(
                _with_servers(measured, steps, stack, folder, progress),
                stack.died,
                consequence="The benchmark ends here.",
            )
        finally:
            await stack.close()


async def _with_servers(
    measured: BenchResult, steps: list[Step], stack: ProcessStack, folder: Path, progress: Progress
) -> None:
    options = measured.options
    if "requests" in options.groups:
        measured.arms = arms(QUICK if options.quick else FULL)
        for arm in measured.arms:
            progress.phase(f"starting and warming {arm.name}")
            steps.append(await open_arm(arm, stack, options.rounds))
    if "start" in options.groups:
        steps += await _start_steps(stack, folder, quick=options.quick)
    measured.servers = dict(stack.facts())
    await _rounds(measured, steps, progress)


async def _start_steps(stack: ProcessStack, folder: Path, *, quick: bool) -> list[Step]:
    target = ReferenceTarget(load_variants()["recommended"])
    # Its one replica idles: only its servers are used.
    host = await stack.start(FleetSpec("host", target, 1, 1, RunSettings(ttl_s=TTL_S)))
    pids = stack.pids()
    servers = [*pids["postgres"], *pids[f"redis:{host.name}"]]
    load_s = _QUICK_LOAD_S if quick else _LOAD_S
    bare = await floor_target()
    return [
        StartStep("replicas", target, host, servers, folder, load_s=load_s),
        StartStep("bare", bare, host, servers, folder, load_s=0.0),
    ]


async def _rounds(measured: BenchResult, steps: Sequence[Step], progress: Progress) -> None:
    rounds = measured.options.rounds
    for number in range(1, rounds + 1):
        progress.phase(f"round {number} of {rounds}")
        shots: dict[str, list[Figures]] = {}
        for step in in_turn(steps, number):
            shots.setdefault(step.name, []).append(await step.measure())
        measured.rounds.append(
            {
                f"{name}.{figure}": value
                for name, figures in shots.items()
                for figure, value in least(figures).items()
            }
        )
        measured.load_averages.append(psutil.getloadavg()[0])
