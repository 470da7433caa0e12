from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from harness.errors import InvalidRunError
from harness.process.guard_link import GuardLink
from harness.process.processes import Processes
from harness.process.sockets import LOOPBACK
from harness.stack.embedded.relay_link import Relay, start_relay
from tests.process.test_relay import echo, say
from tests.stack.fakes import eventually, runs

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[tuple[Relay, Processes]]:
    """A relay with two links to a server that echoes."""
    server = await asyncio.start_server(echo, LOOPBACK, 0)
    guard = GuardLink("relays", tmp_path / "guard.log")
    processes = Processes("relays", guard)
    port = server.sockets[0].getsockname()[1]
    links = {"redis-0": port, "redis-1": port, "postgres": port}
    yield await start_relay(processes, "one", links, tmp_path / "relay.log"), processes
    await processes.stop("", 5.0)
    guard.done()
    server.close()


async def test_each_link_is_turned_and_counted_by_itself(
    relay: tuple[Relay, Processes],
) -> None:
    one, _ = relay
    assert one.links("redis") == ["redis-0", "redis-1"]
    assert one.links("postgres") == ["postgres"]

    before = await one.turn(["redis-1"], "slow", delay_ms=1.0)
    for port in one.ports.values():
        assert await say(port, b"hello") == [b"hello"]
    after = await one.counts()

    assert after.since(before, ["redis-1"], "delayed") == 1
    assert after.since(before, one.links("redis"), "delayed") == 1
    assert after.since(before, ["redis-0", "postgres"], "delayed") == 0


async def test_it_ends_when_the_harness_is_gone(relay: tuple[Relay, Processes]) -> None:
    one, processes = relay

    one.close()

    assert await eventually(processes.started[0].ended)
    assert processes.started[0].popen.returncode == 0


async def test_one_that_has_ended_is_an_error(relay: tuple[Relay, Processes]) -> None:
    one, processes = relay
    pid = processes.started[0].pid
    os.kill(pid, signal.SIGKILL)
    assert await eventually(lambda: not runs(pid))

    with pytest.raises(InvalidRunError, match=r"relay .* does not answer"):
        await one.counts()
