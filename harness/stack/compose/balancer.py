"""The replicas behind HAProxy, from its statistics page."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import httpx

from harness.process.waiting import wait_until

_POLL_S = 0.2
_BACKEND = "replicas"


@dataclass(frozen=True, slots=True)
class Server:
    """One replica as the load balancer sees it."""

    name: str
    address: str
    up: bool
    requests: int
    """Sessions that it has got since it was added."""


async def servers(http: httpx.AsyncClient, stats_url: str) -> list[Server]:
    """The replicas that HAProxy has found, up or not. Raises httpx.HTTPError."""
    reply = (await http.get(f"{stats_url}/;csv")).raise_for_status()
    return parse(reply.text)


def parse(text: str) -> list[Server]:
    """The servers on a statistics page; slots without a replica are left out."""
    rows = csv.DictReader(io.StringIO(text.removeprefix("# ")))
    return [
        Server(row["svname"], row.get("addr", ""), row["status"] == "UP", int(row["stot"] or 0))
        for row in rows
        if row["pxname"] == _BACKEND
        and row["svname"] not in ("FRONTEND", "BACKEND")
        and not row["status"].startswith("MAINT")
    ]


async def wait_for(http: httpx.AsyncClient, stats_url: str, replicas: int, within_s: float) -> int:
    """Wait until exactly `replicas` are known and up; returns how many are up at the end."""
    up = 0

    async def balanced() -> bool:
        nonlocal up
        try:
            found = await servers(http, stats_url)
        except httpx.HTTPError:
            found = []
        up = sum(server.up for server in found)
        return up == replicas == len(found)

    await wait_until(balanced, within_s, poll_s=_POLL_S)
    return up
