"""Studies: `twins`, `history`, `clock` and `faults` of variants, `aa` of the harness itself."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.analysis import studies
from harness.analysis.calibration import (
    FILE,
    Calibration,
    calibrate,
    calibrating,
    driven_on_time,
    names_of,
    pair_rounds,
    round_figures,
    to_json,
)
from harness.analysis.explained import known_explanations
from harness.analysis.studies import Study
from harness.analysis.twins import twin_test
from harness.archive.directory import load_result, resolve_run, write_verdict
from harness.authcache.variants import load_variants
from harness.cli.commands.options import chosen_variants, plainly
from harness.cli.commands.running import FinishedRun, run_to_end
from harness.domain.result import Result
from harness.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INVALID,
    EXIT_PASS,
    EXIT_REGRESSION,
    UnknownNameError,
    UsageError,
)
from harness.installation import PACKAGE, checkout
from harness.live.attach import CAN, MOST_PER_S, Attached, check_addresses
from harness.live.attach import attach as attach_to
from harness.observe.evidence import Evidence
from harness.plan.plan import RolloutPlan, RunPlan
from harness.plan.rollout import steps
from harness.process.stop import Stop, StoppedError, with_signals
from harness.report.calibration import PAGE, calibration_page, calibration_table, outcome
from harness.report.clock import (
    clock_exit_code,
    clock_files,
    print_clock,
    remarks,
    require_clocks,
)
from harness.report.faults_report import (
    PAGE as PAGE_OF_FAULTS,
)
from harness.report.faults_report import faults_files, faults_page, print_faults, require_faults
from harness.report.grid import draw
from harness.report.history import require_releases
from harness.report.history_report import history_files, print_history
from harness.report.rollout import print_rollout, rollout_files, rollout_findings
from harness.report.terminal import print_result
from harness.report.twins_report import conclusions, print_twins, twins_files
from harness.report.write import write_texts
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import Scenario
from harness.targets.mixed import Schema

WORDS = {
    EXIT_PASS: "pass",
    EXIT_REGRESSION: "regression",
    EXIT_INCONCLUSIVE: "inconclusive",
    EXIT_INVALID: "invalid",
}
"""The verdict of a study by its exit code, where that is not the run's own."""


def twins(*, only: tuple[str, ...] | None, finished: str | None, **options: Any) -> None:
    """Compare reference variants with the releases they stand for."""
    console = Console()
    pairs, register = studies.chosen_pairs(only), known_explanations()
    done = _done(studies.twins(pairs), console, finished, **options)
    asked = finished is None or only is not None
    test = twin_test(done.result, pairs, register, asked=asked)
    print_twins(test, done.result, console)
    code = test.exit_code(done.result)
    _keep(
        done,
        twins_files(test, done.result),
        console,
        None if finished else code,
        conclusions(test),
    )
    sys.exit(done.signal_code or code)


def history(
    *,
    releases: tuple[str, ...] | None,
    relax: tuple[str, ...],
    finished: str | None,
    **options: Any,
) -> None:
    """Show what releases of LiteLLM do, oldest first, in one table and one chart."""
    for name, given in (("RELEASES", releases is not None), ("RELAX", bool(relax))):
        if finished is not None and given:
            raise UsageError(f"The releases of a finished run cannot be changed. Leave {name} out.")
    console = Console()
    done = _done(studies.history(releases), console, finished, relax=relax, **options)
    if finished is not None:
        require_releases(done.result)
    print_history(done.result, console)
    _keep(done, history_files(done.result), console, None if finished else done.result.exit_code)
    sys.exit(done.signal_code or done.result.exit_code)


def clock(
    *,
    variants: tuple[str, ...] | None,
    replicas: int | None,
    workers: int | None,
    only: tuple[str, ...] | None,
    scopes: tuple[str, ...] | None,
    changes: int,
    ttl_s: int | None,
    watch_ttls: float,
    idle: bool,
    overrides: tuple[str, ...],
    variants_file: Path | None,
    relax: tuple[str, ...],
    strict: bool,
    finished: str | None,
    attach: tuple[str, ...] | None,
    admin_key_env: str | None,
    model: str,
    beyond_loopback: bool,
    postgres_dsn: str | None,
    redis_url: str | None,
    runs_dir: Path,
) -> None:
    """Change objects and tell how long each worker serves what is no longer true."""
    console = Console()
    wanted = Changes(
        replicas=replicas, workers=workers, variants=variants, ttl_s=ttl_s, premises=False
    )
    timed = functools.partial(
        studies.clock, only=only, scopes=scopes, changes=changes, watch_ttls=watch_ttls, idle=idle
    )
    if attach is not None and finished is None:
        if idle:
            raise UsageError(
                "Idle workers of an attached fleet cannot be told apart. Leave --idle out."
            )
        if ttl_s is None:
            raise UsageError("Say with --ttl-s which TTL the fleet runs with, in seconds.")
        fleet = _attached(attach, admin_key_env, model, beyond_loopback=beyond_loopback)
        scenario = _of_attached(load_scenario("clock", wanted), fleet, timed)
        _say_first(scenario, 1, console)
        done = _attach(fleet, scenario, runs_dir, console)
    elif finished is not None:
        run_dir = resolve_run(finished, runs_dir)
        done = FinishedRun(load_result(run_dir), run_dir, signal_code=0)
        require_clocks(done.result)
    else:
        scenario = timed(load_scenario("clock", wanted))
        choices = chosen_variants(scenario, variants_file, overrides, relax)
        _say_first(scenario, len(choices), console)
        done = run_to_end(
            scenario,
            choices,
            console,
            runs_dir=runs_dir,
            postgres_dsn=postgres_dsn,
            redis_url=redis_url,
        )
    print_clock(done.result, console)
    code = clock_exit_code(done.result, strict=strict)
    _keep(
        done,
        clock_files(done.result),
        console,
        None if finished else code,
        remarks(done.result),
    )
    sys.exit(done.signal_code or code)


