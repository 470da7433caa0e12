"""Counts of an endless load that Locust's own statistics lack.

Each process that drives users has one `LoadCounts`. A Locust worker sends its own to the master, as
totals and not as differences, so that a lost or repeated message changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

LATE_S = 0.25
"""A request that starts later than this after its intended time is late; a scenario's default."""


@dataclass(slots=True)
class LoadCounts:
    """Requests that ended, and how punctually they started."""

    answered: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    """By fleet, key scope and status."""
    unanswered: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By fleet and kind of transport error."""
    late: int = 0
    delay_s_max: float = 0.0
    rate_per_s: float = 0.0
    """Open model: requests per second that are driven; the workers' shares add up."""

    def ended(self, fleet: str, scope: str, status: int, kind: str) -> None:
        """Count a request; ``kind`` is that of its transport error, empty if it was answered."""
        if kind:
            self.unanswered[fleet, kind] += 1
        else:
            self.answered[fleet, scope, status] += 1

    def delayed(self, delay_s: float) -> None:
        """Record how late after its intended time a request of the open model started."""
        self.late += delay_s > LATE_S
        self.delay_s_max = max(self.delay_s_max, delay_s)

    def message(self) -> dict[str, Any]:
        """The counts as lists and numbers, to send to the master."""
        return {
            "answered": [[*key, n] for key, n in self.answered.items()],
            "unanswered": [[*key, n] for key, n in self.unanswered.items()],
            "late": self.late,
            "delay_s_max": self.delay_s_max,
            "rate_per_s": self.rate_per_s,
        }

    @classmethod
    def of(cls, message: dict[str, Any]) -> LoadCounts:
        """The counts of a `message`."""
        return cls(
            Counter({(fleet, scope, status): n for fleet, scope, status, n in message["answered"]}),
            Counter({(fleet, kind): n for fleet, kind, n in message["unanswered"]}),
            message["late"],
            message["delay_s_max"],
            message["rate_per_s"],
        )

    @classmethod
    def total(cls, parts: Iterable[LoadCounts]) -> LoadCounts:
        """The sum over several processes."""
        total = cls()
        for part in parts:
            total.answered.update(part.answered)
            total.unanswered.update(part.unanswered)
            total.late += part.late
            total.delay_s_max = max(total.delay_s_max, part.delay_s_max)
            total.rate_per_s += part.rate_per_s
        return total

    def since(self, earlier: LoadCounts) -> LoadCounts:
        """What was counted after ``earlier``; the greatest delay stays that of the whole test."""
        return LoadCounts(
            self.answered - earlier.answered,
            self.unanswered - earlier.unanswered,
            self.late - earlier.late,
            self.delay_s_max,
            self.rate_per_s,
        )
