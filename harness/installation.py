"""Where the harness finds its own files, in a checkout and installed from a wheel.

A wheel holds the files that commands read from outside the package in ``harness/_shipped``, under
the names of the checkout; ``[tool.hatch.build.targets.wheel.sources]`` in pyproject.toml lists
them. Nothing there is importable: it is not a package.
"""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from harness.errors import SetupError

PACKAGE = Path(str(files("harness"))).resolve()
_SHIPPED = PACKAGE / "_shipped"


def shipped(name: str) -> Path:
    """A file or folder that is shipped with the package.

    Args:
        name: as in a checkout, e.g. ``dashboards/rules.yml``.

    Raises:
        SetupError: the installation is incomplete.
    """
    path = (_SHIPPED if _SHIPPED.is_dir() else PACKAGE.parent) / name
    if not path.exists():
        raise SetupError(
            f"[{name}] is missing from the package: the installation is incomplete. Reinstall the "
            "wheel, or run the command in a checkout."
        )
    return path


def checkout() -> Path | None:
    """The folder of the checkout that the package is in; None where it was installed."""
    root = PACKAGE.parent
    return root if not _SHIPPED.is_dir() and (root / "pyproject.toml").is_file() else None


def user_cache() -> Path:
    """The harness's folder in the user's cache; may not exist yet."""
    # By the XDG base directory specification a relative path must be ignored.
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "authcache-harness"
