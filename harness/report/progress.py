"""The progress display: a live line if standard output is a terminal, else plain lines."""

from __future__ import annotations

from rich.console import Console
from rich.status import Status

from harness.domain.progress import Progress, Tick


def progress_for(console: Console) -> Progress:
    """The display that fits a console."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


class PlainProgress:
    """Prints one line for each phase and window; no live display."""

    live = False

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: Tick | None = None

    def phase(self, text: str) -> None:
        """Print a line."""
        self._finish()
        self._say(text)

    def window(self, number: int, total: int, variant: str, phase: str) -> None:
        """Print a line, after one with the figures of the previous window."""
        self._finish()
        if phase != "warm-up":
            self._say(f"window {number} of {total}: {variant}, {phase}")

    def tick(self, tick: Tick) -> None:
        """Keep the figures for the line that ends the window."""
        self._last = tick

    def note(self, text: str) -> None:
        """Print a line."""
        self._say(text)

    def close(self) -> None:
        """Print the figures of the last window."""
        self._finish()

    def _finish(self) -> None:
        if self._last is not None:
            self._say("  " + describe(self._last))
            self._last = None

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveProgress:
    """A spinner with the phase, the window and its figures so far."""

    live = True

    def __init__(self, console: Console) -> None:
        self._console = console
        self._head = ""
        self._status: Status = console.status("starting", spinner="dots")
        self._status.start()

    def phase(self, text: str) -> None:
        """Set the head line."""
        self._show(text)

    def window(self, number: int, total: int, variant: str, phase: str) -> None:
        """Set the head line."""
        self._show(f"window {number} of {total}  {variant}  {phase}")

    def tick(self, tick: Tick) -> None:
        """Show the figures below the head line."""
        self._status.update(f"{self._head}\n  {describe(tick)}")

    def note(self, text: str) -> None:
        """Print a line above the display."""
        self._console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Stop the display."""
        self._status.stop()

    def _show(self, head: str) -> None:
        self._head = head
        self._status.update(head)


def describe(tick: Tick) -> str:
    """One tick in one line."""
    parts = [
        f"{tick.elapsed_s:.0f}/{tick.duration_s:.0f} s",
        f"{tick.requests_per_s:.0f} requests/s",
    ]
    for tier, outcomes in sorted(tick.outcomes.items()):
        counts = " ".join(f"{name} {n}" for name, n in sorted(outcomes.items()))
        parts.append(f"{tier}: {counts}")
    parts.append(f"source reads {tick.source_reads}")
    return " | ".join(parts)
