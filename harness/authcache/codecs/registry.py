"""Codecs by name: the project's own, entry points, and ``module:Class``."""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from harness.authcache.codecs.base import Codec
from harness.errors import CodecLoadError, UnknownNameError

ENTRY_POINT_GROUP = "harness.codecs"

_classes: dict[str, type[Codec]] = {}
_C = TypeVar("_C", bound=type[Any])


def register(cls: _C) -> _C:
    """Class decorator: register a codec by its ``name``. Raises CodecLoadError if it is taken."""
    taken = _classes.get(cls.name)
    if taken is not None and taken is not cls:
        raise CodecLoadError(
            f"The codec name [{cls.name}] is taken twice: by [{_path(taken)}] and by "
            f"[{_path(cls)}]. Rename one of them."
        )
    _classes[cls.name] = cls
    return cls


def codec_names() -> Mapping[str, str]:
    """Name and one-line summary of every codec that can be named without a module path."""
    _load_own()
    names = {name: cls.summary for name, cls in _classes.items()}
    names.update({name: f"entry point {point.value}" for name, point in _entry_points().items()})
    return dict(sorted(names.items()))


def load_codec(name: str) -> Codec:
    """The codec of a name or of a ``module:Class`` path.

    Raises:
        UnknownNameError: no codec has that name.
        CodecLoadError: it cannot be imported, is not a codec, or its name is taken twice.
    """
    _load_own()
    points = _entry_points()
    if name in _classes:
        return _make(_classes[name], name)
    if name in points:
        try:
            loaded = points[name].load()
        except Exception as error:
            raise CodecLoadError(
                f"The codec [{name}] from entry point [{points[name].value}] cannot be loaded: "
                f"{error}. Fix or uninstall its package."
            ) from error
        return _make(loaded, name)
    if ":" in name:
        return _make(_import_path(name), name)
    raise UnknownNameError(
        "codec", name, codec_names(), "Name a codec of your own as module:Class."
    )


@cache
def _load_own() -> None:
    package = importlib.import_module("harness.authcache.codecs")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def _entry_points() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in _points_on(tuple(sys.path)):
        other = _path(_classes[point.name]) if point.name in _classes else None
        if point.name in found and found[point.name].value != point.value:
            other = found[point.name].value
        if other is not None:
            raise CodecLoadError(
                f"The codec name [{point.name}] is taken twice: by [{other}] and by entry point "
                f"[{point.value}]. Rename one of them."
            )
        found[point.name] = point
    return found


@cache
def _points_on(_search_path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Entry points of the packages on a search path; cached, because reading them is slow."""
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


def _import_path(path: str) -> Any:
    module_name, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise CodecLoadError(
            f"The codec [{path}] cannot be loaded: {error}. Check that the module is on "
            "PYTHONPATH and has that class."
        ) from error


def _make(cls: Any, name: str) -> Codec:
    missing = [part for part in ("encode", "decode") if not callable(getattr(cls, part, None))]
    if missing or not callable(cls):
        raise CodecLoadError(
            f"The codec [{name}] is not a codec: it lacks "
            f"{' and '.join(missing) or 'a constructor'}. Give the class "
            "encode(kind, value) and decode(kind, payload, model)."
        )
    try:
        codec: Codec = cls()
    except Exception as error:
        raise CodecLoadError(
            f"The codec [{name}] cannot be made: {error}. Its constructor must take no arguments."
        ) from error
    return codec


def _path(cls: type[Any]) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"
