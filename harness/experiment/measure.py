"""One window of one fleet: load from the driver, snapshots at rest around it, what both say."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from harness.authcache.words import ObjectKind
from harness.errors import InvalidRunError
from harness.experiment.companions import WARMUP, Companions
from harness.experiment.plan import RunPlan, Slot
from harness.load.client import LoadDriver
from harness.load.protocol import Progress as LoadProgress
from harness.load.protocol import WindowCommand, WindowResult
from harness.observe.evidence import Checkpoint, Evidence
from harness.observe.ledger import LOOKUPS, READS
from harness.observe.postgres import StatementCount, truth
from harness.observe.samples import Counters
from harness.observe.snapshots import Observer
from harness.progress import Progress, Tick
from harness.stack.base import Stack


class Windows:
    """Measures the windows of a plan over fleets that are up and seeded.

    Args:
        plan: as it is driven.
        stack: whose resource use is told.
        run_dir: where samples go.
        keys_file: the population's keys, for the driver.
        driver: sends the load.
        observers: of the fleets, by variant.
        companions: told what is measured, and when.
        progress: told where the run is.
        start: of the run, on the monotonic clock, seconds.
    """

    def __init__(
        self,
        plan: RunPlan,
        stack: Stack,
        run_dir: Path,
        keys_file: Path,
        *,
        driver: LoadDriver,
        observers: Mapping[str, Observer],
        companions: Companions,
        progress: Progress,
        start: float,
    ) -> None:
        self._plan = plan
        self._stack = stack
        self._dir = run_dir
        self._keys_file = keys_file
        self._driver = driver
        self._observers = observers
        self._companions = companions
        self._progress = progress
        self._start = start

    async def measure(self, slot: Slot) -> Evidence:
        """Drive a window, after its warm-up where it has one, with both snapshots at rest.

        Raises:
            InvalidRunError: something did not come to rest, or cannot be read.
        """
        observer, load = self._observers[slot.variant], self._plan.scenario.load
        total = len(self._plan.slots)
        if slot.phase == "measured" and load.warmup_ttls:
            self._progress.window(slot.number, total, slot.variant, "warm-up")
            warmup_s = load.warmup_ttls * self._plan.ttl_s
            command = self._command(slot, warmup_s, warmup=True)
            with self._companions.stretch(slot.variant, WARMUP, slot.round):
                await self._drive(observer, command)
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
                result = await self._drive(observer, command)
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

    async def _drive(self, observer: Observer, command: WindowCommand) -> WindowResult:
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
            result = await self._driver.window(command, on_progress)
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
