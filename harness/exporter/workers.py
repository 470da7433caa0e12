"""Finds the workers of a fleet and fetches their pages."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import httpx

METRICS_PATH = "/metrics"


@dataclass(frozen=True, slots=True)
class WatchedWorker:
    """One worker process."""

    replica: int
    worker: int
    address: str
    """Host and port of its metrics, as ``10.0.0.3:9400``."""


@dataclass(frozen=True, slots=True)
class WorkerPage:
    """What a worker answered."""

    status: int
    body: bytes
    content_type: str


class Discovery(Protocol):
    """Finds the workers of a fleet."""

    async def workers(self) -> list[WatchedWorker]:
        """All current workers. Raises OSError if they cannot be looked up."""


@dataclass(frozen=True, slots=True)
class Listed:
    """Workers that are known from the start.

    Args:
        addresses: metrics addresses, worker by worker within a replica.
        per_replica: workers of each replica.
    """

    addresses: Sequence[str]
    per_replica: int = 1

    async def workers(self) -> list[WatchedWorker]:
        """All of them, whether they answer or not."""
        return [
            WatchedWorker(*divmod(place, self.per_replica), address)
            for place, address in enumerate(self.addresses)
        ]


@dataclass(frozen=True, slots=True)
class Resolved:
    """Workers behind a DNS name, one address per replica, as Docker's own resolver answers.

    Args:
        name: the name to resolve, type A.
        port: of the first worker's metrics; the others of a replica count up from it.
        per_replica: workers of each replica.
    """

    name: str
    port: int
    per_replica: int = 1

    async def workers(self) -> list[WatchedWorker]:
        """All that the name resolves to now, in the order of their addresses."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            self.name, self.port, family=socket.AF_INET, type=socket.SOCK_STREAM
        )
        hosts = sorted({info[4][0] for info in found}, key=ipaddress.ip_address)
        return [
            WatchedWorker(replica, worker, f"{host}:{self.port + worker}")
            for replica, host in enumerate(hosts)
            for worker in range(self.per_replica)
        ]


async def fetch(http: httpx.AsyncClient, worker: WatchedWorker, names: Sequence[str]) -> WorkerPage:
    """A worker's page, limited to the named series if any. Raises httpx.HTTPError."""
    return await forward(http, worker, METRICS_PATH, [("name[]", name) for name in names])


async def forward(
    http: httpx.AsyncClient, worker: WatchedWorker, path: str, query: Sequence[tuple[str, str]]
) -> WorkerPage:
    """Any page of a worker. Raises httpx.HTTPError."""
    reply = await http.get(f"http://{worker.address}{path}", params=list(query))
    return WorkerPage(
        reply.status_code, reply.content, reply.headers.get("content-type", "text/plain")
    )
