"""The options of a benchmark. Light to import, for the command line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Group = Literal["requests", "codecs", "start"]
GROUPS: tuple[Group, ...] = ("requests", "codecs", "start")


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure. ``quick`` is for tests: its figures mean nothing."""

    rounds: int = 8
    groups: tuple[Group, ...] = GROUPS
    quick: bool = False
