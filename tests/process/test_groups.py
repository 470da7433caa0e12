from __future__ import annotations

import ast
import asyncio
import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.process import groups
from tests.stack.fakes import PATIENCE_S, eventually, runs

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

ROOT = Path(__file__).parents[2]
LONG_S = 600.0
"""A grace that no test may wait out."""
DEAF = """
import os, signal, sys
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if os.fork() == 0:
    print(os.getpid(), flush=True)
if sys.argv[1:] == ["orphan"] and os.getppid() == int(os.environ["STARTER"]):
    os._exit(0)
while True:
    signal.pause()
"""
Started = Callable[..., Awaitable[tuple[asyncio.subprocess.Process, list[int]]]]


@pytest.fixture
async def deaf() -> AsyncIterator[Started]:
    """Starts a process and a child of it that both ignore SIGTERM; gives it and both numbers."""
    started: list[int] = []

    async def start(*more: str) -> tuple[asyncio.subprocess.Process, list[int]]:
        process = await groups.start(
            *(sys.executable, "-c", DEAF, *more),
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "STARTER": str(os.getpid())},
        )
        started.append(process.pid)
        assert process.stdout is not None
        child = int(await process.stdout.readline())
        return process, [process.pid, child]

    yield start
    for pid in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


async def in_cancelled_task(clean_up: Callable[[], Awaitable[Any]], times: int) -> None:
    """Do clean-up in the `finally` of a task that is cancelled so many times."""
    working, cleaning = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            working.set()
            await asyncio.Event().wait()
        finally:
            cleaning.set()
            await clean_up()

    task = asyncio.create_task(work())
    await working.wait()
    task.cancel()
    await cleaning.wait()
    for _ in range(times - 1):
        # Until it waits for something itself.
        for _ in range(3):
            await asyncio.sleep(0)
        task.cancel()
    with pytest.raises(asyncio.CancelledError):
        async with asyncio.timeout(PATIENCE_S):
            await task


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_a_deaf_group_is_ended_in_a_task_that_is_being_cancelled(
    deaf: Started, times: int
) -> None:
    process, pids = await deaf()

    await in_cancelled_task(lambda: groups.end(process, 0.2), times)

    assert await eventually(lambda: not any(runs(pid) for pid in pids))
    assert process.returncode == -signal.SIGKILL, "it is waited for before the task ends"


async def test_what_an_ended_command_has_left_is_ended(deaf: Started) -> None:
    process, pids = await deaf("orphan")
    assert await eventually(lambda: not runs(process.pid))
    assert runs(pids[1])

    await groups.end(process, 0.2)

    assert await eventually(lambda: not runs(pids[1]))


async def test_one_that_listens_is_not_killed() -> None:
    process = await groups.start("sleep", "600")

    await groups.end(process, LONG_S)

    assert process.returncode == -signal.SIGTERM


async def test_without_a_grace_it_is_killed_at_once() -> None:
    process = await groups.start("sleep", "600")

    await groups.end(process, 0)

    assert process.returncode == -signal.SIGKILL