def _say_first(scenario: Scenario, variants: int, console: Console) -> None:
    for note in studies.clock_notes(scenario, variants):
        console.print(note, markup=False, highlight=False)


def _attached(
    urls: tuple[str, ...], admin_key_env: str | None, model: str, *, beyond_loopback: bool
) -> Attached:
    """A fleet to attach to. Raises UsageError."""
    addresses = check_addresses(urls, beyond_loopback=beyond_loopback)
    key = os.environ.get(admin_key_env or "", "")
    if not key:
        raise UsageError(
            f"The variable [{admin_key_env or ''}] holds no master key. Set one, and name it with "
            "--admin-key-env."
        )
    return Attached(addresses, key, model)


def _of_attached(
    scenario: Scenario, fleet: Attached, timed: Callable[[Scenario], Scenario]
) -> Scenario:
    """The clock's scenario at the rate of an attached fleet, with what can be seen from outside."""
    load = scenario.load.model_copy(update={"rate_per_s": MOST_PER_S})
    seen = [change for change in scenario.change if change.action in CAN]
    updates = {"replicas": len(fleet.urls), "workers": 1, "load": load, "change": seen}
    seen_alone = timed(scenario.model_copy(update=updates))
    if unseen := sorted({change.action for change in seen_alone.change} - CAN):
        raise UsageError(
            f"From outside [{', '.join(unseen)}] cannot be timed: no status shows it, or no call "
            f"makes its objects. Name others in ONLY: {', '.join(sorted(CAN))}."
        )
    return seen_alone


def _attach(fleet: Attached, scenario: Scenario, runs_dir: Path, console: Console) -> FinishedRun:
    """Time an attached fleet. Raises StoppedError after a signal, once all is deleted."""
    kept: list[tuple[Result, Path]] = []

    async def go(stop: Stop) -> None:
        async def work() -> None:
            kept.append(await attach_to(fleet, scenario, runs_dir, plainly(console)))

        await stop.cancels(work())
        if stop.exit_code:
            raise StoppedError(stop.exit_code)

    with_signals(go)
    ((result, run_dir),) = kept
    return FinishedRun(result, run_dir, signal_code=0)


def faults(
    *,
    variants: tuple[str, ...] | None,
    scenario: str,
    replicas: int | None,
    workers: int | None,
    only: tuple[str, ...] | None,
    overrides: tuple[str, ...],
    variants_file: Path | None,
    relax: tuple[str, ...],
    stack: str,
    finished: str | None,
    write: bool,
    runs_dir: Path,
) -> None:
    """Break Redis, Postgres and replicas under load, and show what callers saw of each fault."""
    console = Console()
    root = checkout() if write else None
    if write and root is None:
        raise UsageError("The package is not in a checkout, which --write needs. Leave it out.")
    if finished is not None:
        run_dir = resolve_run(finished, runs_dir)
        done = FinishedRun(load_result(run_dir), run_dir, signal_code=0)
        require_faults(done.result)
    else:
        wanted = Changes(replicas=replicas, workers=workers, variants=variants)
        broken = studies.faults(load_scenario(scenario, wanted), only)
        choices = chosen_variants(broken, variants_file, overrides, relax)
        done = run_to_end(broken, choices, console, runs_dir=runs_dir, stack=stack)
    print_faults(done.result, console)
    _keep(done, faults_files(done.result), console, None if finished else done.result.exit_code)
    if root is not None and done.result.faults:
        (root / PAGE_OF_FAULTS).write_text(faults_page(done.result), encoding="utf-8")
        console.print(f"Written: {PAGE_OF_FAULTS}", markup=False, highlight=False)
    sys.exit(done.signal_code or done.result.exit_code)


