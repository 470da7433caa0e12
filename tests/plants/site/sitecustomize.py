"""Plants a fault in this process: Python imports this module before any other.

`tests.plants.plant` puts the folder first on PYTHONPATH, so every process of a run has it. The
fault's patch is applied as soon as the module that it changes has been imported.
"""

import importlib.util
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from pathlib import Path

_NAME = os.environ.get("AUTHCACHE_PLANT", "")
_FAULTS = Path(__file__).parents[1] / "faults.py"


class _Patched(Loader):
    def __init__(self, loader, patch):
        self._loader, self._patch = loader, patch

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        self._loader.exec_module(module)
        self._patch(module)

    def __getattr__(self, name):
        return getattr(self._loader, name)


class _Planter(MetaPathFinder):
    def __init__(self, patches):
        self._patches = patches

    def find_spec(self, fullname, path, target=None):
        if fullname not in self._patches:
            return None
        patch = self._patches.pop(fullname)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Patched(spec.loader, patch)
        return spec


if _NAME:
    _spec = importlib.util.spec_from_file_location("authcache_faults", _FAULTS)
    _faults = importlib.util.module_from_spec(_spec)
    sys.modules["authcache_faults"] = _faults
    _spec.loader.exec_module(_faults)
    sys.meta_path.insert(0, _Planter(_faults.patches(_NAME)))
