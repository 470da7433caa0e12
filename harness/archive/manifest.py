"""``manifest.json``: what repeats a run. No host name, no password, no absolute path."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

import harness
from harness.installation import checkout, shipped

PACKAGES = (
    "asyncpg",
    "hiredis",
    "httptools",
    "locust",
    "msgspec",
    "ormsgpack",
    "prometheus-client",
    "pydantic",
    "redis",
    "uvicorn",
    "uvloop",
)
_SERVERS = frozenset({"--postgres-dsn", "--redis-url"})
"""Options whose values name a server, often with a password."""
_FOLDERS = re.compile(r"([=@]\s*)(/(?:\\,|[^=@#,])*)")
"""An absolute path within a word, as in ``head=litellm@/home/user/litellm#REV,recommended``."""


def manifest(plan_facts: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The part of the manifest that is known before a run starts."""
    return {
        "harness": harness.__version__,
        "git": _git(checkout()),
        "lock_sha256": _sha256(shipped("requirements/runtime.txt")),
        "python": platform.python_version(),
        "python_build": platform.python_compiler(),
        "packages": {name: _version(name) for name in PACKAGES},
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "cpus_allowed": _allowed_cpus(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_average_before": [round(x, 2) for x in psutil.getloadavg()],
        "seed": seed,
        "command": command_line(),
        "settings": dict(plan_facts),
    }


def command_line() -> list[str]:
    """The words of this run's command, for readers elsewhere.

    Without addresses and the options of servers; of an absolute path only the last name.
    """
    words, before = ["harness"], ""
    for word in sys.argv[1:]:
        names_server = _SERVERS.intersection((before, word.partition("=")[0]))
        if not names_server and "://" not in word:
            words.append(_without_folders(word))
        before = word
    return words


def _without_folders(word: str) -> str:
    if Path(word).is_absolute():
        return Path(word).name
    return _FOLDERS.sub(lambda found: found[1] + Path(found[2]).name, word)


def _allowed_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _git(root: Path | None) -> dict[str, Any]:
    """State of the checkout. An installed package may lie in another project's checkout."""
    if root is None:
        return {"commit": None, "clean": None}

    def run(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments],  # noqa: S607 - whatever git the user has
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    status = run("status", "--porcelain")
    return {"commit": run("rev-parse", "HEAD"), "clean": None if status is None else not status}
