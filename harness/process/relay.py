"""Stands between the replicas of a fleet and its servers, and breaks what passes on request.

A process of its own, started by `harness.stack.embedded.relay_link` as a plain script: standard
library only. It listens on inherited sockets, one for each link, and opens a connection to the
link's server for each that it accepts. Requests come over an inherited socket, one JSON object per
line; each is answered with the counts of all links, on one line:

    {}                                                            only count
    {"links": ["redis-0"], "mode": "slow", "delay_ms": 20, "jitter_ms": 5}
    {"links": ["redis-0"], "mode": "pass"}

Modes: ``pass``; ``slow`` delays each answer of the server; ``reads`` delays each SELECT that a
client of Postgres sends; ``cut`` resets a connection in the middle of an answer; ``drop`` lets
nothing through, and ends with a reset of the connections that lack bytes then.

Counts, for each link, since its start:

    refused     connections that the server refused; the client's is reset
    cut         open connections that the server closed, or that were reset here
    delayed     answers, or reads, that were delayed
    dropped     bytes that were not passed on
    unanswered  writes of clients after which nothing came from the server, so far

End of file on the control socket means that the harness is gone, and ends the process.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
from collections import Counter
from typing import Any

LOOPBACK = "127.0.0.1"
COUNTS = ("refused", "cut", "delayed", "dropped", "unanswered")
_CHUNK = 65_536
_BACKLOG = 1024
_AGE_S = 0.5
"""A connection is cut in an answer that comes this long after it was made: else none would get past
its first words, and a cut would be no more than a server that is gone."""
_RESET = struct.pack("ii", 1, 0)
_ENCRYPTION = {80877103, 80877104}
"""What a client of Postgres asks for before it begins: TLS, or GSSAPI."""
_TERMINATE = b"X\0\0\0\4"


class Reads:
    """Counts the SELECTs that one client of Postgres sends, by simple and by extended query."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self._selects: set[bytes] = set()

    def feed(self, data: bytes) -> int:
        """How many SELECTs the messages ask for that are complete with `data`."""
        self._rest += data
        found = 0
        while message := self._next():
            kind, body = message
            if kind == b"P":
                name, statement, *_ = body.split(b"\0", 2)
                (self._selects.add if _reads(statement) else self._selects.discard)(name)
            elif kind == b"B":
                found += body.split(b"\0", 2)[1] in self._selects
            elif kind == b"Q":
                found += _reads(body)
        return found

    def _next(self) -> tuple[bytes, bytes] | None:
        # The first message has no kind; see "Message Formats" in Postgres's documentation.
        start = 1 if self._begun else 0
        if len(self._rest) < start + 8 - 4 * start:
            return None
        end = start + int.from_bytes(self._rest[start : start + 4], "big")
        if len(self._rest) < end:
            return None
        kind, body = self._rest[:start], self._rest[start + 4 : end]
        self._rest = self._rest[end:]
        if not self._begun:
            self._begun = int.from_bytes(body[:4], "big") not in _ENCRYPTION
        return kind or b"-", body


def _reads(statement: bytes) -> bool:
    return statement.lstrip()[:6].upper() == b"SELECT"


class Link:
    """One listening socket, the server behind it, and what is done to what passes.

    Args:
        port: of the server.
        statements: whether the server is a Postgres.
    """

    def __init__(self, port: int, *, statements: bool = False) -> None:
        self.port = port
        self.statements = statements
        self.mode = "pass"
        self.delay_s = self.jitter_s = 0.0
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        self._pairs: set[_Pair] = set()

    def turn(self, mode: str, delay_ms: float = 0.0, jitter_ms: float = 0.0) -> None:
        """Change what is done to what passes from now on."""
        self.mode, self.delay_s, self.jitter_s = mode, delay_ms / 1000, jitter_ms / 1000
        for pair in list(self._pairs):
            if pair.lacks and mode != "drop":
                pair.reset()

    def counted(self) -> dict[str, int]:
        """The counts by now."""
        waiting = sum(pair.asked for pair in self._pairs)
        return {**self.counts, "unanswered": self.counts["unanswered"] + waiting}

    def delay(self, *, of_reads: bool) -> float:
        """Seconds to delay an answer or a read by, if this mode delays it."""
        if self.mode != ("reads" if of_reads else "slow"):
            return 0.0
        return max(0.0, self.delay_s + random.uniform(-self.jitter_s, self.jitter_s))

    async def serve(self, listener: socket.socket) -> asyncio.Server:
        """Begin to accept connections."""
        return await asyncio.start_server(self._accepted, sock=listener, backlog=_BACKLOG)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection(LOOPBACK, self.port)
        except OSError:
            self.counts["refused"] += 1
            _reset(writer)
            return
        pair = _Pair(self, (reader, writer), there)
        self._pairs.add(pair)
        try:
            await pair.run()
        finally:
            self._pairs.discard(pair)
            self.counts["unanswered"] += pair.asked


