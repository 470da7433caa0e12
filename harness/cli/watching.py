"""Commands that watch fleets: `exporter`, `prometheus`."""

from __future__ import annotations

import click

from harness.cli.lazy import LazyCommand
from harness.cli.options import FILE, RUNS_DIR


@click.command(cls=LazyCommand, body="harness.cli.commands.exporter:exporter")
@click.option(
    "--config",
    "config_file",
    type=FILE,
    required=True,
    envvar="AUTHCACHE_EXPORTER_CONFIG",
    show_envvar=True,
    help="TOML file; harness/exporter/config.py documents it.",
)
@click.option("--host", help="Overrides the file.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Overrides the file; 0 takes any.")
def exporter() -> None:
    """Serve counts of Postgres and Redis and the pages of all workers, until Ctrl-C."""


@click.command(cls=LazyCommand, body="harness.cli.commands.prometheus:prometheus")
@click.argument("run", default="latest")
@click.option("--port", type=click.IntRange(1024, 65_535), help="By default any free port.")
@click.option(
    "--fetch",
    "only_fetch",
    is_flag=True,
    help="Only download Debian's package with apt-get and unpack it; nothing is installed.",
)
@RUNS_DIR
def prometheus() -> None:
    """Open Prometheus on the data of a recorded run, until Ctrl-C (an id, a path, or latest)."""
