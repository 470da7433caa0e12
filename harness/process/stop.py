"""A request to stop early, and the exit code to report."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import stat
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NoReturn, TypeVar

from harness import STOPPING
from harness.errors import EXIT_INTERRUPTED, HarnessError
from harness.process.groups import default_signals

T = TypeVar("T")


class StoppedError(HarnessError):
    """A request to stop came before there was anything to keep.

    Args:
        exit_code: of `Stop`.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__("Stopped before anything ran. Everything that was started is stopped.")
        self.exit_code = exit_code


class Stop:
    """Set once, by a signal; a second one changes nothing."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.exit_code = 0
        """128 + the signal's number; 0 while there was no request."""

    def ask(self, number: signal.Signals) -> None:
        """Record a signal as a request to stop."""
        self.exit_code = self.exit_code or 128 + number
        self._event.set()
        if number == signal.SIGHUP:
            _let_go_of_terminal()

    async def wait(self) -> None:
        """Wait for a request to stop."""
        await self._event.wait()

    async def cancels(
        self, work: Coroutine[Any, Any, None], on_cancel: Callable[[], None] = lambda: None
    ) -> None:
        """Run work until it is done or a stop is requested; either way it has ended after this.

        Args:
            work: is cancelled on a request, and waited for while it cleans up.
            on_cancel: called before the work is cancelled, and only then.

        Raises:
            Exception: what the work raises, while it cleans up too.
        """
        task = asyncio.ensure_future(work)
        asked = asyncio.ensure_future(self.wait())
        try:
            await asyncio.wait({task, asked}, return_when=asyncio.FIRST_COMPLETED)
            cancelled = not task.done()
            if cancelled:
                on_cancel()
                task.cancel()
                await asyncio.wait({task})
            if not (cancelled and task.cancelled()):
                task.result()
        finally:
            for each in (task, asked):
                each.cancel()
            await asyncio.gather(task, asked, return_exceptions=True)


def with_signals(work: Callable[[Stop], Awaitable[T]]) -> tuple[T, int]:
    """Run async work that ends early, and cleanly, on each signal of `STOPPING`.

    Returns:
        What the work returned, and the exit code by the signal that came, or 0.
    """

    async def go() -> tuple[T, int]:
        default_signals()
        stop = Stop()
        loop = asyncio.get_running_loop()
        for number in STOPPING:
            loop.add_signal_handler(number, stop.ask, number)
        return await work(stop), stop.exit_code

    before = {number: signal.getsignal(number) for number in STOPPING}
    try:
        return asyncio.run(go())
    finally:
        # The loop leaves Python's defaults, under which SIGTERM kills a report half-written.
        for number, handler in before.items():
            signal.signal(number, handler)


def until_ctrl_c(work: Callable[[Stop], Awaitable[None]]) -> NoReturn:
    """Run async work that Ctrl-C is meant to end, and exit: with 0 unless it was another signal."""
    _, code = with_signals(work)
    sys.exit(0 if code == EXIT_INTERRUPTED else code)


def _let_go_of_terminal() -> None:
    """Discard what is still printed to a terminal that is gone: each line would raise an error.

    The signal can come before the terminal says that it is gone, so it is not asked.
    """
    for stream in (1, 2):
        # It may be closed.
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
