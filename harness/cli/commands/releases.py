"""Commands about LiteLLM releases: `releases`, `releases install`, `remove`, `lock`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click
from rich.console import Console

from harness.domain.progress import Progress
from harness.errors import UsageError
from harness.process.stop import Stop, with_signals
from harness.report.progress import progress_for
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.install import remove as remove_release
from harness.targets.litellm.kind import relax_release
from harness.targets.litellm.listing import describe_removed, list_releases
from harness.targets.litellm.releases import known_releases, parse_version
from harness.targets.litellm.resolve import lock as lock_releases
from harness.targets.litellm.snapshot import remove_snapshots, snapshots


def listing() -> None:
    """List the LiteLLM releases that are known or installed."""
    for line in list_releases():
        click.echo(line)


def install(versions: tuple[str, ...], *, relax: tuple[str, ...]) -> None:
    """Install releases now instead of on first use."""
    chosen = [relax_release(parse_version(version), relax) for version in versions]

    async def work(progress: Progress) -> None:
        for release in chosen:
            environment = await ensure_environment(release, progress)
            progress.note(f"{release.name} is in {environment.folder}")

    _run(work)


def remove(versions: tuple[str, ...], *, everything: bool) -> None:
    """Remove installed releases and snapshots, and print the space freed."""
    if bool(versions) == everything:
        raise UsageError("Name the releases to remove, or give --all.")
    copies = {folder.name for folder, _ in snapshots()}
    named = {parse_version(text).version for text in versions if text not in copies}
    removed = remove_release(None if everything else named)
    gone = remove_snapshots(None if everything else copies.intersection(versions))
    for line in describe_removed(removed, gone):
        click.echo(line)


def lock(versions: tuple[str, ...], *, upgrade: bool) -> None:
    """Rewrite the project's pins of known releases: all of them, or those named."""
    chosen = [parse_version(version) for version in versions] or [*known_releases().values()]
    _run(lambda progress: lock_releases(chosen, progress, upgrade=upgrade))


def _run(work: Callable[[Progress], Coroutine[Any, Any, None]]) -> None:
    progress = progress_for(Console())

    async def until_stopped(stop: Stop) -> None:
        try:
            await stop.cancels(work(progress))
        finally:
            progress.close()

    _, code = with_signals(until_stopped)
    sys.exit(code)
