"""The reference proxy as a plain ASGI application, one instance a worker.

No framework: this is the hot path of the thing that is measured, and a middleware that costs more
than a cache lookup would be measured with it.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from harness.authcache.trace import Trace
from harness.served import COST_HEADER, SERVED_HEADER, Served, format_served
from harness.targets.reference.metrics import CHAT_ROUTE
from harness.targets.reference.mock_model import ChatRequest, parse_chat
from harness.targets.reference.problems import (
    ApiError,
    AuthError,
    BadRequestError,
    MethodError,
    NotFoundError,
)
from harness.targets.reference.worker import Worker

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_SERVED = SERVED_HEADER.encode()
_COST = COST_HEADER.encode()


class App:
    """Routes requests to one worker.

    Args:
        make_worker: opens the worker's connections; called when the server starts.
    """

    def __init__(self, make_worker: Callable[[], Awaitable[Worker]]) -> None:
        self._make_worker = make_worker
        self._worker: Worker | None = None
        self._routes = {
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/chat/completions"): self._chat,
            ("GET", "/v1/models"): self._models,
            ("GET", "/health/liveliness"): self._liveliness,
            ("GET", "/health/readiness"): self._readiness,
            ("GET", "/metrics"): self._metrics,
        }
        self._paths = {path for _, path in self._routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        route = self._routes.get((scope["method"], scope["path"]))
        try:
            if route is None:
                raise self._no_route(scope)
            assert self._worker is not None
            await route(self._worker, scope, receive, send)
        except ApiError as error:
            await _send(send, error.status, [_JSON], error.body())

    def _no_route(self, scope: Scope) -> ApiError:
        if scope["path"] in self._paths:
            return MethodError(f"[{scope['path']}] does not take [{scope['method']}].")
        return NotFoundError(f"There is no route [{scope['path']}].")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self._worker = await self._make_worker()
                except Exception as error:  # noqa: BLE001 - the server prints it and ends
                    text = f"{type(error).__name__}: {error}"
                    await send({"type": "lifespan.startup.failed", "message": text})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._worker is not None:
                    await self._worker.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _chat(self, worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        metrics = worker.metrics
        if metrics is not None:
            metrics.request_started()
        trace = Trace()
        served: list[Served] | None = [] if worker.settings.served_header else None
        status = 500
        try:
            body = await _read_body(receive, worker.settings.body_limit_bytes)
            chat = parse_chat(body)
            grant = await worker.authenticate(_bearer(scope), chat.model, trace, served)
            headers: Headers = [(_COST, worker.cost_header)]
            if served is not None:
                headers.append((_SERVED, format_served(served).encode()))
            status = 200
            await _answer(worker, chat, headers, send)
            if worker.spend is not None:
                worker.spend.charge(grant, trace.scope, worker.settings.cost_micro)
        except ApiError as error:
            status = error.status
            headers = [_JSON]
            if served:
                headers.append((_SERVED, format_served(served).encode()))
            await _send(send, status, headers, error.body())
        finally:
            if metrics is not None:
                metrics.commit(trace)
                seconds = time.perf_counter() - start
                metrics.request_done(CHAT_ROUTE, status, trace.scope, seconds)

    async def _models(self, worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        if worker.metrics is not None:
            worker.metrics.request_started()
        trace, status = Trace(), 500
        try:
            del receive
            key = await worker.known_key(_bearer(scope), trace)
            names = sorted({*worker.settings.models, *key.models})
            models = [
                {"id": name, "object": "model", "created": 0, "owned_by": "harness"}
                for name in names
            ]
            status = 200
            await _send(send, 200, [_JSON], msgspec.json.encode({"object": "list", "data": models}))
        except ApiError as error:
            status = error.status
            raise
        finally:
            if worker.metrics is not None:
                worker.metrics.commit(trace)
                seconds = time.perf_counter() - start
                worker.metrics.request_done("/v1/models", status, trace.scope, seconds)

    async def _liveliness(self, worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
        del worker, scope, receive
        await _send(send, 200, [_JSON], b'"I\'m alive!"')

    async def _readiness(self, worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        postgres = await worker.store.answers()
        body = {
            "status": "connected" if postgres else "disconnected",
            "db": "connected" if postgres else "disconnected",
            "cache": "redis" if worker.settings.redis_url else "memory",
            "variant": worker.settings.variant,
        }
        await _send(send, 200 if postgres else 503, [_JSON], msgspec.json.encode(body))

    async def _metrics(self, worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
        del receive
        if worker.metrics is None:
            raise NotFoundError("This replica runs without metrics.")
        query = parse_qs(scope["query_string"].decode())
        body, content_type = worker.metrics.render(query.get("name[]", ()))
        await _send(send, 200, [(b"content-type", content_type.encode())], body)


async def _answer(worker: Worker, chat: ChatRequest, headers: Headers, send: Send) -> None:
    if not chat.stream:
        body = await worker.model.reply(chat)
        await _send(send, 200, [_JSON, *headers], body)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [_EVENTS, *headers]})
    async for event in worker.model.stream(chat):
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send(send: Send, status: int, headers: Headers, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def _read_body(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BadRequestError("The client went away before the body was complete.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise BadRequestError(f"The body is larger than [{limit}] bytes.")
        if not message.get("more_body", False):
            return part if not parts else b"".join([*parts, part])
        parts.append(part)


def _bearer(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, secret = value.decode("latin-1").partition(" ")
            if kind.lower() == "bearer" and secret:
                return str(secret.strip())
            raise AuthError("The Authorization header must read: Bearer sk-….")
    raise AuthError("No API key was passed. Send it as: Authorization: Bearer sk-….")
