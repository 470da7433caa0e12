"""Commands that start fleets: `loadtest` and `fleet`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness.cli.options import chosen_variants, plainly, run_options, switched, with_signals
from harness.cli.running import run_to_end
from harness.errors import EXIT_TERMINATED
from harness.experiment.stop import Stop
from harness.scenario.loader import Changes, load_scenario
from harness.stack.registry import EMBEDDED, STACKS


@click.command()
@run_options
@click.option("--stack", type=click.Choice([*STACKS]), default=EMBEDDED, show_default=True)
@click.option("--time-scale", type=click.FloatRange(0, min_open=True), help="Factor on all times.")
@click.option("--rounds", type=click.IntRange(1, 100), help="Measured windows of each variant.")
@click.option("--seed", type=int, help="Of population and arrivals.")
@click.option(
    "--prometheus",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Record the run; auto does where prometheus is on PATH.",
)
def loadtest(
    *,
    scenario: str,
    variants: tuple[str, ...] | None,
    replicas: int | None,
    workers: int | None,
    premise: str | None,
    overrides: tuple[str, ...],
    variants_file: Path | None,
    postgres_dsn: str | None,
    redis_url: str | None,
    runs_dir: Path,
    stack: str,
    time_scale: float | None,
    rounds: int | None,
    seed: int | None,
    prometheus: Any,
) -> None:
    """Run a scenario and end with a verdict, a table and a report."""
    from harness.report.terminal import print_result  # noqa: PLC0415

    console = Console()
    changes = Changes(replicas, workers, variants, time_scale, rounds, seed, switched(premise))
    loaded = load_scenario(scenario, changes)
    done = run_to_end(
        loaded,
        chosen_variants(loaded, variants_file, overrides),
        console,
        runs_dir=runs_dir,
        postgres_dsn=postgres_dsn,
        redis_url=redis_url,
        prometheus=prometheus,
        stack=stack,
    )
    print_result(done.result, console, done.run_dir)
    sys.exit(done.signal_code or done.result.exit_code)


@click.command()
@run_options
@click.option("--port", type=click.IntRange(1024, 65000), help="First replica's port.")
def fleet(
    *,
    scenario: str,
    variants: tuple[str, ...] | None,
    replicas: int | None,
    workers: int | None,
    premise: str | None,
    overrides: tuple[str, ...],
    variants_file: Path | None,
    postgres_dsn: str | None,
    redis_url: str | None,
    runs_dir: Path,
    port: int | None,
) -> None:
    """Keep fleets up until Ctrl-C, for Locust's web UI or a client of your own."""
    from harness.experiment.arms import make_arms  # noqa: PLC0415
    from harness.experiment.keep import keep_up  # noqa: PLC0415
    from harness.experiment.run import Servers  # noqa: PLC0415
    from harness.report.progress import progress_for  # noqa: PLC0415

    console = Console()
    changes = Changes(replicas, workers, variants, premises=switched(premise))
    loaded = load_scenario(scenario, changes)
    choices = chosen_variants(loaded, variants_file, overrides)
    progress = progress_for(console)

    async def go(stop: Stop) -> None:
        await keep_up(
            loaded,
            await make_arms(choices, progress),
            runs_dir=runs_dir,
            servers=Servers(postgres_dsn, redis_url),
            base_port=port,
            say=plainly(console),
            stop=stop,
        )

    _, code = with_signals(go)
    # Ctrl-C is how a kept fleet is meant to end.
    sys.exit(0 if code != EXIT_TERMINATED else code)
