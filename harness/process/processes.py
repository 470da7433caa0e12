"""Processes that a stack starts, watches and ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SetupError
from harness.process import groups, guard
from harness.process.guard_link import GuardLink
from harness.process.privileges import Account
from harness.process.waiting import wait_until

_WATCH_S = 0.1
_KILL_GRACE_S = 5.0
_TAIL_BYTES = 16_384

_PASSED_ON = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH"),
    *("PYTHONPATH", "PYTHONHOME", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"),
    # With these, the coverage of a test run includes the replicas.
    *("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"),
)
_OUR_PYTHON = ("PYTHON",)
"""Prefixes of variables that are meant for our interpreter. Another environment's would find other
packages with them than those that are installed there."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to start. `env` is added to a minimal environment."""

    name: str
    """For messages, as ``replica 3 of recommended``."""
    group: str
    """For resource use, as ``fleet:recommended``."""
    argv: Sequence[str | Path]
    log_file: Path
    env: Mapping[str, str]
    inherit: tuple[int, ...] = ()
    """File descriptors that stay open in the process, under the same numbers."""
    stdin: bytes | None = None
    cwd: Path | None = None
    account: Account | None = None
    end_signal: signal.Signals = signal.SIGTERM
    ending: str = "group"
    """How the guard ends it: ``group`` or ``postgres``."""
    other_python: bool = False
    """Whether it runs the Python of another environment, which the variables for ours mislead."""


@dataclass(slots=True)
class Process:
    """A started process, which leads a session and a process group of its own."""

    command: Command
    popen: subprocess.Popen[bytes]
    born: str
    log_start: int
    """Where in its log file this process began to write, in bytes."""
    stopping: bool = False

    @property
    def pid(self) -> int:
        """Process id, which is the id of its group too."""
        return self.popen.pid

    def ended(self) -> bool:
        """Whether it has ended; asks the system."""
        return self.popen.poll() is not None

    def log_text(self) -> str:
        """The end of what it wrote."""
        return end_of_log(self.command.log_file, self.log_start)

    def exit_report(self) -> str:
        """How it ended, and what it wrote last."""
        code = self.popen.returncode
        how = f"exit code [{code}]"
        if code is None:
            how = "still running"
        elif code < 0:
            how = f"ended by signal [{_signal_name(-code)}]"
        lines = groups.last_lines(self.log_text())
        log_name = f"{self.command.log_file.parent.name}/{self.command.log_file.name}"
        if not lines:
            return f"{how}; it wrote nothing to {log_name}"
        return f"{how}; last lines of {log_name}:\n{lines}"


