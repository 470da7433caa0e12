"""The exporter's HTTP side, with workers that are faked at their own sockets."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from harness.errors import SetupError
from harness.exporter.app import MOST_BODY, Exporter, WatchedFleet
from harness.exporter.push import pushing
from harness.exporter.servers import FleetServers
from harness.exporter.serving import serve
from harness.exporter.state import RunState
from harness.exporter.workers import Discovery, Listed, Resolved
from harness.observe.counters import Counters
from harness.process.sockets import listen
from harness.process.waiting import wait_until
from tests.process.test_groups import in_cancelled_task

PAGE = 'authcache_pending{variant="a"} 3\n'


class Worker:
    """A server that answers every request with one page, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.address = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split(" ")[1])
        length = len(PAGE.encode())
        head = f"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n"
        writer.write(f"{head}connection: close\r\n\r\n{PAGE}".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def worker() -> AsyncIterator[Worker]:
    one = Worker()
    async with await asyncio.start_server(one.answer, "127.0.0.1", 0) as server:
        one.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield one


def _fleet(variant: str, discovery: Discovery) -> WatchedFleet:
    return WatchedFleet(FleetServers(variant, None, "", None), discovery)


def _state() -> RunState:
    return RunState.planned({"a": 1}, {"a": {"all": 40.0}}, [("a", "measured", 1)])


def _client(exporter: Exporter) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(exporter), base_url="http://exporter")


async def test_workers_are_listed_with_the_way_to_their_pages(worker: Worker) -> None:
    exporter = Exporter(_state(), {"a": _fleet("a", Listed([worker.address] * 4, 2))})
    async with _client(exporter) as http:
        rows = (await http.get("/workers")).json()["fleets"]["a"]
        assert [(row["replica"], row["worker"]) for row in rows] == [(0, 0), (0, 1), (1, 0), (1, 1)]
        reply = await http.get(rows[0]["path"], params=[("name[]", "authcache_pending")])
        log = await http.get(f"{rows[0]['path']}/reads", params={"after": 7})
    assert reply.text == log.text == PAGE
    assert worker.asked == ["/metrics?name%5B%5D=authcache_pending", "/metrics/reads?after=7"]
    await exporter.close()


async def test_a_worker_that_was_not_discovered_is_not_asked(worker: Worker) -> None:
    exporter = Exporter(_state(), {"a": _fleet("a", Listed(["127.0.0.1:1"]))})
    async with _client(exporter) as http:
        foreign = await http.get(f"/workers/a/{worker.address}")
        unknown = await http.get(f"/workers/b/{worker.address}")
        dead = await http.get("/workers/a/127.0.0.1:1")
    assert (foreign.status_code, unknown.status_code, dead.status_code) == (404, 404, 502)
    assert worker.asked == []
    assert "127.0.0.1:1" in dead.text
    await exporter.close()


async def test_snapshots_hold_all_pages_and_say_who_did_not_answer(worker: Worker) -> None:
    fleets = {
        "a": _fleet("a", Listed([worker.address, "127.0.0.1:1"])),
        "b": _fleet("b", Resolved("no-such-name.invalid", 9400)),
    }
    exporter = Exporter(_state(), fleets)
    async with _client(exporter) as http:
        both = (await http.get("/snapshots")).json()["fleets"]
        one = (await http.get("/snapshots", params={"variant": "b"})).json()["fleets"]
    row, dead = both["a"]["workers"]
    assert Counters.parse(row["page"]).sum("authcache_pending") == 3
    assert (dead["address"], dead["page"]) == ("127.0.0.1:1", None)
    assert dead["problem"] == "does not answer (ConnectError)"
    assert both["a"]["problems"] == []
    assert both["b"]["workers"] == []
    assert "cannot be found" in both["b"]["problems"][0]
    assert list(one) == ["b"]
    await exporter.close()


async def test_one_worker_that_hangs_does_not_keep_the_others_pages_back(worker: Worker) -> None:
    over = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async def dripping(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        # each byte comes long before any time-out of a single read
        while not writer.is_closing() and not over.is_set():
            writer.write(b"x")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), 0.05)
        writer.close()

    async with (
        await asyncio.start_server(silent, "127.0.0.1", 0) as first,
        await asyncio.start_server(dripping, "127.0.0.1", 0) as second,
    ):
        hung = [f"127.0.0.1:{s.sockets[0].getsockname()[1]}" for s in (first, second)]
        workers = _fleet("a", Listed([worker.address, *hung]))
        exporter = Exporter(_state(), {"a": workers}, snapshot_s=0.25)
        async with _client(exporter) as http, asyncio.timeout(60):
            fleet = {"workers": [{"problem": "not asked"}]}
            # On a busy machine not even one that answers is always in time.
            while "problem" in fleet["workers"][0]:
                fleet = (await http.get("/snapshots")).json()["fleets"]["a"]
        over.set()
        await exporter.close()
    assert [(row["address"], row.get("problem")) for row in fleet["workers"]] == [
        (worker.address, None),
        *((address, "does not answer (timeout)") for address in hung),
    ]
    assert fleet["workers"][0]["page"] == PAGE


async def test_a_name_is_resolved_into_workers_in_the_order_of_addresses() -> None:
    found = await Resolved("localhost", 9400, 2).workers()
    assert [(w.replica, w.worker, w.address) for w in found] == [
        (0, 0, "127.0.0.1:9400"),
        (0, 1, "127.0.0.1:9401"),
    ]


