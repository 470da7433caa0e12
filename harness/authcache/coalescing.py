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
from typing import Any, NamedTuple

from msgspec.structs import replace

from harness.authcache.cache import (
    AuthCache,
    Fetched,
    Found,
    ReadSource,
    SourceUnavailableError,
    Wire,
)
from harness.authcache.events import Wait
from harness.authcache.objects import CachedObject
from harness.authcache.tiers import RedisUnavailableError, fingerprint, new_claim
from harness.authcache.trace import Trace
from harness.authcache.words import SHARED, Coalesced, ObjectKind, Op, ReadReason

RENEWALS_PER_LIFE = 3
POLLS_PER_LIFE = 200
POLL_GROWTH = 1.5
LEAST_POLLS_PER_LIFE = 20
"""A waiting lookup polls after a two-hundredth of a claim's life, and then after pauses that grow
to a twentieth: 2.5 ms to 25 ms at a TTL of 5 s."""
LIFE_MOST_S = 0.5
"""A claim's life at most, whatever the TTL: for so long the others wait for a worker that died."""


class SingleFlight(AuthCache):
    """One lookup per key and worker goes beyond memory; the others wait for its answer."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._flights: dict[str, asyncio.Future[Found | None]] = {}
        self._outdated: set[asyncio.Future[Found | None]] = set()
        """Flights whose object has changed since: who joins one later may not take its answer."""
        self._stage = Coalesced.BEFORE_SOURCE if self.redis is None else Coalesced.BEFORE_REDIS

    def evict(self, key: str) -> bool:
        """As `AuthCache.evict`; a flight under way answers those who wait for it, and no others."""
        if not self.stores_late and (flight := self._flights.get(key)) is not None:
            self._outdated.add(flight)
        return super().evict(key)

    def flush(self) -> None:
        """As `AuthCache.flush`."""
        if not self.stores_late:
            self._outdated.update(self._flights.values())
        super().flush()

    async def load_beyond(
        self, kind: ObjectKind, key: str, reason: ReadReason, read: ReadSource, trace: Trace
    ) -> Found | None:
        """As `AuthCache.load_beyond`; a lookup that finds a flight under way takes its answer."""
        if reason is not ReadReason.MISS:
            return await self.read_source(kind, key, reason, read, trace)
        while (flight := self._flights.get(key)) is not None:
            outdated = flight in self._outdated
            try:
                answer = await asyncio.shield(flight)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if not flight.cancelled() or (task is not None and task.cancelling()):
                    trace.waits.append(Wait(kind, self._stage))  # Given up while it waited.
                    raise
                continue  # The leader's request was cancelled; another lookup leads now.
            except Exception:
                if outdated:
                    continue
                # An error is an answer too: this lookup asks neither Redis nor Postgres itself.
                trace.waits.append(Wait(kind, self._stage))
                raise
            if outdated:
                continue
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
            self._outdated.discard(flight)


class Lease(SingleFlight):
    """Across replicas: the worker that claims a key reads Postgres, the others poll Redis.

    The claim is stored under the key itself, by the command that looks the key up: a miss costs no
    extra command, and storing the object ends the claim. No two claims are equal, so a worker can
    end or extend only its own. A claim is renewed while its reader lives and ends at most one
    claim's life after that; the other workers wait until then.
    """

    keeps_newest = True

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self._life_s = min(self.hold_s, LIFE_MOST_S)
        self._replaces = self.switches.unreadable == "replaced"
        self._unreadable: dict[str, tuple[str, int]] = {}
        """What a lookup of this worker has met under a key (`RedisTier.claim_over`)."""
        self._claims: dict[str, _Claim] = {}
        """What this worker has claimed, or may have, and neither stored nor given back."""

    async def fetch(self, key: str, op: Op) -> Fetched | None:
        """As `AuthCache.fetch`; a load claims an absent key, or waits for the worker that did."""
        if op is not Op.LOAD:
            return await super().fetch(key, op)
        found = await self._claim(key)
        if isinstance(found, tuple):
            return Fetched(*found)
        return await self._wait(key) if found is False else None

    async def beyond_memory(
        self, kind: ObjectKind, key: str, read: ReadSource, trace: Trace
    ) -> Found | None:
        """Ask Redis, then read Postgres under a claim."""
        renewal: asyncio.Task[None] | None = None
        try:
            found = await self.ask_redis(kind, key, Op.LOAD, trace)
            if isinstance(found, Found):
                return found
            if found is ReadReason.DESERIALIZE_FAILURE and self._replaces:
                await self._claim_over(key)
            if (claim := self._claims.get(key)) is not None:
                renewal = asyncio.create_task(self._renew(key, claim))
            return await self.read_source(kind, key, found, read, trace)
        finally:
            if renewal is not None:
                renewal.cancel()
            await self._give_back(key)

    @property
    def redis_hold_s(self) -> float:
        """0: a change deletes the claim of a load, whose row is stored over that claim alone."""
        return 0.0

    async def store(self, wires: Sequence[Wire], ttl_s: float, *, loaded: bool) -> list[bool]:
        """As `AuthCache.store`, but an older read never takes the place of a newer one."""
        assert self.redis is not None
        items = [(*wire, self._claim_of(wire)) for wire in wires]
        # Nothing is younger than 0 s: without a claim nothing is stored.
        fills_s = 0.0 if loaded and not self.stores_late else None
        stored = await self.redis.set_newer(items, ttl_s, fills_s=fills_s)
        for (key, _, _, claim), kept in zip(items, stored, strict=True):
            if claim is not None:
                self._claims.pop(key, None)
                if fills_s is not None and not kept:
                    # The claim is gone: this worker may not have been told of the change yet.
                    self.memory.delete(key)
        return stored

    def _claim_of(self, wire: Wire) -> bytes | None:
        """The claim under which a value was read: what was read before it is another's write."""
        key, _, read_at = wire
        claim = self._claims.get(key)
        return claim.token if claim is not None and read_at >= claim.since else None

    async def _claim(self, key: str) -> tuple[bytes, float] | bool | None:
        """As `RedisTier.get_or_claim`."""
        assert self.redis is not None
        # Known before it is sent: a lookup that is given up gives back what it may hold by then.
        claim = self._claims[key] = _Claim(new_claim(), time.time())
        try:
            found = await self.redis.get_or_claim(key, claim.token, self._life_s)
        except RedisUnavailableError:
            del self._claims[key]
            raise
        if found is not True:
            del self._claims[key]
        return found

    def unreadable(self, key: str, payload: bytes | None) -> None:
        """As `AuthCache.unreadable`."""
        if self._replaces:
            self._unreadable[key] = fingerprint(payload or b"")

    async def _claim_over(self, key: str) -> None:
        """Claim a key that holds what cannot be read, so that what is read is stored there."""
        assert self.redis is not None
        met = self._unreadable.pop(key)
        claim = self._claims[key] = _Claim(new_claim(), time.time())
        taken = False
        with contextlib.suppress(RedisUnavailableError):  # Then nothing is stored.
            taken = await self.redis.claim_over(key, met, claim.token, self._life_s)
        if not taken:
            del self._claims[key]

    async def _wait(self, key: str) -> Fetched | None:
        """The object that the holder of the claim stores; None once the claim is ours, if any.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        assert self.redis is not None
        pause_s = self._life_s / POLLS_PER_LIFE
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * POLL_GROWTH, self._life_s / LEAST_POLLS_PER_LIFE)
            found = await self.redis.poll(key)
            if found is True:
                claimed = await self._claim(key)
                if claimed is None or claimed is True:
                    return None
                found = claimed
            if found is not False:
                return Fetched(*found, waited=True)

    async def _renew(self, key: str, claim: _Claim) -> None:
        """Keep a claim alive until it is stored over, given back or lost."""
        while self._claims.get(key) is claim:
            await asyncio.sleep(self._life_s / RENEWALS_PER_LIFE)
            # Shielded: the server carries out what was sent, and both must count the same.
            if not await asyncio.shield(self._keep(key, claim)):
                return

    async def _keep(self, key: str, claim: _Claim) -> bool:
        assert self.redis is not None
        try:
            return await self.redis.keep_claim(key, claim.token, self._life_s)
        except RedisUnavailableError:
            return True  # It may answer the next time.

    async def _give_back(self, key: str) -> None:
        """End a claim under which nothing was stored: absent row, failed read, request given up."""
        claim = self._claims.pop(key, None)
        if claim is None:
            return
        assert self.redis is not None
        with contextlib.suppress(RedisUnavailableError):  # It ends by itself.
            await self.redis.keep_claim(key, claim.token, 0.0)


class _Claim(NamedTuple):
    token: bytes
    since: float
    """Epoch second at which it was asked for."""


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
