"""A small HTTP server that counts what comes over the wire, and misbehaves when told to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class Reply:
    """What to do with one request."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b'{"object": "chat.completion"}'
    delay_s: float = 0.0
    raw: bytes | None = None
    """Sent instead of a proper reply."""
    drip_s: float = 0.0
    """Send the reply byte by byte, this far apart."""
    then: str = "keep"
    """``keep`` or ``close`` the connection afterwards, or ``reset`` it."""

    def encoded(self) -> bytes:
        if self.raw is not None:
            return self.raw
        lines = [f"HTTP/1.1 {self.status} X", f"content-length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


@dataclass(slots=True)
class FakeReplica:
    """Answers on a loopback port while the ``async with`` block runs."""

    behave: Callable[[str, int], Reply] = lambda _secret, _number: Reply()
    """From the secret and the number of the request, counted from 1."""
    requests: int = 0
    """Requests that were read whole."""
    answered: int = 0
    """Replies that were sent whole."""
    connections: int = 0
    secrets: Counter[str] = field(default_factory=Counter)
    bodies: set[bytes] = field(default_factory=set)
    paths: set[str] = field(default_factory=set)
    header_names: set[str] = field(default_factory=set)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.die()

    def die(self) -> None:
        """Stop listening and drop every connection at once."""
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        request_line, *lines = head.strip().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
        length = int(headers.get("content-length", 0))
        if length:
            self.bodies.add(await reader.readexactly(length))
        self.paths.add(request_line)
        self.header_names |= headers.keys()
        self.requests += 1
        secret = headers.get("authorization", "").removeprefix("Bearer ")
        self.secrets[secret] += 1
        reply = self.behave(secret, self.requests)
        await asyncio.sleep(reply.delay_s)
        data = reply.encoded()
        step = 1 if reply.drip_s else len(data) or 1
        for start in range(0, len(data), step):
            writer.write(data[start : start + step])
            await writer.drain()
            await asyncio.sleep(reply.drip_s)
        self.answered += 1
        if reply.then == "reset":
            plug = writer.get_extra_info("socket")
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return reply.then == "keep"


def is_chat(body: bytes) -> bool:
    """Whether a request's body is a chat completion request."""
    message = json.loads(body)
    fields = {"model", "messages", "max_tokens"}
    return set(message) == fields and message["messages"][0]["role"] == "user"
