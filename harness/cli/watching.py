"""Commands of what watches fleets: `exporter`, `prometheus`."""

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
    help="TOML file; harness/exporter/config.py documents it.",
)
@click.option("--host", help="Instead of the file's.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Instead of the file's; 0 takes any.")
def exporter() -> None:
    """Serve counts of Postgres and Redis and the pages of all workers, until Ctrl-C."""


@click.command(cls=LazyCommand, body="harness.cli.commands.prometheus:prometheus")
@click.argument("run", default="latest")
@click.option("--port", type=click.IntRange(1024, 65_535), help="By default any free one.")
@click.option("--fetch", "only_fetch", is_flag=True, help="Unpack Debian's package, open nothing.")
@RUNS_DIR
def prometheus() -> None:
    """Open Prometheus on what it recorded of a run, until Ctrl-C (an id, a path, or latest)."""
