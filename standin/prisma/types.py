"""Types of arguments; LiteLLM names them in annotations and calls a few to build a dict.

Prisma's client has one TypedDict for each use of each model. Here each of them is `dict`.
"""

from __future__ import annotations

from typing import Any

from .locating import current_schema

_GENERAL = frozenset({"DatasourceOverride", "HttpConfig", "SortOrder", "SortMode", "Serializable"})


def __getattr__(name: str) -> Any:
    """Any type whose name begins with a model's, and the general ones."""
    if name.startswith("__"):
        raise AttributeError(name)
    if name in _GENERAL or name.endswith("Filter"):
        return dict
    if any(name.startswith(model) for model in current_schema().models):
        return dict
    raise AttributeError(f"the schema has no model for the type [{name}]")
