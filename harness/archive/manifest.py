"""``manifest.json``: what a reader needs to repeat a run. No host name, no absolute path."""

from __future__ import annotations

import hashlib
import os
import platform
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
        "command": ["harness", *(_without_folders(word) for word in sys.argv[1:])],
        "settings": dict(plan_facts),
    }


def _without_folders(word: str) -> str:
    return Path(word).name if Path(word).is_absolute() else word


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
