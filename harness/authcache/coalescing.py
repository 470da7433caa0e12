"""Caches that coalesce concurrent misses of one object: single flight, lease, early refresh.

Each is a class over `AuthCache`: within a worker (`SingleFlight`), across replicas
(`Lease`, after Facebook's memcache leases), and ahead of expiry (`EarlyRefresh`, after Vattani et
al., VLDB 2015: refresh when ``-delta * beta * ln(random)`` reaches the time left).
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from harness.authcache.cache import AuthCache, Found, ReadSource, SourceUnavailableError
from harness.authcache.events import Wait
from harness.authcache.objects import CachedObject
from harness.authcache.tiers import RedisUnavailableError
from harness.authcache.trace import Trace
from harness.authcache.words import SHARED, Coalesced, ObjectKind, Op, ReadReason

LEASE_TTL_S = 1.0
LEASE_WAIT_S = 0.25
LEASE_POLL_S = 0.005


class SingleFlight(AuthCache):
    """One lookup per key and worker goes beyond memory; the others wait for its answer."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._flights: dict[str, asyncio.Future[Found | None]] = {}
        self._stage = Coalesced.BEFORE_SOURCE if self.redis is None else Coalesced.BEFORE_REDIS

    async def load_beyond(
        self, kind: ObjectKind, key: str, reason: ReadReason, read: ReadSource, trace: Trace
    ) -> Found | None:
        """As `AuthCache.load_beyond`; a lookup that finds a flight under way takes its answer."""
        if reason is not ReadReason.MISS:
            return await self.read_source(kind, key, reason, read, trace)
        while (flight := self._flights.get(key)) is not None:
            try:
                answer = await asyncio.shield(flight)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not flight.cancelled() or (task is not None and task.cancelling()):
                    raise
                continue  # The leader's request was cancelled; another lookup leads now.
            except Exception:
                # An error is an answer too: this lookup asks neither Redis nor Postgres itself.
                trace.waits.append(Wait(kind, self._stage))
                raise
            trace.waits.append(Wait(kind, self._stage))
            return _shared(answer)
        return await self._lead(kind, key, read, trace)

    async def beyond_memory(
        self, kind: ObjectKind, key: str, read: ReadSource, trace: Trace
    ) -> Found | None:
        """Called by the leader of a flight."""
        return await super().load_beyond(kind, key, ReadReason.MISS, read, trace)

    async def _lead(
        self, kind: ObjectKind, key: str, read: ReadSource, trace: Trace
    ) -> Found | None:
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            found = await self.beyond_memory(kind, key, read, trace)
        except asyncio.CancelledError:
            flight.cancel()
            raise
        except BaseException as error:
            flight.set_exception(error)
            flight.exception()  # Marked as retrieved: asyncio logs an error without waiters.
            raise
        else:
            flight.set_result(found)
            return found
        finally:
            del self._flights[key]


