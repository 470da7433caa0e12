"""The command `exporter`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.exporter.app import Exporter
from harness.exporter.config import read_config
from harness.exporter.serving import serve
from harness.process.stop import Stop, until_ctrl_c


def exporter(config_file: Path, host: str | None, port: int | None) -> None:
    """Serve counts of Postgres and Redis and the pages of all workers, until Ctrl-C."""
    config = read_config(config_file)
    listen = config.listen

    async def go(stop: Stop) -> None:
        serving = Exporter(config.state(), config.fleets(), takes_state=True)
        chosen = listen.port if port is None else port
        async with serve(serving, host or listen.host, chosen) as url:
            click.echo(f"Exporter: {url}/metrics")
            await stop.wait()

    until_ctrl_c(go)
