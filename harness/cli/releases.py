"""Commands about LiteLLM releases: `releases`, `releases install`, `remove`, `lock`."""

from __future__ import annotations

import click

from harness.cli.lazy import LazyCommand, work
from harness.cli.options import RELAX


@click.group(invoke_without_command=True)
@click.pass_context
def releases(ctx: click.Context) -> None:
    """List the LiteLLM releases that are known or installed; install or remove some.

    A release is a variant with the name litellm==VERSION, and is installed on first use. Snapshots
    of trees, commits and wheels (litellm@FOLDER, litellm@FOLDER#REV, litellm@FILE.whl) are listed
    too.
    """
    if ctx.invoked_subcommand is None:
        work(ctx, "harness.cli.commands.releases:listing")


@releases.command(cls=LazyCommand, body="harness.cli.commands.releases:install")
@click.argument("versions", nargs=-1, required=True, metavar="VERSION...")
@RELAX
def install() -> None:
    """Install releases now instead of on first use."""


@releases.command(cls=LazyCommand, body="harness.cli.commands.releases:remove")
@click.argument("versions", nargs=-1, metavar="VERSION|SNAPSHOT...")
@click.option("--all", "everything", is_flag=True, help="All installed releases and snapshots.")
def remove() -> None:
    """Remove installed releases and snapshots of trees, without confirmation."""


@releases.command(cls=LazyCommand, body="harness.cli.commands.releases:lock")
@click.argument("versions", nargs=-1, metavar="[VERSION]...")
@click.option("--upgrade", is_flag=True, help="Move to the newest versions that fit.")
def lock() -> None:
    """Rewrite the project's pins of known releases: all of them, or those named."""
