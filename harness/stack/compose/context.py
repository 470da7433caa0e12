"""What the harness's own image is built from: the installed package and its pinned requirements."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.errors import SetupError
from harness.installation import PACKAGE, shipped

_IN_THE_IMAGE = ("locustfile.py", "requirements/runtime.txt")
"""Of the shipped files, those that containers read."""


def write_context(folder: Path) -> None:
    """Assemble a build context, which is the same from a checkout and from a wheel.

    It holds the Dockerfile, the health probe, and the package as a wheel lays it out.

    Args:
        folder: must not exist yet.

    Raises:
        SetupError: it exists already, or cannot be written.
    """
    try:
        folder.mkdir(parents=True)
        for name in ("compose/Dockerfile", "compose/probe.py"):
            shutil.copy(shipped(name), folder)
        package = folder / PACKAGE.name
        skipped = shutil.ignore_patterns("__pycache__", "_shipped")
        shutil.copytree(PACKAGE, package, ignore=skipped)
        for name in _IN_THE_IMAGE:
            copy = package / "_shipped" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(shipped(name), copy)
    except OSError as error:
        raise SetupError(
            f"The build context [{folder}] cannot be written: {error}. Name a folder that does not "
            "exist yet, where you may write."
        ) from error
