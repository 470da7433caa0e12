"""The command `ui`: fleets with Locust's web UI before them."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console

from harness.cli.options import chosen_variants, plainly, run_options, switched, with_signals
from harness.errors import EXIT_TERMINATED
from harness.experiment.stop import Stop
from harness.scenario.loader import Changes, load_scenario


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
def ui(
    *,
    scenario: str,
    variants: tuple[str, ...] | None,
    replicas: int | None,
    workers: int | None,
    premise: str | None,
    overrides: tuple[str, ...],
    variants_file: Path | None,
    postgres_dsn: str | None,
    redis_url: str | None,
    runs_dir: Path,
    port: int,
    host: str,
    locust_workers: int,
) -> None:
    """Start fleets and Locust's web UI with the tab "Auth cache", until Ctrl-C."""
    from harness.experiment.arms import make_arms  # noqa: PLC0415  # other commands stay quick
    from harness.experiment.run import Servers  # noqa: PLC0415  # the same
    from harness.experiment.web import WebUi, serve_ui  # noqa: PLC0415  # the same
    from harness.report.progress import progress_for  # noqa: PLC0415  # the same

    console = Console()
    changes = Changes(replicas, workers, variants, premises=switched(premise))
    loaded = load_scenario(scenario, changes)
    choices = chosen_variants(loaded, variants_file, overrides)
    progress = progress_for(console)

    async def go(stop: Stop) -> None:
        await serve_ui(
            loaded,
            await make_arms(choices, progress),
            WebUi(host, port, locust_workers),
            runs_dir=runs_dir,
            servers=Servers(postgres_dsn, redis_url),
            say=plainly(console),
            stop=stop,
        )

    try:
        _, code = with_signals(go)
    finally:
        progress.close()
    # Ctrl-C is how the web UI is meant to end.
    sys.exit(0 if code != EXIT_TERMINATED else code)
