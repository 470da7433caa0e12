"""Asks git about a user's repository, and changes nothing in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from harness.errors import SetupError
from harness.process import groups

_GRACE_S = 5.0


async def git(
    folder: Path, *arguments: str, stdin: bytes | None = None, more: Mapping[str, str] | None = None
) -> str | None:
    """What git prints, or None where it fails.

    Args:
        folder: in the repository.
        arguments: of git.
        stdin: what git reads.
        more: variables of git.

    Raises:
        SetupError: there is no git, or it refuses the folder of another user.
    """
    # Git's own variables, as a hook has them, would name another repository.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    # Without it, `git status` refreshes the index.
    env = {**kept, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **(more or {})}
    try:
        done = await groups.run(
            *("git", "-C", str(folder), *arguments), stdin=stdin, env=env, grace_s=_GRACE_S
        )
    except OSError as error:
        raise SetupError(
            f"git cannot be started: {error.strerror}. Trees and commits need it on PATH; "
            "a wheel file does not."
        ) from error
    if "dubious ownership" in done.err:
        raise SetupError(
            f"git refuses [{folder}], which belongs to another user. Allow it with: "
            f"git config --global --add safe.directory {folder}"
        )
    return done.out if done.code == 0 else None
