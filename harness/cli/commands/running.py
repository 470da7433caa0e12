"""Runs a scenario to its end, or keeps its fleets up, for a command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from harness.analysis.analyse import enough as expectations_decided
from harness.cli.commands.options import RunOptions, plainly
from harness.domain.progress import Progress
from harness.domain.result import Result
from harness.experiment.run import run
from harness.live.keep import FleetRequest
from harness.observe.evidence import Evidence
from harness.plan.arms import make_arms
from harness.plan.plan import Arm, RolloutPlan, RunPlan
from harness.process.stop import Stop, StoppedError, until_ctrl_c, with_signals
from harness.report.progress import progress_for
from harness.scenario.schema import Scenario
from harness.stack.base import Servers
from harness.stack.registry import EMBEDDED
from harness.targets.base import Choice


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run that has ended, by itself or by a signal."""

    result: Result
    run_dir: Path
    signal_code: int
    """129, 130 or 143 if a signal ended it, else 0."""


async def arms_unless_stopped(
    choices: Sequence[Choice], progress: Progress, stop: Stop
) -> list[Arm]:
    """Arms ready to start. Missing releases are installed, which a signal can stop.

    Raises:
        StoppedError: a signal came meanwhile; a partial installation is removed.
        HarnessError: what `make_arms` raises.
    """
    arms: list[Arm] = []

    async def make() -> None:
        arms.extend(await make_arms(choices, progress))

    await stop.cancels(make())
    if stop.exit_code:
        raise StoppedError(stop.exit_code)
    return arms


def run_to_end(
    scenario: Scenario,
    choices: Sequence[Choice],
    console: Console,
    *,
    runs_dir: Path,
    postgres_dsn: str | None = None,
    redis_url: str | None = None,
    prometheus: Any = "auto",
    stack: str = EMBEDDED,
    strict: bool = False,
    also: Callable[[RunPlan, Sequence[Evidence], Path], None] | None = None,
    rollout: RolloutPlan | None = None,
    enough: Callable[[RunPlan, Sequence[Evidence], Path], bool] = expectations_decided,
    check: Callable[[Sequence[Arm]], None] | None = None,
) -> FinishedRun:
    """Run a scenario over its variants and write the usual reports.

    ``check`` gets the arms before anything is started, and raises HarnessError to refuse them. The
    other arguments are those of `harness.experiment.run.run`.

    Raises:
        HarnessError: what `harness.experiment.run.run` and `make_arms` raise.
    """
    progress = progress_for(console)

    async def go(stop: Stop) -> tuple[Result, Path]:
        try:
            arms = await arms_unless_stopped(choices, progress, stop)
            if check is not None:
                check(arms)
            return await run(
                scenario,
                arms,
                runs_dir=runs_dir,
                servers=Servers(postgres_dsn, redis_url),
                progress=progress,
                stop=stop,
                prometheus=prometheus,
                stack_name=stack,
                strict=strict,
                also=also,
                rollout=rollout,
                enough=enough,
            )
        finally:
            progress.close()

    (result, run_dir), signal_code = with_signals(go)
    return FinishedRun(result, run_dir, signal_code)


def keep_until_ctrl_c(
    options: RunOptions, serve: Callable[[FleetRequest], Awaitable[None]]
) -> NoReturn:
    """Keep the fleets of the options up until Ctrl-C, then stop them and exit.

    Args:
        options: the fleets and their servers.
        serve: starts the fleets and keeps them up until it is stopped.

    Raises:
        HarnessError: what `RunOptions.load`, `make_arms` and `serve` raise.
    """
    console = Console()
    scenario, choices = options.load()
    progress = progress_for(console)

    async def go(stop: Stop) -> None:
        try:
            arms = await arms_unless_stopped(choices, progress, stop)
        finally:
            progress.close()
        servers = Servers(options.postgres_dsn, options.redis_url)
        await serve(FleetRequest(scenario, arms, options.runs_dir, servers, plainly(console), stop))

    until_ctrl_c(go)
