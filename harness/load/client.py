"""The harness's side of the load driver: asyncio here, gevent in the driver."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
from pydantic import ValidationError

import harness
from harness.domain.window import (
    EVENT,
    Begun,
    Event,
    Failed,
    LoadProgress,
    Ready,
    Shutdown,
    WindowCommand,
    WindowResult,
)
from harness.errors import InvalidRunError
from harness.process import groups
from harness.process.processes import end_of_log

START_TIMEOUT_S = 60.0
SILENCE_TIMEOUT_S = 60.0
"""The driver reports every second while it drives; a longer silence is a hang."""
STOP_TIMEOUT_S = 5.0
_LONGEST_LINE = 1 << 26
"""Bytes; a result lists every digest that was served with every key."""


class LoadDriver:
    """A load driver process, in a session of its own so that Ctrl-C does not reach it.

    Args:
        log_file: keeps what the driver writes to standard error; it is appended to.
    """

    def __init__(self, log_file: Path) -> None:
        self._log_file = log_file
        self._process: asyncio.subprocess.Process | None = None
        self._busy = False

    @property
    def pid(self) -> int:
        """Process id of the running driver. Raises InvalidRunError if there is none."""
        return self._running().pid

    def cpu_s(self) -> float:
        """CPU seconds used so far. Raises InvalidRunError if the driver does not run."""
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error as error:
            raise self._died() from error
        return float(times.user + times.system)

    async def start(self) -> None:
        """Start the process and wait until it takes commands.

        Raises:
            InvalidRunError: if it ends, or sends anything but `Ready` first.
        """
        assert self._process is None, "a driver starts once"
        with self._log_file.open("ab") as log:
            self._process = await groups.start(
                sys.executable,
                "-m",
                "harness.load.driver",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=_LONGEST_LINE,
                env=_environment(),
            )
        try:
            await self._ready()
        except BaseException:
            await self._kill()
            raise

    async def window(
        self,
        command: WindowCommand,
        on_progress: Callable[[LoadProgress], None] | None = None,
        on_begun: Callable[[Begun], None] | None = None,
    ) -> WindowResult:
        """Drive one window and return what the driver counted.

        Cancellation and errors kill the driver, and with it the load. It survives only a command
        that it could not carry out.

        Args:
            command: what to do.
            on_progress: called about once a second.
            on_begun: called once, when the window begins.

        Raises:
            InvalidRunError: if the driver dies or hangs, could not carry out the command, or found
                its own counts or the replies' headers invalid.
        """
        assert not self._busy, "a driver drives one window at a time"
        self._busy = True
        try:
            answer = await self._answer(command, on_progress, on_begun)
        except BaseException:
            await self._kill()
            raise
        finally:
            self._busy = False
        if isinstance(answer, Failed):
            raise InvalidRunError(answer.message)
        return answer

    async def close(self) -> None:
        """Stop the driver, gracefully if it is idle. May be called at any time and repeatedly."""
        await groups.to_the_end(self._close())

    async def _close(self) -> None:
        try:
            if self._process is not None and self._process.returncode is None and not self._busy:
                with contextlib.suppress(InvalidRunError, TimeoutError):
                    async with asyncio.timeout(STOP_TIMEOUT_S):
                        await self._send(Shutdown())
                        await self._process.wait()
        finally:
            await self._kill()

    async def _ready(self) -> None:
        event = await self._next_event(START_TIMEOUT_S)
        if not isinstance(event, Ready):
            raise self._out_of_turn(event)

    async def _answer(
        self,
        command: WindowCommand,
        on_progress: Callable[[LoadProgress], None] | None,
        on_begun: Callable[[Begun], None] | None,
    ) -> WindowResult | Failed:
        await self._send(command)
        while isinstance(event := await self._next_event(SILENCE_TIMEOUT_S), Begun | LoadProgress):
            if isinstance(event, Begun):
                if on_begun is not None:
                    on_begun(event)
            elif on_progress is not None:
                on_progress(event)
        if isinstance(event, Ready):
            raise self._out_of_turn(event)
        return event

    async def _send(self, command: WindowCommand | Shutdown) -> None:
        stdin = self._running().stdin
        assert stdin is not None
        try:
            stdin.write(command.model_dump_json().encode() + b"\n")
            await stdin.drain()
        except ConnectionError as error:
            await self._kill()
            raise self._died() from error

    async def _next_event(self, patience_s: float) -> Event:
        stdout = self._running().stdout
        assert stdout is not None
        try:
            async with asyncio.timeout(patience_s):
                line = await stdout.readline()
        except TimeoutError as error:
            raise InvalidRunError(
                f"The load driver sent nothing for [{patience_s:g}] s and was stopped."
                f"{self._last_words()} Run again, on a machine with less to do."
            ) from error
        if not line:
            await self._kill()
            raise self._died()
        try:
            return EVENT.validate_json(line)
        except ValidationError as error:
            raise InvalidRunError(
                f"The load driver sent [{line[:200]!r}], which is no event.{self._last_words()} "
                "This is a bug of the harness: please report it."
            ) from error

    async def _kill(self) -> None:
        """End the process and its children at once, and wait until it is gone."""
        if self._process is not None and self._process.returncode is None:
            await groups.end(self._process, 0)

    def _running(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            raise self._died()
        return self._process

    def _died(self) -> InvalidRunError:
        if self._process is None:
            return InvalidRunError("The load driver was never started. Call start() first.")
        return InvalidRunError(
            f"The load driver exited with code [{self._process.returncode}]."
            f"{self._last_words()} Run again; if it exits again, please report it."
        )

    def _out_of_turn(self, event: Event) -> InvalidRunError:
        return InvalidRunError(
            f"The load driver sent [{event.event}] out of turn and was stopped."
            f"{self._last_words()} This is a bug of the harness: please report it."
        )

    def _last_words(self) -> str:
        lines = groups.last_lines(end_of_log(self._log_file))
        return f" Its last lines:\n{lines}\n" if lines else ""


def _environment() -> dict[str, str]:
    # the driver must import this package, wherever the harness was started
    package = str(Path(harness.__file__).resolve().parents[1])
    others = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package, others] if others else [package])}
