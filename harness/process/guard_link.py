"""The harness's end of the line to the guard."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import IO

from harness.errors import SetupError
from harness.process import guard


class GuardLink:
    """Starts the guard and tells it what exists.

    The write end of the pipe is closed on exec, so no process that the harness starts can keep
    it open by accident. A process that the harness only forks would.
    """

    def __init__(self, token: str, log_file: Path) -> None:
        command = [sys.executable, "-I", "-S", guard.__file__, token, str(log_file)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # A Ctrl-C in the terminal reaches the whole session; the guard must outlive it.
                start_new_session=True,
                # What is ended by its token, as a whole test run is, ends its own guards last.
                env={n: v for n, v in os.environ.items() if n != guard.TOKEN_VARIABLE},
                cwd="/",
            )
        except OSError as error:
            raise SetupError(
                f"The guard process could not be started [{error.strerror}]. "
                "Free some memory or processes and try again."
            ) from error

    def process(self, pid: int, born: str, ending: str) -> None:
        """Tell that a process exists; `ending` is ``group`` or ``postgres``."""
        self._tell({"say": "process", "pid": pid, "born": born, "ending": ending})

    def folder(self, path: Path) -> None:
        """Tell that a folder exists which must not outlive the harness."""
        self._tell({"say": "folder", "path": str(path)})

    def done(self) -> None:
        """Tell that nothing is left to end, and wait for the guard to go."""
        self._tell({"say": "done"})
        with contextlib.suppress(OSError):
            self._pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)

    def _tell(self, message: dict[str, str | int]) -> None:
        # A guard that is gone is a protection lost, not a reason to lose the run.
        with contextlib.suppress(OSError, ValueError):
            self._pipe.write(json.dumps(message).encode() + b"\n")
            self._pipe.flush()

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin
