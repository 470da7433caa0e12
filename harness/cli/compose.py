"""Commands of the stacks in containers: `up`, `down`, and `prepare` for a cluster."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
from rich.console import Console

from harness.authcache.variants import load_variants, pick
from harness.cli.options import (
    DEFAULT_SCENARIO,
    RUNS_DIR,
    chosen_variants,
    names,
    plainly,
    switched,
    with_signals,
)
from harness.cli.running import arms_unless_stopped
from harness.errors import UsageError
from harness.experiment.stop import Stop
from harness.scenario.loader import Changes, load_scenario
from harness.targets.litellm.releases import Release


@click.command()
@click.option("--scenario", default=DEFAULT_SCENARIO, show_default=True, metavar="NAME|FILE")
@click.option(
    "--variants", callback=names, metavar="A,B", help="One fleet each, instead of the scenario's."
)
@click.option(
    "--target",
    type=click.Choice(["reference", "litellm"]),
    default="reference",
    show_default=True,
    help="litellm: one fleet of the release in LITELLM_IMAGE, unless --variants names others.",
)
@click.option("--replicas", type=click.IntRange(1, 64), help="Replicas of each fleet.")
@click.option("--workers", type=click.IntRange(1, 16), help="Workers of each replica.")
@click.option("--premise", type=click.Choice(["on", "off"]), help="Plant what the scenario plants.")
@click.option("--variants-file", type=click.Path(path_type=Path), envvar="AUTHCACHE_VARIANTS_FILE")
@click.option("--grafana", type=click.Choice(["on", "off"]), default="on", show_default=True)
@click.option(
    "--locust-workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Processes that send the load.",
)
@RUNS_DIR
def up(
    *,
    scenario: str,
    variants: tuple[str, ...] | None,
    target: str,
    replicas: int | None,
    workers: int | None,
    premise: str | None,
    variants_file: Path | None,
    grafana: str,
    locust_workers: int,
    runs_dir: Path,
) -> None:
    """Start fleets, load balancers, Prometheus, Grafana and Locust in Docker Compose.

    Waits until everything is healthy and leaves it running. A stack that is up with the same
    fleets is scaled to --replicas and --locust-workers, and what has ended of it is started again.
    """
    from harness.experiment.compose_beside import Beside  # noqa: PLC0415 - see running.py
    from harness.experiment.compose_up import up as bring_up  # noqa: PLC0415
    from harness.report.progress import progress_for  # noqa: PLC0415
    from harness.stack.compose.images import check_image, release_of  # noqa: PLC0415
    from harness.stack.compose.project import image  # noqa: PLC0415

    console = Console()
    if target == "litellm" and variants is None:
        variants = (f"litellm=={release_of(image('LITELLM_IMAGE'))}",)
    changes = Changes(replicas, workers, variants, premises=switched(premise))
    loaded = load_scenario(scenario, changes)
    choices = chosen_variants(loaded, variants_file, ())
    if releases := [choice.version for choice in choices if isinstance(choice, Release)]:
        check_image(image("LITELLM_IMAGE"), releases)

    async def go(stop: Stop) -> None:
        await bring_up(
            loaded,
            await arms_unless_stopped(choices, progress_for(console), stop),
            beside=Beside(grafana == "on", locust_workers),
            runs_dir=runs_dir,
            say=plainly(console),
            stop=stop,
        )

    _, code = with_signals(go)
    sys.exit(code)


@click.command()
def down() -> None:
    """Remove the containers, networks, volumes and generated files of `up`, and of dead runs."""
    from harness.experiment.compose_up import down as take_down  # noqa: PLC0415

    asyncio.run(take_down(click.echo))


@click.command()
@click.option("--scenario", default=DEFAULT_SCENARIO, show_default=True, metavar="NAME|FILE")
@click.option("--keys-file", type=click.Path(path_type=Path), help="Where the virtual keys go.")
@click.option("--variant", help="Prepare the database of this variant.")
@click.option("--role", help="Postgres role and database; else the variant's name.")
@click.option("--postgres-dsn", envvar="POSTGRES_DSN", help="May create roles and databases.")
@click.option("--role-password", envvar="ROLE_PASSWORD", help="Of the role.")
def prepare(
    *,
    scenario: str,
    keys_file: Path | None,
    variant: str | None,
    role: str | None,
    postgres_dsn: str | None,
    role_password: str | None,
) -> None:
    """Write a scenario's keys, or role, database, schema and population of one fleet.

    For a Job in a cluster, see deploy/kubernetes. What is there already stays as it is.
    """
    from harness.experiment.arms import reference_arm  # noqa: PLC0415 - see runs.py
    from harness.experiment.prepare import prepare_database  # noqa: PLC0415
    from harness.load.keys import write_keys  # noqa: PLC0415
    from harness.scenario.sizing import population  # noqa: PLC0415

    keys = population(load_scenario(scenario, Changes()))
    if keys_file is not None:
        write_keys(keys_file, keys)
    if variant is None:
        if keys_file is None:
            raise UsageError("There is nothing to prepare. Give --keys-file, --variant, or both.")
        return
    if postgres_dsn is None or role_password is None:
        raise UsageError("A database needs POSTGRES_DSN and ROLE_PASSWORD. Set both.")
    target = reference_arm(pick(load_variants(None), [variant])[0]).target
    written = asyncio.run(
        prepare_database(postgres_dsn, role or variant, role_password, target, keys)
    )
    click.echo(f"{variant}: {'prepared' if written else 'was ready'}")
