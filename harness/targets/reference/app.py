"""The reference proxy as a plain ASGI application, one instance per worker.

No framework: this is the hot path under measurement, and a middleware that costs more than a cache
lookup would be measured with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import msgspec

from harness.authcache.trace import Trace
from harness.authcache.words import KeyScope
from harness.domain.reads import LOG_PATH
from harness.domain.series import CHAT_ROUTE, MODELS_ROUTE, OTHER_ROUTE
from harness.domain.served import SERVED_HEADER, Served, format_served
from harness.targets.reference.auth import Grant
from harness.targets.reference.management import ROUTES as MANAGEMENT_ROUTES
from harness.targets.reference.mock_model import ChatRequest, parse_chat
from harness.targets.reference.problems import (
    ApiError,
    AuthError,
    BadRequestError,
    MethodError,
    NotFoundError,
    TooLargeError,
)
from harness.targets.reference.worker import Worker

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
Route = Callable[[Worker, Scope, Receive, Send], Awaitable[None]]

_JSON = (b"content-type", b"application/json")
_EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
_LENGTH = b"content-length"
_CLOSE = (b"connection", b"close")
_SERVED = SERVED_HEADER.encode()


class App:
    """Routes requests to one worker.

    Args:
        make_worker: opens the worker's connections; called when the server starts.
    """

    def __init__(self, make_worker: Callable[[], Awaitable[Worker]]) -> None:
        self._make_worker = make_worker
        self._worker: Worker | None = None
        self._routes: dict[tuple[str, str], Route] = {
            ("POST", CHAT_ROUTE): _chat,
            ("POST", "/chat/completions"): _chat,
            ("GET", MODELS_ROUTE): _guarded(_models),
            ("GET", "/health/liveliness"): _guarded(_liveliness),
            ("GET", "/health/readiness"): _guarded(_readiness),
            ("GET", "/metrics"): _guarded(_metrics),
            ("GET", f"/metrics{LOG_PATH}"): _guarded(_read_log),
            **{("POST", path): _manage for path in MANAGEMENT_ROUTES},
        }
        self._paths = {path for _, path in self._routes}
        self._no_route = _guarded(self._lost)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """One ASGI connection."""
        if scope["type"] == "http":
            assert self._worker is not None
            route = self._routes.get((scope["method"], scope["path"]), self._no_route)
            return route(self._worker, scope, receive, send)
        if scope["type"] == "lifespan":
            return self._lifespan(receive, send)
        return _nothing()

    async def _lost(self, worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        error: ApiError = NotFoundError(f"There is no route [{scope['path']}].")
        if scope["path"] in self._paths:
            error = MethodError(f"[{scope['path']}] does not take [{scope['method']}].")
        if worker.metrics is not None:
            worker.metrics.request_started()
            worker.metrics.request_done(OTHER_ROUTE, error.status, KeyScope.UNKNOWN, 0.0)
        raise error

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


async def _chat(worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
    start = time.perf_counter()
    metrics = worker.metrics
    if metrics is not None:
        metrics.request_started()
    trace = Trace()
    served: list[Served] | None = [] if worker.tells_served else None
    status = 500
    too_large = False
    grant: Grant | None = None
    given = False
    try:
        _check_announced(scope, worker.body_limit)
        message = await receive()
        if message.get("more_body", True) or len(message["body"]) > worker.body_limit:
            message = await _read_on(message, receive, worker.body_limit)
        chat = parse_chat(message["body"])
        grant = await worker.auth.admit(_bearer(scope), chat.model, trace, served)
        headers = [worker.cost_header, worker.name_header]
        if served is not None:
            headers.append((_SERVED, format_served(served).encode()))
        status = 200
        if chat.stream:
            await _stream(worker, chat, headers, send)
        else:
            if worker.model.latency_s:
                await asyncio.sleep(worker.model.latency_s)
            body = worker.model.compose(chat)
            headers += (_JSON, (_LENGTH, b"%d" % len(body)))
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        given = True
    except ApiError as error:
        status = error.status
        too_large = isinstance(error, TooLargeError)
        await _refuse(send, worker, error, served, linger=too_large)
    finally:
        if grant is not None:
            _settle(worker, grant, trace.scope, given=given)
        if metrics is not None:
            metrics.commit(trace)
            seconds = time.perf_counter() - start
            metrics.request_done(CHAT_ROUTE, status, trace.scope, seconds)
    if too_large:
        await _linger(receive, send, worker.settings.linger_s)


def _settle(worker: Worker, grant: Grant, scope: KeyScope, *, given: bool) -> None:
    """Charge an admitted request, or take its reservation back if the reply was not given."""
    if worker.spend is None:
        return
    if given:
        worker.spend.charge(grant, scope, worker.settings.cost_micro)
    else:
        worker.spend.release(grant)


async def _manage(worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
    start = time.perf_counter()
    if worker.metrics is not None:
        worker.metrics.request_started()
    status, too_large = 500, False
    try:
        worker.management.admit(_bearer(scope))
        _check_announced(scope, worker.body_limit)
        message = await _read_on(await receive(), receive, worker.body_limit)
        answer = await worker.management.call(scope["path"], message["body"])
        status = 200
        await _send(send, 200, [_JSON, worker.name_header], answer)
    except ApiError as error:
        status = error.status
        too_large = isinstance(error, TooLargeError)
        await _refuse(send, worker, error, None, linger=too_large)
    finally:
        if worker.metrics is not None:
            seconds = time.perf_counter() - start
            worker.metrics.request_done(OTHER_ROUTE, status, KeyScope.UNKNOWN, seconds)
    if too_large:
        await _linger(receive, send, worker.settings.linger_s)


async def _models(worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
    start = time.perf_counter()
    if worker.metrics is not None:
        worker.metrics.request_started()
    trace, status = Trace(), 500
    try:
        del receive
        key = await worker.auth.known_key(_bearer(scope), trace)
        names = sorted({*worker.settings.models, *key.models})
        models = [
            {"id": name, "object": "model", "created": 0, "owned_by": "harness"} for name in names
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
            worker.metrics.request_done(MODELS_ROUTE, status, trace.scope, seconds)


async def _liveliness(worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
    del worker, scope, receive
    await _send(send, 200, [_JSON], b'"I\'m alive!"')


async def _readiness(worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
    del scope, receive
    postgres = await worker.store.answers()
    body = {
        "status": "connected" if postgres else "disconnected",
        "db": "connected" if postgres else "disconnected",
        "cache": "redis" if worker.settings.redis_url else "memory",
        "variant": worker.settings.variant,
    }
    await _send(send, 200 if postgres else 503, [_JSON], msgspec.json.encode(body))


async def _metrics(worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
    del receive
    if worker.metrics is None:
        raise NotFoundError("This replica runs without metrics.")
    query = parse_qs(scope["query_string"].decode())
    body, content_type = worker.metrics.render(query.get("name[]", ()))
    await _send(send, 200, [(b"content-type", content_type.encode())], body)


async def _read_log(worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
    """The source reads after the first ``after`` ones, for the harness."""
    del receive
    after = parse_qs(scope["query_string"].decode()).get("after", ["0"])[0]
    if not (after.isascii() and after.isdigit()):
        raise BadRequestError(f"after is [{after}]. Give the number of reads already seen.")
    count, reads = worker.store.read_log(int(after))
    await _send(send, 200, [_JSON], msgspec.json.encode({"count": count, "reads": reads}))


async def _nothing() -> None:
    """No answer to anything but HTTP and the server's life cycle."""


