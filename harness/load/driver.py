"""The load driver: ``python -m harness.load.driver``, a process of its own.

Reads `harness.domain.window` commands on standard input and answers on standard output; all else
that anyone prints goes to standard error. It ends with its input, in the middle of a window too,
so that no load outlives the harness. `harness.load.client` is the other end.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import sys
from typing import Any

import gevent
from gevent.event import Event
from gevent.fileobject import FileObject
from gevent.queue import Queue
from pydantic import BaseModel, ValidationError

from harness.domain.window import COMMAND, Failed, Ready, Shutdown, WindowCommand, WindowResult
from harness.errors import HarnessError, explain
from harness.load.window import run_window

_log = logging.getLogger("harness.load.driver")


class _Line:
    """The harness' end of the two pipes. Reading and writing let other greenlets run."""

    def __init__(self) -> None:
        self._commands = FileObject(os.dup(0), "rb")
        self._events = FileObject(os.dup(1), "wb")
        # a stray print must not break the protocol
        os.dup2(2, 1)
        self._inbox: Queue[bytes] = Queue()
        self.closed = Event()
        """Set when the input has ended."""
        gevent.spawn(self._read)

    def send(self, event: BaseModel) -> None:
        self._events.write(event.model_dump_json().encode() + b"\n")
        self._events.flush()

    def receive(self) -> bytes | None:
        """The next command; None at the end of the input."""
        line: bytes = self._inbox.get()
        return line or None

    def _read(self) -> None:
        for line in self._commands:
            self._inbox.put(line)
        self.closed.set()
        self._inbox.put(b"")


def main() -> None:
    """Carry out commands until told to stop or until the input ends."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(name)s: %(message)s")
    # Locust warns of what is meant here, e.g. that all users start at once
    logging.getLogger("locust").setLevel(logging.ERROR)
    _raise_open_files_limit()
    line = _Line()
    # the modules' objects live on: the collector need not look at them during a window
    gc.collect()
    gc.freeze()
    line.send(Ready())
    while (text := line.receive()) is not None:
        try:
            command = COMMAND.validate_json(text)
        except ValidationError as error:
            line.send(Failed(message=f"The load driver got no valid command. {explain(error)}"))
            continue
        if isinstance(command, Shutdown):
            break
        job = gevent.spawn(_carry_out, command, line)
        either: list[Any] = [job, line.closed]
        gevent.wait(either, count=1)
        if job.ready():
            line.send(job.get())


def _carry_out(command: WindowCommand, line: _Line) -> WindowResult | Failed:
    try:
        return run_window(command, line.send)
    except HarnessError as error:
        return Failed(message=str(error))
    except Exception as error:  # noqa: BLE001  # the driver stays up whatever happens
        _log.exception("window [%s] failed", command.window)
        return Failed(message=f"Window [{command.window}] failed: {type(error).__name__}: {error}")


def _raise_open_files_limit() -> None:
    """Allow as many connections as the machine lets us have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError) as error:
        _log.warning("the limit of open files stays as it is: %s", error)


if __name__ == "__main__":
    main()
