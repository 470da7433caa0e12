"""Waits: for a condition, for several tasks at once, for work that is void when a process ends.

Standard library only: `groups` uses it, which also runs inside a release.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, overload

from harness.errors import ServerDiedError

T = TypeVar("T")
POLL_S = 0.02


@overload
async def wait_until(
    ask: Callable[[], Awaitable[T]],
    timeout_s: float = ...,
    *,
    poll_s: float = ...,
    retry: tuple[type[Exception], ...] = ...,
) -> T: ...


@overload
async def wait_until(
    ask: Callable[[], T],
    timeout_s: float = ...,
    *,
    poll_s: float = ...,
    retry: tuple[type[Exception], ...] = ...,
) -> T: ...


async def wait_until(
    ask: Callable[[], Any],
    timeout_s: float = math.inf,
    *,
    poll_s: float = POLL_S,
    retry: tuple[type[Exception], ...] = (),
) -> Any:
    """Poll until the answer is true or the time is up; returns the last answer.

    The time is checked between two questions: one that may hang needs a limit of its own.

    Args:
        ask: a function or a coroutine function. What it raises ends the wait, so it can raise when
            something that it waits for has died.
        timeout_s: seconds; after them it asks once more.
        poll_s: seconds between an answer and the next question.
        retry: errors that count as an answer that is not true.

    Raises:
        Exception: what `ask` raises; one of `retry` only when the time is up.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        last = time.monotonic() >= deadline
        try:
            answer = ask()
            if inspect.isawaitable(answer):
                answer = await answer
        except retry:
            if last:
                raise
        else:
            if answer or last:
                return answer
        await asyncio.sleep(poll_s)


async def gather_all(*waits: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run all and return their results in order; the first error cancels the others and is raised.

    Unlike `asyncio.gather`, nothing is left running when it raises; unlike a bare task group,
    the error is raised without a group, because replicas that end at once end for one reason.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(wait) for wait in waits]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def while_alive(
    work: Coroutine[Any, Any, None], *deaths: Callable[[], Awaitable[str]], consequence: str = ""
) -> None:
    """Run work until it is done, or until something ends that must not.

    Work that is done without an error is done, even if something ended at the same moment; an error
    at that moment gives way to the death, which explains it.

    Args:
        work: is cancelled when something ends, and waited for while it cleans up.
        deaths: each waits for something to end and returns what did, as `Stack.died`.
        consequence: the consequence, appended to the error's text.

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
                raise ServerDiedError(f"{watcher.result()} {consequence}".strip())
        await task
    finally:
        for each in (task, *watchers):
            each.cancel()
        await asyncio.gather(task, *watchers, return_exceptions=True)


def _succeeded(task: asyncio.Future[None]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None
