"""Commands that start fleets: `loadtest` and `fleet`."""

from __future__ import annotations

import sys
from typing import Any

import click

from harness.cli.commands.options import RunOptions, console_for
from harness.cli.commands.running import keep_until_ctrl_c, run_to_end
from harness.live.keep import keep_up
from harness.report.terminal import print_result


def loadtest(
    *,
    stack: str,
    time_scale: float | None,
    rounds: int | None,
    seed: int | None,
    prometheus: Any,
    strict: bool,
    json_to: str | None,
    **chosen: Any,
) -> None:
    """Run a scenario and end with a verdict, a table and a report."""
    options = RunOptions(**chosen)
    console = console_for(json_to)
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
        strict=strict,
    )
    print_result(done.result, console, done.run_dir)
    if json_to:
        click.echo(done.result.model_dump_json(indent=1))
    sys.exit(done.signal_code or done.result.exit_code)


def fleet(*, port: int | None, **chosen: Any) -> None:
    """Keep fleets up until Ctrl-C, for Locust's web UI or a client of your own."""
    keep_until_ctrl_c(RunOptions(**chosen), lambda request: keep_up(request, port))
