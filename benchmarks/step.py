"""One thing that is measured in every round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Figures = Mapping[str, float]
"""The results of one measurement by name; names include the units."""

CPU = "cpu_us"


class Step(Protocol):
    """Something to measure.

    ``shots`` is how often it is measured in a round, other steps in between. The shot that took
    the least CPU counts: whatever else the machine does can only add to it.
    """

    name: str
    shots: int

    async def measure(self) -> Figures:
        """One shot. Raises InvalidRunError if something else than intended was measured."""


def in_turn(steps: Sequence[Step], number: int) -> list[Step]:
    """The steps of a round, from 1 on, in its order: A B C, C B A, A B C ….

    Those with more than one shot are passed again, and back, as often as they have shots.
    """
    order: list[Step] = []
    for shot in range(max((step.shots for step in steps), default=0)):
        due = [step for step in steps if step.shots > shot]
        order += due if (number + shot) % 2 else due[::-1]
    return order


def least(shots: Sequence[Figures]) -> Figures:
    """The figures of the shot that took the least CPU; of the only one where there is one."""
    return shots[0] if len(shots) == 1 else min(shots, key=lambda shot: shot[CPU])
