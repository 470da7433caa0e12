"""Serves an exporter in the running event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn

from harness.errors import SetupError
from harness.exporter.app import Exporter

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 9464
_SHUTDOWN_S = 3


class _Server(uvicorn.Server):
    """uvicorn without signal handlers: Ctrl-C and SIGTERM belong to the harness."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serve(exporter: Exporter, host: str = DEFAULT_HOST, port: int = 0) -> AsyncIterator[str]:
    """Serve until the block ends; yields the base URL. Port 0 takes a free one.

    The exporter is closed at the end.

    Raises:
        SetupError: the port is in use or refused.
    """
    listener = _listen(host, port)
    config = uvicorn.Config(
        exporter,
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
    try:
        # The socket is already listening: early connections wait in its queue.
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.gather(task, return_exceptions=True)
        listener.close()
        await exporter.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=128)
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"is refused: {error.strerror}"
        raise SetupError(
            f"The exporter's port [{host}:{port}] {reason}. Choose another with --port."
        ) from error
