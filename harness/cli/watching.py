"""Commands of what watches fleets: `exporter`, `prometheus`, `dashboards`."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.lazy import Command
from harness.cli.options import FILE, RUNS_DIR
from harness.errors import UsageError

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(cls=Command, body="harness.cli.commands.exporter:exporter")
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


@click.command(cls=Command, body="harness.cli.commands.prometheus:prometheus")
@click.argument("run", default="latest")
@click.option("--port", type=click.IntRange(1024, 65_535), help="By default any free one.")
@click.option("--fetch", "only_fetch", is_flag=True, help="Unpack Debian's package, open nothing.")
@RUNS_DIR
def prometheus() -> None:
    """Open Prometheus on what it recorded of a run, until Ctrl-C (an id, a path, or latest)."""


@click.group()
def dashboards() -> None:
    """Make the Grafana dashboards, or pictures of them."""


@dashboards.command(cls=Command, body="harness.cli.commands.generate:generate")
@click.option("--out", type=_FOLDER, default=Path("dashboards"), show_default=True)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 where a file differs.")
def generate() -> None:
    """Write the dashboards' JSON from the code."""


def _pairs(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not text:
            raise UsageError(f"[{pair}] is not NAME=VALUE, e.g. variant=recommended.")
        values[name] = text.split(",")
    return values


@dashboards.command(cls=Command, body="harness.cli.commands.dashboards:render")
@click.option("--prometheus", "url", required=True, metavar="URL", help="Base URL.")
@click.option("--start", type=float, help="Unix seconds; by default its first sample.")
@click.option("--end", type=float, help="Unix seconds; by default its last sample.")
@click.option("--scrape", type=float, default=1.0, show_default=True, help="Seconds between two.")
@click.option("--set", "values", multiple=True, callback=_pairs, metavar="NAME=A,B")
@click.option("--out", type=_FOLDER, required=True)
@click.option("--html", is_flag=True, help="Pages only, which needs no browser.")
@click.argument("files", nargs=-1, required=True, type=FILE)
def render() -> None:
    """Draw dashboards' JSON with the data of a live Prometheus: our rendering, not Grafana's."""
