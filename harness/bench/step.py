"""One thing that is measured once in every round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

Figures = Mapping[str, float]
"""What one round gave, by name; units stand in the names."""


class Step(Protocol):
    """Measured once a round, or more seldom; the order of steps turns round after every round."""

    name: str
    every: int
    """1 for every round, 2 for every second one, from the first on."""

    async def measure(self) -> Figures:
        """One round. Raises InvalidRunError where what was measured is not what was meant."""
