"""A body over the limit is refused as soon as it is known to be one, and harms nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from harness.stack.base import Fleet
from tests.targets.replica import Replica, replica
from tests.targets.world import PATIENCE_S, VARIANTS, node_settings, one_key

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LIMIT = 1_048_576


class Wire:
    """A connection to a replica, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def ask(self, secret: str, *headers: str, body: bytes = b"") -> None:
        """Send the head of a chat request, and no more of its body than is given."""
        lines = ["POST /v1/chat/completions HTTP/1.1", "Host: x"]
        lines += [f"Authorization: Bearer {secret}", *headers]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next reply."""
        async with asyncio.timeout(PATIENCE_S):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
            status, *lines = head.strip().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines)
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return int(status.split()[1]), headers, body

    async def ended(self) -> bytes:
        """Wait until the replica has closed its side; what it sent until then."""
        async with asyncio.timeout(PATIENCE_S):
            with contextlib.suppress(ConnectionResetError):
                return await self._reader.read()
        return b""


@contextlib.asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


@pytest.fixture
async def wire(fleet: Fleet) -> AsyncIterator[Wire]:
    async with wire_to(fleet.replica_urls[0]) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def brief(
    baseline: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Replica]:
    """A replica that soon closes the connection of a client that sends nothing."""
    settings = node_settings(baseline, VARIANTS["recommended"].switches, linger_s=0.1)
    async with replica(settings, tmp_path_factory.mktemp("brief")) as one:
        yield one


@pytest.fixture
async def brief_wire(brief: Replica) -> AsyncIterator[Wire]:
    async with wire_to(brief.url) as one:
        yield one


@pytest.mark.parametrize("expect", [(), ("Expect: 100-continue",)], ids=["plain", "expect"])
@pytest.mark.parametrize("length", [LIMIT + 1, 10**18], ids=["a byte", "an exabyte"])
async def test_an_announced_body_is_refused_before_it_comes(
    baseline: Fleet, brief_wire: Wire, length: int, expect: tuple[str, ...]
) -> None:
    key = await one_key(baseline.dsn, "user")

    await brief_wire.ask(key.secret, f"Content-Length: {length}", *expect)

    status, headers, body = await brief_wire.answer()
    assert status == 413
    assert headers["connection"] == "close"
    assert f"[{length}] bytes long, larger than [{LIMIT}]".encode() in body
    assert await brief_wire.ended() == b"", "one reply, no 100 Continue, and the end"


async def test_a_client_that_sends_all_the_same_gets_the_reply(fleet: Fleet, wire: Wire) -> None:
    key = await one_key(fleet.dsn, "user")
    length = 8 * LIMIT

    await wire.ask(key.secret, f"Content-Length: {length}", body=b"x" * length)

    assert (await wire.answer())[0] == 413
    assert await wire.ended() == b""


async def test_a_chunked_body_is_refused_when_it_passes_the_limit(
    baseline: Fleet, brief_wire: Wire
) -> None:
    key = await one_key(baseline.dsn, "user")
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"

    # A byte too much, and its last chunk never comes.
    body = chunk * 16 + b"1\r\nx\r\n"
    await brief_wire.ask(key.secret, "Transfer-Encoding: chunked", body=body)

    status, headers, _ = await brief_wire.answer()
    assert (status, headers["connection"]) == (413, "close")
    assert await brief_wire.ended() == b""


async def test_expectation_of_a_body_within_the_limit_is_met(fleet: Fleet, wire: Wire) -> None:
    key = await one_key(fleet.dsn, "user")
    body = b'{"model": "mock-model", "messages": [{"role": "user", "content": "hello"}]}'

    await wire.ask(key.secret, f"Content-Length: {len(body)}", "Expect: 100-continue")
    assert (await wire.answer())[0] == 100
    wire.writer.write(body)

    assert (await wire.answer())[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        ("Content-Length: -1",),
        ("Content-Length: +5",),
        ("Content-Length: 0x10",),
        ("Content-Length: 1e3",),
        ("Content-Length: many",),
        ("Content-Length:",),
        ("Content-Length: " + "9" * 30,),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
    ],
    ids=lambda headers: " and ".join(headers)[:40],
)
async def test_a_length_that_is_none(fleet: Fleet, wire: Wire, headers: tuple[str, ...]) -> None:
    key = await one_key(fleet.dsn, "user")

    await wire.ask(key.secret, *headers)

    assert (await wire.answer())[0] == 400
