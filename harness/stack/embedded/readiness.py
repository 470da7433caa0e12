"""Waits until every replica and every worker of a fleet answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import httpx

from harness.errors import SetupError
from harness.process.processes import Process
from harness.process.tasks import together

_REQUEST_TIMEOUT_S = 5.0
_POLL_S = 0.05


async def wait_until_ready(
    fleet: str, urls: Sequence[tuple[Process, str]], timeout_s: float
) -> None:
    """Ask every address until it answers 200.

    The listening sockets are open before the replicas start, so an early request waits in the
    queue of its socket and is answered at the first moment a worker takes it.

    Args:
        fleet: Its name, for messages.
        urls: Addresses, with the replica that answers each.
        timeout_s: For all of them together.

    Raises:
        SetupError: A replica has ended, or the time is up.
    """
    waiting = list(urls)
    limits = httpx.Limits(max_keepalive_connections=0)

    async def answered(process: Process, url: str) -> None:
        await _ready(client, process, url)
        waiting.remove((process, url))

    async with httpx.AsyncClient(
        timeout=_REQUEST_TIMEOUT_S, limits=limits, trust_env=False
    ) as client:
        try:
            async with asyncio.timeout(timeout_s):
                await together(*(answered(process, url) for process, url in urls))
        except TimeoutError as error:
            process, url = waiting[0]
            raise SetupError(
                f"[{len(waiting)}] of [{len(urls)}] addresses of the fleet [{fleet}] did not "
                f"answer within [{timeout_s:g} s]; the first is {url}. "
                f"The {process.command.name}: {process.epitaph()}"
            ) from error


async def _ready(client: httpx.AsyncClient, process: Process, url: str) -> None:
    while True:
        if process.ended():
            raise SetupError(
                f"The {process.command.name} ended before it was ready, {process.epitaph()}"
            )
        try:
            answer = await client.get(url)
        except httpx.TransportError:
            pass
        else:
            if answer.status_code == httpx.codes.OK:
                return
        await asyncio.sleep(_POLL_S)
