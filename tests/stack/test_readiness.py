"""A server on a free port: another port where that was taken, and what is said where it fails."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.process.guard_link import GuardLink
from harness.process.processes import Command, Process, Processes
from harness.stack.embedded.readiness import Started, on_free_port

CLASH = "print('bind: Address already in use'); raise SystemExit(1)"
FAILS = "print('no such option'); raise SystemExit(1)"
RUNS = "import signal; signal.pause()"

Start = Callable[[int], Process]


@pytest.fixture
async def spawn(tmp_path: Path) -> AsyncIterator[Callable[..., Start]]:
    """Starts one program after the other, each in place of a server."""
    link = GuardLink("readiness", tmp_path / "guard.log")
    processes = Processes("readiness", link)

    def of(*programs: str) -> Start:
        left = iter(programs)
        return lambda _: processes.spawn(
            Command("server", "test", [sys.executable, "-c", next(left)], tmp_path / "log", {})
        )

    yield of
    await processes.stop("", 0.1)
    link.done()


async def refuses(_: int) -> str:
    raise OSError("refused")


async def up(
    start: Start, version: Callable[[int], Awaitable[str]], timeout_s: float = 60.0
) -> Started:
    return await on_free_port(
        "Server",
        start,
        version,
        retry=(OSError,),
        timeout_s=timeout_s,
        instead="SERVER_URL",
    )


async def test_a_port_that_was_taken_meanwhile_is_tried_no_more(
    spawn: Callable[..., Start],
) -> None:
    start = spawn(CLASH, RUNS)
    ports: list[int] = []

    def on(port: int) -> Process:
        ports.append(port)
        return start(port)

    async def version(_: int) -> str:
        if len(ports) == 1:
            raise OSError("refused")
        return "server 1"

    started = await up(on, version)

    assert started.version == "server 1"
    assert started.port == ports[1] != ports[0]
    assert not started.process.stopping


async def test_a_port_that_is_taken_again_and_again(spawn: Callable[..., Start]) -> None:
    with pytest.raises(SetupError, match=r"Server found its port taken \[5\].*as SERVER_URL"):
        await up(spawn(*[CLASH] * 5), refuses)


async def test_a_server_that_ends_says_why(spawn: Callable[..., Start]) -> None:
    with pytest.raises(SetupError, match=r"(?s)Server did not start.*no such option"):
        await up(spawn(FAILS), refuses)


async def test_a_server_that_never_answers(spawn: Callable[..., Start]) -> None:
    with pytest.raises(SetupError, match=r"did not answer within \[0.1 s\], still running"):
        await up(spawn(RUNS), refuses, 0.1)
