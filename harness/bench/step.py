"""One thing that is measured once in every round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

Figures = Mapping[str, float]
"""What one round gave, by name; units stand in the names."""


class Step(Protocol):
    """Measured once a round; the order of steps turns round after every round."""

    name: str

    async def measure(self) -> Figures:
        """One round. Raises InvalidRunError where what was measured is not what was meant."""
