"""A progress display that keeps what it was told."""

from __future__ import annotations

from harness.domain.progress import Tick


class Silence:
    """Implements `harness.domain.progress.Progress`."""

    live = False

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []

    def phase(self, text: str) -> None:
        self.phases.append(text)

    def window(self, number: int, total: int, variant: str, phase: str) -> None:
        pass

    def tick(self, tick: Tick) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None:
        pass
