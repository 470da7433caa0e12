"""The exporter as an ASGI application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote

import httpx
from pydantic import ValidationError

from harness.domain.reads import LOG_PATH
from harness.errors import explain
from harness.exporter.families import merge_all, render
from harness.exporter.servers import FleetServers, ServerReader
from harness.exporter.state import RunState
from harness.exporter.workers import (
    METRICS_PATH,
    Discovery,
    WatchedWorker,
    WorkerPage,
    fetch,
    forward,
)

MOST_BODY = 4 * 1024 * 1024
"""Limit of the body of ``PUT /state`` in bytes; a hundred times what a long run needs."""
_WORKER_TIMEOUT_S = 10.0
SNAPSHOT_S = 2.0
"""For all workers together: a client that polls once a second must not wait for one that hangs.
The web UI waits 3 s for the whole answer."""
_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Query = Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class WatchedFleet:
    """A fleet as the exporter knows it."""

    servers: FleetServers
    discovery: Discovery


class Exporter:
    """Answers the requests that `harness.exporter` lists.

    Args:
        state: of the run; its owner may keep changing it.
        fleets: by variant.
        takes_state: whether ``PUT /state`` may replace the state, and ``GET`` read it.
        snapshot_s: seconds for all workers of a fleet together, where ``/snapshots`` is asked for.
    """

    def __init__(
        self,
        state: RunState,
        fleets: Mapping[str, WatchedFleet],
        *,
        takes_state: bool = False,
        snapshot_s: float = SNAPSHOT_S,
    ) -> None:
        self.state = state
        self._fleets = dict(fleets)
        self._readers = [ServerReader(fleet.servers) for fleet in fleets.values()]
        self._takes_state = takes_state
        self._snapshot_s = snapshot_s
        self._http = httpx.AsyncClient(timeout=_WORKER_TIMEOUT_S, trust_env=False)

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(reader.close() for reader in self._readers), self._http.aclose())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One ASGI connection."""
        if scope["type"] != "http":
            return
        page = await self._route(scope, receive)
        length = str(len(page.body)).encode()
        headers = [(b"content-type", page.content_type.encode()), (b"content-length", length)]
        await send({"type": "http.response.start", "status": page.status, "headers": headers})
        await send({"type": "http.response.body", "body": page.body})

    async def _route(self, scope: Scope, receive: Receive) -> WorkerPage:
        query = parse_qs(scope["query_string"].decode("latin-1"))
        page = _text(404, f"There is no [{scope['method']} {scope['path']}] here. GET /metrics.")
        match (scope["method"], *unquote(scope["path"]).strip("/").split("/")):
            case ("GET", "metrics"):
                page = await self._metrics()
            case ("GET", "healthy"):
                page = _text(200, "healthy")
            case ("GET", "workers"):
                page = await self._workers()
            case ("GET", "workers", variant, address):
                page = await self._worker(variant, address, METRICS_PATH, query)
            case ("GET", "workers", variant, address, name) if f"/{name}" == LOG_PATH:
                page = await self._worker(variant, address, METRICS_PATH + LOG_PATH, query)
            case ("GET", "snapshots"):
                page = await self._snapshots(query)
            case ("GET", "state") if self._takes_state:
                page = WorkerPage(200, self.state.model_dump_json().encode(), _JSON)
            case ("PUT", "state") if self._takes_state:
                page = await self._put_state(receive)
        return page

    async def _metrics(self) -> WorkerPage:
        parts = await asyncio.gather(*(reader.read() for reader in self._readers))
        servers = merge_all(part for fleet in parts for part in fleet)
        body, content_type = render([*self.state.metrics(), *servers])
        return WorkerPage(200, body, content_type)

    async def _workers(self) -> WorkerPage:
        rows: dict[str, Any] = {}
        for variant, fleet in self._fleets.items():
            try:
                workers = await fleet.discovery.workers()
            except OSError:
                # The name does not resolve: all replicas are gone.
                workers = []
            rows[variant] = [
                {**_row(worker), "path": f"/workers/{variant}/{worker.address}"}
                for worker in workers
            ]
        return _json({"fleets": rows})

    async def _worker(self, variant: str, address: str, path: str, query: Query) -> WorkerPage:
        fleet = self._fleets.get(variant)
        if fleet is None:
            return _text(404, f"There is no fleet [{variant}]. GET /workers lists them.")
        try:
            for worker in await fleet.discovery.workers():
                if worker.address == address:
                    pairs = [(name, value) for name, values in query.items() for value in values]
                    return await forward(self._http, worker, path, pairs)
        except (OSError, httpx.HTTPError) as error:
            return _text(502, f"Worker [{address}] does not answer: {type(error).__name__}.")
        return _text(404, f"Fleet [{variant}] has no worker [{address}]. GET /workers lists them.")

    async def _snapshots(self, query: Query) -> WorkerPage:
        wanted = query.get("variant", list(self._fleets))
        names = query.get("name[]", ())
        known = [variant for variant in wanted if variant in self._fleets]
        fleets = await asyncio.gather(*(self._snapshot(variant, names) for variant in known))
        return _json({"fleets": dict(zip(known, fleets, strict=True))})

    async def _snapshot(self, variant: str, names: Sequence[str]) -> dict[str, Any]:
        deadline = asyncio.get_running_loop().time() + self._snapshot_s
        try:
            async with asyncio.timeout_at(deadline):
                workers = await self._fleets[variant].discovery.workers()
        except OSError as error:
            reason = str(error) or "no answer in time"
            return {"workers": [], "problems": [f"workers cannot be found: {reason}"]}
        rows = await asyncio.gather(*(self._shot(worker, names, deadline) for worker in workers))
        return {"workers": rows, "problems": []}

    async def _shot(
        self, worker: WatchedWorker, names: Sequence[str], deadline: float
    ) -> dict[str, Any]:
        try:
            # httpx limits each read, not the page: one that comes byte by byte would take forever
            async with asyncio.timeout_at(deadline):
                page = await fetch(self._http, worker, names)
        except (TimeoutError, httpx.TimeoutException):
            problem = "does not answer (timeout)"
        except httpx.HTTPError as error:
            problem = f"does not answer ({type(error).__name__})"
        else:
            if page.status == httpx.codes.OK:
                return {**_row(worker), "page": page.body.decode()}
            problem = f"answered with status {page.status}"
        return {**_row(worker), "page": None, "problem": problem}

    async def _put_state(self, receive: Receive) -> WorkerPage:
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return _text(400, "The state was cut short.")
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > MOST_BODY:
                return _text(413, f"The state is larger than [{MOST_BODY}] bytes.")
        try:
            self.state = RunState.model_validate_json(bytes(body))
        except ValidationError as error:
            return _text(400, f"This is not the state of a run. {explain(error)}")
        return WorkerPage(204, b"", _TEXT)


def _row(worker: WatchedWorker) -> dict[str, Any]:
    return {"replica": worker.replica, "worker": worker.worker, "address": worker.address}


def _text(status: int, text: str) -> WorkerPage:
    return WorkerPage(status, text.encode() + b"\n", _TEXT)


def _json(body: Any) -> WorkerPage:
    return WorkerPage(200, json.dumps(body).encode(), _JSON)