async def test_a_server_that_is_down_does_not_take_the_page_along() -> None:
    servers = FleetServers(
        "a", "postgresql://nobody@127.0.0.1:1/none", "nobody", "redis://127.0.0.1:1/0"
    )
    exporter = Exporter(_state(), {"a": WatchedFleet(servers, Listed([]))})
    async with _client(exporter) as http:
        reply = await http.get("/metrics")
    assert reply.status_code == 200
    page = Counters.parse(reply.text)
    assert (
        dict(page.items())[
            "authcache_server_up", frozenset({("server", "postgres"), ("variant", "a")})
        ]
        == 0
    )
    assert page.sum("authcache_server_up", server="redis") == 0
    assert "authcache_statement_calls_total" not in reply.text
    assert page.sum("authcache_replicas_expected") == 1
    await exporter.close()


async def test_a_fleet_without_redis_shows_0_and_a_shared_one_nothing() -> None:
    fleets = {
        "none": _fleet("none", Listed([])),
        "shared": WatchedFleet(
            FleetServers("shared", None, "", "redis://127.0.0.1:1/0", counts_redis=False),
            Listed([]),
        ),
    }
    exporter = Exporter(_state(), fleets)
    async with _client(exporter) as http:
        page = Counters.parse((await http.get("/metrics")).text)
    variants = {
        dict(labels)["variant"]
        for (name, labels), _ in page.items()
        if name.startswith("authcache_redis")
    }
    assert variants == {"none"}
    assert page.sum("authcache_redis_commands_total") == 0
    await exporter.close()


async def test_a_run_elsewhere_puts_its_state() -> None:
    exporter = Exporter(RunState(), {}, takes_state=True)
    async with _client(exporter) as http:
        body = _state().model_dump_json()
        assert (await http.put("/state", content=body)).status_code == 204
        assert exporter.state == _state()
        bad = await http.put("/state", content=body.replace("measured", "x").replace("phase", "p"))
        assert bad.status_code == 400
        assert "phase" in bad.text
        large = await http.put("/state", content=b"x" * (MOST_BODY + 1))
        assert large.status_code == 413
        assert exporter.state == _state(), "what is refused changes nothing"
    await exporter.close()


async def test_an_exporter_of_a_run_takes_no_state_from_outside() -> None:
    exporter = Exporter(_state(), {})
    async with _client(exporter) as http:
        reply = await http.put("/state", content=RunState().model_dump_json())
    assert reply.status_code == 404
    assert exporter.state == _state()
    await exporter.close()


async def test_what_is_not_there_is_404_and_says_what_is() -> None:
    exporter = Exporter(_state(), {})
    async with _client(exporter) as http:
        for path in ("/", "/metricss", "/workers/a/b/c"):
            reply = await http.get(path)
            assert reply.status_code == 404
            assert "/metrics" in reply.text
        assert (await http.get("/healthy")).status_code == 200
    await exporter.close()


async def test_it_serves_on_loopback_and_a_taken_port_is_one_clear_message() -> None:
    async with serve(Exporter(_state(), {}), port=0) as url, httpx.AsyncClient() as http:
        assert url.startswith("http://127.0.0.1:")
        assert "authcache_window_active" in (await http.get(f"{url}/metrics")).text
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(SetupError, match=rf"\[127.0.0.1:{port}\] is in use"):
            async with serve(Exporter(_state(), {}), port=port):
                pass
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as http:
            await http.get(f"{url}/metrics")


async def test_a_state_is_pushed_while_it_changes_and_once_more_at_the_end() -> None:
    there = Exporter(RunState(), {}, takes_state=True)
    here, notes = _state(), list[str]()
    async with serve(there) as url:
        async with pushing(here, url, notes.append):
            assert await wait_until(lambda: there.state == here, 60)
            here.began("a", "measured", 1)
        assert there.state == here, "the last word has arrived when the block ends"
    assert notes == []


class Slow(Exporter):
    """Takes a while to close."""

    closed = False

    async def close(self) -> None:
        await asyncio.sleep(0.05)
        await super().close()
        self.closed = True


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_what_serves_is_closed_however_often_its_run_is_cancelled(times: int) -> None:
    exporter = Slow(_state(), {})
    serving = serve(exporter)
    port = int((await serving.__aenter__()).rsplit(":", 1)[1])

    await in_cancelled_task(lambda: serving.__aexit__(None, None, None), times)

    assert exporter.closed
    listen(port).close()


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_the_last_state_arrives_however_often_its_run_is_cancelled(times: int) -> None:
    there, here = Exporter(RunState(), {}, takes_state=True), _state()
    async with serve(there) as url:
        pushes = pushing(here, url, pytest.fail)
        await pushes.__aenter__()
        assert await wait_until(lambda: there.state == here, 60)
        here.began("a", "measured", 1)

        await in_cancelled_task(lambda: pushes.__aexit__(None, None, None), times)

        assert there.state == here


async def test_an_exporter_that_takes_no_state_is_noted_once() -> None:
    notes = list[str]()
    async with serve(Exporter(_state(), {})) as url, pushing(_state(), url, notes.append):
        pass
    [note] = notes
    assert url in note
    assert "404" in note
