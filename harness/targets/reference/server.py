"""How uvicorn serves the reference proxy and the benchmark's floor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import uvicorn

SHUTDOWN_S = 8


def server_config(app: Callable[..., Any]) -> uvicorn.Config:
    """The configuration of one worker; its sockets come from outside."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        interface="asgi3",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # no proxy is in front, and the middleware costs on every request
        timeout_keep_alive=300,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
