"""The command `dashboards render`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness.cli.commands.options import with_signals
from harness.process.stop import Stop
from tools.dashboards.render.draw import draw_all


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
