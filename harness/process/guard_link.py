"""The harness's side of the connection to the guard."""

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
    """Starts the guard and reports to it what exists.

    The write end of the pipe is closed on exec, so no process that the harness starts can keep
    it open by accident. A process that the harness only forks would.
    """

    def __init__(self, token: str, log_file: Path) -> None:
        # Absolute, since the guard runs in another folder.
        log = str(log_file.absolute())
        command = [sys.executable, "-I", "-S", guard.__file__, token, log]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # A Ctrl-C in the terminal reaches the whole session; the guard must outlive it.
                start_new_session=True,
                # Without the token, so that ending a test run by its token ends its guards last.
                env={n: v for n, v in os.environ.items() if n != guard.TOKEN_VARIABLE},
                cwd="/",
            )
        except OSError as error:
            raise SetupError(
                f"The guard process could not be started [{error.strerror}]. "
                "Free some memory or processes and try again."
            ) from error

    def process(self, pid: int, born: str, ending: str) -> None:
        """Report a process; `ending` is ``group`` or ``postgres``."""
        self._tell({"say": "process", "pid": pid, "born": born, "ending": ending})

    def folder(self, path: Path) -> None:
        """Report a folder that must not outlive the harness."""
        self._tell({"say": "folder", "path": str(path)})

    def done(self) -> None:
        """Report that nothing is left to end, and wait for the guard to exit."""
        self._tell({"say": "done"})
        with contextlib.suppress(OSError):
            self._pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)

    def _tell(self, message: dict[str, str | int]) -> None:
        # Without its guard a run loses a protection, which is no reason to end it.
        with contextlib.suppress(OSError, ValueError):
            self._pipe.write(json.dumps(message).encode() + b"\n")
            self._pipe.flush()

    @property
    def _pipe(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin
