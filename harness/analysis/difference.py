"""Whether two figures differ: of two variants in a run, or of one variant in two runs.

The rule is not a significance test. A difference counts if it is larger than 5 % and larger than
what the same variant shows from round to round; docs/releases.md gives the reasons for each part,
and docs/decisions/0019 explains why there is one rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LIMIT_PERCENT = 5.0
"""Figures that differ by up to this much are the same (issue 3)."""
LEAST_EVENTS = 10
"""A difference of fewer events is noise: an entry that expires just before or after the edge of a
window moves a read out or in, once per worker, object and window."""
_LEAST_ROUNDS = 2
"""One round has no range."""


class ComparisonOutcome(StrEnum):
    """The outcome of a comparison of two figures."""

    SAME = "same"
    NOISE = "within noise"
    DIFFERS = "differs"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class RoundedFigure:
    """One figure of one variant."""

    value: float
    """The figure of all rounds together. Not negative."""
    events_per_unit: float | None = None
    """Counted events per unit of ``value``; None if it is not a count, such as a mean size."""
    rounds: tuple[float, ...] = ()
    """The figure of each round; empty if it is known only for all rounds together."""

    def __post_init__(self) -> None:
        assert self.value >= 0, self.value
        assert self.events_per_unit is None or self.events_per_unit >= 0, self.events_per_unit


Reading = RoundedFigure | str | None
"""A figure, a word (a cell), or None if this variant has neither."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How two readings differ; ``percent`` is None for words, or if one side has no figure."""

    outcome: ComparisonOutcome
    percent: float | None = None


def compare(base: Reading, other: Reading) -> Difference:
    """Compare two readings.

    Words are the same or differ. A figure that only one side has differs.

    Args:
        base: reading of the twin, or of the first run.
        other: reading of the release, or of the other run.
    """
    if not (isinstance(base, RoundedFigure) and isinstance(other, RoundedFigure)):
        return Difference(ComparisonOutcome.SAME if base == other else ComparisonOutcome.DIFFERS)
    percent = difference_percent(base.value, other.value)
    if abs(percent) <= LIMIT_PERCENT:
        return Difference(ComparisonOutcome.SAME, percent)
    noise = _few_events(base, other) or _ranges_meet(base, other)
    return Difference(ComparisonOutcome.NOISE if noise else ComparisonOutcome.DIFFERS, percent)


def difference_percent(base: float, other: float) -> float:
    """Other minus base, in percent of the larger of the two.

    The result lies between -100 and 100, changes its sign if the sides are swapped, and needs no
    special case for a figure of 0: 0 compared with any other figure is 100 %.
    """
    larger = max(base, other)
    return (other - base) / larger * 100 if larger else 0.0


def _few_events(base: RoundedFigure, other: RoundedFigure) -> bool:
    if base.events_per_unit is None or other.events_per_unit is None:
        return False
    # Count by the side with fewer requests: more requests on one side are not a difference.
    fewer = min(base.events_per_unit, other.events_per_unit)
    return abs(other.value - base.value) * fewer < LEAST_EVENTS


def _ranges_meet(base: RoundedFigure, other: RoundedFigure) -> bool:
    if min(len(base.rounds), len(other.rounds)) < _LEAST_ROUNDS:
        return False
    return max(min(base.rounds), min(other.rounds)) <= min(max(base.rounds), max(other.rounds))
