"""Commands that start no fleet: lists, `report`, `compare`, `compat`."""

from __future__ import annotations

import click

from harness.cli.lazy import LazyCommand
from harness.cli.options import OVERRIDES, RUNS_DIR, VARIANTS, VARIANTS_FILE


@click.command(cls=LazyCommand, body="harness.cli.commands.lists:variants")
@click.argument("name", required=False)
@VARIANTS_FILE
def variants() -> None:
    """List the variants, or print one variant's switches and how they differ from litellm_1_84."""


@click.command(cls=LazyCommand, body="harness.cli.commands.lists:scenarios")
def scenarios() -> None:
    """List the built-in scenarios."""


@click.command(cls=LazyCommand, body="harness.cli.commands.lists:codecs")
def codecs() -> None:
    """List the codecs that a variant can name."""


@click.command(cls=LazyCommand, body="harness.cli.commands.reports:report")
@click.argument("run", default="latest")
@RUNS_DIR
def report() -> None:
    """Rebuild the report of a run from its data (an id, a path, or latest)."""


@click.command(cls=LazyCommand, body="harness.cli.commands.reports:compare")
@click.argument("runs", nargs=-1, required=True)
@click.option("--markdown", is_flag=True, help="As Markdown, for a pull request.")
@click.option("--anyway", is_flag=True, help="Also runs whose load differs; says in what.")
@RUNS_DIR
def compare() -> None:
    """Show two or more runs side by side."""


@click.command(cls=LazyCommand, body="harness.cli.commands.compat:compat")
@VARIANTS
@OVERRIDES
@VARIANTS_FILE
@click.option("--releases", is_flag=True, help="All releases whose payloads are recorded.")
@click.option(
    "--record",
    "to_record",
    multiple=True,
    metavar="litellm==X",
    help="Start this release and record the payloads that it writes. Repeatable.",
)
@click.option("--markdown", is_flag=True, help="As Markdown, for a pull request.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, with every cell.")
@RUNS_DIR
def compat() -> None:
    """Show what each variant makes of the entries that the others leave in Redis.

    Every writer's payloads of a rich population are read by every reader, all fields compared, in
    both directions; then which rollout is safe on one Redis, and whether it must be flushed. The
    order of the variants is that of the upgrade.

    Exit codes: 0 the table is complete, 2 usage, 3 a release could not read and is left out.
    """
