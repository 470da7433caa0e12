"""Sends the state of a run to an exporter that runs elsewhere, e.g. in a container."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import httpx

from harness.exporter.state import RunState
from harness.process.groups import to_the_end

PUSH_S = 0.5
_TIMEOUT_S = 5.0


@contextlib.asynccontextmanager
async def pushing(state: RunState, url: str, note: Callable[[str], None]) -> AsyncIterator[None]:
    """Put the state repeatedly until the block ends, and once more at its end.

    The first failure is reported through ``note``; every failure is retried at the next turn.

    Args:
        state: its owner keeps changing it.
        url: base URL of the exporter.
        note: called with what went wrong.
    """
    told: list[str] = []

    async def put(http: httpx.AsyncClient) -> None:
        try:
            reply = await http.put(f"{url.rstrip('/')}/state", content=state.model_dump_json())
            reply.raise_for_status()
        except httpx.HTTPError as error:
            if not told:
                told.append(url)
                note(f"The exporter [{url}] does not accept the run's state: {error}.")

    async def go_on(http: httpx.AsyncClient) -> None:
        while True:
            await put(http)
            await asyncio.sleep(PUSH_S)

    async def finish(http: httpx.AsyncClient, task: asyncio.Task[None]) -> None:
        await asyncio.gather(task, return_exceptions=True)
        await put(http)

    async with httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False) as http:
        task = asyncio.create_task(go_on(http))
        try:
            yield
        finally:
            task.cancel()
            await to_the_end(finish(http, task))
