"""Conditions on what lies below a path in a JSON column."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from .complaints import Call
from .schema import Field
from .statements import Parameters
from .values import encode

_PATTERNS = MappingProxyType(
    {"string_contains": "%{}%", "string_starts_with": "{}%", "string_ends_with": "%{}"}
)


def json_condition(
    field: Field,
    column: str,
    operators: Mapping[str, Any],
    parameters: Parameters,
    call: Call,
    path: str,
) -> str:
    """``{"path": [...], operator: value}`` as SQL; several operators must all hold.

    Raises:
        UnsupportedCallError: An operator that is not carried out here.
    """
    keys = operators["path"]
    if not isinstance(keys, list | tuple) or not all(isinstance(key, str) for key in keys):
        raise call.wrong(f"{path}.path", "a list of strings", keys)
    steps = parameters.add(list(keys))
    below = f"({column} #> {steps}::text[])"
    text = f"({column} #>> {steps}::text[])"
    parts = []
    for name, value in operators.items():
        here = f"{path}.{name}"
        if name in {"equals", "not"}:
            sign = "=" if name == "equals" else "<>"
            parts.append(
                f"{below} {sign} {parameters.add(encode(field, value, call, here))}::jsonb"
            )
        elif name in _PATTERNS:
            if not isinstance(value, str):
                raise call.wrong(here, "String", value)
            pattern = parameters.add(_PATTERNS[name].format(value))
            parts.append(f"(jsonb_typeof({below}) = 'string' AND {text} LIKE {pattern})")
        elif name == "array_contains":
            bound = parameters.add(encode(field, value, call, here))
            parts.append(f"(jsonb_typeof({below}) = 'array' AND {below} @> {bound}::jsonb)")
        elif name != "path":
            raise call.unsupported(here)
    if not parts:
        raise call.unsupported(f"{path}.path")
    return parts[0] if len(parts) == 1 else "(" + " AND ".join(parts) + ")"
