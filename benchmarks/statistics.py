"""Medians and ranges over rounds; ratios are taken within a round, and only then their median."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Rounds = Sequence[Mapping[str, float]]
"""Figures of all steps by round: ``step.figure`` → value. A figure may be missing in a round."""


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over the rounds."""

    median: float
    low: float
    high: float
    rounds: int


def summary(values: Sequence[float]) -> Summary | None:
    """Median and range; None without values."""
    if not values:
        return None
    return Summary(statistics.median(values), min(values), max(values), len(values))


def figure(rounds: Rounds, name: str) -> Summary | None:
    """A figure over the rounds that have it."""
    return summary([each[name] for each in rounds if name in each])


def ratio(rounds: Rounds, name: str, base: str) -> Summary | None:
    """A figure over another of the same round; rounds without one of them are left out."""
    return summary([each[name] / each[base] for each in rounds if name in each and each.get(base)])
