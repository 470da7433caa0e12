"""Plants a fault in this process: Python imports this module before any other.

`tests.plants.test_plants` puts its folder first on PYTHONPATH, so every process of a run has it.
The fault's patch is applied as soon as the module that it changes has been imported.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

_NAME = os.environ.get("AUTHCACHE_PLANT", "")
_FAULTS = Path(__file__).parents[1] / "faults.py"


class _Patched(Loader):
    def __init__(self, loader: Loader, patch: Callable[[ModuleType], None]) -> None:
        self._loader, self._patch = loader, patch

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._patch(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class _Planter(MetaPathFinder):
    def __init__(self, patches: dict[str, Callable[[ModuleType], None]]) -> None:
        self._patches = patches

    def find_spec(self, fullname: str, *_: Any) -> ModuleSpec | None:
        patch = self._patches.pop(fullname, None)
        spec = None if patch is None else importlib.util.find_spec(fullname)
        if patch is None or spec is None or spec.loader is None:
            return None
        spec.loader = _Patched(spec.loader, patch)
        return spec


def _plant(name: str) -> None:
    spec = importlib.util.spec_from_file_location("authcache_faults", _FAULTS)
    assert spec is not None
    assert spec.loader is not None
    faults = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(faults)
    sys.meta_path.insert(0, _Planter(faults.patches(name)))


if _NAME:
    _plant(_NAME)
