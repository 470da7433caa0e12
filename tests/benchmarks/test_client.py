"""The benchmark's load against servers that a test writes."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks.client import Job
from benchmarks.load import aim
from harness.errors import InvalidRunError

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n\r\nhello"


class Server:
    """Reads requests and keeps what they carried, by connection."""

    def __init__(self, answer: Answer) -> None:
        self.secrets: dict[int, list[str]] = defaultdict(list)
        self.bodies: Counter[bytes] = Counter()
        self.port = 0
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = len(self.secrets)
        self.secrets[connection] = []
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"Content-Length: (\d+)", head)
                secret = re.search(rb"Authorization: Bearer (\S+)", head)
                assert length is not None
                assert secret is not None
                self.bodies[await reader.readexactly(int(length[1]))] += 1
                self.secrets[connection].append(secret[1].decode())
                await self._answer(head, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[Server]:
    server = Server(answer)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    async with listener:
        yield server


def job(server: Server, *, secrets: int, connections: int = 2, requests: int = 8) -> Job:
    names = tuple(f"sk-{i}" for i in range(secrets))
    return Job("127.0.0.1", server.port, "/v1", '{"é": 1}', names, connections, requests)


async def reply(_: bytes, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def test_every_request_is_sent_and_counted() -> None:
    async with serving(reply) as server:
        async with aim(job(server, secrets=2), None) as fire:
            assert not server.bodies  # connected, and nothing sent
            shot = await fire()

        assert shot.requests == 8
        assert shot.elapsed_s > 0
        assert server.bodies == {'{"é": 1}'.encode(): 8}


async def test_a_connection_keeps_to_its_keys() -> None:
    async with serving(reply) as server:
        async with aim(job(server, secrets=2), None) as fire:
            await fire()

        assert sorted(server.secrets.values()) == [["sk-0"] * 4, ["sk-1"] * 4]


async def test_with_a_key_for_every_request_none_is_used_twice() -> None:
    async with serving(reply) as server:
        async with aim(job(server, secrets=8), None) as fire:
            await fire()

        used = [secret for each in server.secrets.values() for secret in each]
        assert sorted(used) == [f"sk-{i}" for i in range(8)]


async def test_a_reply_may_come_in_pieces() -> None:
    async def dribble(_: bytes, writer: asyncio.StreamWriter) -> None:
        for at in range(0, len(OK), 7):
            writer.write(OK[at : at + 7])
            await writer.drain()
            await asyncio.sleep(0)

    async with serving(dribble) as server, aim(job(server, secrets=2), None) as fire:
        assert (await fire()).requests == 8


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n", b""],
    ids=["refused", "closed"],
)
async def test_anything_but_200_ends_the_benchmark(answer: bytes) -> None:
    async def refuse(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        if not answer:
            writer.close()

    async with serving(refuse) as server, aim(job(server, secrets=2), None) as fire:
        with pytest.raises(InvalidRunError, match="UnexpectedReplyError"):
            await fire()


async def test_a_server_that_is_not_there() -> None:
    async with serving(reply) as server:
        gone = job(server, secrets=2)
    with pytest.raises(InvalidRunError, match="ConnectionRefusedError"):
        async with aim(gone, None):
            pass
