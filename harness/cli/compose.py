"""Commands of the stacks in containers: `up`, `down`, and `prepare` for a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.lazy import LazyCommand
from harness.cli.options import (
    FILE,
    PREMISE,
    REPLICAS,
    RUNS_DIR,
    SCENARIO,
    VARIANTS,
    VARIANTS_FILE,
    WORKERS,
)


@click.command(cls=LazyCommand, body="harness.cli.commands.compose:up")
@SCENARIO
@VARIANTS
@click.option(
    "--target",
    type=click.Choice(["reference", "litellm"]),
    default="reference",
    show_default=True,
    help="litellm: one fleet of the release in LITELLM_IMAGE, unless --variants names others.",
)
@REPLICAS
@WORKERS
@PREMISE
@VARIANTS_FILE
@click.option("--grafana", type=click.Choice(["on", "off"]), default="on", show_default=True)
@click.option(
    "--locust-workers",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Processes that send the load.",
)
@RUNS_DIR
def up() -> None:
    """Start fleets, load balancers, Prometheus, Grafana and Locust in Docker Compose.

    Waits until everything is healthy and leaves it running. If a stack with the same fleets is
    up already, it is scaled to --replicas and --locust-workers; exited containers are restarted.
    """


@click.command(cls=LazyCommand, body="harness.cli.commands.compose:down")
def down() -> None:
    """Remove the containers, networks, volumes and generated files of `up` and of dead runs."""


@click.command(cls=LazyCommand, body="harness.cli.commands.compose:prepare")
@SCENARIO
@click.option("--keys-file", type=FILE, help="File for the virtual keys.")
@click.option(
    "--image-context",
    type=click.Path(path_type=Path, file_okay=False),
    help="New folder for the build context of the image.",
)
@click.option("--variant", help="Prepare the database of this variant.")
@click.option("--role", help="Postgres role and database; by default the variant's name.")
@click.option(
    "--postgres-dsn",
    envvar="POSTGRES_DSN",
    show_envvar=True,
    help="DSN of a role that may create roles and databases.",
)
@click.option(
    "--role-password", envvar="ROLE_PASSWORD", show_envvar=True, help="Password of that role."
)
def prepare() -> None:
    """Write a scenario's keys, the image's build context, or one fleet's database.

    For a cluster, see deploy/kubernetes. A database gets role, schema and population; whatever
    exists already is kept.
    """
