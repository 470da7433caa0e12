"""The spend path: how a reply's cost reaches cached copies and Postgres.

``read_modify_write`` is upstream's: cached copies of key, user and team are read, increased and
written back in one pipeline, without a lock; two workers overwrite each other. ``write_behind``
changes no copy: what the worker charged is added to whatever copy it gets (`SpendWriter.spent`).
Either way Postgres gets increments, batched by a background writer that keeps those it could not
write. What a budget is checked against is a matter of its own: `harness.targets.reference.budgets`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from harness.authcache import logs
from harness.authcache.cache import AuthCache, Entry, OnFailure, SourceUnavailableError
from harness.authcache.layout import KeyLayout
from harness.authcache.trace import Trace
from harness.authcache.words import KeyScope, ObjectKind
from harness.errors import DecodeError
from harness.targets.reference.auth import Grant
from harness.targets.reference.budgets import Budgets, Recent
from harness.targets.reference.store import MICRO, Owner, Store

PIPELINE_TTL_S = 60.0
"""Hard-coded in LiteLLM's ``update_cache``."""


class SpendWriter:
    """Gathers increments and flushes them to Postgres every ``interval_s``.

    Args:
        store: Postgres.
        interval_s: seconds between flushes.
        pending: called with +n for increments added and -n for increments written.
        copies_live_s: the greatest age at which a copy of an object is served.
        last_s: for the last flushes, in `close`.
        once: whether a flush that may have been committed is repeated under its number, and so
            counts once; otherwise its increments are flushed again, with those that came since.
        flushes_at_end: whether `close` flushes.
    """

    def __init__(
        self,
        store: Store,
        interval_s: float,
        pending: Callable[[int], None],
        copies_live_s: float = math.inf,
        *,
        last_s: float,
        once: bool = False,
        flushes_at_end: bool = True,
    ) -> None:
        self._store = store
        self._interval_s = interval_s
        self._pending = pending
        self._last_s = last_s
        self._waiting: Counter[Owner] = Counter()
        self._writing: Counter[Owner] = Counter()
        """The flush under way: Postgres may have it or not."""
        self._written = 0
        """Increments in it."""
        self._name, self._number = uuid.uuid4().hex, 0
        """By which Postgres knows this writer, and the flush under way."""
        self._once = once
        self._flushes_at_end = flushes_at_end
        self._totals = Recent(copies_live_s)
        """What Postgres held after this worker's last increment. A copy that is served later than
        that was read after it."""
        self._count = 0
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    def add(self, kind: str, ids: tuple[str, ...], micro: int) -> None:
        """Add one increment, in micro-units."""
        self._waiting[kind, ids] += micro
        self._count += 1
        self._pending(+1)

    def spent(
        self, owner: Owner, copied: int, made: datetime | None = None, *, at_least: bool = False
    ) -> int:
        """What an owner has spent as far as this worker knows, in micro-units.

        A copy of the owner's object may be older than what this worker has charged since. So what
        is not in Postgres yet is added to it, and a total that a flush brought back stands in for
        a copy that is older. Spend in Postgres only grows, so the greater of the two is the newer.

        Args:
            owner: whose spend.
            copied: the spend in the copy, which must be as Postgres held it.
            made: when the copied row was made. The total of an earlier row says nothing of it.
            at_least: leave out a flush under way, which the copy may contain already.
        """
        known = max(copied, self._totals.get((owner, made)) or 0) + self._waiting[owner]
        return known if at_least else known + self._writing[owner]

    def start(self) -> None:
        """Start flushing."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Flush and stop, within `last_s`. Increments that are not written then are logged as lost.

        A writer that does not flush at the end drops them in silence, as a release does.
        """
        self._stop.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._last_s):
                if self._task is not None:
                    await self._task
                if not self._flushes_at_end:
                    return
                await self._flush()
                while self._once and (self._waiting or self._writing):
                    await asyncio.sleep(self._interval_s)
                    await self._flush()
        if lost := self._waiting + self._writing:
            logs.say(
                logging.ERROR,
                logs.Signature.SPEND_UPDATE_FAILED,
                KeyScope.UNKNOWN,
                "Spend of %d micro-units is lost: Postgres did not answer before shutdown",
                sum(lost.values()),
            )

    async def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_s):
                    await self._stop.wait()
            if self._flushes_at_end or not self._stop.is_set():
                await self._flush()

    async def _flush(self) -> None:
        if not self._writing:
            if not self._waiting:
                return
            self._writing, self._written = self._waiting, self._count
            self._waiting, self._count = Counter(), 0
            self._number += 1
        flush = (self._name, self._number) if self._once else None
        try:
            totals = await self._store.add_spend(self._writing, flush)
        except SourceUnavailableError:
            if not self._once:
                self._waiting.update(self._writing)
                self._count += self._written
                self._writing = Counter()
            return
        self._writing = Counter()
        for row, micro in totals.items():
            self._totals.put(row, micro)
        self._pending(-self._written)


