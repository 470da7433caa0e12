"""Starts `serve` inside a release's environment: ``python -P …/inside/boot.py``.

That environment holds the release and its dependencies and must hold nothing of ours, or our
dependencies would become its own. So the two packages that we add are found by name:
``harness``, which contains this file, and ``prisma``, our stand-in, unless the settings say
that the environment has an engine of its own. The packages of a working tree, a commit or a wheel
are found in the same way, before those of the environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

INSIDE = Path(__file__).resolve().parent
HARNESS = INSIDE.parents[2]


class Finder(MetaPathFinder):
    """Finds a few top-level packages in folders of their own."""

    def __init__(self, packages: dict[str, Path]) -> None:
        self._packages = packages

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of one of the packages; submodules are found through it."""
        del path, target
        folder = self._packages.get(name)
        if folder is None:
            return None
        return spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )


def _standin() -> Path:
    """Where the stand-in for Prisma is: in a wheel under a private path, else in the checkout."""
    shipped = HARNESS / "_shipped"
    return (shipped if shipped.is_dir() else HARNESS.parent) / "standin" / "prisma"


def packages(settings_json: str) -> dict[str, Path]:
    """The packages to find by name."""
    settings = json.loads(settings_json)
    laid = settings.get("laid", {})
    found = {"harness": HARNESS} | {name: Path(folder) for name, folder in laid.items()}
    if not settings.get("real_prisma"):
        found["prisma"] = _standin()
    return found


def main() -> None:
    """Make our packages importable, then serve."""
    sys.meta_path.insert(0, Finder({"harness": HARNESS}))
    from harness.targets import clock  # noqa: PLC0415 - found only now

    clock.install()
    from harness.targets.settings import SETTINGS_VARIABLE  # noqa: PLC0415 - found only now

    sys.meta_path.insert(0, Finder(packages(os.environ.get(SETTINGS_VARIABLE, "{}"))))
    from harness.targets.litellm.inside.serve import main as serve  # noqa: PLC0415 - found only now

    serve()


if __name__ == "__main__":
    main()
