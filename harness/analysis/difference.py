"""Do these two figures differ: the rule for two variants of a run, and for a variant in two runs.

It is no test of significance. A difference counts when it is larger than 5 % and larger than what
the same variant shows from round to round; docs/releases.md gives the reasons of each part, and
docs/decisions/0019 says why there is one rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LIMIT_PERCENT = 5.0
"""Differences up to this are none (issue 3)."""
LEAST_EVENTS = 10
"""Fewer events than these between two figures are noise: an entry that expires just before or
just after the edge of a window moves a read in or out, once a worker, object and window."""
_LEAST_ROUNDS = 2
"""One round has no range."""


class ComparisonOutcome(StrEnum):
    """Of comparing two figures."""

    SAME = "same"
    NOISE = "within noise"
    DIFFERS = "differs"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class RoundedFigure:
    """One figure of one variant."""

    value: float
    """Median over the rounds, or the figure of all rounds together. Not negative."""
    events_per_unit: float | None = None
    """Counted events behind a ``value`` of 1; None where nothing was counted, as for a mean
    size."""
    rounds: tuple[float, ...] = ()
    """The figure of each round; empty where it is known for all rounds together only."""

    def __post_init__(self) -> None:
        assert self.value >= 0, self.value
        assert self.events_per_unit is None or self.events_per_unit >= 0, self.events_per_unit


Reading = RoundedFigure | str | None
"""A figure, a word (a cell), or None where this variant has nothing of the kind."""


@dataclass(frozen=True, slots=True)
class Difference:
    """``percent`` is None for words, and where one side has no figure."""

    outcome: ComparisonOutcome
    percent: float | None = None


def compare(base: Reading, other: Reading) -> Difference:
    """How a reading differs from the one that it is compared with.

    Words differ or do not. A figure that only one side has differs.

    Args:
        base: of the twin, or of the first run.
        other: of the release, or of the other run.
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

    It lies between -100 and 100, changes its sign when the sides change places, and needs no
    special case beside a figure of 0: 0 against anything is 100 %.
    """
    larger = max(base, other)
    return (other - base) / larger * 100 if larger else 0.0


def _few_events(base: RoundedFigure, other: RoundedFigure) -> bool:
    if base.events_per_unit is None or other.events_per_unit is None:
        return False
    # Of the side that answered fewer requests: the other one's surplus is no difference.
    fewer = min(base.events_per_unit, other.events_per_unit)
    return abs(other.value - base.value) * fewer < LEAST_EVENTS


def _ranges_meet(base: RoundedFigure, other: RoundedFigure) -> bool:
    if min(len(base.rounds), len(other.rounds)) < _LEAST_ROUNDS:
        return False
    return max(min(base.rounds), min(other.rounds)) <= min(max(base.rounds), max(other.rounds))
