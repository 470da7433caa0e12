"""Commands that start fleets: `loadtest` and `fleet`."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.console import Console

from harness.cli.options import RunOptions, run_options
from harness.cli.running import keep_until_ctrl_c, run_to_end
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
    options: RunOptions,
    *,
    stack: str,
    time_scale: float | None,
    rounds: int | None,
    seed: int | None,
    prometheus: Any,
) -> None:
    """Run a scenario and end with a verdict, a table and a report."""
    from harness.report.terminal import print_result  # noqa: PLC0415

    console = Console()
    scenario, choices = options.load(time_scale, rounds, seed)
    done = run_to_end(
        scenario,
        choices,
        console,
        runs_dir=options.runs_dir,
        postgres_dsn=options.postgres_dsn,
        redis_url=options.redis_url,
        prometheus=prometheus,
        stack=stack,
    )
    print_result(done.result, console, done.run_dir)
    sys.exit(done.signal_code or done.result.exit_code)


@click.command()
@run_options
@click.option("--port", type=click.IntRange(1024, 65000), help="First replica's port.")
def fleet(options: RunOptions, *, port: int | None) -> None:
    """Keep fleets up until Ctrl-C, for Locust's web UI or a client of your own."""
    from harness.experiment.keep import keep_up  # noqa: PLC0415  # other commands stay quick

    keep_until_ctrl_c(options, lambda keeping: keep_up(keeping, port))
