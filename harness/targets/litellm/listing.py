"""The output of `harness releases`, line by line."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence

from packaging.version import InvalidVersion, Version

from harness.errors import SetupError, UsageError
from harness.targets.litellm.environment import (
    Environment,
    cache_root,
    environment_folder,
    installed,
)
from harness.targets.litellm.install import Removed
from harness.targets.litellm.releases import PROJECT, known_releases, release_of
from harness.targets.litellm.snapshot import snapshots


def list_releases() -> Iterator[str]:
    """One line per release, oldest first: what is installed, and where."""
    here = installed()
    known = known_releases()
    versions = sorted({*known, *(one.version for one in here)}, key=Version)
    rows = [("release", "Python", "twin", "installed", "what it shows")]
    for version in versions:
        release = release_of(version)
        mine = [one for one in here if one.version == version]
        rows.append(
            (
                version,
                release.python or "",
                release.twin or "",
                "; ".join(_installed(one) for one in mine) or "no",
                release.title,
            )
        )
    yield from _columns(rows)
    if here:
        total = sum(one.installed_bytes for one in here)
        yield f"\n{len(here)} installed, {_megabytes(total)}, in {cache_root()}"
    else:
        yield "\nNone is installed. A release is installed on first use, or with: "
        yield "harness releases install VERSION"
    if copies := snapshots():
        yield "\nSnapshots of trees, commits and wheels:"
        yield from _columns(
            (folder.name, one.environment, _megabytes(one.size), f"{one.kind} {one.place}")
            for folder, one in copies
        )


def index_versions() -> list[str]:
    """The versions of LiteLLM that pip's index has, oldest first, without the refused ones.

    Raises:
        SetupError: pip cannot be run, or the index does not answer.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", PROJECT, "--pre"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        last = (str(detail).strip().splitlines() or ["no message"])[-1]
        raise SetupError(
            f"The versions of [{PROJECT}] cannot be listed: {last}. Check that pip is installed "
            "beside the harness and reaches the package index."
        ) from error
    return parse_index(done.stdout)


def installed_versions() -> list[str]:
    """The versions that can be started here without an installation, oldest first."""
    return list(dict.fromkeys(one.version for one in installed() if one.whole and _current(one)))


def parse_index(text: str) -> list[str]:
    """The versions in the output of ``pip index versions``, oldest first."""
    found = []
    for line in text.splitlines():
        _, mark, names = line.partition("Available versions:")
        for name in names.split(",") if mark else ():
            with contextlib.suppress(InvalidVersion, UsageError):
                found.append(release_of(str(Version(name.strip()))).version)
    return sorted(dict.fromkeys(found), key=Version)


def describe_removed(
    removed: Sequence[Removed], copies: Sequence[tuple[str, int]] = ()
) -> Iterator[str]:
    """What was removed and what that freed.

    Args:
        removed: environments.
        copies: snapshots, by name, with their sizes in bytes.
    """
    for one in removed:
        yield (
            f"removed {one.environment.version} for Python {one.environment.record.python}: "
            f"freed {_megabytes(one.freed_bytes)}"
        )
    for name, size in copies:
        yield f"removed the snapshot {name}: {_megabytes(size)}, some of it shared"
    shared = sum(one.shared_bytes for one in removed)
    if shared:
        yield f"{_megabytes(shared)} more are shared with uv's cache; uv cache clean frees those."
    if not removed and not copies:
        yield "Nothing was installed."


def _installed(environment: Environment) -> str:
    text = f"{_megabytes(environment.installed_bytes)}, Python {environment.record.python}"
    if not environment.whole:
        return f"{text}, broken: its Python or its packages are gone"
    relax = environment.record.relax
    if relax:
        text += f", relaxed: {', '.join(relax)}"
    return text if _current(environment) else f"{text}, for another Python or other pins"


def _current(environment: Environment) -> bool:
    """Whether it is the one that its release would be started in."""
    relax = environment.record.relax
    release = release_of(environment.version).model_copy(update={"relax": relax})
    return environment_folder(release) == environment.folder


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"


def _columns(rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    rows = list(rows)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        yield "  ".join((*cells, row[-1]))
