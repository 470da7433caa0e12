"""The command `prometheus`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import RUNS_DIR, until_ctrl_c
from harness.experiment.stop import Stop
from harness.stack.survival import while_alive


@click.command()
@click.argument("run", default="latest")
@click.option("--port", type=click.IntRange(1024, 65_535), help="By default any free one.")
@click.option("--fetch", "only_fetch", is_flag=True, help="Unpack Debian's package, open nothing.")
@RUNS_DIR
def prometheus(run: str, port: int | None, only_fetch: bool, runs_dir: Path) -> None:
    """Open Prometheus on what it recorded of a run, until Ctrl-C (an id, a path, or latest)."""
    from harness.prometheus.binaries import fetch  # noqa: PLC0415
    from harness.prometheus.reopen import reopened  # noqa: PLC0415
    from harness.report.write import resolve_run  # noqa: PLC0415

    if only_fetch:
        found = fetch()
        click.echo(f"prometheus {found.version}: {found.path}")
        return
    run_dir = resolve_run(run, runs_dir)

    async def go(stop: Stop) -> None:
        async with reopened(run_dir, port) as opened:
            click.echo(f"Run {run_dir.name} in Prometheus: {opened.look}")
            click.echo(f"For Grafana: {opened.api.url}. A copy of the data; Ctrl-C ends it.")
            await while_alive(stop.wait(), opened.died)

    until_ctrl_c(go)