class _Pair:
    """A client's connection, and the one to the server that was opened for it."""

    def __init__(
        self,
        link: Link,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._link, self._client, self._server = link, client, server
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._reads = Reads() if link.statements else None
        self._due = {client[1]: 0.0, server[1]: 0.0}
        self.asked = 0
        self.lacks = False
        """Whether bytes of it were dropped: what comes next makes no sense then."""
        self._was_reset = False

    async def run(self) -> None:
        """Pass on what comes, until one of the two is closed; then close the other likewise."""
        pumps = [asyncio.create_task(pump()) for pump in (self._forth, self._back)]
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        by_client, by_server = (pump.done() for pump in pumps)
        self._link.counts["cut"] += self._was_reset or (by_server and not by_client)
        rough = [pump.result() for pump in pumps if pump.done()]
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        await asyncio.sleep(max(self._due.values()) - self._loop.time())
        for writer in self._due:
            if any(rough):
                _reset(writer)
            else:
                writer.close()

    def reset(self) -> None:
        """Reset both connections."""
        self._was_reset = True
        for writer in self._due:
            _reset(writer)

    async def _forth(self) -> bool:
        """From the client to the server; whether it ended by a reset."""
        link = self._link
        try:
            while data := await self._client[0].read(_CHUNK):
                reads = self._reads.feed(data) if self._reads is not None else 0
                if link.mode == "drop":
                    self._drop(data)
                    continue
                delay_s = link.delay(of_reads=True) if reads else 0.0
                link.counts["delayed"] += reads if delay_s else 0
                self.asked += data != _TERMINATE
                self._send(self._server[1], data, delay_s)
                await self._server[1].drain()
        except OSError:
            return True
        return False

    async def _back(self) -> bool:
        """From the server to the client; whether it ended by a reset."""
        link = self._link
        try:
            while data := await self._server[0].read(_CHUNK):
                self.asked = 0
                if link.mode == "drop":
                    self._drop(data)
                    continue
                if link.mode == "cut" and self._loop.time() - self._began >= _AGE_S:
                    await self._cut(data)
                    return True
                delay_s = link.delay(of_reads=False)
                link.counts["delayed"] += delay_s > 0
                self._send(self._client[1], data, delay_s)
                await self._client[1].drain()
        except OSError:
            return True
        return False

    def _drop(self, data: bytes) -> None:
        self._link.counts["dropped"] += len(data)
        self.lacks = True

    async def _cut(self, data: bytes) -> None:
        """Pass on the first half."""
        self._client[1].write(data[: len(data) // 2])
        await self._client[1].drain()

    def _send(self, writer: asyncio.StreamWriter, data: bytes, delay_s: float) -> None:
        now = self._loop.time()
        # One microsecond later than the one before: the loop does not order what is due at once.
        due = max(now + delay_s, self._due[writer] + 1e-6)
        self._due[writer] = due
        if due <= now + 1e-6:
            writer.write(data)
        else:
            self._loop.call_at(due, writer.write, data)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the other side gets a reset, as from a server that is gone."""
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def answer(links: dict[str, Link], request: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Do what a request asks for; the counts before it, by link.

    Before it, so that the end of a fault and what it did are one moment.
    """
    counts = {name: link.counted() for name, link in links.items()}
    for name in request.pop("links", ()):
        links[name].turn(**request)
    return counts


async def main(control_fd: int, *given: str) -> None:
    """Serve links, each given as ``name:listening descriptor:port of the server``."""
    links: dict[str, Link] = {}
    servers = []
    for one in given:
        name, fd, port = one.split(":")
        links[name] = Link(int(port), statements=name.startswith("postgres"))
        servers.append(await links[name].serve(socket.socket(fileno=int(fd))))
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=control_fd))
    while line := await reader.readline():
        writer.write(json.dumps(answer(links, json.loads(line))).encode() + b"\n")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), *sys.argv[2:]))