async def test_one_that_holds_the_pipe_and_has_left_the_group_is_not_waited_for() -> None:
    process = await groups.start(
        *("sh", "-c", "setsid sleep 600 & echo $!; wait"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    other = int(await process.stdout.readline())
    try:
        # Until it leads a session of its own.
        assert await eventually(lambda: os.getsid(other) == other)

        async with asyncio.timeout(PATIENCE_S):
            await groups.end(process, LONG_S)

        assert runs(other)
    finally:
        os.kill(other, signal.SIGKILL)


@pytest.mark.parametrize("times", [1, 2])
async def test_what_starts_while_its_caller_is_cancelled_is_ended_with_its_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, times: int
) -> None:
    pids, runs_by_now, created = tmp_path / "pids", asyncio.Event(), asyncio.Event()
    create = asyncio.create_subprocess_exec

    async def slow(*argv: Any, **options: Any) -> asyncio.subprocess.Process:
        process = await create(*argv, **options)
        runs_by_now.set()
        await created.wait()
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", slow)
    script = f"sh -c 'trap \"\" TERM; while :; do sleep 1; done' & echo $$ $! >{pids}; wait"
    work = asyncio.create_task(groups.run("sh", "-c", script))
    await runs_by_now.wait()
    assert await eventually(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    for _ in range(times):
        work.cancel()
        await asyncio.sleep(0)
    created.set()
    with pytest.raises(asyncio.CancelledError):
        await work

    assert await eventually(lambda: not [n for n in pids.read_text().split() if runs(int(n))])


@pytest.mark.parametrize("times", [1, 2])
async def test_clean_up_is_done_to_the_end_with_its_own_time_limits(times: int) -> None:
    done: list[str] = []

    async def clean_up() -> None:
        try:
            async with asyncio.timeout(0.05):
                await asyncio.Event().wait()
        except TimeoutError:
            done.append("the time was up")
        await asyncio.sleep(0)
        done.append("the rest")

    await in_cancelled_task(lambda: groups.to_the_end(clean_up()), times)

    assert done == ["the time was up", "the rest"]


async def test_what_clean_up_gives_and_raises_is_passed_on() -> None:
    async def gives() -> int:
        return 4

    async def fails() -> int:
        raise OSError("no room")

    assert await groups.to_the_end(gives()) == 4
    with pytest.raises(OSError, match="no room"):
        await groups.to_the_end(fails())


# What goes through `to_the_end` itself, or needs it not: see its docstring.
ENOUGH = {"to_the_end", "end", "close", "_kill", "stop_sidecars", "_close_quietly"}
LAST = {"gather", "_cancelled"}


def cut_off(tree: ast.AST) -> Iterator[ast.Await]:
    """Waits in clean-up that a cancellation would cut off, or what follows them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Try):
            caught = [h for h in node.handlers if "BaseException" in ast.dump(h.type or h)]
            for body in (node.finalbody, *(handler.body for handler in caught)):
                found = [one for line in body for one in ast.walk(line)]
                waits = sorted(
                    (one for one in found if isinstance(one, ast.Await)), key=lambda one: one.lineno
                )
                for place, wait in enumerate(waits, 1):
                    name = re.sub(r"\(.*", "", ast.unparse(wait.value), flags=re.DOTALL)
                    last = LAST if place == len(waits) else set()
                    if name.rpartition(".")[2] not in ENOUGH | last:
                        yield wait


def test_no_clean_up_can_be_cut_off() -> None:
    """Outside of replicas, which are ended as processes."""
    modules = [
        path
        for path in (ROOT / "harness").rglob("*.py")
        if path.relative_to(ROOT / "harness").parts[0] not in {"authcache", "targets"}
    ]
    assert len(modules) > 100
    assert [
        f"{path}:{wait.lineno}" for path in modules for wait in cut_off(ast.parse(path.read_text()))
    ] == []


# Starts a child for each signal and sends it: run by a process whose parent had them in some state.
CHILDREN = {
    "group": """
async def main():
    for number in groups.ENDING:
        process = await groups.start("sleep", "600")
        process.send_signal(number)
        print(await process.wait(), flush=True)
asyncio.run(main())
""",
    "stack": """
link = GuardLink("token", Path("/dev/null"))
processes = Processes("token", link)
for number in groups.ENDING:
    command = Command("sleeper", "test", ["sleep", "600"], Path("/dev/null"), {}, end_signal=number)
    process = processes.spawn(command)
    process.popen.send_signal(command.end_signal)
    print(process.popen.wait(), flush=True)
link.done()
""",
}
PRELUDE = """
import asyncio
from pathlib import Path
from harness.process import groups
from harness.process.guard_link import GuardLink
from harness.process.processes import Command, Processes
"""


def entered_with(disposition: str, *command: str, **options: Any) -> subprocess.Popen[str]:
    """Start a command that finds the signals which end something so on its entry."""

    def prepare() -> None:
        if disposition == "blocked":
            signal.pthread_sigmask(signal.SIG_BLOCK, groups.ENDING)
            return
        action = signal.SIG_IGN if disposition == "ignored" else signal.SIG_DFL
        for number in groups.ENDING:
            signal.signal(number, action)

    return subprocess.Popen(
        command,
        text=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        preexec_fn=prepare,  # noqa: PLW1509 - what a shell does to its background jobs
        **options,
    )


@pytest.mark.parametrize("disposition", ["default", "ignored", "blocked"])
@pytest.mark.parametrize("kind", CHILDREN)
def test_a_child_hears_what_is_to_end_it(kind: str, disposition: str) -> None:
    command = (sys.executable, "-c", PRELUDE + CHILDREN[kind])
    with entered_with(disposition, *command, start_new_session=True) as starter:
        try:
            said = starter.communicate(timeout=PATIENCE_S)[0]
        finally:
            # A child that does not hear is in a session of its own: its number is not known here.
            starter.kill()

    assert said.split() == [str(-number) for number in groups.ENDING]


@pytest.mark.parametrize("number", groups.ENDING)
@pytest.mark.parametrize("disposition", ["ignored", "blocked"])
def test_what_the_parent_ignores_does_not_end_it(disposition: str, number: signal.Signals) -> None:
    code = """
import os, sys
from harness.process.groups import default_signals
default_signals()
os.kill(os.getpid(), int(sys.argv[1]))
print("lives", flush=True)
"""
    with entered_with(disposition, sys.executable, "-c", code, str(number.value)) as one:
        said = one.communicate()[0]

    # One that is blocked was never refused: it only waited.
    assert said == ("lives\n" if disposition == "ignored" else "")


WORK = """
import sys
from harness.process.groups import default_signals
from harness.process.stop import with_signals

async def work(stop):
    print("works", flush=True)
    await stop.wait()
    print("stopped", flush=True)

# As git does, which a command may ask before its own work.
default_signals()
sys.exit(with_signals(work)[1])
"""


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("disposition", ["default", "ignored", "blocked"])
def test_work_of_the_command_line_ends_by_a_signal(
    disposition: str, number: signal.Signals
) -> None:
    with entered_with(disposition, sys.executable, "-c", WORK) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "works\n"
        one.send_signal(number)
        nohup = disposition == "ignored" and number == signal.SIGHUP
        if nohup:
            one.send_signal(signal.SIGTERM)

        # The first signal decides.
        assert one.wait(PATIENCE_S) == 128 + (signal.SIGTERM if nohup else number)


def test_work_ends_in_order_though_its_terminal_is_gone() -> None:
    ours, theirs = pty.openpty()
    # Its session has the terminal, and the system sends it SIGHUP.
    code = f"import fcntl, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0)\n{WORK}"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        start_new_session=True,
        stdout=theirs,
        stderr=theirs,
    ) as one:
        os.close(theirs)
        said = b""
        # The whole line: to a terminal that goes before its end, writing fails.
        while not said.endswith(b"\n"):
            said += os.read(ours, 100)
        os.close(ours)

        assert one.wait(PATIENCE_S) == 129
