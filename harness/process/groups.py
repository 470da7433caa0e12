"""Commands in process groups of their own, which are ended whatever happens meanwhile.

Standard library only: the replicas of a release import it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Awaitable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from harness.process.guard import signal_group
from harness.process.waiting import wait_until

T = TypeVar("T")

ENDING = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Signals that end a process which does not handle them."""
_TAIL_LINES = 12
_KILLED_S = 5.0
"""Seconds for the system to end a process after SIGKILL."""


@dataclass(frozen=True, slots=True)
class CompletedCommand:
    """A command that has ended, and what it wrote."""

    code: int
    out: str
    err: str

    def tail(self) -> str:
        """The last lines of its error output, for a message."""
        return last_lines(self.err or self.out)

    def last(self) -> str:
        """The last line of its error output."""
        lines = [line.strip() for line in (self.err or self.out).splitlines() if line.strip()]
        return lines[-1] if lines else "no message"


def last_lines(text: str) -> str:
    """The end of what a process wrote, indented for a message; empty where it wrote nothing."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])


async def to_the_end(work: Awaitable[T]) -> T:
    """Finish clean-up, however often the caller is cancelled meanwhile.

    It runs in a task of its own, for two reasons: a second cancellation would cut it off, and until
    Python 3.11.4 a time limit within a task that is being cancelled raises CancelledError where
    TimeoutError is due (https://github.com/python/cpython/issues/102780).

    Not needed for the last wait of a clean-up that is `asyncio.gather`, which returns only when all
    of its tasks have ended, or asyncpg's `close`, which cuts the connection if it is cancelled and
    could otherwise wait for a silent server for ever.

    Raises:
        CancelledError: the caller was cancelled meanwhile; the clean-up is done by then.
        Exception: what the clean-up raises.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            # Retrieve it, or asyncio reports an exception that was never retrieved.
            task.exception()
        raise cancelled
    return task.result()


def default_signals() -> None:
    """Have each process that is started from now on begin with the default actions of `ENDING`.

    Children inherit ignored and blocked signals, which background jobs of scripts and commands
    under ``nohup`` have; the signals that should end a child would then not reach it. Handlers do
    not survive exec, so this replaces ignoring by a handler that does nothing, and unblocks.

    Only the main thread may set handlers; in any other this only unblocks.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_IGN:
            with contextlib.suppress(ValueError):
                signal.signal(number, _ignore)


def _ignore(*_: object) -> None:
    pass


async def start(*argv: str | Path, **options: Any) -> asyncio.subprocess.Process:
    """Start a command that leads a session and a process group of its own.

    So Ctrl-C in the terminal does not reach it, and `end` reaches what it starts itself.

    Args:
        argv: the command line.
        options: as of `asyncio.create_subprocess_exec`.

    Raises:
        OSError: the program is not there, or may not be run.
        CancelledError: the caller was cancelled meanwhile; what was started is ended.
    """
    default_signals()
    started: list[asyncio.subprocess.Process] = []

    async def begin() -> None:
        started.append(
            await asyncio.create_subprocess_exec(*argv, start_new_session=True, **options)
        )

    try:
        await to_the_end(begin())
    except asyncio.CancelledError:
        # The command may run before asyncio returns it, and asyncio would end only the command.
        for process in started:
            await end(process, 0)
        raise
    return started[0]


async def run(
    *argv: str | Path,
    stdin: bytes | None = None,
    timeout_s: float | None = None,
    grace_s: float = 0.0,
    **options: Any,
) -> CompletedCommand:
    """Run a command to its end. A time-out or a cancellation ends the command and its group.

    Args:
        argv: the command line.
        stdin: what it reads; None for nothing.
        timeout_s: seconds that it may take; None for as long as it takes.
        grace_s: as of `end`.
        options: as of `asyncio.create_subprocess_exec`.

    Raises:
        TimeoutError: the time is up.
        OSError: the program is not there, or may not be run.
    """
    process = await start(
        *argv,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **options,
    )
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate(stdin)
    except BaseException:
        await end(process, grace_s)
        raise
    assert process.returncode is not None, "communicate waits for the end"
    return CompletedCommand(
        process.returncode, out.decode(errors="replace"), err.decode(errors="replace")
    )


async def end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    """End a command of `start` and what is left of its group, and wait until all is gone.

    Also where the command itself has ended and something that it started has not. The caller must
    not end a command twice: its process id may belong to another process by then.

    Args:
        process: of `start`.
        grace_s: seconds between SIGTERM and SIGKILL; with 0, SIGKILL comes at once.
    """
    await to_the_end(_end(process, grace_s))


async def _end(process: asyncio.subprocess.Process, grace_s: float) -> None:
    try:
        if grace_s > 0 and signal_group(process.pid, signal.SIGTERM):
            await _gone(process, grace_s)
    finally:
        # Also where the whole loop is being torn down, this task too.
        signal_group(process.pid, signal.SIGKILL)
    await _gone(process, _KILLED_S)
    # A process that has left the group may hold the pipes, and `wait` would wait for it too.
    # Nothing public closes them.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001
    await process.wait()


async def _gone(process: asyncio.subprocess.Process, timeout_s: float) -> None:
    """Wait at most `timeout_s` until the command and all of its group have ended."""
    # Not by `wait`, see above; and the end of a grandchild is no event here.
    await wait_until(
        lambda: process.returncode is not None and not signal_group(process.pid, 0), timeout_s
    )
