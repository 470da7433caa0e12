"""What a worker has not finished: requests, their background tasks, and spend not yet written.

LiteLLM answers first and books later: in tasks, in a queue of logging coroutines, in queues of
spend that a periodic job writes. A snapshot at rest has to wait for all of them.
"""

from __future__ import annotations

import asyncio
import fcntl
import math
import tempfile
import time
from collections.abc import Iterator
from contextvars import Context
from copy import copy
from pathlib import Path
from types import CoroutineType, SimpleNamespace
from typing import IO, Any
from weakref import WeakKeyDictionary

from harness.domain.series import HookPoint
from harness.targets.litellm.inside.guard import Guard
from harness.targets.litellm.inside.request import CURRENT, Request

_TURN = "authcache-litellm-flush"
"""Locked by the worker that writes; the workers of a stack share its folder for temporary files."""
DAEMON_AFTER_S = 5.0
"""A task that outlives its request and its own start by this long is a daemon: a loop that a
request started and that serves all of them. The snapshot does not wait for it, nor for one that
will sleep until then."""


class Tasks:
    """Counts tasks that requests started and that have not ended. Install on the running loop."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._tasks: dict[asyncio.Task[Any], tuple[Request | None, float]] = {}
        """With the request and the start of each."""
        self._daemons: WeakKeyDictionary[asyncio.Task[Any], Request] = WeakKeyDictionary()

    def install(self) -> None:
        """Become the task factory of the running loop."""
        asyncio.get_running_loop().set_task_factory(self._make)

    def _make(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        # The other options depend on Python and on uvloop: a context, from 3.13 on a name and
        # eager_start too. All of them go to the task.
        task = asyncio.Task(coro, loop=loop, **options)
        context: Context | None = options.get("context")
        self._guard.run(
            HookPoint.TASKS, self._track, task, coro, context, asyncio.current_task(loop)
        )
        return task

    def _track(
        self,
        task: asyncio.Task[Any],
        coro: Any,
        context: Context | None,
        parent: asyncio.Task[Any] | None,
    ) -> None:
        request: Request | None = CURRENT.get(None) if context is None else context.get(CURRENT)
        if request is None and not _is_spend_job(coro):
            return
        # What a daemon starts for itself is part of it. What it starts in the context of a later
        # request, as LiteLLM's logging worker does, is work of that request.
        if request is not None and parent is not None and self._daemons.get(parent) is request:
            self._daemons[task] = request
            return
        self._tasks[task] = request, time.monotonic()
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)

    def unfinished(self) -> int:
        """How many tasks still work for a request that was answered already."""
        now = time.monotonic()
        count = 0
        for task, (request, start) in list(self._tasks.items()):
            if request is not None and not request.done:
                continue
            left_s = math.inf
            if request is not None:
                left_s = DAEMON_AFTER_S - (now - max(start, request.ended_at))
            if left_s >= 0 and asleep_s(task) <= left_s:
                count += 1
            elif request is not None:
                # This task alone: another with the same name may be work that a snapshot needs.
                self._daemons[task] = request
                self._forget(task)
        return count


def asleep_s(task: asyncio.Task[Any]) -> float:
    """How long a task still sleeps in `asyncio.sleep`, in s; 0 if it waits for anything else.

    Releases from 1.104 start a task with each request that sleeps for minutes and then finds that
    there is nothing to renew (budget_reservation.py, `_renew_reservation_lease`).
    """
    inner = None
    awaited: Any = task.get_coro()
    while isinstance(awaited, CoroutineType):
        inner, awaited = awaited, awaited.cr_await
    if inner is None or inner.cr_code is not asyncio.sleep.__code__ or inner.cr_frame is None:
        return 0.0
    alarm = inner.cr_frame.f_locals.get("h")
    return 0.0 if alarm is None else float(alarm.when() - asyncio.get_running_loop().time())


def _turn() -> IO[str]:
    return Path(tempfile.gettempdir(), _TURN).open("a")


def _name(coro: Any) -> str:
    return str(getattr(coro, "__qualname__", type(coro).__qualname__))


def _is_spend_job(coro: Any) -> bool:
    """Whether APScheduler runs one of LiteLLM's jobs that write spend."""
    if _name(coro) != "run_coroutine_job":
        return False
    job = coro.cr_frame.f_locals.get("job")
    return str(getattr(job, "id", "")) in {"update_spend_job", "update_daily_tag_spend_job"}


class SpendQueues:
    """Spend that LiteLLM has booked in memory and not written to Postgres.

    Args:
        proxy_server: the module `litellm.proxy.proxy_server`.
        logging_worker: LiteLLM's queue of logging coroutines; None where a release has none.
    """

    def __init__(self, proxy_server: Any, logging_worker: Any) -> None:
        self._proxy = proxy_server
        self._logging = logging_worker
        self._flush: asyncio.Task[None] | None = None

    def waiting(self) -> int:
        """How many coroutines, updates and log rows wait."""
        count = sum(queue.qsize() for queue in self._queues())
        count += len(getattr(self._proxy.prisma_client, "spend_log_transactions", None) or ())
        # _unfinished_tasks counts what waits and what runs, until task_done().
        queue = getattr(self._logging, "_queue", None)
        count += getattr(queue, "_unfinished_tasks", 0)
        return count + (self._flush is not None and not self._flush.done())

    def flush(self) -> None:
        """Have LiteLLM's own job write the spend now, rather than at its next turn."""
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._write())

    async def _write(self) -> None:
        proxy = self._proxy
        # All workers are asked at once. Releases up to 1.84 write rows in no fixed order, so
        # flushes that overlap deadlock and lose spend; at their own pace they seldom do.
        with _turn() as turn:
            try:
                fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            await proxy.update_spend(
                proxy.prisma_client, proxy.db_writer_client, proxy.proxy_logging_obj
            )

    def control(self) -> None:
        """Count one update in a copy of each queue. Raises AssertionError where that fails."""
        copies: dict[str, Any] = {}
        for name, holder in self._holders():
            copies[name] = copy(holder)
            copies[name].update_queue = asyncio.Queue()
            copies[name].update_queue.put_nowait(None)
        logging = SimpleNamespace(db_spend_update_writer=SimpleNamespace(**copies))
        proxy = SimpleNamespace(proxy_logging_obj=logging, prisma_client=None)
        waiting = SpendQueues(proxy, None).waiting()
        if not copies or waiting != len(copies):
            raise AssertionError(f"{waiting} of {len(copies)} updates were seen waiting")

    def _queues(self) -> Iterator[asyncio.Queue[Any]]:
        for _, holder in self._holders():
            yield holder.update_queue

    def _holders(self) -> Iterator[tuple[str, Any]]:
        writer = getattr(self._proxy.proxy_logging_obj, "db_spend_update_writer", None)
        for name, value in vars(writer).items() if writer is not None else ():
            queue = getattr(value, "update_queue", None)
            # Tags are flushed by a job of their own, at a slower pace, and no key is billed by it.
            if queue is not None and "tag" not in name and "tool" not in name:
                yield name, value
