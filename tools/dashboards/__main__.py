"""``python -m tools.dashboards``: write the dashboards' JSON (``make dashboards``), or draw it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.lazy import LazyGroup
from harness.errors import EXIT_REGRESSION, UsageError
from harness.process.stop import Stop, with_signals
from tools.dashboards.generate import stale, write
from tools.dashboards.render.draw import draw_all

_FILE = click.Path(path_type=Path)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group(cls=LazyGroup, lazy={})
def main() -> None:
    """Make the Grafana dashboards, or pictures of them."""


@main.command()
@click.option("--out", type=_FOLDER, default=Path("dashboards"), show_default=True)
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 where a file differs.")
def generate(out: Path, *, check: bool) -> None:
    """Write the dashboards' JSON from the code."""
    if check:
        old = stale(out)
        for path in old:
            click.echo(f"{path} is not what the code makes. Run `make dashboards`.", err=True)
        sys.exit(EXIT_REGRESSION if old else 0)
    for path in write(out):
        click.echo(path)


def _pairs(_: click.Context, __: click.Parameter, pairs: tuple[str, ...]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not text:
            raise UsageError(f"[{pair}] is not NAME=VALUE, e.g. variant=recommended.")
        values[name] = text.split(",")
    return values


@main.command()
@click.option("--prometheus", "url", required=True, metavar="URL", help="Base URL.")
@click.option("--start", type=float, help="Unix seconds; by default its first sample.")
@click.option("--end", type=float, help="Unix seconds; by default its last sample.")
@click.option("--scrape", type=float, default=1.0, show_default=True, help="Scrape interval in s.")
@click.option("--set", "values", multiple=True, callback=_pairs, metavar="NAME=A,B")
@click.option("--out", type=_FOLDER, required=True)
@click.option("--html", is_flag=True, help="Pages only, which needs no browser.")
@click.argument("files", nargs=-1, required=True, type=_FILE)
def render(
    *,
    url: str,
    start: float | None,
    end: float | None,
    scrape: float,
    values: Any,
    out: Path,
    html: bool,
    files: tuple[Path, ...],
) -> None:
    """Draw dashboards' JSON with the data of a live Prometheus: our rendering, not Grafana's."""

    async def go(stop: Stop) -> list[Path]:
        del stop
        return await draw_all(
            url, files, out, values, start=start, end=end, scrape_s=scrape, pictures=not html
        )

    paths, code = with_signals(go)
    for path in paths:
        click.echo(path)
    sys.exit(code)


if __name__ == "__main__":
    main()
