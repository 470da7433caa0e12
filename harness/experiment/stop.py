"""Somebody's wish that a run ends before its time, and by which exit code it will be told."""

from __future__ import annotations

import asyncio
import signal


class Stop:
    """Set once, by SIGINT or SIGTERM; a second signal changes nothing."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.exit_code = 0
        """128 + the signal's number; 0 while nobody asked."""

    def ask(self, number: signal.Signals) -> None:
        """A signal came."""
        self.exit_code = self.exit_code or 128 + number
        self._event.set()

    async def wait(self) -> None:
        """Wait until somebody asks."""
        await self._event.wait()
