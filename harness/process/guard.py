"""Cleans up after a harness that was killed before it could.

A process of its own, started by `harness.process.guard_link` as a plain script: it needs
nothing but the standard library, so it starts in milliseconds. The harness reports over
stdin, one JSON object per line, what exists:

    {"say": "process", "pid": 12, "born": "4711", "ending": "group"}
    {"say": "folder", "path": "/tmp/authcache-x"}
    {"say": "done"}

End of file without ``done`` means that the harness is gone; then the processes are ended and the
folders removed. A pid counts only together with the time its process was born, because the
system gives numbers out again.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TOKEN_VARIABLE = "AUTHCACHE_STACK_TOKEN"  # noqa: S105  the name of a variable, no secret
"""Every process of a stack carries the stack's token in this environment variable."""

FOLDER_PREFIX = "authcache-"
"""The guard refuses to remove a folder of any other name."""

POSTGRES_GRACE_S = 5.0
_POLL_S = 0.02
_IPC_RMID = 0


def birth(pid: int) -> str | None:
    """When the process was born, in the system's own notation; None for one that has ended.

    A zombie has ended: it only waits for its parent to read the exit code.
    """
    proc = Path("/proc")
    if not (proc / "self").exists():
        return _birth_from_ps(pid)
    try:
        stat = (proc / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold blanks and parentheses itself; see proc(5).
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else fields[19]


def _birth_from_ps(pid: int) -> str | None:
    """The same for systems without /proc."""
    shown = subprocess.run(
        ["/bin/ps", "-o", "state=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    state, _, born = shown.stdout.strip().partition(" ")
    return None if not born or state.startswith("Z") else born.strip()


def kill_group(leader: int, born: str) -> None:
    """Send SIGKILL to the process group of `leader`, also when the leader itself has ended."""
    if birth(leader) in {None, born}:
        signal_group(leader, signal.SIGKILL)


def signal_group(leader: int, number: int) -> bool:
    """Send a signal to a process group; returns whether any process was there to get it."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_strays(token: str, folders: Iterable[str]) -> None:
    """Send SIGKILL to the processes of a stack that are outside of its process groups."""
    signal_strays(token, folders, signal.SIGKILL)


def signal_strays(token: str, folders: Iterable[str], number: int) -> None:
    """Send a signal to every process of a stack, wherever it is.

    They carry the token in their environment. The backends of Postgres lead groups of their own
    and overwrite their environment with their title; they are recognised by that title and by a
    working directory in one of the folders, so a user's shell there is left alone. Does nothing
    on systems without /proc.
    """
    for pid in _strays(token, folders):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _strays(token: str, folders: Iterable[str]) -> list[int]:
    mark = f"{TOKEN_VARIABLE}={token}".encode()
    roots = [Path(folder) for folder in folders]
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        # A process of another user, or one that has just ended, cannot be read: not ours.
        with contextlib.suppress(OSError):
            carries = mark in (entry / "environ").read_bytes().split(b"\0")
            if carries or _is_backend(entry, roots):
                found.append(int(entry.name))
    return found


def _is_backend(entry: Path, roots: list[Path]) -> bool:
    if not (entry / "cmdline").read_bytes().startswith(b"postgres:"):
        return False
    cwd = (entry / "cwd").readlink()
    return any(cwd.is_relative_to(root) for root in roots)


def remove_shared_memory(data_folder: Path) -> None:
    """Free the System V segment that a killed Postgres leaves until the machine restarts.

    Its id is the second number in line 7 of ``postmaster.pid``, which a Postgres that ended by
    itself has removed.
    """
    try:
        segment = int((data_folder / "postmaster.pid").read_text().splitlines()[6].split()[1])
    except (OSError, IndexError, ValueError):
        return
    ctypes.CDLL(None).shmctl(segment, _IPC_RMID, None)


def remove_folder(path: str, patience_s: float = 5.0) -> None:
    """Remove a folder of a stack; try again while something still writes to it."""
    if not Path(path).name.startswith(FOLDER_PREFIX):
        return
    deadline = time.monotonic() + patience_s
    while True:
        shutil.rmtree(path, ignore_errors=True)
        if not Path(path).exists() or time.monotonic() > deadline:
            return
        time.sleep(_POLL_S)


class Inventory:
    """What a stack has started, as far as the harness has reported it."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.processes: dict[int, tuple[str, str]] = {}
        self.folders: list[str] = []
        self.done = False

    def hear(self, message: dict[str, Any]) -> None:
        """Take one message of the harness."""
        match message["say"]:
            case "process":
                self.processes[message["pid"]] = (message["born"], message["ending"])
            case "folder":
                self.folders.append(message["path"])
            case "done":
                self.done = True

    def end(self) -> None:
        """End every process and remove every folder."""
        # What a fault stopped acts on no signal but SIGKILL, and Postgres shall end by itself.
        signal_strays(self.token, self.folders, signal.SIGCONT)
        for pid, (born, ending) in self.processes.items():
            if ending == "postgres":
                _quit_postgres(pid, born)
        for pid, (born, _) in self.processes.items():
            kill_group(pid, born)
        kill_strays(self.token, self.folders)
        for folder in self.folders:
            for lock in Path(folder).glob("*/data/postmaster.pid"):
                remove_shared_memory(lock.parent)
            remove_folder(folder)


def _quit_postgres(pid: int, born: str) -> None:
    """Ask for the immediate shutdown, in which Postgres ends its backends itself."""
    if birth(pid) != born:
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGQUIT)
    deadline = time.monotonic() + POSTGRES_GRACE_S
    while birth(pid) == born and time.monotonic() < deadline:
        time.sleep(_POLL_S)


def main(token: str, log_file: str) -> None:
    """Listen until the harness says ``done`` or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    inventory = Inventory(token)
    for line in sys.stdin:
        # A harness killed in the middle of a line leaves half of one.
        with contextlib.suppress(ValueError):
            inventory.hear(json.loads(line))
        if inventory.done:
            return
    inventory.end()
    with contextlib.suppress(OSError), Path(log_file).open("a") as log:
        log.write(
            f"The harness ended without closing its stack. Ended [{len(inventory.processes)}] "
            f"processes and removed [{len(inventory.folders)}] folders.\n"
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
