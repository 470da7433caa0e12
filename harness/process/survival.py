"""Work that is worth nothing once a server or a replica has ended by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from harness.errors import ServerDiedError


async def while_alive(
    work: Coroutine[Any, Any, None], *deaths: Callable[[], Awaitable[str]], so: str = ""
) -> None:
    """Work until it is done, or until something ends that must not.

    Work that is done without an error is done, even if something ended at the same moment; an error
    at that moment gives way to the death, which explains it.

    Args:
        work: is cancelled when something ends, and waited for while it cleans up.
        deaths: each waits for something to end and says what did, as `Stack.died`.
        so: what follows from it, after what ended in the error's text.

    Raises:
        ServerDiedError: something ended by itself.
        Exception: what the work raises.
    """
    task = asyncio.ensure_future(work)
    watchers = [asyncio.ensure_future(death()) for death in deaths]
    try:
        await asyncio.wait({task, *watchers}, return_when=asyncio.FIRST_COMPLETED)
        for watcher in watchers:
            if watcher.done() and not _succeeded(task):
                raise ServerDiedError(f"{watcher.result()} {so}".strip())
        await task
    finally:
        for each in (task, *watchers):
            each.cancel()
        await asyncio.gather(task, *watchers, return_exceptions=True)


def _succeeded(task: asyncio.Future[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
