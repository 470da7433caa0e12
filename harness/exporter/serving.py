"""Serves an exporter, or another small application, in the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol

import uvicorn

from harness.errors import SetupError
from harness.process.groups import to_the_end

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9464
_SHUTDOWN_S = 3


class Application(Protocol):
    """An ASGI application that can be closed."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One ASGI connection."""

    async def close(self) -> None:
        """Let go of everything."""


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: Ctrl-C and SIGTERM belong to the harness."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve(app: Application, host: str = DEFAULT_HOST, port: int = 0) -> AsyncIterator[str]:
    """Serve until the block ends; yields the base URL. Port 0 takes a free one.

    The application is closed at the end.

    Raises:
        SetupError: the port is in use or refused.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        interface="asgi3",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_SHUTDOWN_S,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[listener]))

    async def close() -> None:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        listener.close()
        await app.close()

    try:
        # The socket is already listening: early connections wait in its queue.
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        await to_the_end(close())


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"is refused: {error.strerror}"
        raise SetupError(
            f"The exporter's port [{host}:{port}] {reason}. Choose another with --port."
        ) from error
