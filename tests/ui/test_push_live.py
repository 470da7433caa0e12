"""Locust as a user starts it, beside a real exporter."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from harness.exporter.app import Exporter
from harness.exporter.families import render
from harness.exporter.serving import serve
from harness.exporter.state import RunState
from harness.observe.counters import Counters
from harness.process.sockets import free_port
from harness.process.waiting import wait_until
from tests.load.replica import FakeReplica, Reply
from tests.load.test_locustfile import TIMEOUT_S, locust

pytestmark = pytest.mark.integration


@asynccontextmanager
async def driven(
    workers: int, exporter: Exporter, replica: FakeReplica, keys_file: Path, *options: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A headless load: the process that counts, alone or the master of workers."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serve(exporter))
        given = {
            "AUTHCACHE_HOSTS": f"recommended={replica.url}",
            "AUTHCACHE_KEYS": str(keys_file),
            "AUTHCACHE_SNAPSHOTS": f"{url}/snapshots",
        }
        port = str(free_port())
        role = ["--master", "--expect-workers", str(workers), "--master-bind-port", port]
        face = await stack.enter_async_context(
            locust(
                *("--headless", "--only-summary", *options),
                *(role if workers else ()),
                **given,
            )
        )
        for _ in range(workers):
            worker = locust("--worker", "--master-port", port, **given)
            await stack.enter_async_context(worker)
        yield face


def page(exporter: Exporter) -> Counters:
    return Counters.parse(render(exporter.state.metrics())[0].decode())


def windows(exporter: Exporter) -> list[bool]:
    return [w.active for w in exporter.state.windows if w.phase == "load"]


async def until(what: Callable[[], bool]) -> None:
    assert await wait_until(what, TIMEOUT_S)


@pytest.mark.parametrize("workers", [0, 2])
async def test_the_exporter_knows_in_the_end_what_locust_counted(
    workers: int, keys_file: Path
) -> None:
    exporter = Exporter(RunState(), {}, takes_state=True)
    behave = lambda _, number: Reply(401 if number % 3 == 0 else 200, delay_s=0.05)  # noqa: E731  # short
    async with (
        FakeReplica(behave) as replica,
        driven(
            *(workers, exporter, replica, keys_file),
            *("-u", "8", "-r", "8", "--rate", "10"),
        ) as face,
    ):
        await until(lambda: page(exporter).sum("authcache_generator_requests_total") > 20)
        assert windows(exporter) == [True]
        face.send_signal(signal.SIGTERM)
        _, err = await asyncio.wait_for(face.communicate(), TIMEOUT_S)
    assert windows(exporter) == [False], err.decode()
    counted = page(exporter)
    requests = counted.sum("authcache_generator_requests_total", variant="recommended")
    assert requests == counted.sum("authcache_generator_planned_total")
    by_status = counted.by("authcache_generator_requests_total", "status")
    assert by_status.keys() == {("200",), ("401",)}
    assert requests > 20
    if not workers:
        # a master that is asked to quit has no time for its workers' last word
        assert requests == replica.answered
    # A traceback of Locust's own is possible: its handler and its main greenlet both shut it down.
    assert not re.search(r"locustfile\.py|harness/(load|ui)/", err.decode())


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.long), 2])
async def test_what_no_user_is_free_for_is_due_all_the_same(workers: int, keys_file: Path) -> None:
    exporter = Exporter(RunState(), {}, takes_state=True)
    async with (
        FakeReplica(lambda _secret, _number: Reply(delay_s=1.0)) as replica,
        driven(
            *(workers, exporter, replica, keys_file),
            *("-u", "2", "-r", "2", "--load-model", "open", "--arrival-rate", "50"),
        ) as face,
    ):
        await until(lambda: page(exporter).sum("authcache_generator_planned_total") > 100)
        answered = page(exporter).sum("authcache_generator_requests_total")
        assert answered <= replica.requests < 100
        await until(lambda: page(exporter).sum("authcache_generator_late_total") > 0)
        assert page(exporter).sum("authcache_generator_max_delay_seconds") > 0
        face.send_signal(signal.SIGTERM)
        await asyncio.wait_for(face.communicate(), TIMEOUT_S)
    assert windows(exporter) == [False]
