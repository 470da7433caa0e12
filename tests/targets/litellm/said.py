from __future__ import annotations


class Said:
    """A progress that remembers."""

    live = False

    def __init__(self) -> None:
        self.lines: list[str] = []

    def phase(self, text: str) -> None:
        self.lines.append(text)

    def note(self, text: str) -> None:
        self.lines.append(text)

    def window(self, number: int, total: int, variant: str, phase: str) -> None: ...

    def tick(self, tick: object) -> None: ...

    def close(self) -> None: ...
