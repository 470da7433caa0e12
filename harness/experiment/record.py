"""Runs a plan: servers up, fleets up, population in, windows interleaved, everything down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.archive.directory import KEYS, LOGS, SNAPSHOTS
from harness.archive.snapshots import write_window
from harness.domain.population import write_keys
from harness.domain.progress import Progress
from harness.domain.result import RolloutPhase
from harness.errors import (
    HarnessError,
    InvalidRunError,
    ServerDiedError,
    SetupError,
    UsageError,
)
from harness.experiment.companions import sidecars
from harness.experiment.measure import Windows
from harness.experiment.pace import WARMING_S, Pace, at_pace, closed_loops, find_pace
from harness.experiment.rollout import Rolling
from harness.load.client import LoadDriver
from harness.observe.evidence import Evidence
from harness.observe.snapshots import Observer, watch
from harness.plan.plan import RunPlan, Slot
from harness.process.stop import Stop
from harness.process.waiting import while_alive
from harness.prometheus.binaries import Binary
from harness.stack.base import Fleet, Stack

Enough = Callable[[RunPlan, Sequence[Evidence]], bool]
"""Whether these windows of a plan answer what was asked."""


@dataclass(slots=True)
class Recording:
    """What a run recorded, complete or not."""

    plan: RunPlan
    """With the rate and TTL that were driven, which may have been found only during the run."""
    pace: Pace | None = None
    """How rate and TTL were decided; None if no release was measured for it."""
    windows: list[Evidence] = field(default_factory=list)
    complete: bool = False
    interrupted: bool = False
    problem: HarnessError | None = None
    """What ended the run early."""
    elapsed_s: float = 0.0
    phases: dict[str, RolloutPhase] = field(default_factory=dict)
    """Of a rollout, by name."""
    servers: dict[str, str] = field(default_factory=dict)
    """Server versions and settings."""
    log_cuts: dict[str, int] = field(default_factory=dict)
    """Bytes that are missing in a log, by its name."""


async def record(
    plan: RunPlan,
    new_stack: Callable[[], Stack],
    run_dir: Path,
    progress: Progress,
    stop: Stop,
    prometheus: Binary | None = None,
    enough: Enough | None = None,
) -> Recording:
    """Run a plan to its end, to the first problem, or until a signal stops it.

    In every case everything started is stopped, and completed windows are kept. A server that
    exits unexpectedly becomes the recording's ``problem``, not an exception.

    Args:
        plan: of the run.
        new_stack: makes a stack that is not open yet. It is called a second time if the releases
            need a longer TTL, because a fleet keeps the TTL that it was started with.
        run_dir: where logs, samples and snapshots are written.
        progress: receives phases, windows and notes.
        stop: stops the run.
        prometheus: records the run; None to record nothing.
        enough: asked after the scenario's ``rounds`` and after each further round, with the plan
            and the windows so far, whether to stop; None drives all planned rounds.

    Raises:
        UsageError: the stack cannot run this plan.
        SetupError: nothing was measured because something could not be started.
    """
    start = time.monotonic()
    recording = Recording(plan)
    run = _Run(new_stack, run_dir, progress, recording, prometheus, enough)

    def stopping() -> None:
        recording.interrupted = True
        progress.phase("stopping: shutting down, keeping completed windows")

    try:
        await stop.cancels(run.go(start), stopping)
        recording.complete = not recording.interrupted
    except InvalidRunError as error:
        recording.problem = error
    finally:
        recording.elapsed_s = time.monotonic() - start
    return recording


async def rounds(
    plan: RunPlan,
    measure: Callable[[Slot], Awaitable[Evidence]],
    enough: Enough | None,
    interrupted: Callable[[], bool] = lambda: False,
) -> AsyncGenerator[Evidence, None]:
    """Measure the windows of a plan, and stop before a further round that is not needed.

    All variants stop together, between two rounds. What comes after the rounds is measured anyway.

    Raises:
        CancelledError: before a window, if the run was interrupted. A stop cancels only once, and
            a wait that ends in the same moment may swallow that (`asyncio.wait_for` of Python 3.11
            does); the run would then go on to its last window.
    """
    done: list[Evidence] = []
    asked, stopped = plan.scenario.rounds, False
    for slot in plan.slots:
        if interrupted():
            raise asyncio.CancelledError
        if slot.round > asked and not stopped:
            asked = slot.round
            stopped = enough is not None and enough(plan, done)
        if stopped and slot.phase == "measured":
            continue
        done.append(await measure(slot))
        yield done[-1]


def check_breaks(plan: RunPlan, stack: Stack) -> None:
    """Raise UsageError for a fault of the plan that a stack cannot do."""
    if not plan.faults:
        return
    cannot = sorted({fault.what for fault in plan.faults} - stack.breaks)
    if cannot:
        raise UsageError(
            f"The stack [{stack.name}] cannot do the fault{'s' * (len(cannot) > 1)} "
            f"[{', '.join(cannot)}]; it does {', '.join(sorted(stack.breaks)) or 'none'}. Leave "
            "them out of the scenario, or use STACK=embedded."
        )


class _Run:
    def __init__(
        self,
        new_stack: Callable[[], Stack],
        run_dir: Path,
        progress: Progress,
        recording: Recording,
        prometheus: Binary | None,
        enough: Enough | None,
    ) -> None:
        self._plan = recording.plan
        self._new_stack = new_stack
        self._stack = new_stack()
        self._dir = run_dir
        self._progress = progress
        self._recording = recording
        self._prometheus = prometheus
        self._enough = enough
        self._keys_file = run_dir / KEYS
        self._observers: dict[str, Observer] = {}
        self._start = 0.0

    async def go(self, start: float) -> None:
        self._start = start
        check_breaks(self._plan, self._stack)
        write_keys(self._keys_file, list(self._plan.all_keys))
        try:
            # A fleet keeps the TTL that it was started with: another TTL needs another stack.
            while not await self._up_and_down():
                self._stack = self._new_stack()
                self._observers.clear()
        finally:
            # Its secrets belong to a population that no longer exists.
            self._keys_file.unlink(missing_ok=True)

    async def _up_and_down(self) -> bool:
        """Start everything, measure, stop everything. False if the plan's TTL has changed."""
        ttl_s = self._plan.ttl_s
        try:
            async with contextlib.AsyncExitStack() as open_things:
                open_things.push_async_callback(self._stack.close)
                self._progress.phase("starting servers")
                await self._stack.open()
                self._recording.servers = dict(self._stack.facts())
                try:
                    await while_alive(self._measure(open_things), self._stack.died)
                except ServerDiedError as error:
                    if len(self._observers) < len(self._plan.arms):
                        # As a tree that cannot be imported: there is nothing to be invalid.
                        raise SetupError(f"{error} Nothing was measured.") from error
                    raise ServerDiedError(f"{error} The run ends here as invalid.") from error
                self._progress.phase("stopping fleets and servers")
        finally:
            for problem in self._stack.problems:
                self._progress.note(problem)
        return self._plan.ttl_s == ttl_s

    async def _measure(self, open_things: contextlib.AsyncExitStack) -> None:
        driver = LoadDriver(self._dir / LOGS / "load-driver.log")
        open_things.push_async_callback(driver.close)
        _, fleets = await asyncio.gather(driver.start(), self._start_fleets(open_things))
        ttl_s = self._plan.ttl_s
        await self._find_pace(driver)
        if self._plan.ttl_s != ttl_s:
            return
        companions = await open_things.enter_async_context(
            sidecars(self._plan, self._stack, fleets, self._dir, self._prometheus, self._progress)
        )
        windows = Windows(
            plan=self._plan,
            run_dir=self._dir,
            stack=self._stack,
            driver=driver,
            observers=self._observers,
            companions=companions,
            progress=self._progress,
            start=self._start,
            log_cuts=self._recording.log_cuts,
        )
        measure = windows.measure
        if self._plan.rollout is not None:
            measure = Rolling(windows, self._plan.rollout, self._recording.phases).measure
        measured = rounds(self._plan, measure, self._enough, lambda: self._recording.interrupted)
        async with contextlib.aclosing(measured):
            async for evidence in measured:
                self._recording.windows.append(evidence)
                write_window(self._dir / SNAPSHOTS, evidence)

    async def _find_pace(self, driver: LoadDriver) -> None:
        if self._recording.pace is not None:
            # Found before the fleets were restarted; only their code must be warmed again.
            self._progress.phase("warming the releases")
            await closed_loops(self._plan, driver, self._observers, self._dir, (WARMING_S,))
            return
        pace = await find_pace(self._plan, driver, self._observers, self._dir, self._progress)
        if pace is not None:
            self._recording.pace = pace
            self._plan = self._recording.plan = at_pace(self._plan, pace)

    async def _start_fleets(self, open_things: contextlib.AsyncExitStack) -> list[Fleet]:
        sharing = self._plan.fleets()
        specs = [self._plan.fleet(arms[0]) for arms in sharing.values()]
        workers = self._plan.scenario.replicas * self._plan.scenario.workers
        self._progress.phase(f"starting {len(specs)} fleets of {workers} workers")
        fleets = await asyncio.gather(*(self._stack.start(spec) for spec in specs))
        self._recording.servers.update(self._stack.facts())
        for fleet in fleets:
            observer = await open_things.enter_async_context(watch(fleet))
            await fleet.spec.target.database.seed(observer.postgres, self._plan.all_keys)
            self._observers |= {arm.name: observer for arm in sharing[fleet.name]}
        return list(fleets)
