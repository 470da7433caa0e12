"""What runs during a run so that it can be watched: the harness's exporter, and Prometheus.

No figure and no verdict depends on them, and no failure here ends a run.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from harness.analysis.answers import Answers
from harness.archive.directory import LOGS
from harness.domain.changes import ACTIONS, ChangeEvent
from harness.domain.progress import Progress
from harness.domain.rates import answered
from harness.domain.window import LoadProgress, WindowResult
from harness.errors import SetupError, UsageError
from harness.exporter.app import Exporter, WatchedFleet
from harness.exporter.push import pushing
from harness.exporter.servers import FleetServers
from harness.exporter.serving import serve
from harness.exporter.state import GeneratorCount, RunState
from harness.exporter.workers import Listed
from harness.installation import shipped
from harness.observe.postgres import role_of
from harness.plan.plan import RunPlan
from harness.plan.reference_line import planned_line, reference_line
from harness.prometheus.api import PrometheusApi
from harness.prometheus.binaries import PROMETHEUS, VARIABLES, Binary, find
from harness.prometheus.configuration import SCRAPE_S, ScrapedWorker
from harness.prometheus.recorder import has_data, recording
from harness.stack.base import Fleet, Stack
from harness.stack.registry import kind_of

Mode = Literal["auto", "on", "off"]
"""``auto`` records if prometheus is on PATH, ``on`` requires it, ``off`` never records."""
WARMUP = "warmup"
"""The phase of the load before a measured window."""


class Companions:
    """Publishes a run's progress to the exporter.

    Args:
        plan: of the run.
        fleets: all fleets of the run.
    """

    def __init__(self, plan: RunPlan, fleets: Sequence[Fleet]) -> None:
        self.state = first_state(plan, fleets)
        """What the exporter shows."""
        self.recorded: PrometheusApi | None = None
        """The Prometheus that records the run; None without one."""
        self._plan = plan
        self._planted = {fleet.name: _planted(fleet) for fleet in fleets}

    @contextlib.contextmanager
    def stretch(self, variant: str, phase: str, number: int) -> Iterator[None]:
        """Mark one stretch of load: a warm-up, a cold fill or a measured window."""
        self.state.began(variant, phase, number)
        try:
            yield
        finally:
            self.state.ended(variant, phase, number)

    def progress(self, variant: str, load: LoadProgress) -> None:
        """Publish what the load driver has counted so far in the current stretch."""
        count = GeneratorCount(
            planned=load.due,
            late=load.late,
            max_delay_s=load.delay_ms_max / 1000,
            requests=load.statuses,
        )
        self.state.counted(variant, count)

    def changed(self, variant: str, event: ChangeEvent) -> None:
        """Publish a change that was made; one that Postgres does not hold is none."""
        if event.outcome in ("done", "committed"):
            self.state.changed(variant, event.action)

    def judged(self, variant: str, answers: Answers) -> None:
        """Publish what the answers of a window of changes came to."""
        for (action, scope), n in answers.stale_replies.items():
            # An action is missing only where no change was answered before the reply was asked for.
            if action in ACTIONS:
                self.state.served_stale(variant, scope, ACTIONS[action].object, n)

    def result(self, variant: str, load: WindowResult) -> None:
        """Publish what the load driver counted in a finished stretch."""
        count = GeneratorCount(
            planned=load.planned,
            late=load.late,
            max_delay_s=load.delay_ms_max / 1000,
            requests=load.statuses,
        )
        self.state.counted(variant, count)
        if self._plan.scenario.load.model == "closed" and load.elapsed_s:
            # A closed load has no planned rate; the latest window gives the best estimate.
            self.state.reference_line_per_1000[variant] = reference_line(
                self._plan.keys,
                {scope: answered(load.statuses, scope) for scope in load.statuses},
                seconds=load.elapsed_s,
                ttl_s=self._plan.ttl_s,
                planted=self._planted[variant],
            )


def chosen_prometheus(mode: Mode, stack_name: str) -> Binary | None:
    """The Prometheus that is to record a run; None to record nothing.

    Raises:
        UnknownNameError: there is no such stack.
        UsageError: the mode is ``on``, and runs on this stack are not recorded.
        SetupError: the mode is ``on``, and there is no Prometheus.
    """
    not_recorded = kind_of(stack_name).not_recorded
    if mode == "on" and not_recorded:
        raise UsageError(
            f"Runs on the stack [{stack_name}] are not recorded by Prometheus. Leave out "
            "--prometheus, or use `make up`, which starts a stack with its own Prometheus."
        )
    if mode == "off" or not_recorded:
        return None
    # A Prometheus fetched for tests is used only on request, not for every run.
    found = find(PROMETHEUS, fetched=mode == "on")
    if found is None and mode == "on":
        raise SetupError(
            f"There is no Prometheus to record the run. Put it on PATH, name it in "
            f"{VARIABLES[PROMETHEUS]}, let `harness prometheus --fetch` unpack Debian's package, "
            "or leave --prometheus out."
        )
    return found


def prometheus_fact(
    mode: Mode, binary: Binary | None, stack_name: str, run_dir: Path, *, measured: bool
) -> str:
    """Whether a run was recorded, as a sentence for its report.

    Args:
        mode: of the run.
        binary: what `chosen_prometheus` returned.
        stack_name: of the run.
        run_dir: of the run.
        measured: whether the run reached its first window; Prometheus is started before it.
    """
    if not_recorded := kind_of(stack_name).not_recorded:
        return not_recorded
    if binary is not None and not has_data(run_dir):
        why = "did not come up" if measured else "was not started"
        return f"{binary.version} {why}, the run was not recorded"
    if binary is not None:
        return (
            f"{binary.version} recorded the run, a scrape every {SCRAPE_S:g} s, on the same CPUs; "
            "`harness prometheus RUN` opens the data"
        )
    if mode == "off":
        return "switched off, the run was not recorded"
    return "none on PATH, the run was not recorded"


@contextlib.asynccontextmanager
async def sidecars(
    plan: RunPlan,
    stack: Stack,
    fleets: Sequence[Fleet],
    run_dir: Path,
    prometheus: Binary | None,
    progress: Progress,
) -> AsyncIterator[Companions]:
    """Run the companions of a run until the block ends.

    Args:
        plan: of the run.
        stack: of the run; either has its own exporter, or starts Prometheus.
        fleets: all fleets of the run.
        run_dir: where Prometheus writes its data.
        prometheus: what `chosen_prometheus` returned.
        progress: receives a note for each problem.
    """
    companions = Companions(plan, fleets)
    async with contextlib.AsyncExitStack() as open_things:
        if stack.exporter_address is not None:
            push = pushing(companions.state, stack.exporter_address, progress.note)
            await open_things.enter_async_context(push)
        elif prometheus is not None and stack.host is not None:
            try:
                exporter = Exporter(companions.state, {f.name: _watched(f) for f in fleets})
                url = await open_things.enter_async_context(serve(exporter))
                record = recording(
                    prometheus,
                    stack.host,
                    run_dir,
                    [worker for fleet in fleets for worker in _scraped(fleet)],
                    urlsplit(url).netloc,
                    log_file=run_dir / LOGS / "prometheus.log",
                    rules=shipped("dashboards/rules.yml"),
                    note=progress.note,
                )
                companions.recorded = await open_things.enter_async_context(record)
            except SetupError as error:
                progress.note(f"The run is not recorded. {error}")
        yield companions


def first_state(plan: RunPlan, fleets: Sequence[Fleet]) -> RunState:
    """The state of a run before its first window."""
    load = plan.scenario.load
    stretches: list[tuple[str, str, int]] = []
    for slot in plan.slots:
        if slot.phase == "measured" and load.warmup_ttls:
            stretches.append((slot.variant, WARMUP, slot.round))
        stretches.append((slot.variant, slot.phase, slot.round or slot.fault))
    replicas = {fleet.name: fleet.spec.replicas for fleet in fleets}
    lines = {fleet.name: planned_line(plan, planted=_planted(fleet)) for fleet in fleets}
    return RunState.planned(replicas, lines, stretches)


def _planted(fleet: Fleet) -> bool:
    return fleet.spec.settings.planted_null_user


def _watched(fleet: Fleet) -> WatchedFleet:
    servers = FleetServers(
        variant=fleet.name,
        postgres_dsn=fleet.admin_dsn if fleet.counts_statements else None,
        postgres_role=role_of(fleet.dsn),
        redis_url=fleet.redis_url,
        counts_redis=fleet.owns_redis,
        target=fleet.spec.target.kind,
    )
    addresses = [urlsplit(worker.metrics_url).netloc for worker in fleet.workers]
    return WatchedFleet(servers, Listed(addresses, fleet.spec.workers))


def _scraped(fleet: Fleet) -> list[ScrapedWorker]:
    return [
        ScrapedWorker(
            variant=fleet.name,
            replica=str(worker.replica),
            worker=str(worker.worker),
            address=urlsplit(worker.metrics_url).netloc,
        )
        for worker in fleet.workers
    ]
