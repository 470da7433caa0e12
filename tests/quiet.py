"""A run's progress that nobody watches."""

from __future__ import annotations

from harness.domain.progress import Tick


class Quiet:
    """Keeps what is noted and shows nothing. Implements `harness.domain.progress.Progress`."""

    live = False

    def __init__(self) -> None:
        self.notes: list[str] = []

    def phase(self, text: str) -> None: ...

    def window(self, number: int, total: int, variant: str, phase: str) -> None: ...

    def tick(self, tick: Tick) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None: ...
