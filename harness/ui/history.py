"""The time series of a test, in a few hundred points however long it lasts."""

from __future__ import annotations

from typing import Any

from harness.domain.series import CHAT, FAILURE, LOG_PAIR, LOGS, LOOKUPS, READS, REQUESTS
from harness.observe.counters import Counters

POINTS = 600
"""Above this, every second point is dropped: points are then 2 s apart, later 4 s, 8 s."""

FIELDS = ("requests", "source_reads", "deserialize_failures", "log_pairs")


def totals(counted: Counters) -> tuple[float, ...]:
    """The figures of one point, in the order of `FIELDS`."""
    return (
        counted.sum(REQUESTS, **CHAT),
        counted.sum(READS),
        counted.sum(LOOKUPS, **FAILURE),
        counted.sum(LOGS, **LOG_PAIR),
    )


class History:
    """Figures of each fleet since the start, by time: charts draw their differences."""

    def __init__(self) -> None:
        self.thinned = 0
        """How often points were dropped; a reader that saw another number must start again."""
        self._points: list[tuple[float, dict[str, tuple[float, ...]]]] = []

    def note(self, elapsed_s: float, fleets: dict[str, Counters]) -> None:
        """Add a point, unless it comes too soon after the last."""
        if self._points and elapsed_s - self._points[-1][0] < 2**self.thinned - 0.5:
            return
        self._points.append((elapsed_s, {name: totals(c) for name, c in fleets.items()}))
        if len(self._points) > POINTS:
            self._points = self._points[::2]
            self.thinned += 1

    def after(self, moment_s: float) -> list[dict[str, Any]]:
        """The points after a moment."""
        return [{"t": round(t, 2), "fleets": fleets} for t, fleets in self._points if t > moment_s]