class Lease(SingleFlight):
    """Across replicas: the worker that claims a key reads Postgres, the others poll Redis.

    The claim is stored under the key itself, by the command that looks the key up: a miss costs no
    extra command, and storing the object ends the claim.
    """

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._claims: set[str] = set()
        """Keys that this worker has claimed and not stored yet."""
        self._taken: set[str] = set()
        """Keys that the lookup under way found claimed by another worker."""

    async def fetch(self, key: str, op: Op) -> tuple[bytes, float] | None:
        """As `AuthCache.fetch`; a load claims an absent key."""
        if op is not Op.LOAD:
            return await super().fetch(key, op)
        assert self.redis is not None
        found = await self.redis.get_or_claim(key, LEASE_TTL_S)
        if isinstance(found, tuple):
            return found
        (self._claims if found else self._taken).add(key)
        return None

    async def beyond_memory(
        self, kind: ObjectKind, key: str, read: ReadSource, trace: Trace
    ) -> Found | None:
        """Ask Redis, then read Postgres or wait for the worker that does."""
        try:
            found = await self.ask_redis(kind, key, Op.LOAD, trace)
            if isinstance(found, Found):
                return found
            if key in self._taken:
                answer = await self._answer_of_another(kind, key, trace)
                if answer is not None:
                    return answer
            return await self.read_source(kind, key, found, read, trace)
        finally:
            self._taken.discard(key)
            await self._give_back(key)

    async def _answer_of_another(self, kind: ObjectKind, key: str, trace: Trace) -> Found | None:
        """The object that the holder of the claim stores; None if that takes too long."""
        assert self.redis is not None
        for _ in range(round(LEASE_WAIT_S / LEASE_POLL_S)):
            await asyncio.sleep(LEASE_POLL_S)
            try:
                framed = await self.redis.get(key, "lease_poll")
            except RedisUnavailableError:
                return None
            if framed is not None:
                answer = self.take(kind, key, *framed, trace)
                if answer is not None:
                    trace.waits.append(Wait(kind, Coalesced.BEFORE_SOURCE))
                return answer
        return None

    async def _set_redis(
        self, kinds: Sequence[ObjectKind], wires: list[tuple[str, bytes, float]], ttl_s: float
    ) -> bool:
        """As `AuthCache._set_redis`; stored keys are no longer claimed."""
        stored = await super()._set_redis(kinds, wires, ttl_s)
        if stored:
            self._claims.difference_update(key for key, *_ in wires)
        return stored

    async def _give_back(self, key: str) -> None:
        """Release a claim under which nothing was stored: absent row, failed read."""
        if key not in self._claims:
            return
        self._claims.discard(key)
        assert self.redis is not None
        with contextlib.suppress(RedisUnavailableError):  # It expires by itself.
            await self.redis.delete(key)


class EarlyRefresh(SingleFlight):
    """Refreshes entries in the background, with a probability that grows as they near expiry."""

    refreshes_early = True
    beta = 1.0

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._read_s = 0.005
        self._refreshing: dict[str, asyncio.Task[None]] = {}

    def refresh_early(self, kind: ObjectKind, key: str, read: ReadSource, trace: Trace) -> None:
        """Start a refresh if it is due and none is running."""
        slot = self.memory.get(key)
        if slot is None or key in self._refreshing:
            return
        left_s = slot.deadline - time.monotonic()
        if left_s > -self._read_s * self.beta * math.log(1.0 - random.random()):
            return
        # Counted before the task runs: a snapshot in between would see a quiescent worker.
        self.recorder.background(+1)
        self._refreshing[key] = asyncio.create_task(self._refresh(kind, key, read, trace))

    async def _refresh(self, kind: ObjectKind, key: str, read: ReadSource, cause: Trace) -> None:
        trace = Trace(cause.scope)
        start = time.perf_counter()

        async def read_and_forget() -> CachedObject | None:
            value = await read()
            # Deleted only now: an unexpired entry would keep its first deadline, and a failed read
            # must not lose an entry that is still valid.
            self.memory.delete(key)
            return value

        try:
            await self.read_source(kind, key, ReadReason.REFRESH, read_and_forget, trace)
            self._read_s = 0.8 * self._read_s + 0.2 * (time.perf_counter() - start)
        except SourceUnavailableError:
            return  # Counted as an error; the entry lives on until its deadline.
        finally:
            del self._refreshing[key]
            # The scope may have been unknown when the hit was made; it is known by now.
            trace.scope = cause.scope
            self.recorder.commit(trace)
            self.recorder.background(-1)


def _shared(answer: Found | None) -> Found:
    """Another lookup's answer, for one that waited for it; an absence is an answer too."""
    return Found(None, 0.0, SHARED) if answer is None else replace(answer, tier=SHARED)


CACHES: dict[str, type[AuthCache]] = {
    "none": AuthCache,
    "single_flight": SingleFlight,
    "lease": Lease,
    "early_refresh": EarlyRefresh,
}
"""Classes by value of the switch ``coalescing``."""
