"""The floor: a bare ASGI handler that reads the same body and writes the same reply.

Served exactly like the reference proxy, so that the difference is the cost of the proxy. It checks
no key and counts nothing.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

import uvicorn

from harness.domain.served import COST_HEADER
from harness.errors import SetupError
from harness.targets.base import (
    ContainerContext,
    ContainerSpec,
    Database,
    ProcessSpec,
    ReplicaContext,
    Target,
)
from harness.targets.reference.server import server_config

REPLY_VARIABLE = "AUTHCACHE_BENCH_REPLY"
_COST = b"0.000250"

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class FloorTarget(Target):
    """The floor as a target, so that a stack starts and ends it like any replica."""

    kind = "floor"
    version = uvicorn.__version__
    uses_redis = False
    readiness_path = "/"
    ready_timeout_s = 60.0

    def __init__(self, reply: bytes) -> None:
        self._reply = reply

    @property
    def database(self) -> Database:
        """There is none. Raises SetupError."""
        raise SetupError("The benchmark's floor keeps no objects in its database.")

    async def prepare_database(self, dsn: str, *, has: Collection[str] = ()) -> None:
        """Does nothing: the floor uses no database."""

    def process(self, context: ReplicaContext) -> ProcessSpec:
        """One process on the inherited sockets."""
        fds = [str(fd) for fd in (context.listen_fd, *context.metrics_fds)]
        argv = (sys.executable, "-m", "benchmarks.floor", *fds)
        return ProcessSpec(argv, {REPLY_VARIABLE: self._reply.decode()})

    def container(self, context: ContainerContext) -> ContainerSpec:
        """There is none. Raises SetupError."""
        raise SetupError(f"The benchmark's floor [{context.fleet}] runs in no container.")

    def describe(self) -> Mapping[str, Any]:
        """It has no switches."""
        return {}


def make_app(reply: bytes) -> Callable[..., Awaitable[None]]:
    """The handler of one fixed reply."""
    start = {
        "type": "http.response.start",
        "status": 200,
        "headers": [
            (b"content-type", b"application/json"),
            (COST_HEADER.encode(), _COST),
            (b"content-length", str(len(reply)).encode()),
        ],
    }
    end = {"type": "http.response.body", "body": reply}

    async def app(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        while (await receive()).get("more_body", False):
            pass
        await send(start)
        await send(end)

    return app


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        kind = (await receive())["type"].removeprefix("lifespan.")
        await send({"type": f"lifespan.{kind}.complete"})
        if kind == "shutdown":
            return


def main() -> None:
    """Serve on the sockets whose descriptors are the arguments."""
    sockets = [socket.socket(fileno=int(fd)) for fd in sys.argv[1:]]
    app = make_app(os.environ[REPLY_VARIABLE].encode())
    uvicorn.Server(server_config(app)).run(sockets=sockets)


if __name__ == "__main__":
    main()
