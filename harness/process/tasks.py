"""Several waits at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def together(*waits: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run all and give their results in order; the first error ends the others and is raised.

    Unlike `asyncio.gather`, nothing is left running when it raises; unlike a bare task group,
    the error comes as itself, because replicas that end at once end for one reason.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(wait) for wait in waits]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