class SpendPath:
    """Charges requests."""

    def __init__(
        self,
        cache: AuthCache,
        layout: KeyLayout,
        writer: SpendWriter,
        budgets: Budgets,
        *,
        time_scale: float,
    ) -> None:
        self._cache = cache
        self._layout = layout
        self._writer = writer
        self._budgets = budgets
        self._memory_only = cache.switches.spend_write_back == "memory"
        self._ttl_s = (
            PIPELINE_TTL_S * time_scale if cache.switches.spend_ttl == "fixed_60s" else cache.ttl_s
        )
        self._updates_caches = cache.switches.spend_path == "read_modify_write"
        self._tasks: set[asyncio.Task[None]] = set()

    def charge(self, grant: Grant, scope: KeyScope, micro: int) -> None:
        """Charge one reply, in micro-units. Returns at once; the work is counted as pending."""
        if not self._updates_caches:
            self._queue(grant, micro, user_too=True)
            return
        self._cache.recorder.background(+1)
        task = asyncio.create_task(self._read_modify_write(grant, scope, micro))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def release(self, grant: Grant) -> None:
        """Take back what an admitted request reserved and was not charged for. Returns at once."""
        if not grant.reserved:
            return
        self._cache.recorder.background(+1)
        task = asyncio.create_task(self._release(grant))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for updates under way."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _release(self, grant: Grant) -> None:
        try:
            await self._budgets.release(grant.reserved)
        finally:
            self._cache.recorder.background(-1)

    def _queue(self, grant: Grant, micro: int, *, user_too: bool) -> None:
        key = grant.key.value
        self._writer.add("key", (key.token,), micro)
        if grant.user_id is not None and user_too:
            self._writer.add("user", (grant.user_id,), micro)
        if grant.team_id is not None:
            self._writer.add("team", (grant.team_id,), micro)
        if grant.user_id is not None and grant.team_id is not None:
            self._writer.add("membership", (grant.user_id, grant.team_id), micro)

    async def _read_modify_write(self, grant: Grant, scope: KeyScope, micro: int) -> None:
        trace = Trace(scope)
        try:
            await self._update_caches(grant, trace, micro / MICRO)
            self._queue(grant, micro, user_too=await self._user_row_reachable(grant, trace))
        except Exception as error:  # noqa: BLE001 - upstream swallows it too; here it is counted
            logs.say(
                logging.ERROR,
                logs.Signature.SPEND_UPDATE_FAILED,
                scope,
                "Spend update failed: %s: %s",
                type(error).__name__,
                error,
            )
        finally:
            self._cache.recorder.commit(trace)
            self._cache.recorder.background(-1)

    async def _update_caches(self, grant: Grant, trace: Trace, cost: float) -> None:
        """Increase the spend of cached copies; skip objects that are not cached or not readable."""
        key = grant.key.value
        asked = [(ObjectKind.KEY, self._layout.key(key.token), OnFailure.PAIR)]
        if grant.user_id is not None:
            user_key = self._layout.user(grant.user_id)
            asked.append((ObjectKind.USER, user_key, OnFailure.WARNING))
        if grant.team_id is not None:
            team_key = self._layout.team(grant.team_id)
            asked.append((ObjectKind.TEAM, team_key, OnFailure.WARNING))
        entries: list[Entry] = []
        for kind, cache_key, on_failure in asked:
            found = await self._cache.peek(kind, cache_key, trace, on_failure)
            if found is None or found.value is None:
                continue
            value = found.value
            value.spend = (value.spend or 0.0) + cost
            for name in ("team_spend", "team_member_spend"):
                if getattr(value, name, None) is not None:
                    setattr(value, name, getattr(value, name) + cost)
            entries.append(Entry(kind, cache_key, value, found.read_at))
        if entries:
            await self._cache.put_many(entries, self._ttl_s, memory_only=self._memory_only)

    async def _user_row_reachable(self, grant: Grant, trace: Trace) -> bool:
        """Whether the user's increment reaches Postgres.

        ``_update_user_db`` of 1.84 first builds a user from the value under the raw id, outside its
        try: if that is a team it raises, and the increment is lost silently.
        """
        if grant.user_id is None:
            return False
        try:
            await self._cache.peek(
                ObjectKind.USER, self._layout.user(grant.user_id), trace, OnFailure.RAISE
            )
        except DecodeError:
            return False
        return True
