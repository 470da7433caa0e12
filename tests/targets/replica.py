"""A replica started by hand, as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from harness.process.loopback import local_http
from harness.process.sockets import replica_sockets, url
from harness.targets.reference.settings import ProxySettings
from harness.targets.settings import SETTINGS_VARIABLE
from tests.targets.world import MODEL, PATIENCE_S


@dataclass
class Replica:
    process: asyncio.subprocess.Process
    url: str
    pages: tuple[str, ...]
    """Of the workers' metrics."""
    log: Path
    http: httpx.AsyncClient

    async def chat(self, secret: str) -> httpx.Response:
        """One chat completion."""
        return await self.http.post(
            f"{self.url}/v1/chat/completions",
            json={"model": MODEL, "messages": [{"role": "user", "content": "hello"}]},
            headers={"authorization": f"Bearer {secret}"},
        )

    async def ready(self) -> int | None:
        """The status of its readiness, None where it does not answer."""
        with contextlib.suppress(httpx.TransportError):
            return (await self.http.get(f"{self.url}/health/readiness")).status_code
        return None

    async def becomes_ready(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while await self.ready() != httpx.codes.OK:
                assert self.process.returncode is None, self.log.read_text()
                await asyncio.sleep(0.05)

    async def ends(self) -> int:
        """Its exit code."""
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


def arguments(*options: str) -> list[str]:
    return [sys.executable, "-m", "harness.targets.reference.serve", *options]


@contextlib.asynccontextmanager
async def replica(
    settings: ProxySettings, folder: Path, *, workers: int = 1
) -> AsyncIterator[Replica]:
    """A replica, ready; killed at the end if it still runs."""
    log = folder / "replica.log"
    # Listening sockets to inherit, as from a stack: a port that is only known to be free may be
    # taken by a test that runs at the same time.
    with replica_sockets(1, workers, None) as (sockets,), log.open("wb") as output:
        clients, *metrics = sockets.descriptors()
        base = url(sockets.clients)
        pages = tuple(url(one, "/metrics") for one in sockets.metrics)
        process = await asyncio.create_subprocess_exec(
            *arguments("--listen-fd", str(clients)),
            *(part for fd in metrics for part in ("--metrics-fd", str(fd))),
            env={**os.environ, SETTINGS_VARIABLE: settings.encode()},
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=sockets.descriptors(),
        )
    # No connection is kept: with several workers each request goes to the worker that takes it.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with local_http(timeout=PATIENCE_S, limits=limits) as http:
        one = Replica(process, base, pages, log, http)
        try:
            await one.becomes_ready()
            yield one
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
