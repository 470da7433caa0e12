"""The enums of the schema, as string enums."""

from __future__ import annotations

import enum
from typing import Any

from .locating import current_schema


def __getattr__(name: str) -> Any:
    """``prisma.enums.NAME`` for every enum of the schema."""
    members = {} if name.startswith("__") else current_schema().enums
    if name not in members:
        raise AttributeError(name)
    made = enum.StrEnum(name, {member: member for member in members[name]})  # type: ignore[misc]  # made at run time
    globals()[name] = made
    return made
