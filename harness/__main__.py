"""The ``harness`` command; ``python -m harness`` is the same.

Before a command's own work begins, nothing has been started, so a signal ends the process at once.
An exception raised in the middle of an import would leave a traceback, or get lost in a callback of
the import system. The handlers are set even if the caller ignored SIGINT, as a shell does for a
script's background jobs: a command that keeps servers up must end on ``kill -INT`` from its start.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from io import TextIOWrapper
from types import FrameType

from harness import STOPPING


def main() -> None:
    """Run the command line; exits with 129 on SIGHUP, 130 on SIGINT and 143 on SIGTERM."""
    _end_at_once()
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal lacks must not end a run that was measured.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        import_module("harness.cli").main(obj=_clean_up_first)
    finally:
        _end_at_once()


def _end_at_once() -> None:
    for number in STOPPING:
        signal.signal(number, lambda number, _: os._exit(128 + number))


def _clean_up_first() -> None:
    """Raise an exception on a signal from now on, because there may be something to clean up.

    SIGINT raises SystemExit too: click turns KeyboardInterrupt into "Aborted!" and exit code 1.
    """
    for number in STOPPING:
        signal.signal(number, _exit)


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
