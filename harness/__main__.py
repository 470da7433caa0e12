"""The ``harness`` command; ``python -m harness`` is the same.

Until a command's own work begins nothing has been started, so a signal ends the process at once:
raised as an exception in the middle of an import it would leave a traceback, or be lost in a
callback of the import system. Also where the caller had SIGINT ignored, as a shell does for a
script's background jobs: a command that keeps servers up must end on ``kill -INT`` from its start.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Run the command line; exits with 130 on SIGINT and 143 on SIGTERM."""
    _end_at_once()
    try:
        import_module("harness.cli").main(obj=_clean_up_first)
    finally:
        _end_at_once()


def _end_at_once() -> None:
    for number in _ENDING:
        signal.signal(number, lambda number, _: os._exit(128 + number))


def _clean_up_first() -> None:
    """From now on a signal is an exception, for there may be something to clean up.

    SIGINT too is SystemExit: of KeyboardInterrupt click makes "Aborted!" and exit code 1.
    """
    for number in _ENDING:
        signal.signal(number, _exit)


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
