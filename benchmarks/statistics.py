"""Medians and ranges over rounds; ratios are taken within a round, and only then their median."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Rounds = Sequence[Mapping[str, float]]
"""Figures of all steps by round: ``step.figure`` → value. A figure may be missing in a round."""

_ERROR = 0.05


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over the rounds."""

    median: float
    low: float
    high: float
    rounds: int
    median_low: float | None = None
    """The true median is below it with a chance of 5 % at most; None for too few rounds."""
    median_high: float | None = None
    """The same above."""


def summary(values: Sequence[float]) -> Summary | None:
    """Median, range and the interval of the median; None without values."""
    if not values:
        return None
    ends = interval_of_median(values) or (None, None)
    return Summary(statistics.median(values), min(values), max(values), len(values), *ends)


def interval_of_median(values: Sequence[float]) -> tuple[float, float] | None:
    """Two of the values, between which the median lies, whatever the distribution.

    Each end is wrong with a chance of 5 % at most: that all of five rounds lie below the median
    has 1 in 32, and fewer rounds have no such interval.
    """
    n, chance, left_out = len(values), 0.0, -1
    while (chance := chance + math.comb(n, left_out + 1) / 2**n) <= _ERROR:
        left_out += 1
    if left_out < 0:
        return None
    ranked = sorted(values)
    return ranked[left_out], ranked[-1 - left_out]


def figure(rounds: Rounds, name: str) -> Summary | None:
    """A figure over the rounds that have it."""
    return summary([each[name] for each in rounds if name in each])


def ratio(rounds: Rounds, name: str, base: str) -> Summary | None:
    """A figure over another of the same round; rounds without one of them are left out."""
    return summary([each[name] / each[base] for each in rounds if name in each and each.get(base)])
