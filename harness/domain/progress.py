"""The progress of a run, as it is reported while it runs. `harness.report` displays it."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Tick(NamedTuple):
    """The state of a running window."""

    elapsed_s: float
    duration_s: float
    requests_per_s: float
    answered: int
    outcomes: dict[str, dict[str, int]]
    """By tier and outcome, since the window's start."""
    source_reads: int


class Progress(Protocol):
    """Receives phases and windows as they happen."""

    live: bool
    """Whether it wants ticks while a window runs; each costs a scrape of every worker."""

    def phase(self, text: str) -> None:
        """A new phase has begun."""

    def window(self, number: int, total: int, variant: str, phase: str) -> None:
        """A window, or its warm-up, has begun."""

    def tick(self, tick: Tick) -> None:
        """At the end of a window, and about once a second within it where the display is live."""

    def note(self, text: str) -> None:
        """A note on a line of its own."""

    def close(self) -> None:
        """The run is over."""
