"""Makes the changes of a window while the load driver probes the keys that they change.

Each change is sent at its moment to its handler, or made by SQL behind the gateway's back. Then
Postgres is read: what it holds, not what the call answered, decides whether the change took place.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import asyncpg
import httpx

from harness.authcache.words import Invalidated
from harness.domain.changes import ACTIONS, NEWS_S, ChangeEvent, Outcome
from harness.domain.population import VirtualKey
from harness.domain.series import INVALIDATIONS
from harness.domain.served import WORKER_HEADER
from harness.errors import InvalidRunError
from harness.observe.counters import Counters
from harness.observe.snapshots import Observer
from harness.plan.plan import PlannedChange
from harness.process.loopback import local_http
from harness.stack.base import Fleet
from harness.targets.base import Call, KeyTruth

News = Callable[[], Awaitable[Mapping[str, Counters]]]
CALL_TIMEOUT_S = 10.0
DETAIL_CHARACTERS = 300
_SECRET = re.compile(r"sk-[\w-]{8,}")


@dataclass(slots=True)
class Made:
    """What came of the changes of a window."""

    events: list[ChangeEvent] = field(default_factory=list)
    """In order of their numbers, once all were made."""
    truths: dict[int, KeyTruth] = field(default_factory=dict)
    """By key index, with a version for each change that Postgres holds."""


class ChangeMaker:
    """The changes of one window of one fleet. Make it with `ready_to_change`.

    Args:
        fleet: that is changed.
        planned: the changes, in order of time.
        http: sends the calls.
        postgres: a connection to the fleet's database, of another role than the fleet's.
        on_made: called with each change once Postgres was read after it.
        news: reads what each worker has counted of `INVALIDATIONS`; None leaves it unknown.
    """

    def __init__(
        self,
        fleet: Fleet,
        planned: Sequence[PlannedChange],
        http: httpx.AsyncClient,
        postgres: asyncpg.Connection,
        on_made: Callable[[ChangeEvent], None] | None = None,
        *,
        news: News | None = None,
    ) -> None:
        self._on_made = on_made
        self._news = news
        self._fleet = fleet
        self._planned = planned
        self._http = http
        self._postgres = postgres
        # A connection runs one statement at a time.
        self._one_at_a_time = asyncio.Lock()
        self._made = Made()

    async def begin(self) -> None:
        """Read the truth before all changes, and open the connections to the handlers."""
        keys = [change.key for change in self._planned]
        self._made.truths.update(await self._truth(keys))
        if self._planned:
            path = self._fleet.spec.target.readiness_path
            await asyncio.gather(*(self._http.get(url + path) for url in self._urls()))

    async def make(self, start: float, *, judge: bool = True) -> Made:
        """Make every change at its moment.

        Args:
            start: of the window, on the monotonic clock.
            judge: whether to read Postgres after each; else `judge` does it later.

        Returns:
            What came of them. A change that was refused is an event like the others.

        Raises:
            InvalidRunError: Postgres could not be read or written.
        """
        tasks = [
            asyncio.create_task(self._make_one(change, start, judge=judge))
            for change in self._planned
        ]
        try:
            await asyncio.gather(*tasks)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise InvalidRunError(
                f"Fleet [{self._fleet.name}] was changed, and its Postgres failed: "
                f"{type(error).__name__}: {error}. Check Postgres' log, then run again."
            ) from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self._made.events.sort(key=lambda event: event.number)
        return self._made

    async def judge(self, start: float, postgres: asyncpg.Connection) -> Made:
        """Read Postgres after changes that were made while it may not have answered.

        One that was not answered 2xx may have been committed at any time until now.

        Args:
            start: of the window, on the monotonic clock.
            postgres: as at the beginning; it may be another connection.
        """
        self._postgres = postgres
        changes = {change.number: change for change in self._planned}
        now_s = time.monotonic() - start
        unjudged, self._made.events = self._made.events, []
        for event in unjudged:
            judged = event
            if event.outcome != "not_there":
                until_s = event.answered_s if _is_success(event.status) else now_s
                judged = await self._judged(changes[event.number], event, until_s)
            self._made.events.append(judged)
            if self._on_made is not None:
                self._on_made(judged)
        return self._made

    async def _make_one(self, change: PlannedChange, start: float, *, judge: bool) -> None:
        await asyncio.sleep(start + change.at_s - time.monotonic())
        before = await self._counted(change)
        event = await (self._by_sql if change.way == "sql" else self._by_call)(change, start)
        if judge and event.outcome != "not_there":
            event = await self._judged(change, event, event.answered_s)
            event = await self._spread(change, event, before, start)
        self._made.events.append(event)
        if judge and self._on_made is not None:
            self._on_made(event)

    async def _by_sql(self, change: PlannedChange, start: float) -> ChangeEvent:
        database = self._fleet.spec.target.database
        async with self._one_at_a_time:
            sent = time.monotonic()
            done = await database.edit(self._postgres, change.action, change.key, change.number)
            answered = time.monotonic()
        return _event(
            change, sent - start, answered - start, outcome="done" if done else "not_there"
        )

    async def _by_call(self, change: PlannedChange, start: float) -> ChangeEvent:
        call = self._fleet.spec.target.call(change.action, change.key, change.number)
        sent = time.monotonic()
        if call is None:
            return _event(change, sent - start, sent - start, outcome="not_there")
        urls = self._urls()
        status, worker, text = await self._send(call, urls[change.handler % len(urls)])
        answered = time.monotonic()
        balanced = len(urls) != self._fleet.spec.replicas
        return replace(
            _event(change, sent - start, answered - start, outcome="done"),
            handler=None if balanced else change.handler,
            worker=worker,
            status=status,
            detail="" if _is_success(status) else self._detail(text, change.key),
        )

    async def _send(self, call: Call, url: str) -> tuple[int, str, str]:
        """Status, worker and text of an answer; status 0 where there was none."""
        try:
            reply = await self._http.request(
                call.method,
                url + call.path,
                json=dict(call.body),
                headers={"Authorization": f"Bearer {self._fleet.spec.master_key}"},
            )
        except httpx.HTTPError as error:
            return 0, "", f"{type(error).__name__}: {error}"
        return reply.status_code, reply.headers.get(WORKER_HEADER, ""), reply.text

    async def _judged(
        self, change: PlannedChange, event: ChangeEvent, until_s: float
    ) -> ChangeEvent:
        """The event with its outcome; a change that took place is a new version of its key.

        It took place by ``until_s`` at the latest.
        """
        index = change.key.index
        before = self._made.truths[index]
        after = (await self._truth([change.key]))[index]
        if (after.digests, after.status) == (before.digests, before.status):
            detail = event.detail or "The call succeeded, and Postgres holds no change."
            return replace(event, outcome="refused", detail=detail)
        since = (event.sent_s, until_s)
        earlier = (*before.earlier, replace(before, earlier=()))
        self._made.truths[index] = replace(after, since=since, earlier=earlier)
        succeeded = event.way == "sql" or _is_success(event.status)
        return replace(event, outcome="done" if succeeded else "committed")

    async def _counted(self, change: PlannedChange) -> Mapping[str, Counters]:
        """What each worker has counted; nothing where it is not asked, or does not answer."""
        if self._news is None or change.way == "sql":
            return {}
        with contextlib.suppress(InvalidRunError):
            return await self._news()
        return {}

    async def _spread(
        self,
        change: PlannedChange,
        event: ChangeEvent,
        before: Mapping[str, Counters],
        start: float,
    ) -> ChangeEvent:
        """The event with the workers that dropped a copy, and those that were told."""
        if not before:
            return event
        await asyncio.sleep(start + event.answered_s + NEWS_S - time.monotonic())
        after = await self._counted(change)
        kind = ACTIONS[event.action].object

        def counted(what: Invalidated) -> tuple[str, ...]:
            labels = {"event": what.value, "object": kind}
            return tuple(
                name
                for name, page in after.items()
                if page.sum(INVALIDATIONS, **labels) > before[name].sum(INVALIDATIONS, **labels)
            )

        dropped, told = counted(Invalidated.APPLIED), counted(Invalidated.RECEIVED)
        return replace(event, dropped=dropped, told=told)

    async def _truth(self, keys: Sequence[VirtualKey]) -> dict[int, KeyTruth]:
        spec = self._fleet.spec
        async with self._one_at_a_time:
            found = await spec.target.database.truth(
                self._postgres, keys, planted_null_user=spec.settings.planted_null_user
            )
        return dict(found)

    def _urls(self) -> tuple[str, ...]:
        return self._fleet.replica_urls

    def _detail(self, text: str, key: VirtualKey) -> str:
        for secret in (self._fleet.spec.master_key, key.secret, key.token):
            text = text.replace(secret, "…")
        return _SECRET.sub("…", text)[:DETAIL_CHARACTERS]


@contextlib.asynccontextmanager
async def ready_to_change(
    observer: Observer,
    planned: Sequence[PlannedChange],
    on_made: Callable[[ChangeEvent], None] | None = None,
    *,
    news: bool = False,
) -> AsyncIterator[ChangeMaker]:
    """The changes of a window, with connections that are open before it begins.

    The observer's connection to Postgres belongs to them until they are made.

    Args:
        observer: of the fleet.
        planned: the changes, in order of time.
        on_made: see `ChangeMaker`.
        news: whether to ask the workers who heard of each change, which takes `NEWS_S`.

    Raises:
        InvalidRunError: the fleet or its Postgres does not answer.
    """
    # A connection that lay idle in the window's lead must still be open.
    limits = httpx.Limits(keepalive_expiry=None)
    timeout_s = CALL_TIMEOUT_S
    async with local_http(timeout=timeout_s, limits=limits) as http:
        asked = functools.partial(observer.by_worker, (INVALIDATIONS,)) if news else None
        changes = ChangeMaker(observer.fleet, planned, http, observer.postgres, on_made, news=asked)
        try:
            await changes.begin()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, httpx.HTTPError, OSError) as error:
            raise InvalidRunError(
                f"Fleet [{observer.fleet.name}] cannot be changed: {type(error).__name__}: "
                f"{error}. Check its logs, then run again."
            ) from error
        yield changes


def _event(
    change: PlannedChange, sent_s: float, answered_s: float, *, outcome: Outcome
) -> ChangeEvent:
    return ChangeEvent(
        number=change.number,
        action=change.action,
        scope=change.key.scope,
        way=change.way,
        key=change.key.index,
        handler=None,
        worker="",
        sent_s=sent_s,
        answered_s=answered_s,
        status=0,
        outcome=outcome,
        idle_s=None if change.asked_s is None else change.asked_s - change.at_s,
    )


def _is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - 2xx