class Processes:
    """Everything that one stack has started."""

    def __init__(self, token: str, guard_link: GuardLink) -> None:
        self.started: list[Process] = []
        self._token = token
        self._guard = guard_link
        self._closing = False

    def spawn(self, command: Command) -> Process:
        """Start a process. Raises SetupError."""
        if self._closing:
            raise SetupError(f"The stack is closing; [{command.name}] was not started.")
        left_out = _OUR_PYTHON if command.other_python else ()
        env = {
            name: os.environ[name]
            for name in _PASSED_ON
            if name in os.environ and not name.startswith(left_out)
        }
        env |= command.env
        env[guard.TOKEN_VARIABLE] = self._token
        groups.default_signals()
        account = command.account
        with command.log_file.open("ab") as log:
            log_start = log.tell()
            try:
                popen = subprocess.Popen(
                    command.argv,
                    stdin=subprocess.DEVNULL if command.stdin is None else subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=env,
                    cwd=command.cwd,
                    pass_fds=command.inherit,
                    start_new_session=True,
                    user=account.uid if account else None,
                    group=account.gid if account else None,
                    extra_groups=[] if account else None,
                )
            except OSError as error:
                raise SetupError(
                    f"The {command.name} could not be started [{error.strerror}: "
                    f"{command.argv[0]}]. Check that the program is there and may be run."
                ) from error
        born = guard.birth(popen.pid) or "ended"
        process = Process(command, popen, born, log_start)
        self.started.append(process)
        self._guard.process(popen.pid, born, command.ending)
        if popen.stdin is not None:
            # A process that ended at once is noticed by the code that waits for it.
            with contextlib.suppress(BrokenPipeError), popen.stdin:
                popen.stdin.write(command.stdin or b"")
        return process

    async def run(self, command: Command, timeout_s: float) -> None:
        """Start a process that ends by itself, and wait for it. Raises SetupError."""
        process = self.spawn(command)
        process.stopping = True
        if not await wait_until(process.ended, timeout_s):
            raise SetupError(
                f"The {command.name} did not end within [{timeout_s:g} s]: {process.exit_report()}"
            )
        self.started.remove(process)
        if process.popen.returncode != 0:
            raise SetupError(f"The {command.name} failed, {process.exit_report()}")

    async def died(self) -> Process:
        """Wait until a process exits unexpectedly."""
        return await first_end(lambda: (one for one in self.started if not one.stopping))

    async def stop(self, group_prefix: str, grace_s: float) -> None:
        """End the processes of the groups that begin with `group_prefix`.

        They get their own signal, `grace_s` seconds, and then SIGKILL, together with whatever
        is left of their process groups. Cancellation does not interrupt this.
        """
        await self.end(
            [p for p in self.started if p.command.group.startswith(group_prefix)], grace_s
        )

    async def end(
        self, ending: Sequence[Process], grace_s: float, number: signal.Signals | None = None
    ) -> None:
        """End some of the processes, as `stop`; with the signal `number` where it is given."""
        await groups.to_the_end(self._end(ending, grace_s, number))

    async def _end(
        self, ending: Sequence[Process], grace_s: float, number: signal.Signals | None
    ) -> None:
        for process in ending:
            process.stopping = True
            if not process.ended():
                # A stopped process acts on no signal but SIGKILL.
                guard.signal_group(process.pid, signal.SIGCONT)
                process.popen.send_signal(number or process.command.end_signal)
        await wait_until(lambda: all_ended(ending), grace_s)
        for process in ending:
            guard.kill_group(process.pid, process.born)
        await wait_until(lambda: all_ended(ending), _KILL_GRACE_S)

    def refuse(self) -> None:
        """Refuse to start any further process."""
        self._closing = True


LOG_LIMIT = 50_000_000
"""Bytes of one log, in a run that breaks something: a replica may write a traceback a request."""


def cut_log(log_file: Path, limit: int = LOG_LIMIT) -> int:
    """Keep the first half of a log that has more than so many bytes; returns how many were cut.

    Its last line says so. What the process writes from now on is appended: logs are opened so.
    """
    with contextlib.suppress(OSError), log_file.open("r+b") as log:
        size = log.seek(0, os.SEEK_END)
        if size > limit:
            log.truncate(limit // 2)
            note = f"\n[{size - limit // 2:,} bytes were cut here: the log is limited]\n".encode()
            with log_file.open("ab") as end:
                end.write(note)
            return size - limit // 2 - len(note)
    return 0


def end_of_log(log_file: Path, start: int = 0) -> str:
    """The end of a log file, from byte `start` on; empty where it cannot be read."""
    with contextlib.suppress(OSError), log_file.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(start, size - _TAIL_BYTES))
        return log.read().decode(errors="replace")
    return ""


def _signal_name(number: int) -> str:
    names = {one.value: one.name for one in signal.Signals}
    return names.get(number, str(number))


async def first_end(watched: Callable[[], Iterable[Process]]) -> Process:
    """Wait until one of the watched processes ends."""
    first = await wait_until(
        lambda: next((one for one in watched() if one.ended()), None), poll_s=_WATCH_S
    )
    assert first is not None, "it waits for ever"
    return first


def all_ended(processes: Iterable[Process]) -> bool:
    """Whether every one has ended."""
    return all(process.ended() for process in processes)
