"""Servers of a fleet that hang: the page comes within a scrape, and says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from harness.exporter.families import merge_all, render
from harness.exporter.servers import BUDGET_S, FleetServers, ServerReader
from harness.observe.counters import Counters
from harness.process.waiting import wait_until
from harness.prometheus.configuration import SCRAPE_S

SHORT_S = 0.3
"""The budget of a read here; a look that is late on a busy machine is repeated."""
_ANSWERS = {
    b"stats": b"keyspace_hits:5\r\nkeyspace_misses:2\r\n",
    b"memory": b"used_memory:1024\r\n",
    b"commandstats": b"cmdstat_get:calls=7,usec=1\r\ncmdstat_info:calls=9,usec=1\r\n",
}


class FakeServer:
    """Speaks a little of Redis' protocol, or takes everything and never says a word."""

    def __init__(self, *, hangs: bool) -> None:
        self.hangs = hangs
        self.address = ""
        self.connections = 0
        self.open = 0
        self.over = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while words := await _command(reader):
                if self.hangs:
                    continue
                text = _ANSWERS.get(words[-1].lower())
                if text is None:
                    writer.write(b"+OK\r\n")
                else:
                    writer.write(b"$%d\r\n%s\r\n" % (len(text), text))
        finally:
            self.open -= 1
            writer.close()


async def _command(reader: asyncio.StreamReader) -> list[bytes]:
    """The words of a command; whatever is no command, as of Postgres' clients, is one word."""
    line = await reader.readline()
    if not line.startswith(b"*"):
        return [line] if line else []
    words = []
    for _ in range(int(line[1:])):
        length = int((await reader.readline())[1:])
        words.append((await reader.readexactly(length + 2))[:-2])
    return words


@asynccontextmanager
async def fake(*, hangs: bool) -> AsyncIterator[FakeServer]:
    one = FakeServer(hangs=hangs)
    async with await asyncio.start_server(one.serve, "127.0.0.1", 0) as server:
        one.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield one


@asynccontextmanager
async def reading(*, postgres: FakeServer | None, redis: FakeServer) -> AsyncIterator[ServerReader]:
    dsn = None if postgres is None else f"postgresql://role:word@{postgres.address}/fleet"
    reader = ServerReader(FleetServers("a", dsn, "role", f"redis://{redis.address}/0"), SHORT_S)
    try:
        yield reader
    finally:
        await reader.close()


async def page(reader: ServerReader) -> Counters:
    async with asyncio.timeout(60):
        parts = await reader.read()
    return Counters.parse(render(merge_all(parts))[0].decode())


async def page_with(reader: ServerReader, server: str) -> Counters:
    """A page on which a server is up: on a busy machine not every look ends in time."""
    async with asyncio.timeout(60):
        while not is_up(counters := await page(reader), server):
            pass
    return counters


def is_up(counters: Counters, server: str) -> bool:
    return counters.sum("authcache_server_up", server=server) == 1


def test_the_budget_leaves_a_scrape_time_for_the_rest_of_the_page() -> None:
    assert BUDGET_S <= 0.7 * SCRAPE_S


async def test_servers_that_take_a_connection_and_never_answer_are_down() -> None:
    async with (
        fake(hangs=True) as postgres,
        fake(hangs=True) as redis,
        reading(postgres=postgres, redis=redis) as reader,
    ):
        async with asyncio.timeout(60):
            while not (postgres.connections and redis.connections):
                counters = await page(reader)
        assert counters.sum("authcache_server_up") == 0
        assert {name for (name, _), _ in counters.items()} == {"authcache_server_up"}
        assert await wait_until(lambda: not postgres.open and not redis.open, 60)


async def test_three_questions_that_are_slow_share_one_budget() -> None:
    """A Redis that answers each question in half the budget, so none would be too late alone."""
    asked = 0

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while words := await _command(reader):
            text = _ANSWERS.get(words[-1].lower())
            if text is None:
                writer.write(b"+OK\r\n")
                continue
            asked += 1
            await asyncio.sleep(SHORT_S / 2)
            writer.write(b"$%d\r\n%s\r\n" % (len(text), text))
        writer.close()

    async with await asyncio.start_server(slow, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        reader = ServerReader(FleetServers("a", None, "", f"redis://{address}/0"), SHORT_S)
        async with asyncio.timeout(60):
            while not asked:
                counters = await page(reader)
        await reader.close()
    assert asked < len(_ANSWERS)
    assert not is_up(counters, "redis")


async def test_one_that_hangs_does_not_take_the_other_along_and_comes_back() -> None:
    async with (
        fake(hangs=True) as postgres,
        fake(hangs=False) as redis,
        reading(postgres=postgres, redis=redis) as reader,
    ):
        counters = await page_with(reader, "redis")
        assert not is_up(counters, "postgres")
        assert counters.sum("authcache_redis_keyspace_total") == 7
        assert counters.sum("authcache_redis_commands_total") == 7

        redis.hangs = True
        before = redis.connections
        assert not is_up(await page(reader), "redis")
        redis.hangs = False
        counters = await page_with(reader, "redis")
        assert counters.sum("authcache_redis_keyspace_total") == 7
        assert redis.connections > before, "what timed out was dropped"


async def test_two_scrapes_at_once_share_one_look() -> None:
    async with fake(hangs=True) as redis, reading(postgres=None, redis=redis) as reader:
        both = await asyncio.gather(reader.read(), reader.read())
        assert both[0] is both[1]
        assert redis.connections == 1
