"""The command `exporter`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.options import until_ctrl_c
from harness.experiment.stop import Stop


@click.command()
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    required=True,
    envvar="AUTHCACHE_EXPORTER_CONFIG",
    help="TOML file; harness/exporter/config.py documents it.",
)
@click.option("--host", help="Instead of the file's.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Instead of the file's; 0 takes any.")
def exporter(config_file: Path, host: str | None, port: int | None) -> None:
    """Serve counts of Postgres and Redis and the pages of all workers, until Ctrl-C."""
    from harness.exporter.app import Exporter  # noqa: PLC0415
    from harness.exporter.config import read_config  # noqa: PLC0415
    from harness.exporter.serving import serve  # noqa: PLC0415

    config = read_config(config_file)
    listen = config.listen

    async def go(stop: Stop) -> None:
        serving = Exporter(config.state(), config.fleets(), takes_state=True)
        chosen = listen.port if port is None else port
        async with serve(serving, host or listen.host, chosen) as url:
            click.echo(f"Exporter: {url}/metrics")
            await stop.wait()

    until_ctrl_c(go)