def rollout(
    *,
    old: str,
    new: str,
    replicas: int | None,
    workers: int | None,
    schema: Schema,
    drain: bool,
    scenario: str,
    variants_file: Path | None,
    relax: tuple[str, ...],
    strict: bool,
    postgres_dsn: str | None,
    redis_url: str | None,
    runs_dir: Path,
) -> None:
    """Replace the replicas of one variant by those of another, and back, under load."""
    if old == new:
        raise UsageError(f"--from and --to are both [{old}]. Name two variants.")
    console = Console()
    wanted = Changes(replicas=replicas, workers=workers, variants=(old, new), premises=False)
    loaded = load_scenario(scenario, wanted)
    choices = chosen_variants(loaded, variants_file, (), relax)
    planned = RolloutPlan(choices[0].name, choices[1].name, schema, drain)
    steps(loaded.replicas)
    done = run_to_end(
        loaded,
        choices,
        console,
        runs_dir=runs_dir,
        postgres_dsn=postgres_dsn,
        redis_url=redis_url,
        prometheus="off",
        rollout=planned,
    )
    print_rollout(done.result, console)
    failed = rollout_findings(done.result) if strict else []
    code = done.result.exit_code or (EXIT_REGRESSION if failed else EXIT_PASS)
    _keep(done, rollout_files(done.result), console, code, failed)
    sys.exit(done.signal_code or code)


def aa(
    *,
    scenario: str,
    variant: str,
    replicas: int | None,
    pairs: int,
    write: bool,
    postgres_dsn: str | None,
    redis_url: str | None,
    runs_dir: Path,
) -> None:
    """Calibrate: one variant twice, and with a planted TTL; what differs, and what is found?"""
    console = Console()
    known = load_variants()
    if variant not in known:
        raise UnknownNameError("variant", variant, known, "Releases cannot be calibrated.")
    root = checkout() if write else None
    if write and root is None:
        raise UsageError("The package is not in a checkout, which --write needs. Leave it out.")
    given = load_scenario(scenario, Changes(replicas=replicas, variants=(variant,)))
    names, rounds = names_of(variant), pair_rounds(given)
    planned = calibrating(given, variant, pairs)
    made: list[Calibration] = []

    def also(plan: RunPlan, evidence: Sequence[Evidence], samples_dir: Path) -> None:
        kept, problems = driven_on_time(plan, evidence)
        if problems or {e.variant for e in kept if e.phase == "measured"} != {*names}:
            return
        made.append(
            calibrate(
                round_figures(plan, kept, samples_dir),
                names,
                rounds,
                about=(planned.name, variant, planned.replicas),
                date=datetime.now(UTC).isoformat(timespec="seconds"),
                seed=planned.seed,
                left_out=(len(evidence) - len(kept)) // len(names),
            )
        )

    done = run_to_end(
        planned,
        [replace(known[variant], name=name) for name in names],
        console,
        runs_dir=runs_dir,
        postgres_dsn=postgres_dsn,
        redis_url=redis_url,
        also=also,
    )
    print_result(done.result, console, done.run_dir)
    if done.signal_code or not done.result.complete or not made:
        sys.exit(done.signal_code or done.result.exit_code or EXIT_INCONCLUSIVE)
    (calibration,) = made
    draw(console, calibration_table(calibration))
    write_texts(done.run_dir, {FILE: to_json(calibration)})
    code = calibration.exit_code
    write_verdict(done.run_dir, WORDS[code], code, [outcome(calibration)], [FILE])
    if root is not None and calibration.pairs:
        # Every report names it from now on, and the docs have its table.
        (PACKAGE / "analysis" / FILE).write_text(to_json(calibration), encoding="utf-8")
        (root / PAGE).write_text(calibration_page(calibration), encoding="utf-8")
        console.print(f"Written: {PAGE}", markup=False, highlight=False)
    sys.exit(code)


def _done(
    study: Study,
    console: Console,
    finished: str | None,
    *,
    replicas: int | None,
    rounds: int | None,
    postgres_dsn: str | None,
    redis_url: str | None,
    runs_dir: Path,
    relax: tuple[str, ...] = (),
) -> FinishedRun:
    """Run the study, or load a finished run."""
    if finished is None:
        scenario = study.load(replicas, rounds)
        choices = chosen_variants(scenario, None, (), relax)
        return run_to_end(
            scenario,
            choices,
            console,
            runs_dir=runs_dir,
            postgres_dsn=postgres_dsn,
            redis_url=redis_url,
        )
    if replicas is not None or rounds is not None:
        raise UsageError(
            f"The run [{finished}] is finished: its replicas and rounds cannot be changed. "
            "Leave REPLICAS and ROUNDS out, or RUN."
        )
    run_dir = resolve_run(finished, runs_dir)
    return FinishedRun(load_result(run_dir), run_dir, signal_code=0)


def _keep(
    done: FinishedRun,
    texts: dict[str, str],
    console: Console,
    code: int | None,
    reasons: Sequence[str] = (),
) -> None:
    """Write the study's files next to the usual reports, and print their folder.

    Args:
        done: the run.
        texts: the files by name.
        console: for the line.
        code: with which the command ends, for ``verdict.json``; None leaves that file as it is.
        reasons: for that code where it is not the run's own.
    """
    write_texts(done.run_dir, texts)
    if code is not None:
        result = done.result
        if code == result.exit_code:
            write_verdict(done.run_dir, result.verdict, code, result.reasons, texts)
        else:
            write_verdict(done.run_dir, WORDS[code], code, reasons, texts)
    line = f"Files: {done.run_dir}/ ({', '.join(texts)}, report.html, result.json)"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
