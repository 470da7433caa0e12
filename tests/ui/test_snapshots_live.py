"""The tab while the exporter, or a replica behind it, hangs: real Locust, a real exporter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.exporter.app import Exporter, Receive, Scope, Send, WatchedFleet
from harness.exporter.servers import FleetServers
from harness.exporter.serving import serve
from harness.exporter.state import RunState
from harness.exporter.workers import Listed
from harness.process.loopback import local_http
from harness.process.sockets import free_port
from tests.load.replica import FakeReplica
from tests.load.test_locustfile import TIMEOUT_S, locust, until_up
from tests.ui.pages import text

pytestmark = pytest.mark.integration


class Worker:
    """A worker's page, on which one more request stands each time; or a worker that hangs."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()
        self.address = ""
        self._requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await self.answers.wait()
        self._requests += 1
        body = text(requests=self._requests).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ")
        writer.write(b"%d\r\n\r\n%s" % (len(body), body))
        writer.close()


@asynccontextmanager
async def worker(*, hangs: bool) -> AsyncIterator[Worker]:
    one = Worker()
    if not hangs:
        one.answers.set()
    async with await asyncio.start_server(one.serve, "127.0.0.1", 0) as server:
        one.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield one
        finally:
            one.answers.set()


@asynccontextmanager
async def under_load(keys_file: Path, snapshots: str) -> AsyncIterator[httpx.AsyncClient]:
    """Locust's web UI after the form was sent."""
    port = free_port()
    async with (
        FakeReplica() as replica,
        locust(
            *("--web-host", "127.0.0.1", "--web-port", str(port)),
            AUTHCACHE_HOSTS=f"a={replica.url}",
            AUTHCACHE_KEYS=str(keys_file),
            AUTHCACHE_SNAPSHOTS=snapshots,
        ),
        local_http(base_url=f"http://127.0.0.1:{port}", timeout=TIMEOUT_S) as browser,
    ):
        await asyncio.wait_for(until_up(browser), TIMEOUT_S)
        form = {"user_count": "2", "spawn_rate": "2", "mix": "team=1", "rate": "5"}
        assert (await browser.post("/swarm", data=form)).json()["success"] is True
        yield browser


async def until(
    browser: httpx.AsyncClient, look: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Ask for the tab's numbers until they are as wanted."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        shown: dict[str, Any] = (await browser.get("/auth-cache/data")).json()
        if look(shown):
            return shown
        assert time.monotonic() < deadline, f"the tab still shows {shown}"
        await asyncio.sleep(0.1)


def completed(shown: dict[str, Any]) -> float:
    return float(sum(variant["completed"] for variant in shown.get("variants", ())))


async def test_what_hangs_is_named_until_it_answers_and_the_rest_goes_on(keys_file: Path) -> None:
    """First the exporter, then a replica."""
    answers = asyncio.Event()

    class Late(Exporter):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            await answers.wait()
            await super().__call__(scope, receive, send)

    async with worker(hangs=False) as good, worker(hangs=True) as hung:
        servers = FleetServers("a", None, "", None)
        fleet = WatchedFleet(servers, Listed([good.address, hung.address]))
        async with (
            serve(Late(RunState(), {"a": fleet}, takes_state=True)) as url,
            under_load(keys_file, f"{url}/snapshots") as browser,
        ):
            # the load has started although nothing answered at its start
            shown = await until(browser, lambda shown: bool(shown["problems"]))
            assert shown["state"] == "running"
            assert "does not answer (timeout)" in shown["problems"][0]
            assert "Replica" not in shown["problems"][0]
            answers.set()

            who = f"Replica 1 of a, worker 0 ({hung.address})"
            shown = await until(browser, lambda shown: who in "".join(shown["problems"]))
            [problem] = shown["problems"]
            assert problem.startswith(f"{who} does not answer (timeout).")
            now = completed(shown)
            await until(browser, lambda shown: completed(shown) > now)
            hung.answers.set()
            await until(browser, lambda shown: not shown["problems"])
