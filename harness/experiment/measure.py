"""One window of one fleet: load from the driver, with a snapshot at rest before and after it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from harness.analysis.answers import judge_answers
from harness.archive.directory import KEYS, SAMPLES
from harness.authcache.words import ObjectKind
from harness.domain.changes import ChangeEvent
from harness.domain.progress import Progress, Tick
from harness.domain.reads import owned_objects, resolve
from harness.domain.series import LOOKUPS, READS
from harness.domain.window import Begun, LoadProgress, WindowCommand, WindowResult
from harness.errors import InvalidRunError
from harness.experiment.changes import ChangeMaker, Made, ready_to_change
from harness.experiment.companions import WARMUP, Companions
from harness.load.client import LoadDriver
from harness.observe.counters import Counters
from harness.observe.evidence import Checkpoint, Evidence
from harness.observe.postgres import StatementCount
from harness.observe.snapshots import Observer
from harness.plan.commands import commands
from harness.plan.plan import PlannedChange, RunPlan, Slot
from harness.stack.base import Stack


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
        made = Made()
        try:
            with self.companions.stretch(slot.variant, slot.phase, slot.round):
                if planned:
                    result, made = await self._change(observer, load.window, planned)
                else:
                    result = await self._drive(observer, load.window)
            begun = time.monotonic() - result.elapsed_s
            points = await checkpoints
        finally:
            checkpoints.cancel()
        after = await observer.at_rest()
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
        )
        if planned:
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
        begun: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        async def make(changes: ChangeMaker) -> Made:
            return await changes.make(await begun)

        def on_made(event: ChangeEvent) -> None:
            self.companions.changed(observer.fleet.name, event)

        async with ready_to_change(observer, planned, on_made, news=True) as changes:
            making = asyncio.create_task(make(changes))
            try:
                result = await self._drive(
                    observer, command, lambda event: begun.set_result(event.monotonic_s)
                )
                return result, await making
            finally:
                making.cancel()
                await asyncio.gather(making, return_exceptions=True)

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
            await asyncio.sleep(1.0)
            if not latest:
                continue
            now = latest[-1]
            with contextlib.suppress(InvalidRunError):
                counted = (await observer.live()).since(base)
                rate = now.requests_per_s
                self.progress.tick(_tick(counted, now.elapsed_s, duration_s, rate, now.answered))

    async def _checkpoints(self, observer: Observer, slot: Slot) -> tuple[Checkpoint, ...]:
        moments = self.plan.scenario.load.checkpoints_ttls
        if not moments or slot.phase in ("cold_fill", "changes"):
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


def _tick(
    counted: Counters, elapsed_s: float, duration_s: float, requests_per_s: float, answered: int
) -> Tick:
    outcomes: dict[str, dict[str, int]] = {}
    for (tier, outcome), n in counted.by(LOOKUPS, "tier", "outcome").items():
        outcomes.setdefault(tier, {})[outcome] = round(n)
    reads = round(counted.sum(READS))
    return Tick(elapsed_s, duration_s, requests_per_s, answered, outcomes, reads)
