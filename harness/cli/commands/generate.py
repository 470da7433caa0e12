"""The command `dashboards generate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.errors import EXIT_REGRESSION, SetupError

try:
    from tools.dashboards.generate import stale, write
except ImportError as error:
    raise SetupError(
        f"[{error.name}] is not installed: it is for development. Run `make dashboards`."
    ) from error


def generate(out: Path, *, check: bool) -> None:
    """Write the dashboards' JSON from the code, or say which files differ from it."""
    if check:
        old = stale(out)
        for path in old:
            click.echo(f"{path} is not what the code makes. Run `make dashboards`.", err=True)
        sys.exit(EXIT_REGRESSION if old else 0)
    for path in write(out):
        click.echo(path)
