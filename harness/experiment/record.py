"""Runs a plan: servers up, fleets up, population in, windows interleaved, everything down."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from harness.authcache.words import ObjectKind
from harness.errors import HarnessError, InvalidRunError, ServerDiedError
from harness.experiment.archive import write_window
from harness.experiment.companions import WARMUP, Companions, beside
from harness.experiment.pace import at_bearable_rate
from harness.experiment.plan import RunPlan, Slot
from harness.experiment.seed import seed_population
from harness.experiment.stop import Stop
from harness.load.client import LoadDriver
from harness.load.keys import write_keys
from harness.load.protocol import Progress as LoadProgress
from harness.load.protocol import WindowCommand, WindowResult
from harness.observe.evidence import Checkpoint, Evidence
from harness.observe.ledger import LOOKUPS, READS
from harness.observe.postgres import StatementCount, truth
from harness.observe.samples import Counters
from harness.observe.snapshots import Observer, watch
from harness.progress import Progress, Tick
from harness.prometheus.binaries import Binary
from harness.stack.base import Fleet, Stack


@dataclass(slots=True)
class Recording:
    """What a run left behind, whole or not."""

    plan: RunPlan
    """As it was driven: the arrival rate may have been found only in the run."""
    windows: list[Evidence] = field(default_factory=list)
    complete: bool = False
    interrupted: bool = False
    problem: HarnessError | None = None
    """What ended the run before its time."""
    elapsed_s: float = 0.0
    servers: dict[str, str] = field(default_factory=dict)
    """Server versions and settings."""


async def record(
    plan: RunPlan,
    stack: Stack,
    run_dir: Path,
    progress: Progress,
    stop: Stop,
    prometheus: Binary | None = None,
) -> Recording:
    """Run a plan to its end, to the first problem, or until somebody asks it to stop.

    Whatever happens, everything that was started is ended, and whole windows are kept. A server
    that dies unplanned is a problem of the recording, not an exception.

    Raises:
        SetupError: nothing was measured because something could not be started.
    """
    recording = Recording(plan)
    start = time.monotonic()
    run = _Run(plan, stack, run_dir, progress, recording, prometheus)
    work = asyncio.create_task(run.go(start))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            recording.interrupted = True
            progress.phase("stopping: ending what was started, keeping what was measured")
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        recording.complete = not recording.interrupted
    except InvalidRunError as error:
        recording.problem = error
    finally:
        stopped.cancel()
        if not work.done():
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        recording.elapsed_s = time.monotonic() - start
        for problem in stack.problems:
            progress.note(problem)
    return recording


class _Run:
    def __init__(
        self,
        plan: RunPlan,
        stack: Stack,
        run_dir: Path,
        progress: Progress,
        recording: Recording,
        prometheus: Binary | None,
    ) -> None:
        self._plan = plan
        self._stack = stack
        self._dir = run_dir
        self._progress = progress
        self._recording = recording
        self._prometheus = prometheus
        self._companions: Companions
        self._keys_file = run_dir / "keys.json"
        self._observers: dict[str, Observer] = {}
        self._start = 0.0

    async def go(self, start: float) -> None:
        self._start = start
        write_keys(self._keys_file, list(self._plan.keys))
        try:
            async with contextlib.AsyncExitStack() as open_things:
                open_things.push_async_callback(self._stack.close)
                self._progress.phase("starting servers")
                await self._stack.open()
                self._recording.servers = dict(self._stack.facts())
                await self._until_death(lambda: self._measure(open_things))
                self._progress.phase("stopping fleets and servers")
        finally:
            # Secrets of a population that no longer exists: nobody needs them after the run.
            self._keys_file.unlink(missing_ok=True)

    async def _until_death(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work until it is done or something that was started dies. Raises ServerDiedError."""
        task = asyncio.ensure_future(work())
        death = asyncio.create_task(self._stack.died())
        try:
            await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
            if death.done():
                raise ServerDiedError(f"{death.result()} The run ends here as invalid.")
            await task
        finally:
            for each in (task, death):
                each.cancel()
            await asyncio.gather(task, death, return_exceptions=True)

    async def _measure(self, open_things: contextlib.AsyncExitStack) -> None:
        driver = LoadDriver(self._dir / "logs" / "load-driver.log")
        open_things.push_async_callback(driver.close)
        _, fleets = await asyncio.gather(driver.start(), self._start_fleets(open_things))
        self._plan = self._recording.plan = await at_bearable_rate(
            self._plan, driver, self._observers, self._dir, self._progress
        )
        self._companions = await open_things.enter_async_context(
            beside(self._plan, self._stack, fleets, self._dir, self._prometheus, self._progress)
        )
        for slot in self._plan.slots:
            evidence = await self._window(driver, slot)
            self._recording.windows.append(evidence)
            write_window(self._dir / "snapshots", evidence)

    async def _start_fleets(self, open_things: contextlib.AsyncExitStack) -> list[Fleet]:
        specs = [self._plan.fleet(arm) for arm in self._plan.arms]
        workers = self._plan.scenario.replicas * self._plan.scenario.workers
        self._progress.phase(f"starting {len(specs)} fleets of {workers} workers")
        fleets = await asyncio.gather(*(self._stack.start(spec) for spec in specs))
        self._recording.servers.update(self._stack.facts())
        for fleet in fleets:
            observer = await open_things.enter_async_context(watch(fleet))
            await seed_population(observer.postgres, self._plan.keys)
            self._observers[fleet.name] = observer
        return list(fleets)

    async def _window(self, driver: LoadDriver, slot: Slot) -> Evidence:
        observer, load = self._observers[slot.variant], self._plan.scenario.load
        total = len(self._plan.slots)
        if slot.phase == "measured" and load.warmup_ttls:
            self._progress.window(slot.number, total, slot.variant, "warm-up")
            warmup_s = load.warmup_ttls * self._plan.ttl_s
            command = self._command(slot, warmup_s, warmup=True)
            with self._companions.stretch(slot.variant, WARMUP, slot.round):
                await self._drive(driver, observer, command)
        self._progress.window(slot.number, total, slot.variant, slot.phase)
        cold = slot.phase == "cold_fill"
        duration_s = self._plan.ttl_s if cold else self._plan.window_s
        before = await observer.at_rest()
        used = self._stack.resource_use().cpu_s
        started_s = time.monotonic() - self._start
        checkpoints = asyncio.create_task(self._checkpoints(observer, cold=cold))
        try:
            command = self._command(slot, duration_s)
            with self._companions.stretch(slot.variant, slot.phase, slot.round):
                result = await self._drive(driver, observer, command)
            points = await checkpoints
        finally:
            checkpoints.cancel()
        after = await observer.at_rest()
        now_used = self._stack.resource_use().cpu_s
        planted = observer.fleet.spec.settings.planted_null_user
        evidence = Evidence(
            name=slot.name,
            variant=slot.variant,
            phase=slot.phase,
            round=slot.round,
            started_s=started_s,
            duration_s=duration_s,
            generator=result,
            before=before,
            after=after,
            truths=await truth(observer.postgres, self._plan.keys, planted_null_user=planted),
            has_redis=observer.fleet.redis_url is not None,
            not_counted=dict(observer.fleet.not_counted_reason),
            not_checked=dict(observer.fleet.spec.target.not_checked),
            findings=observer.fleet.spec.target.findings,
            checkpoints=points,
            cpu_s={group: cpu - used.get(group, 0.0) for group, cpu in now_used.items()},
        )
        rate = result.answered / result.elapsed_s if result.elapsed_s else 0.0
        self._progress.tick(
            _tick(evidence.counted, result.elapsed_s, duration_s, rate, result.answered)
        )
        return evidence

    def _command(self, slot: Slot, duration_s: float, *, warmup: bool = False) -> WindowCommand:
        scenario = self._plan.scenario
        load = scenario.load
        # The same arrivals for every variant of a round, other arrivals for every round.
        seed = scenario.seed * 10_000 + slot.round * 10 + (1 if warmup else 0)
        samples = self._dir / "samples" / f"{slot.name}.csv.gz"
        return WindowCommand(
            window=slot.name + ("-warmup" if warmup else ""),
            hosts=list(self._observers[slot.variant].fleet.replica_urls),
            keys_file=str(self._keys_file),
            model=load.model,
            duration_s=duration_s,
            mix={str(scope): weight for scope, weight in load.mix.items()},
            users=load.users,
            rate_per_s=load.rate_per_s,
            ramp_s=load.ramp_s * scenario.time_scale,
            seed=seed,
            late_ms=scenario.limits.late_ms,
            timeout_s=load.timeout_s,
            samples_file=None if warmup else str(samples),
        )

    async def _drive(
        self, driver: LoadDriver, observer: Observer, command: WindowCommand
    ) -> WindowResult:
        variant = observer.fleet.name
        latest: list[LoadProgress] = []

        def on_progress(progress: LoadProgress) -> None:
            latest.append(progress)
            self._companions.progress(variant, progress)

        watcher = None
        if self._progress.live:
            show = self._show(observer, await observer.live(), latest, command.duration_s)
            watcher = asyncio.create_task(show)
        try:
            result = await driver.window(command, on_progress)
            self._companions.result(variant, result)
            return result
        finally:
            if watcher is not None:
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)

    async def _show(
        self, observer: Observer, base: Counters, latest: list[LoadProgress], duration_s: float
    ) -> None:
        while True:
            await asyncio.sleep(1.0)
            if not latest:
                continue
            now = latest[-1]
            with contextlib.suppress(InvalidRunError):
                counted = (await observer.live()).since(base)
                rate = now.requests_per_s
                self._progress.tick(_tick(counted, now.elapsed_s, duration_s, rate, now.answered))

    async def _checkpoints(self, observer: Observer, *, cold: bool) -> tuple[Checkpoint, ...]:
        moments = [] if cold else self._plan.scenario.load.checkpoints_ttls
        if not moments:
            return ()
        start = time.monotonic()
        first = await self._combined_view(observer)
        points = []
        for moment in moments:
            at_s = moment * self._plan.ttl_s
            await asyncio.sleep(max(0.0, start + at_s - time.monotonic()))
            count = await self._combined_view(observer)
            if first is not None and count is not None:
                points.append(Checkpoint(at_s, count.since(first)))
        return tuple(points)

    @staticmethod
    async def _combined_view(observer: Observer) -> StatementCount | None:
        try:
            counts = await observer.statements()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise InvalidRunError(f"pg_stat_statements cannot be read: {error}.") from error
        return None if counts is None else counts[ObjectKind.KEY]


def _tick(
    counted: Counters, elapsed_s: float, duration_s: float, requests_per_s: float, answered: int
) -> Tick:
    outcomes: dict[str, dict[str, int]] = {}
    for (tier, outcome), n in counted.by(LOOKUPS, "tier", "outcome").items():
        outcomes.setdefault(tier, {})[outcome] = round(n)
    reads = round(counted.sum(READS))
    return Tick(elapsed_s, duration_s, requests_per_s, answered, outcomes, reads)
