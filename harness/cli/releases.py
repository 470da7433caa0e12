"""Commands about LiteLLM releases: `releases`, `releases install`, `remove`, `lock`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click
from rich.console import Console

from harness.cli.options import with_signals
from harness.errors import UsageError
from harness.experiment.stop import Stop
from harness.progress import Progress


@click.group(invoke_without_command=True)
@click.pass_context
def releases(ctx: click.Context) -> None:
    """List the LiteLLM releases that are known or installed; install or remove some.

    A release is a variant by the name litellm==VERSION, and is installed on first use.
    """
    if ctx.invoked_subcommand is None:
        from harness.targets.litellm.listing import list_releases  # noqa: PLC0415

        for line in list_releases():
            click.echo(line)


@releases.command()
@click.argument("versions", nargs=-1, required=True, metavar="VERSION...")
def install(versions: tuple[str, ...]) -> None:
    """Install releases now rather than on first use."""
    from harness.targets.litellm.install import ensure_environment  # noqa: PLC0415
    from harness.targets.litellm.releases import parse_version  # noqa: PLC0415

    chosen = [parse_version(version) for version in versions]

    async def work(progress: Progress) -> None:
        for release in chosen:
            environment = await ensure_environment(release, progress)
            progress.note(f"{release.name} is in {environment.folder}")

    _run(work)


@releases.command()
@click.argument("versions", nargs=-1, metavar="VERSION...")
@click.option("--all", "everything", is_flag=True, help="Every release that is installed.")
def remove(versions: tuple[str, ...], *, everything: bool) -> None:
    """Remove installed releases and say what that frees. Asks nothing."""
    from harness.targets.litellm.install import remove as remove_release  # noqa: PLC0415
    from harness.targets.litellm.listing import describe_removed  # noqa: PLC0415
    from harness.targets.litellm.releases import parse_version  # noqa: PLC0415

    if bool(versions) == everything:
        raise UsageError("Name the releases to remove, or give --all.")
    chosen = None if everything else {parse_version(version).version for version in versions}
    for line in describe_removed(remove_release(chosen)):
        click.echo(line)


@releases.command()
@click.argument("versions", nargs=-1, metavar="[VERSION]...")
@click.option("--upgrade", is_flag=True, help="Move to the newest versions that fit.")
def lock(versions: tuple[str, ...], *, upgrade: bool) -> None:
    """Make the project's pins of known releases again; all of them, or those named."""
    from harness.targets.litellm.releases import known_releases, parse_version  # noqa: PLC0415
    from harness.targets.litellm.resolve import lock as lock_releases  # noqa: PLC0415

    chosen = [parse_version(version) for version in versions] or [*known_releases().values()]
    _run(lambda progress: lock_releases(chosen, progress, upgrade=upgrade))


def _run(work: Callable[[Progress], Coroutine[Any, Any, None]]) -> None:
    from harness.report.progress import progress_for  # noqa: PLC0415

    progress = progress_for(Console())

    async def until_stopped(stop: Stop) -> None:
        try:
            await stop.cancels(work(progress))
        finally:
            progress.close()

    _, code = with_signals(until_stopped)
    sys.exit(code)
