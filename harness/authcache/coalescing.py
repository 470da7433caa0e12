"""Caches that make concurrent misses of one object one.

Three ways, each a class over `AuthCache`: within a worker (`SingleFlight`), across replicas
(`Lease`, after Facebook's memcache leases), and ahead of expiry (`EarlyRefresh`, after Vattani et
al., VLDB 2015: refresh when ``-delta * beta * ln(random)`` reaches the time left).
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import Any

from harness.authcache.cache import AuthCache, Found, ReadSource, SourceUnavailableError
from harness.authcache.objects import CachedObject
from harness.authcache.tiers import RedisUnavailableError
from harness.authcache.trace import Trace, Wait
from harness.authcache.words import Coalesced, ObjectKind, Op, ReadReason

LEASE_TTL_S = 1.0
LEASE_WAIT_S = 0.25
LEASE_POLL_S = 0.005


class SingleFlight(AuthCache):
    """One flight per key and worker goes beyond memory; the others wait for it."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._flights: dict[str, asyncio.Future[Found | None]] = {}
        self._stage = Coalesced.BEFORE_SOURCE if self.redis is None else Coalesced.BEFORE_REDIS

    async def load(
        self, kind: ObjectKind, key: str | None, read: ReadSource, trace: Trace
    ) -> Found | None:
        """As `AuthCache.load`; a lookup that finds a flight under way takes its answer."""
        if key is None:
            return None
        found = self.ask_memory(kind, key, Op.LOAD, trace)
        if isinstance(found, Found):
            self.hit_memory(kind, key, read, trace)
            return found
        if found is not ReadReason.MISS:
            return await self.read_source(kind, key, found, read, trace)
        while (flight := self._flights.get(key)) is not None:
            try:
                answer = await asyncio.shield(flight)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not flight.cancelled() or (task is not None and task.cancelling()):
                    raise
                continue  # The leader's request was given up; somebody else leads now.
            except Exception:
                # An error is an answer too: this lookup asks neither Redis nor Postgres itself.
                trace.waits.append(Wait(kind, self._stage))
                raise
            trace.waits.append(Wait(kind, self._stage))
            return answer
        return await self._lead(kind, key, read, trace)

    def hit_memory(self, kind: ObjectKind, key: str, read: ReadSource, trace: Trace) -> None:
        """Called for every load that memory answered."""

    async def beyond_memory(
        self, kind: ObjectKind, key: str, read: ReadSource, trace: Trace
    ) -> Found | None:
        """What the leader of a flight does."""
        if self.redis is None:
            return await self.read_source(kind, key, ReadReason.MISS, read, trace)
        found = await self.ask_redis(kind, key, Op.LOAD, trace)
        if isinstance(found, Found):
            return found
        return await self.read_source(kind, key, found, read, trace)

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
            flight.exception()  # Seen: a flight that nobody waited for is no unhandled error.
            raise
        else:
            flight.set_result(found)
            return found
        finally:
            del self._flights[key]


class Lease(SingleFlight):
    """Across replicas: who takes the lease reads Postgres, the others poll Redis for its answer."""

    async def beyond_memory(
        self, kind: ObjectKind, key: str, read: ReadSource, trace: Trace
    ) -> Found | None:
        """Ask Redis, then read Postgres under a lease."""
        assert self.redis is not None
        found = await self.ask_redis(kind, key, Op.LOAD, trace)
        if isinstance(found, Found):
            return found
        if found is not ReadReason.MISS:
            return await self.read_source(kind, key, found, read, trace)
        try:
            mine = await self.redis.acquire(key, LEASE_TTL_S)
            # Whoever held the lease before may have filled Redis since our miss: look once more.
            answer = await self._poll(kind, key, trace, tries=1 if mine else self._tries())
        except RedisUnavailableError:
            return await self.read_source(kind, key, ReadReason.BACKEND_ERROR, read, trace)
        if answer is not None:
            if mine:
                await self._release(key)
            return answer
        try:
            return await self.read_source(kind, key, ReadReason.MISS, read, trace)
        finally:
            if mine:
                await self._release(key)

    @staticmethod
    def _tries() -> int:
        return round(LEASE_WAIT_S / LEASE_POLL_S)

    async def _poll(self, kind: ObjectKind, key: str, trace: Trace, *, tries: int) -> Found | None:
        assert self.redis is not None
        for attempt in range(tries):
            if attempt:
                await asyncio.sleep(LEASE_POLL_S)
            framed = await self.redis.get(key, "lease_poll")
            if framed is None:
                continue
            answer = self.take(kind, key, *framed, trace)
            if answer is not None:
                trace.waits.append(Wait(kind, Coalesced.BEFORE_SOURCE))
            return answer
        return None

    async def _release(self, key: str) -> None:
        assert self.redis is not None
        try:
            await self.redis.release(key)
        except RedisUnavailableError:
            return  # It expires by itself.


class EarlyRefresh(SingleFlight):
    """Refreshes what memory is about to forget, in the background and with growing likelihood."""

    beta = 1.0

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._read_s = 0.005
        self._refreshing: dict[str, asyncio.Task[None]] = {}

    def hit_memory(self, kind: ObjectKind, key: str, read: ReadSource, trace: Trace) -> None:
        """Start a refresh when its time has come and none is under way."""
        slot = self.memory.get(key)
        if slot is None or key in self._refreshing:
            return
        left_s = slot.deadline - time.monotonic()
        if left_s > -self._read_s * self.beta * math.log(1.0 - random.random()):
            return
        # Before the task has begun: a snapshot in between would take the worker for quiescent.
        self.recorder.background(+1)
        self._refreshing[key] = asyncio.create_task(self._refresh(kind, key, read, trace))

    async def _refresh(self, kind: ObjectKind, key: str, read: ReadSource, cause: Trace) -> None:
        trace = Trace(cause.scope)
        start = time.perf_counter()

        async def read_and_forget() -> CachedObject | None:
            value = await read()
            # Only now: an unexpired entry would keep its first deadline, and a read that fails
            # must not cost the entry that is still good.
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


CACHES: dict[str, type[AuthCache]] = {
    "none": AuthCache,
    "single_flight": SingleFlight,
    "lease": Lease,
    "early_refresh": EarlyRefresh,
}
"""By the value of the switch ``coalescing``."""
