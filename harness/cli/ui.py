"""The command `ui`: fleets with Locust's web UI before them."""

from __future__ import annotations

import click

from harness.cli.options import RunOptions, run_options
from harness.cli.running import keep_until_ctrl_c


@click.command()
@run_options
@click.option("--port", type=click.IntRange(1, 65535), default=8089, show_default=True)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address that the web UI listens on."
)
@click.option(
    "--locust-workers",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    help="Processes that drive the load under a Locust master; 0 is one process for all.",
)
def ui(options: RunOptions, *, port: int, host: str, locust_workers: int) -> None:
    """Start fleets and Locust's web UI with the tab "Auth cache", until Ctrl-C."""
    from harness.experiment.web import WebUi, serve_ui  # noqa: PLC0415  # other commands stay quick

    web = WebUi(host, port, locust_workers)
    keep_until_ctrl_c(options, lambda keeping: serve_ui(keeping, web))
