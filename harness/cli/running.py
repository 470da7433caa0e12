"""How a command runs a scenario to its end: `loadtest` and the studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.authcache.variants import Variant
from harness.cli.options import with_signals
from harness.experiment.stop import Stop
from harness.result import Result
from harness.scenario.schema import Scenario
from harness.stack.registry import EMBEDDED
from harness.targets.litellm.releases import Release


@dataclass(frozen=True, slots=True)
class Done:
    """A run that is over, by itself or by a signal."""

    result: Result
    run_dir: Path
    signal_code: int
    """130 or 143 where a signal ended it, else 0."""


def run_to_end(
    scenario: Scenario,
    choices: Sequence[Variant | Release],
    console: Console,
    *,
    runs_dir: Path,
    postgres_dsn: str | None = None,
    redis_url: str | None = None,
    prometheus: Any = "auto",
    stack: str = EMBEDDED,
) -> Done:
    """Run a scenario over its variants and write the usual reports.

    Raises:
        HarnessError: what `harness.experiment.run.run` and `make_arms` raise.
    """
    # Only a run needs servers, Locust and charts; the other commands stay quick without them.
    from harness.experiment.arms import make_arms  # noqa: PLC0415
    from harness.experiment.run import Servers, run  # noqa: PLC0415
    from harness.report.progress import progress_for  # noqa: PLC0415

    progress = progress_for(console)

    async def go(stop: Stop) -> tuple[Result, Path]:
        try:
            return await run(
                scenario,
                await make_arms(choices, progress),
                runs_dir=runs_dir,
                servers=Servers(postgres_dsn, redis_url),
                progress=progress,
                stop=stop,
                prometheus=prometheus,
                stack_name=stack,
            )
        finally:
            progress.close()

    (result, run_dir), signal_code = with_signals(go)
    return Done(result, run_dir, signal_code)
