"""Axes: a logarithmic scale that can show 0, and round ticks.

pygal's own logarithmic scale drops values of 0 and does not let the caller set its start; here a
value is placed by its logarithm on a linear axis, and the tick labels show the original values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True)
class LogScale:
    """From ``10 ** low`` at position 0 to ``10 ** high``. Values of 0 or less are at position 0."""

    low: int
    high: float
    zero: bool = False
    """Whether the start of the scale is labelled 0."""

    @classmethod
    def over(cls, values: Iterable[float], *, from_one: bool = False) -> LogScale:
        """From the decade of the least value up to the greatest; at least one decade long.

        ``from_one`` starts at 1 or below, so that bars keep the same start. Without it, values of 0
        add a decade below all others.
        """
        given = list(values)
        logs = [math.log10(v) for v in given if v > 0] or [0.0]
        low = math.floor(min(logs))
        if from_one:
            low = min(low, 0)
            return cls(low, max(low + 1.0, *logs))
        zero = any(v <= 0 for v in given)
        low -= zero
        return cls(low, max(low + 1.0, *logs), zero)

    def place(self, value: float) -> float:
        """Position of a value, in decades above the start."""
        return max(0.0, math.log10(value) - self.low) if value > 0 else 0.0

    @property
    def length(self) -> float:
        """Length in decades."""
        return self.high - self.low

    def ticks(self) -> list[tuple[float, str]]:
        """Position and label of every decade, from the start."""
        top = math.floor(self.high + 1e-9)
        labels = [f"{10.0**n:,.10g}" for n in range(self.low, top + 1)]
        if self.zero:
            labels[0] = "0"
        return [(float(n), label) for n, label in enumerate(labels)]


@dataclass(frozen=True, slots=True)
class LinearScale:
    """From 0 at position 0 to the first round figure at or above ``top``."""

    top: float
    unit: str = ""
    """After the label of each tick, as `` %``."""

    def place(self, value: float) -> float:
        """Position of a value."""
        return value

    @property
    def length(self) -> float:
        """Length of the scale."""
        return round_ticks(self.top)[-1]

    def ticks(self) -> list[tuple[float, str]]:
        """Position and label of about five round figures."""
        return [(tick, f"{tick:,.10g}{self.unit}") for tick in round_ticks(self.top)]


def round_ticks(top: float, most: int = 5) -> list[float]:
    """About ``most`` round figures, from 0 up to the first at or above ``top``."""
    if top <= 0:
        return [0.0, 1.0]
    raw = top / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(s * size for s in _STEPS if s * size >= raw * (1 - 1e-9))
    return [step * i for i in range(math.ceil(top / step - 1e-9) + 1)]
