"""One window of one fleet: load from the driver, with a snapshot at rest before and after it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from harness.analysis.answers import judge_answers
from harness.archive.directory import KEYS, SAMPLES
from harness.authcache.words import ObjectKind
from harness.domain.changes import ChangeEvent
from harness.domain.faults import FAULTS, FaultEvent, PlannedFault
from harness.domain.progress import Progress, Tick
from harness.domain.reads import owned_objects, resolve
from harness.domain.series import LOOKUPS, READS
from harness.domain.window import Begun, LoadProgress, WindowCommand, WindowResult
from harness.errors import InvalidRunError
from harness.experiment.changes import Made, ready_to_change
from harness.experiment.companions import WARMUP, Companions
from harness.load.client import LoadDriver
from harness.observe.counters import Counters
from harness.observe.evidence import Checkpoint, Evidence
from harness.observe.postgres import StatementCount
from harness.observe.snapshots import Observer, Scrape
from harness.plan.commands import commands
from harness.plan.plan import PlannedChange, RunPlan, Slot
from harness.process.processes import cut_log
from harness.stack.base import Fleet, FleetSpec, Stack

SCRAPE_S = 1.0
"""Between two scrapes of the replicas during a fault."""
SHOWN_S = 1.0
"""Between two ticks of a live display."""


@dataclass(frozen=True, slots=True)
class _Broken:
    """What came of a window's fault; nothing where it had none."""

    event: FaultEvent | None = None
    scrapes: tuple[Scrape, ...] = ()
    epoch_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Windows:
    """Measures the windows of a plan over fleets that are up and seeded."""

    plan: RunPlan
    """With the rate and TTL that are driven."""
    run_dir: Path
    """Holds the samples and the keys file."""
    stack: Stack
    """Its CPU time is counted."""
    driver: LoadDriver
    observers: Mapping[str, Observer]
    """One for each fleet, by variant."""
    companions: Companions
    progress: Progress
    start: float
    """Start of the run on the monotonic clock, in seconds."""
    log_cuts: dict[str, int] = field(default_factory=dict)
    """Bytes that were cut from logs so far, by the log's name."""

    async def measure(self, slot: Slot) -> Evidence:
        """Drive a window, after its warm-up if it has one, and take both snapshots at rest.

        Raises:
            InvalidRunError: the fleet did not come to rest, or could not be read.
        """
        observer, total = self.observers[slot.variant], len(self.plan.slots)
        load = commands(
            self.plan,
            slot,
            observer.fleet.replica_urls,
            self.run_dir / KEYS,
            self.run_dir / SAMPLES,
        )
        warm_until = None
        if load.warmup is not None:
            self.progress.window(slot.number, total, slot.variant, "warm-up")
            with self.companions.stretch(slot.variant, WARMUP, slot.round):
                await self._drive(observer, load.warmup)
            warm_until = time.monotonic()
        self.progress.window(slot.number, total, slot.variant, slot.phase)
        duration_s = load.window.duration_s
        planned = self.plan.planned_changes(slot.batch) if slot.phase == "changes" else ()
        before = await observer.at_rest()
        used = self.stack.cpu_s()
        started_s = time.monotonic() - self.start
        checkpoints = asyncio.create_task(self._checkpoints(observer, slot))
        made, broken = Made(), _Broken()
        try:
            # Windows of faults have no rounds.
            with self.companions.stretch(slot.variant, slot.phase, slot.round or slot.fault):
                if slot.phase == "faults":
                    result, made, broken = await self._break(observer, load.window, slot)
                elif planned:
                    result, made = await self._change(observer, load.window, planned)
                else:
                    result = await self._drive(observer, load.window)
            begun = time.monotonic() - result.elapsed_s
            points = await checkpoints
        finally:
            checkpoints.cancel()
        rest = {"timeout_s": self.plan.scenario.faults.rest_s} if broken.event else {}
        after = await observer.at_rest(**rest)
        self._log_bytes(observer.fleet)
        now_used = self.stack.cpu_s()
        spec = observer.fleet.spec
        planted = spec.settings.planted_null_user
        known = owned_objects(self.plan.all_keys, planted_null_user=planted)
        truths = await spec.target.database.truth(
            observer.postgres,
            self.plan.all_keys,
            planted_null_user=planted,
        )
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
            truths={**truths, **made.truths},
            has_redis=observer.fleet.redis_url is not None,
            not_counted=dict(observer.fleet.not_counted_reason),
            not_checked=dict(spec.target.not_checked),
            findings=spec.target.findings,
            loses_spend=spec.target.loses_spend,
            reads_again=spec.target.reads_again,
            paths={key.index: spec.target.path(key, spec.settings) for key in self.plan.all_keys},
            promise_s=self.plan.promise_s(redis=observer.fleet.redis_url is not None),
            checkpoints=points,
            cpu_s={group: cpu - used.get(group, 0.0) for group, cpu in now_used.items()},
            reads=None if after.reads is None else resolve(after.reads, known),
            warmup_reads=() if warm_until is None else resolve(before.reads or (), known),
            pause_s=0.0 if warm_until is None else max(0.0, begun - warm_until),
            changes=tuple(made.events),
            members=_members(spec),
            fault=broken.event,
            scrapes=broken.scrapes,
            epoch_s=broken.epoch_s,
        )
        if made.events:
            answers = judge_answers([evidence], self.plan.all_keys, self.run_dir / SAMPLES)
            self.companions.judged(slot.variant, answers)
        rate = result.answered / result.elapsed_s if result.elapsed_s else 0.0
        self.progress.tick(
            _tick(evidence.counted, result.elapsed_s, duration_s, rate, result.answered)
        )
        return evidence

    async def _change(
        self, observer: Observer, command: WindowCommand, planned: Sequence[PlannedChange]
    ) -> tuple[WindowResult, Made]:
        """Drive a window and make its changes at the same time."""
        async with ready_to_change(observer, planned, self._told(observer), news=True) as changes:
            result, (made,) = await self._beside(observer, command, changes.make)
            return result, made

    async def _break(
        self, observer: Observer, command: WindowCommand, slot: Slot
    ) -> tuple[WindowResult, Made, _Broken]:
        """Drive a window, and at the same time break something, mend it, and make its changes."""
        planned = self.plan.planned_fault(slot.fault)
        # Parsed only after the window: that takes longer than to read them.
        looks: list[tuple[float, tuple[str | None, ...], int]] = []

        # Counters of two scrapes at once could seem to fall.
        one_at_a_time = asyncio.Lock()

        async def look(start: float) -> None:
            async with one_at_a_time:
                at_s = time.monotonic() - start
                looks.append((at_s, await observer.scrape(), self._log_bytes(observer.fleet)))

        async def looking(start: float) -> None:
            while True:
                # A worker that hangs takes the whole second.
                waiting = asyncio.create_task(asyncio.sleep(SCRAPE_S))
                await look(start)
                await waiting

        async def breaking(start: float) -> FaultEvent:
            return await self._fail(observer.fleet, planned, start, look)

        async def changing(start: float) -> float:
            await changes.make(start, judge=False)
            return start

        wanted = self.plan.fault_changes(slot.fault)
        async with ready_to_change(observer, wanted, self._told(observer)) as changes:
            result, (event, start) = await self._beside(
                observer, command, breaking, changing, meanwhile=looking
            )
            await observer.reconnect()
            made = await changes.judge(start, observer.postgres)
        if replaces := FAULTS[planned.what].replaces:
            observer.read_anew(None if replaces == "all" else planned.replica)
        scrapes = tuple(
            Scrape(at_s, tuple(None if p is None else Counters.parse(p) for p in pages), size)
            for at_s, pages, size in looks
        )
        epoch_s = time.time() - (time.monotonic() - start)
        return result, made, _Broken(event, scrapes, epoch_s)

    async def _fail(
        self,
        fleet: Fleet,
        planned: PlannedFault,
        start: float,
        look: Callable[[float], Awaitable[None]],
    ) -> FaultEvent:
        """Break and mend at the planned moments."""
        breaker = self.stack.breaker(fleet)
        await asyncio.sleep(start + planned.at_s - time.monotonic())
        # The counters of a process that is ended are those of its last scrape.
        await look(start)
        begun_s = time.monotonic() - start
        await breaker.begin(planned)
        await asyncio.sleep(planned.for_s)
        bit = await breaker.end()
        return FaultEvent(planned, begun_s, time.monotonic() - start, bit, breaker.detail)

    async def _beside(
        self,
        observer: Observer,
        command: WindowCommand,
        *jobs: Callable[[float], Awaitable[Any]],
        meanwhile: Callable[[float], Awaitable[Any]] | None = None,
    ) -> tuple[WindowResult, list[Any]]:
        """Drive a window and do some jobs at the same time.

        Args:
            observer: of the fleet.
            command: of the window.
            jobs: each gets the start of the window on the monotonic clock.
            meanwhile: a job that ends with the others.

        Returns:
            What the driver counted, and the result of each job.
        """
        begun: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        async def of(job: Callable[[float], Awaitable[Any]]) -> Any:
            return await job(await begun)

        tasks = [asyncio.create_task(of(job)) for job in jobs]
        endless = [] if meanwhile is None else [asyncio.create_task(of(meanwhile))]
        try:
            result = await self._drive(
                observer, command, lambda event: begun.set_result(event.monotonic_s)
            )
            return result, await asyncio.gather(*tasks)
        finally:
            for task in (*tasks, *endless):
                task.cancel()
            await asyncio.gather(*tasks, *endless, return_exceptions=True)

    def _told(self, observer: Observer) -> Callable[[ChangeEvent], None]:
        return lambda event: self.companions.changed(observer.fleet.name, event)

    def _log_bytes(self, fleet: Fleet) -> int:
        """What all replicas of a fleet have written to their logs; too long a log is cut."""
        written = 0
        for log_file in fleet.log_files:
            name = log_file.name
            if cut := cut_log(log_file):
                self.log_cuts[name] = self.log_cuts.get(name, 0) + cut
            with contextlib.suppress(OSError):
                written += log_file.stat().st_size
            written += self.log_cuts.get(name, 0)
        return written

    async def _drive(
        self,
        observer: Observer,
        command: WindowCommand,
        on_begun: Callable[[Begun], None] | None = None,
    ) -> WindowResult:
        variant = observer.fleet.name
        latest: list[LoadProgress] = []

        def on_progress(progress: LoadProgress) -> None:
            latest.append(progress)
            self.companions.progress(variant, progress)

        watcher = None
        if self.progress.live:
            show = self._show(observer, await observer.live(), latest, command.duration_s)
            watcher = asyncio.create_task(show)
        try:
            result = await self.driver.window(command, on_progress, on_begun)
            self.companions.result(variant, result)
            return result
        finally:
            if watcher is not None:
                watcher.cancel()
                await asyncio.gather(watcher, return_exceptions=True)

    async def _show(
        self, observer: Observer, base: Counters, latest: list[LoadProgress], duration_s: float
    ) -> None:
        while True:
            await asyncio.sleep(SHOWN_S)
            if not latest:
                continue
            now = latest[-1]
            with contextlib.suppress(InvalidRunError):
                counted = (await observer.live()).since(base)
                rate = now.requests_per_s
                self.progress.tick(_tick(counted, now.elapsed_s, duration_s, rate, now.answered))

    async def _checkpoints(self, observer: Observer, slot: Slot) -> tuple[Checkpoint, ...]:
        moments = self.plan.scenario.load.checkpoints_ttls
        if not moments or slot.phase not in ("measured", "refusals"):
            return ()
        start = time.monotonic()
        first = await self._combined_view(observer)
        points = []
        for moment in moments:
            at_s = moment * self.plan.ttl_s
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
            raise InvalidRunError(
                f"pg_stat_statements cannot be read: {error}. Check Postgres' log, then run again."
            ) from error
        return None if counts is None else counts.reads[ObjectKind.KEY]


def _members(spec: FleetSpec) -> tuple[str, ...]:
    """What each replica runs, where they differ."""
    named = spec.target.members
    return tuple(named[i % len(named)] for i in range(spec.replicas)) if named else ()


def _tick(
    counted: Counters, elapsed_s: float, duration_s: float, requests_per_s: float, answered: int
) -> Tick:
    outcomes: dict[str, dict[str, int]] = {}
    for (tier, outcome), n in counted.by(LOOKUPS, "tier", "outcome").items():
        outcomes.setdefault(tier, {})[outcome] = round(n)
    reads = round(counted.sum(READS))
    return Tick(elapsed_s, duration_s, requests_per_s, answered, outcomes, reads)
