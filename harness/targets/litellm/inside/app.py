"""The ASGI application around LiteLLM's: counts requests, adds the served header, shows metrics."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from harness.domain.series import CHAT_ROUTE, MODELS_ROUTE, OTHER_ROUTE, PENDING
from harness.domain.served import SERVED_HEADER, format_served
from harness.targets.litellm.inside.instrument import Instruments

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]

_ROUTES = {
    CHAT_ROUTE: CHAT_ROUTE,
    "/chat/completions": CHAT_ROUTE,
    MODELS_ROUTE: MODELS_ROUTE,
    "/models": MODELS_ROUTE,
}
_SERVED = SERVED_HEADER.encode()


class Wrapped:
    """LiteLLM's application, watched from outside.

    Args:
        inner: ``litellm.proxy.proxy_server.app``.
        instruments: what was wrapped in this worker.
        metrics_port: connections to this port ask for the worker's own metrics.
        tells_served: whether replies carry the served header.
    """

    def __init__(
        self, inner: Asgi, instruments: Instruments, metrics_port: int, *, tells_served: bool
    ) -> None:
        self._inner = inner
        self._instruments = instruments
        self._metrics_port = metrics_port
        self._tells_served = tells_served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "lifespan":
            self._instruments.tasks.install()
            await self._inner(scope, receive, self._lifespan(send))
        elif scope["type"] != "http":
            await self._inner(scope, receive, send)
        elif scope["server"][1] == self._metrics_port:
            await self._show(scope, send)
        elif scope["path"].startswith("/health"):
            # Readiness is asked before there is any load; it is no request of the load.
            await self._inner(scope, receive, send)
        else:
            await self._request(scope, receive, send)

    def _lifespan(self, send: Send) -> Send:
        async def watched(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                self._instruments.after_startup()
            await send(message)

        return watched

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        metrics = self._instruments.metrics
        metrics.request_started()
        request = self._instruments.requests.begin()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._tells_served and request.served:
                    served = format_served(request.served).encode()
                    message["headers"] = [*message.get("headers", ()), (_SERVED, served)]
            await send(message)

        try:
            await self._inner(scope, receive, watched)
        finally:
            request.end()
            route = _ROUTES.get(scope["path"], OTHER_ROUTE)
            seconds = time.perf_counter() - start
            metrics.request_done(route, status, request.scope, seconds)

    async def _show(self, scope: Scope, send: Send) -> None:
        """The worker's metrics; who asks what is pending has the spend written meanwhile."""
        names = parse_qs(scope["query_string"].decode()).get("name[]", [])
        if names == [PENDING]:
            with contextlib.suppress(Exception):
                self._instruments.hurry()
        self._instruments.refresh()
        body, content_type = self._instruments.metrics.render(names)
        headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
