"""`harness exporter` beside a real fleet, as Compose runs it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest
import pytest_asyncio

from harness.authcache.variants import load_variants
from harness.exporter.families import merge_all, render
from harness.exporter.servers import FleetServers, ServerReader
from harness.observe.counters import Counters
from harness.observe.postgres import role_of
from harness.observe.snapshots import Observer, watch
from harness.plan.arms import reference_arm
from harness.plan.plan import make_plan
from harness.process.loopback import local_http
from harness.scenario.loader import load_scenario
from harness.stack.base import Fleet
from harness.stack.embedded import EmbeddedStack

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def observer(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observer]:
    """A fleet of two replicas, seeded, after some requests."""
    variant = load_variants(None)["litellm_1_84"]
    plan = make_plan(load_scenario("smoke"), [reference_arm(variant)], stack="embedded")
    stack = EmbeddedStack(tmp_path_factory.mktemp("logs"))
    try:
        await stack.open()
        fleet = await stack.start(plan.fleet(plan.arms[0]))
        async with watch(fleet) as observer, local_http() as http:
            await fleet.spec.target.database.seed(observer.postgres, plan.keys)
            for key in plan.keys:
                for url in fleet.replica_urls:
                    await http.post(
                        f"{url}/v1/chat/completions",
                        headers={"Authorization": f"Bearer {key.secret}"},
                        json={"model": "mock-model", "messages": []},
                    )
            yield observer
    finally:
        await stack.close()


def _config(folder: Path, fleet: Fleet) -> Path:
    targets = [urlsplit(worker.metrics_url).netloc for worker in fleet.workers]
    path = folder / "exporter.toml"
    path.write_text(
        f"""
        [listen]
        port = 0
        [[fleet]]
        variant = "{fleet.name}"
        replicas = 2
        postgres_dsn = "{fleet.admin_dsn}"
        postgres_role = "{role_of(fleet.dsn)}"
        redis_url = "{fleet.redis_url}"
        targets = {targets}
        """
    )
    return path


@contextmanager
def _exporter(config: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "harness", "exporter", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("Exporter: http://127.0.0.1:")
            yield line.split()[1].removesuffix("/metrics"), process
        finally:
            process.kill()


async def _with_both_up(http: httpx.AsyncClient, url: str) -> Counters:
    """A scrape in which both servers answered in time; on a busy machine not every one is."""
    async with asyncio.timeout(60):
        while True:
            page = Counters.parse((await http.get(f"{url}/metrics")).text)
            if page.sum("authcache_server_up") == 2:
                return page


async def test_what_it_shows_is_what_the_harness_sees(tmp_path: Path, observer: Observer) -> None:
    with _exporter(_config(tmp_path, observer.fleet)) as (url, process):
        # An observer sees the fleet at rest; the exporter sees it after that, still at rest.
        snapshot = await observer.at_rest()
        async with local_http(timeout=30) as http:
            page = await _with_both_up(http, url)
            pages = (await http.get(f"{url}/snapshots")).json()["fleets"][observer.fleet.name]
            rows = (await http.get(f"{url}/workers")).json()["fleets"][observer.fleet.name]
            through = [Counters.parse((await http.get(url + row["path"])).text) for row in rows]
        assert snapshot.statements is not None
        assert snapshot.redis is not None
        calls = {kind: count.calls for kind, count in snapshot.statements.reads.items()}
        assert sum(calls.values()) > 0
        for kind, count in calls.items():
            assert page.sum("authcache_statement_calls_total", object=kind) == count
        assert page.sum("authcache_redis_keyspace_total") == snapshot.redis.keys_read > 0
        assert page.sum("authcache_redis_commands_total") >= snapshot.redis.keys_read
        assert page.sum("authcache_redis_memory_bytes") > 0
        assert page.sum("authcache_server_up") == 2
        assert pages["problems"] == []
        for workers in ([Counters.parse(row["page"]) for row in pages["workers"]], through):
            total = Counters.total(workers)
            for name in ("authcache_lookups_total", "http_requests_total"):
                assert total.by(name, "object", "outcome") == snapshot.total.by(
                    name, "object", "outcome"
                )
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


class Relay:
    """A way to a server that can be held up, as a server that hangs would."""

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)
        self.flows = asyncio.Event()
        self.flows.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection(*self._place)
        await asyncio.gather(self._pass_on(reader, here), self._pass_on(there, writer))

    async def _pass_on(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65_536):
                await self.flows.wait()
                sink.write(data)
        sink.close()


async def test_a_postgres_that_hangs_in_the_middle_is_down_until_it_goes_on(
    observer: Observer,
) -> None:
    parts = urlsplit(observer.fleet.admin_dsn)
    assert parts.hostname is not None
    assert parts.port is not None
    relay = Relay(parts.hostname, parts.port)
    async with await asyncio.start_server(relay.serve, "127.0.0.1", 0) as server:
        login = parts.netloc.rpartition("@")[0]
        here = f"{login}@127.0.0.1:{server.sockets[0].getsockname()[1]}"
        dsn = urlunsplit(parts._replace(netloc=here))
        reader = ServerReader(FleetServers("a", dsn, role_of(observer.fleet.dsn), None))
        await _until_up(reader)
        relay.flows.clear()
        for _ in range(2):
            page = await _read(reader)
            assert page.sum("authcache_server_up") == 0
            assert "authcache_statement_calls_total" not in {name for (name, _), _ in page.items()}
        relay.flows.set()
        assert (await _until_up(reader)).sum("authcache_statement_calls_total") > 0
        await reader.close()


async def _read(reader: ServerReader) -> Counters:
    async with asyncio.timeout(60):
        return Counters.parse(render(merge_all(await reader.read()))[0].decode())


async def _until_up(reader: ServerReader) -> Counters:
    async with asyncio.timeout(60):
        while not (page := await _read(reader)).sum("authcache_server_up"):
            pass
    return page


async def test_scraping_an_idle_fleet_moves_no_counter(tmp_path: Path, observer: Observer) -> None:
    with _exporter(_config(tmp_path, observer.fleet)) as (url, _):
        await observer.at_rest()
        async with local_http(timeout=30) as http:
            first = await _with_both_up(http, url)
            for _ in range(3):
                again = await _with_both_up(http, url)
    counted = {
        series: value
        for series, value in again.since(first).items()
        if value and "memory" not in series[0]
    }
    assert counted == {}
