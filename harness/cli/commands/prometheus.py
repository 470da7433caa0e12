"""The command `prometheus`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.archive.directory import resolve_run
from harness.process.stop import Stop, until_ctrl_c
from harness.process.waiting import while_alive
from harness.prometheus.binaries import fetch
from harness.prometheus.reopen import reopened


def prometheus(run: str, *, port: int | None, only_fetch: bool, runs_dir: Path) -> None:
    """Open Prometheus on the data of a recorded run, until Ctrl-C (an id, a path, or latest)."""
    if only_fetch:
        found = fetch()
        click.echo(f"prometheus {found.version}: {found.path}")
        return
    run_dir = resolve_run(run, runs_dir)

    async def go(stop: Stop) -> None:
        async with reopened(run_dir, port) as opened:
            click.echo(f"Run {run_dir.name} in Prometheus: {opened.look}")
            click.echo(f"For Grafana: {opened.api.url}. Serves a copy of the data until Ctrl-C.")
            await while_alive(stop.wait(), opened.died)

    until_ctrl_c(go)
