from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.process.relay import COUNTS, Link, Reads, answer
from harness.process.sockets import LOOPBACK, free_port, listen
from harness.process.waiting import wait_until

pytestmark = pytest.mark.timeout(60)

PATIENCE_S = 30.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1024):
        writer.write(data)
    writer.close()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1024):
        pass
    writer.close()


@contextlib.asynccontextmanager
async def relayed(serve: Serve, *, statements: bool = False) -> AsyncIterator[tuple[Link, int]]:
    """A link to a server, and the port that it listens on."""
    server = await asyncio.start_server(serve, LOOPBACK, 0)
    link = Link(server.sockets[0].getsockname()[1], statements=statements)
    listener = listen()
    accepting = await link.serve(listener)
    try:
        yield link, accepting.sockets[0].getsockname()[1]
    finally:
        accepting.close()
        server.close()


async def say(port: int, *words: bytes) -> list[bytes]:
    """What is answered to each word, until the connection ends."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    answers = []
    try:
        for word in words:
            writer.write(word)
            answers.append(await asyncio.wait_for(reader.read(1024), PATIENCE_S))
    finally:
        writer.close()
    return answers


async def settled(link: Link) -> None:
    assert await wait_until(lambda: not link._pairs, PATIENCE_S)


async def test_what_is_said_passes_both_ways_and_nothing_is_counted() -> None:
    async with relayed(echo) as (link, port):
        assert await say(port, b"one", b"two") == [b"one", b"two"]
        await settled(link)

        assert link.counted() == dict.fromkeys(COUNTS, 0)


async def test_a_server_that_is_not_there_refuses_and_is_counted() -> None:
    link = Link(free_port())
    server = await link.serve(listen())
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(ConnectionResetError):
        await say(port, b"one")
    server.close()

    assert link.counted()["refused"] == 1


async def test_what_waits_for_an_answer_is_counted_also_when_its_client_has_gone() -> None:
    async with relayed(silent) as (link, port):
        writers = []
        for _ in range(3):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(b"GET x")
            writers.append(writer)
        assert await wait_until(lambda: link.counted()["unanswered"] == 3, PATIENCE_S)

        writers[0].close()
        assert await wait_until(lambda: len(link._pairs) == 2, PATIENCE_S)

        assert link.counted()["unanswered"] == 3
        for writer in writers[1:]:
            writer.close()
        await settled(link)


async def test_a_slow_answer_is_counted_and_keeps_its_order() -> None:
    async with relayed(echo) as (link, port):
        link.turn("slow", delay_ms=20, jitter_ms=20)
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        said = b""
        for number in range(50):
            word = b"%d " % number
            said += word
            writer.write(word)
            await asyncio.sleep(0)
        heard = await asyncio.wait_for(reader.readexactly(len(said)), PATIENCE_S)
        link.turn("pass")
        writer.write(b"end")
        assert await reader.readexactly(3) == b"end"
        writer.close()

        assert heard == said
        assert link.counted()["delayed"] > 0


async def test_an_answer_is_cut_in_its_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.process.relay._AGE_S", 0.0)
    loop = asyncio.get_running_loop()
    # A stream would forget what came before the reset.
    with socket.socket() as client:
        client.setblocking(False)
        async with relayed(echo) as (link, port), asyncio.timeout(PATIENCE_S):
            await loop.sock_connect(client, (LOOPBACK, port))
            link.turn("cut")
            await loop.sock_sendall(client, b"12345678")
            assert await loop.sock_recv(client, 1024) == b"1234"
            with pytest.raises(ConnectionResetError):
                await loop.sock_recv(client, 1024)
            await settled(link)

            assert link.counted()["cut"] == 1


async def test_a_young_connection_is_not_cut() -> None:
    async with relayed(echo) as (link, port):
        link.turn("cut")
        link._pairs.clear()

        assert await say(port, b"AUTH") == [b"AUTH"]


async def test_nothing_passes_and_then_the_connection_is_reset() -> None:
    async with relayed(echo) as (link, port):
        link.turn("drop")
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        writer.write(b"12345")
        assert await wait_until(lambda: link.counted()["dropped"] == 5, PATIENCE_S)
        other = await asyncio.open_connection(LOOPBACK, port)

        link.turn("pass")

        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), PATIENCE_S)
        writer.close()
        # A connection on which nothing was lost is whole.
        other[1].write(b"whole")
        assert await other[0].readexactly(5) == b"whole"
        other[1].close()
        await settled(link)
        assert link.counted()["cut"] == 1


async def test_a_connection_that_its_server_ends_is_cut() -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async with relayed(leave) as (link, port):
        assert await say(port, b"x") == [b""]
        await settled(link)

        assert link.counted()["cut"] == 1


async def test_a_request_turns_its_links_and_has_the_counts_before() -> None:
    links = {"redis-0": Link(1), "redis-1": Link(1)}
    links["redis-0"].counts["dropped"] = 7

    found = answer(links, {"links": ["redis-0"], "mode": "slow", "delay_ms": 20.0})

    assert found["redis-0"]["dropped"] == 7
    assert (links["redis-0"].mode, links["redis-0"].delay_s) == ("slow", 0.02)
    assert links["redis-1"].mode == "pass"
    assert answer(links, {}) == found


def message(kind: bytes, *fields: bytes) -> bytes:
    body = b"".join(field + b"\0" for field in fields)
    return kind + (len(body) + 4).to_bytes(4, "big") + body


START = (16).to_bytes(4, "big") + (196608).to_bytes(4, "big") + b"user\0x\0\0"[:8]
TLS = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")

DIALOGUE: list[tuple[bytes, int]] = [
    (TLS, 0),
    (START, 0),
    (message(b"p", b"SCRAM SELECT"), 0),
    (message(b"Q", b"SELECT 1"), 1),
    (message(b"P", b"one", b" select x FROM t WHERE y = $1", b""), 0),
    (message(b"B", b"", b"one", b""), 1),
    (message(b"B", b"", b"one", b""), 1),
    (message(b"P", b"two", b"UPDATE t SET x = (SELECT 1)", b""), 0),
    (message(b"B", b"", b"two", b""), 0),
    (message(b"P", b"one", b"DELETE FROM t", b""), 0),
    (message(b"B", b"", b"one", b""), 0),
    (message(b"P", b"", b"SELECT 2", b""), 0),
    (message(b"B", b"", b"", b""), 1),
    (b"S\0\0\0\4", 0),
]


@given(st.lists(st.integers(0, sum(len(said) for said, _ in DIALOGUE))))
def test_reads_are_counted_however_the_bytes_arrive(cuts: list[int]) -> None:
    said = b"".join(part for part, _ in DIALOGUE)
    edges = sorted({0, *cuts, len(said)})
    reads = Reads()

    found = sum(reads.feed(said[a:b]) for a, b in itertools.pairwise(edges))

    assert found == sum(count for _, count in DIALOGUE) == 4


def test_a_read_is_counted_by_the_message_that_asks_for_it() -> None:
    reads = Reads()

    assert [reads.feed(said) for said, _ in DIALOGUE] == [count for _, count in DIALOGUE]


async def test_reads_are_delayed_and_nothing_else() -> None:
    async with relayed(echo, statements=True) as (link, port):
        link.turn("reads", delay_ms=1)
        words = [said for said, _ in DIALOGUE]

        assert await say(port, *words) == words

        await settled(link)
        assert link.counted()["delayed"] == 4
