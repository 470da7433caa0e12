"""Commands of the stacks in containers: `up`, `down`, and `prepare` for a cluster."""

from __future__ import annotations

import sys
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness.authcache.variants import load_variants, pick
from harness.cli.commands.options import RunOptions, plainly
from harness.cli.commands.running import arms_unless_stopped
from harness.domain.population import write_keys
from harness.errors import SetupError, UsageError
from harness.live.compose_sidecars import Sidecars
from harness.live.compose_up import down as take_down
from harness.live.compose_up import up as bring_up
from harness.live.prepare import prepare_database
from harness.plan.arms import reference_arm
from harness.process.stop import Stop, with_signals
from harness.report.progress import progress_for
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.sizing import population
from harness.stack.compose.context import write_context
from harness.stack.compose.images import check_images
from harness.stack.compose.project import image
from harness.targets.registry import KINDS


def up(*, target: str, grafana: str, locust_workers: int, **chosen: Any) -> None:
    """Bring the stack up, or scale a stack that is already up."""
    console = Console()
    options = RunOptions(**chosen)
    if options.variants is None and (own := KINDS[target].image) is not None:
        options = replace(options, variants=(own.variant(image(own.variable)),))
    scenario, choices = options.load()
    check_images(choice.name for choice in choices)

    async def go(stop: Stop) -> None:
        await bring_up(
            scenario,
            await arms_unless_stopped(choices, progress_for(console), stop),
            sidecars=Sidecars(grafana == "on", locust_workers),
            runs_dir=options.runs_dir,
            say=plainly(console),
            stop=stop,
        )

    _, code = with_signals(go)
    sys.exit(code)


def down() -> None:
    """Remove what `up` and dead runs left behind. If it is interrupted, it can be run again."""
    _, code = with_signals(lambda stop: stop.cancels(take_down(click.echo)))
    sys.exit(code)


def prepare(
    *,
    scenario: str,
    keys_file: Path | None,
    image_context: Path | None,
    variant: str | None,
    role: str | None,
    postgres_dsn: str | None,
    role_password: str | None,
) -> None:
    """Write the keys, the image's build context, or one fleet's database, as given."""
    if keys_file is None and image_context is None and variant is None:
        raise UsageError(
            "There is nothing to prepare. Give --keys-file, --image-context or --variant."
        )
    keys = population(load_scenario(scenario, Changes()))
    if keys_file is not None:
        try:
            write_keys(keys_file, keys)
        except OSError as error:
            raise SetupError(
                f"[{keys_file}] cannot be written: {error.strerror}. Name a file in a folder that "
                "exists and can be written with --keys-file."
            ) from error
    if image_context is not None:
        write_context(image_context)
    if variant is None:
        return
    if postgres_dsn is None or role_password is None:
        raise UsageError("A database needs POSTGRES_DSN and ROLE_PASSWORD. Set both.")
    target = reference_arm(pick(load_variants(None), [variant])[0]).target
    database = prepare_database(postgres_dsn, role or variant, role_password, target, keys)

    async def go(stop: Stop) -> None:
        await stop.cancels(_tell(variant, database))

    _, code = with_signals(go)
    sys.exit(code)


async def _tell(variant: str, database: Awaitable[bool]) -> None:
    click.echo(f"{variant}: {'prepared' if await database else 'was ready'}")
