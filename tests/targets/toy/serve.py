"""One replica of the toy: ``python serve.py LISTEN_FD METRICS_FD``, settings in TOY_SETTINGS.

A dictionary is its cache. It reads, answers and charges before it replies, so nothing is pending
once a request is answered.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

import asyncpg
import uvicorn

from harness.authcache.digest import digest, hash_token
from harness.authcache.events import Asked, Lookup, SourceRead
from harness.authcache.trace import Trace
from harness.authcache.words import KeyScope, ObjectKind, Op, Outcome, ReadReason, Tier, key_scope
from harness.domain.series import CHAT_ROUTE
from harness.domain.served import COST_HEADER, SERVED_HEADER, Served, format_served
from harness.targets.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_CHARGE = (
    "WITH "
    + ", ".join(
        f"c{n} AS (UPDATE toy_{kind} SET spent_micro = spent_micro + $1 WHERE id = ${n})"
        for n, kind in enumerate(ObjectKind, start=2)
    )
    + " SELECT 1"
)


class Toy:
    """One worker as an ASGI application."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings
        self._metrics = Metrics(settings["variant"], {"target": "toy", "version": "3"})
        self._cache: dict[tuple[ObjectKind, str], tuple[float, dict[str, Any] | None]] = {}
        self._pool: Any = None

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            self._pool = await asyncpg.create_pool(self._settings["dsn"], min_size=1, max_size=4)
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await self._pool.close()
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["path"] == CHAT_ROUTE:
            await self._chat(scope, receive, send)
        elif scope["path"] == "/metrics":
            names = parse_qs(scope["query_string"].decode()).get("name[]", ())
            body, content_type = self._metrics.render(names)
            await _send(send, 200, body, {"content-type": content_type})
        else:
            await _send(send, 200, b"{}")

    async def _chat(self, scope: Message, receive: Receive, send: Send) -> None:
        self._metrics.request_started()
        start, status, trace = time.perf_counter(), 500, Trace()
        try:
            while (await receive()).get("more_body", False):
                pass
            secret = dict(scope["headers"])[b"authorization"].decode().removeprefix("Bearer ")
            status, headers = await self._admit(hash_token(secret), trace)
            await _send(send, status, b"{}", headers)
        finally:
            self._metrics.commit(trace)
            seconds = time.perf_counter() - start
            self._metrics.request_done(CHAT_ROUTE, status, trace.scope, seconds)

    async def _admit(self, token: str, trace: Trace) -> tuple[int, dict[str, str]]:
        """Look up a key and what is behind it, and charge them."""
        served: list[Served] = []
        key = await self._look(ObjectKind.KEY, token, trace, served)
        if key is None:
            return 401, {}
        user, team = key["user_id"], key["team_id"]
        trace.scope = key_scope(user, team)
        if trace.scope is KeyScope.SHARED_ID:
            return 403, {SERVED_HEADER: format_served(served)}
        charged = {ObjectKind.KEY: token}
        if user is not None:
            charged[ObjectKind.USER] = user
        if team is not None:
            charged[ObjectKind.TEAM] = team
        if user is not None and team is not None:
            charged[ObjectKind.MEMBERSHIP] = f"{user} {team}"
        for kind, id_ in list(charged.items())[1:]:
            await self._look(kind, id_, trace, served)
        if self._settings["wrong"] and trace.scope is KeyScope.MEMBER:
            digests = {entry.object: entry.digest for entry in served}
            served = [
                entry._replace(digest=digests["team"]) if entry.object == "user" else entry
                for entry in served
            ]
        cost_micro = self._settings["cost_micro"]
        rows = [charged.get(kind, "") for kind in ObjectKind]
        await self._pool.fetchval(_CHARGE, cost_micro, *rows)
        cost = f"{cost_micro / 1_000_000:.6f}"
        return 200, {SERVED_HEADER: format_served(served), COST_HEADER: cost}

    async def _look(
        self, kind: ObjectKind, id_: str, trace: Trace, served: list[Served]
    ) -> dict[str, Any] | None:
        trace.asked.append(Asked(Op.LOAD, kind))
        read_at, body = self._cache.get((kind, id_), (0.0, None))
        tier = "memory"
        if time.monotonic() - read_at < self._settings["ttl_s"]:
            trace.lookups.append(Lookup(Tier.MEMORY, Op.LOAD, Outcome.HIT, kind))
        else:
            tier = "source"
            trace.lookups.append(Lookup(Tier.MEMORY, Op.LOAD, Outcome.MISS, kind))
            trace.source_reads.append(SourceRead(kind, ReadReason.MISS))
            text = await self._pool.fetchval(f"SELECT body FROM toy_{kind} WHERE id = $1", id_)
            read_at, body = time.monotonic(), None if text is None else json.loads(text)
            self._cache[kind, id_] = (read_at, body)
        age_ms = round((time.monotonic() - read_at) * 1000)
        served.append(Served(kind, tier, digest(kind, body), age_ms))
        return body


async def _send(
    send: Send, status: int, body: bytes, headers: dict[str, str] | None = None
) -> None:
    pairs = {"content-length": str(len(body)), **(headers or {})}
    raw = [(name.encode(), value.encode()) for name, value in pairs.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def main() -> None:
    app = Toy(json.loads(os.environ["TOY_SETTINGS"]))
    sockets = [socket.socket(fileno=int(fd)) for fd in sys.argv[1:]]
    config = uvicorn.Config(app, lifespan="on", access_log=False, log_config=None)
    uvicorn.Server(config).run(sockets=sockets)


if __name__ == "__main__":
    main()