def _guarded(route: Route) -> Route:
    """A route whose errors become replies."""

    async def guarded(worker: Worker, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await route(worker, scope, receive, send)
        except ApiError as error:
            await _send(send, error.status, [_JSON], error.body())

    return guarded


async def _stream(worker: Worker, chat: ChatRequest, headers: Headers, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [_EVENTS, *headers]})
    async for event in worker.model.stream(chat):
        await send({"type": "http.response.body", "body": event, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send(
    send: Send, status: int, headers: Headers, body: bytes, *, more: bool = False
) -> None:
    length = (_LENGTH, str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _refuse(
    send: Send, worker: Worker, error: ApiError, served: list[Served] | None, *, linger: bool
) -> None:
    """Send an error; with `linger`, `_linger` ends the reply and the connection."""
    headers = [_JSON, worker.name_header]
    if served:
        headers.append((_SERVED, format_served(served).encode()))
    if linger:
        headers.append(_CLOSE)
    await _send(send, error.status, headers, error.body(), more=linger)


async def _linger(receive: Receive, send: Send, linger_s: float) -> None:
    """End a reply, already sent in full, once the client has stopped sending.

    Closing a connection with unread bytes resets it, and a client that is still sending can lose
    the reply to the reset (RFC 9112, section 9.6).
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(linger_s):
            while (await receive()).get("more_body", False):
                pass
    await send({"type": "http.response.body", "body": b""})


def _check_announced(scope: Scope, limit: int) -> None:
    """Refuse a body by its announced length, before reading it. Raises TooLargeError."""
    for name, value in scope["headers"]:
        if name == _LENGTH:
            # The server's parser accepts digits only.
            if int(value) > limit:
                raise TooLargeError(
                    f"The body is [{int(value)}] bytes long, larger than [{limit}] bytes. "
                    "Send a shorter one."
                )
            return


async def _read_on(message: Message, receive: Receive, limit: int) -> Message:
    """Read the rest of a body into one message. Raises BadRequestError."""
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise BadRequestError("The client disconnected before the body was complete.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLargeError(f"The body is larger than [{limit}] bytes. Send a shorter one.")
        parts.append(part)
        if not message.get("more_body", False):
            return {"body": b"".join(parts)}
        message = await receive()


def _bearer(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"authorization":
            if value[:7].lower() == b"bearer ":
                token: str = value[7:].strip().decode("latin-1")
                return token
            raise AuthError("The Authorization header must read: Bearer sk-….")
    raise AuthError("No API key was passed. Send it as: Authorization: Bearer sk-….")
