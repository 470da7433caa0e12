"""Where ``prometheus`` and ``promtool`` come from.

No package on the Python index has them. On Debian and Ubuntu the distribution's package can be
unpacked without being installed; `fetch` does that.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SetupError
from harness.installation import checkout, user_cache

PROMETHEUS = "prometheus"
PROMTOOL = "promtool"
VARIABLES = {PROMETHEUS: "AUTHCACHE_PROMETHEUS", PROMTOOL: "AUTHCACHE_PROMTOOL"}
"""Environment variables that name a binary, by program."""
PACKAGE = "prometheus"
"""Debian's package; it has both programs."""

_VERSION = re.compile(r"version (\S+)")
_ASSETS = Path("share/prometheus/web")
_VERSION_TIMEOUT_S = 30
_FETCH_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Binary:
    """A program that runs on this machine."""

    path: Path
    source: str
    """Where it was found, in words and without a path, for reports."""
    version: str
    """As ``2.42.0+ds``."""

    @property
    def assets(self) -> Path | None:
        """Files of the web interface in an unpacked package; None if none are needed.

        Debian's build reads them from ``/usr/share`` by default.
        """
        folder = self.path.parent.parent / _ASSETS
        return folder if folder.is_dir() and folder.parts[:2] != ("/", "usr") else None


def find(program: str, *, fetched: bool = True) -> Binary | None:
    """The first program that runs: named by the variable, on PATH, or unpacked by `fetch`.

    Args:
        program: `PROMETHEUS` or `PROMTOOL`.
        fetched: whether to look at what `fetch` unpacked.

    Raises:
        SetupError: the program that the variable names does not run.
    """
    variable = VARIABLES[program]
    named = os.environ.get(variable)
    if named:
        version = _version(Path(named), program)
        if version is None:
            raise SetupError(
                f"{variable} names no {program} that runs [{named}]. "
                "Name the program itself, or unset the variable."
            )
        return Binary(Path(named), variable, version)
    for path, source in _candidates(program, fetched=fetched):
        version = _version(path, program)
        if version is not None:
            return Binary(path, source, version)
    return None


def cache_folder() -> Path:
    """Where `fetch` unpacks: ``.cache/prometheus`` of the project, else of the user."""
    root = checkout()
    return (root / ".cache" if root else user_cache()) / "prometheus"


def fetch() -> Binary:
    """Download Debian's package with ``apt-get download`` and unpack it; nothing is installed.

    A package that was unpacked before is kept, and nothing is downloaded.

    Raises:
        SetupError: this is not Debian, or the package cannot be downloaded.
    """
    if (have := _fetched(PROMETHEUS)) is not None:
        return have
    tools = [tool for tool in ("apt-get", "dpkg") if shutil.which(tool) is None]
    if tools:
        raise SetupError(
            f"Prometheus can be fetched on Debian and Ubuntu only; there is no [{tools[0]}] here. "
            f"Put prometheus and promtool on PATH, or name them in {VARIABLES[PROMETHEUS]} and "
            f"{VARIABLES[PROMTOOL]}."
        )
    target = cache_folder()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".prometheus-") as name:
        folder = Path(name)
        _download(folder)
        [package] = folder.glob("*.deb")
        _run(["dpkg", "-x", package, folder / "unpacked"], folder)
        shutil.rmtree(target, ignore_errors=True)
        (folder / "unpacked").replace(target)
    found = _fetched(PROMETHEUS)
    if found is None:
        raise SetupError("The fetched prometheus does not run on this machine. Install your own.")
    return found


def _candidates(program: str, *, fetched: bool) -> Iterator[tuple[Path, str]]:
    on_path = shutil.which(program)
    if on_path is not None:
        yield Path(on_path), "PATH"
    if fetched:
        yield _fetched_path(program), "Debian's package, unpacked"


def _fetched_path(program: str) -> Path:
    return cache_folder() / "usr" / "bin" / program


def _fetched(program: str) -> Binary | None:
    path = _fetched_path(program)
    version = _version(path, program)
    return None if version is None else Binary(path, "Debian's package, unpacked", version)


def _version(path: Path, program: str) -> str | None:
    """A program's version; None if it does not run, or is another program of that name."""
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    text = done.stdout + done.stderr
    found = _VERSION.search(text)
    return found[1] if done.returncode == 0 and found and text.startswith(program) else None


def _download(folder: Path) -> None:
    command = ["apt-get", "download", PACKAGE]
    try:
        _run(command, folder)
    except SetupError:
        # A fresh image has no lists of packages; only root may get them.
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "update", "--quiet"], folder)
        _run(command, folder)


def _run(command: Sequence[str | Path], folder: Path) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_FETCH_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"[{command[0]} {command[1]}] failed: {error}.") from error
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise SetupError(
            f"[{command[0]} {command[1]}] failed: {lines[-1]}. "
            "Check the network and the package sources, or put prometheus on PATH."
        )
