"""The load of the benchmark: ``python -m benchmarks.client``, a process of its own.

A fixed number of keep-alive connections, each with one request outstanding, on plain sockets: a
fraction of what Locust costs, so that the server is what is busy. Only the standard library is
used; the process is up at once.

It reads one `Job` as a line of JSON, connects, answers ``ready``, waits for a second line, sends
its requests, and answers with one `Shot`. The end of its input, or of a connection, ends it.
"""

from __future__ import annotations

import itertools
import json
import selectors
import socket
import sys
import time
from dataclasses import asdict, dataclass

TIMEOUT_S = 30.0
LOOK_S = 100e-6
"""Between two polls for replies.

Waking a client that sleeps until a reply comes costs the server an interrupt to another core,
several microseconds on a virtual machine. A slower server would pay this more often, for the
client's idling.
"""
READY = "ready"
_CHUNK = 65_536
_OK = b"HTTP/1.1 200"
_LENGTH = b"content-length: "
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Job:
    """What to send. Connection ``i`` of ``n`` uses the secrets ``i``, ``i + n``, … in turn.

    So two requests under way never carry the same key, as long as there are as many keys as
    connections; and with as many keys as requests no key is used twice.
    """

    host: str
    port: int
    path: str
    body: str
    secrets: tuple[str, ...]
    connections: int
    requests: int
    """In all; a multiple of ``connections``."""


@dataclass(frozen=True, slots=True)
class Shot:
    """The result of a job; every request was answered with 200."""

    requests: int
    elapsed_s: float
    cpu_s: float
    """Of this process, while it sent."""


class UnexpectedReplyError(Exception):
    """Anything but a reply with status 200."""


class _Connection:
    def __init__(self, job: Job, index: int) -> None:
        self.socket = socket.create_connection((job.host, job.port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        secrets = job.secrets[index :: job.connections]
        self._requests = itertools.cycle([_request(job, secret) for secret in secrets])
        self._left = job.requests // job.connections
        self._reply = b""

    def send(self) -> bool:
        """Send the next request; False when there is none left."""
        if not self._left:
            return False
        self._left -= 1
        self.socket.sendall(next(self._requests))
        return True

    def receive(self) -> bool:
        """Read what is there; True when a reply is whole. Raises UnexpectedReplyError."""
        data = self.socket.recv(_CHUNK)
        reply = self._reply + data if self._reply else data
        head = reply.find(_END)
        if not data or (head > 0 and not reply.startswith(_OK)):
            raise UnexpectedReplyError(f"expected a reply with status 200, got {reply[:500]!r}")
        if head < 0 or len(reply) < head + len(_END) + _content_length(reply, head):
            self._reply = reply
            return False
        self._reply = b""
        return True


def run(job: Job, connections: list[_Connection]) -> Shot:
    """Send all requests. Raises UnexpectedReplyError, OSError."""
    cpu_s, start_s = time.process_time(), time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            connection.send()
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        busy, last_s = len(connections), start_s
        while busy:
            events = selector.select(0)
            if events:
                last_s = time.perf_counter()
            elif time.perf_counter() - last_s > TIMEOUT_S:
                raise UnexpectedReplyError(f"no reply within {TIMEOUT_S:g} s")
            else:
                time.sleep(LOOK_S)
            for key, _ in events:
                if key.data.receive() and not key.data.send():
                    busy -= 1
    return Shot(job.requests, time.perf_counter() - start_s, time.process_time() - cpu_s)


def main() -> None:
    """Carry out one job."""
    raw = json.loads(sys.stdin.readline())
    job = Job(**(raw | {"secrets": tuple(raw["secrets"])}))
    connections = [_Connection(job, index) for index in range(job.connections)]
    print(READY, flush=True)  # noqa: T201 - the protocol
    if not sys.stdin.readline():
        return
    print(json.dumps(asdict(run(job, connections))), flush=True)  # noqa: T201 - the protocol


def _request(job: Job, secret: str) -> bytes:
    lines = (
        f"POST {job.path} HTTP/1.1",
        f"Host: {job.host}:{job.port}",
        f"Authorization: Bearer {secret}",
        "Content-Type: application/json",
        f"Content-Length: {len(job.body.encode())}",
    )
    return ("\r\n".join(lines) + "\r\n\r\n" + job.body).encode()


def _content_length(reply: bytes, head: int) -> int:
    start = reply.index(_LENGTH, 0, head) + len(_LENGTH)
    end = reply.index(b"\r", start)
    return int(reply[start:end])


if __name__ == "__main__":
    main()
