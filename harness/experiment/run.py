"""One run from a request to its reports."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.analysis.analyse import analyse
from harness.analysis.analyse import enough as expectations_decided
from harness.analysis.calibration import calibration_note, known_calibration
from harness.archive.directory import (
    LOGS,
    SAMPLES,
    kept_if_used,
    make_run_dir,
    point_latest,
    write_manifest,
    write_result,
    write_verdict,
)
from harness.archive.manifest import manifest
from harness.domain.progress import Progress
from harness.domain.result import Result, Rollout
from harness.errors import TooSlowError
from harness.experiment.companions import Mode, chosen_prometheus, prometheus_fact
from harness.experiment.pace import sentences
from harness.experiment.record import Recording, record
from harness.observe.evidence import Evidence
from harness.plan.plan import Arm, RolloutPlan, RunPlan, driven, facts, make_plan
from harness.plan.rollout import plan_rollout
from harness.process.processes import LOG_LIMIT
from harness.process.stop import Stop
from harness.report.write import write_reports
from harness.scenario.schema import Scenario
from harness.stack.base import Servers
from harness.stack.registry import EMBEDDED, make_stack


async def run(
    scenario: Scenario,
    arms: Sequence[Arm],
    *,
    runs_dir: Path,
    servers: Servers,
    progress: Progress,
    stop: Stop,
    prometheus: Mode = "auto",
    stack_name: str = EMBEDDED,
    strict: bool = False,
    also: Callable[[RunPlan, Sequence[Evidence], Path], None] | None = None,
    rollout: RolloutPlan | None = None,
    enough: Callable[[RunPlan, Sequence[Evidence], Path], bool] = expectations_decided,
) -> tuple[Result, Path]:
    """Run a scenario and write its run directory.

    Args:
        scenario: with the command line's changes applied.
        arms: variants with their targets.
        runs_dir: where the run directory is created.
        servers: the Postgres and Redis to use.
        progress: receives phases, windows and notes.
        stop: ends the run early.
        prometheus: whether Prometheus records the run.
        stack_name: a name in `harness.stack.registry.STACKS`.
        strict: whether a run of which nothing was asked is inconclusive (exit 3).
        also: gets the plan, the windows and the folder of their samples, once all are measured and
            the run directory is written; not called for a run that ended early.
        rollout: from the first arm to the second; the arms of the run are then its phases.
        enough: gets the same after each round from the scenario's ``rounds`` on, and says whether a
            further one is needless.

    Returns:
        The result and the run directory. Interrupted and invalid runs have a result too.

    Raises:
        ScenarioError: the load is too thin for the population.
        UsageError: the stack cannot run this scenario.
        SetupError: a server, port or binary is missing; nothing is left running.
    """
    if rollout is None:
        plan = make_plan(scenario, arms, stack=stack_name)
    else:
        plan = plan_rollout(scenario, arms, rollout, stack=stack_name)
    binary = chosen_prometheus(prometheus, stack_name)
    started = datetime.now(UTC)
    run_dir = make_run_dir(runs_dir, scenario.name, started)
    before = manifest(facts(plan), scenario.seed)
    with kept_if_used(run_dir):
        new_stack = functools.partial(
            make_stack, stack_name, run_dir / LOGS, servers, faults=bool(scenario.fault)
        )
        recording = await record(
            plan,
            new_stack,
            run_dir,
            progress,
            stop,
            binary,
            lambda plan, windows: enough(plan, windows, run_dir / SAMPLES),
        )
    recording.servers["prometheus"] = prometheus_fact(
        prometheus, binary, stack_name, run_dir, measured=bool(recording.windows)
    )
    found = {"driven": driven(recording.plan)} if recording.windows else {}
    write_manifest(run_dir, before | {"servers": recording.servers} | found)
    progress.phase("reconciling and writing the report")
    result = analyse(
        recording.plan,
        recording.windows,
        run_dir / SAMPLES,
        run_id=run_dir.name,
        started_at=started.isoformat(timespec="seconds"),
        notes=[*_notes(recording), *_calibrated(recording)],
        elapsed_s=recording.elapsed_s,
        complete=recording.complete,
        interrupted=stop.exit_code if recording.interrupted else 0,
        problem=None if recording.problem is None else str(recording.problem),
        strict=strict,
        **_sustained(recording),
    )
    if rollout is not None:
        tables = recording.plan.arms[0].target.describe()["tables"]
        result.rollout = Rollout(
            old=rollout.old,
            new=rollout.new,
            tables=tables,
            drained=rollout.drained,
            phases=recording.phases,
        )
    write_result(run_dir, result)
    write_reports(result, run_dir)
    write_verdict(run_dir, result.verdict, result.exit_code, result.reasons)
    point_latest(runs_dir, run_dir, progress.note)
    if also is not None and recording.complete:
        also(recording.plan, recording.windows, run_dir / SAMPLES)
    return result, run_dir


def _sustained(recording: Recording) -> dict[str, Any]:
    """What the releases sustained, and which of them were too slow to be measured."""
    if isinstance(recording.problem, TooSlowError):
        return {"sustained": recording.problem.sustained, "too_slow": recording.problem.slow}
    return {} if recording.pace is None else {"sustained": recording.pace.sustained}


def _notes(recording: Recording) -> list[str]:
    """What a reader of the figures needs to know; variants that were not measured are left out."""
    plan, scenario = recording.plan, recording.plan.scenario
    notes = [f"{name}: {value}" for name, value in sorted(recording.servers.items())]
    if not recording.windows:
        return notes
    if scenario.time_scale != 1.0:
        notes.append(
            f"Times are scaled by {scenario.time_scale:g}: the TTL of {scenario.ttl_s:g} s is "
            f"{plan.ttl_s:g} s here, and the times that releases hard-code (600 s backfill, 60 s "
            "spend pipeline) are scaled with it. TIME_SCALE=1 runs it unscaled."
        )
    notes += [
        f"{fault.name} was not done to {name}: {reason}."
        for fault in plan.faults
        for name, reason in plan.spared(fault.number).items()
    ]
    notes += [
        f"logs/{name} had more than {LOG_LIMIT / 1_000_000:g} MB, and was cut: {cut:,} bytes are "
        "missing in its middle."
        for name, cut in sorted(recording.log_cuts.items())
    ]
    if recording.pace is not None:
        notes += sentences(plan, recording.pace)
    if scenario.changes.alone:
        keys = [
            sum(change.asked_s is None for change in plan.planned_changes(batch))
            for batch in scenario.batches()
        ]
        every_s = plan.probe_every_s(max(keys))
        notes.append(f"Each changed key was asked for every {every_s:.2g} s on each worker.")
    names = {window.variant for window in recording.windows}
    measured = [arm.target for arm in plan.arms if arm.name in names]
    return notes + list(dict.fromkeys(note for target in measured for note in target.notes))


def _calibrated(recording: Recording) -> list[str]:
    return [calibration_note(known_calibration())] if recording.windows else []
