"""The two-tier cache: lookups, outcomes, backfill and writes.

A lookup asks memory, then Redis, and then (a load, not a peek) Postgres. As upstream, Redis is not
asked if memory holds a value that does not decode. A lookup without a key does nothing.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from itertools import product
from typing import Any, NamedTuple

import msgspec

from harness.authcache import logs
from harness.authcache.codecs import Codec, ForeignPayloadError
from harness.authcache.events import Asked, Lookup, SourceRead, Wait
from harness.authcache.objects import MODELS, CachedObject
from harness.authcache.switches import Switches
from harness.authcache.tiers import (
    MemoryTier,
    RedisRefusedError,
    RedisTier,
    RedisUnavailableError,
    WrittenBy,
)
from harness.authcache.trace import Recorder, Trace
from harness.authcache.words import (
    SHARED,
    SOURCE,
    Coalesced,
    ObjectKind,
    Op,
    Outcome,
    ReadReason,
    Tier,
    WriteOutcome,
)
from harness.errors import DecodeError

MemoryValue = bytes | CachedObject | None
"""What memory holds: a payload, a live object, or None for a remembered absence."""

ABSENT_PAYLOAD = b"absent"
"""Stands for an object that Postgres does not have. No codec of ours writes it, and no entry that
was cut short is it: an empty one would say of a key that it does not exist."""
LIVES_PER_TTL = 5
"""A change holds its keys for a fifth of the TTL, 1 s at the 5 s of issue #27874, and a claim lives
as long, within limits. A scenario whose source takes longer than that is refused, because its
entries would be old when they are stored."""
EVICTIONS_KEPT = 1024
BACKFILL_FIXED_S = 600.0
"""How long LiteLLM up to 1.93 keeps a value from Redis in memory, whatever its own TTL."""
REMEMBERED_ABSENT = (ObjectKind.USER, ObjectKind.MEMBERSHIP)
JITTER = 0.2
"""The greatest part of a TTL by which ``expiry = jittered`` shortens it."""

Wire = tuple[str, bytes, float]
"""Key, payload and read time of one value for Redis."""
ReadSource = Callable[[], Awaitable[CachedObject | None]]


def _nothing() -> None:
    """Nothing is due."""


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def _lookups(tier: Tier, outcome: Outcome) -> Mapping[tuple[Op, ObjectKind], Lookup]:
    return {key: Lookup(tier, key[0], outcome, key[1]) for key in product(Op, ObjectKind)}


# Built once: looking up an enum member and building a named tuple are a Python call each, and every
# request would make a dozen of them.
_MEMORY, _REDIS = Tier.MEMORY, Tier.REDIS
_LOAD, _PEEK, _MISS = Op.LOAD, Op.PEEK, ReadReason.MISS
_now = time.time
_ASKED = {key: Asked(*key) for key in product(Op, ObjectKind)}
_MEMORY_HIT, _MEMORY_MISS = _lookups(_MEMORY, Outcome.HIT), _lookups(_MEMORY, Outcome.MISS)
_REDIS_HIT, _REDIS_MISS = _lookups(_REDIS, Outcome.HIT), _lookups(_REDIS, Outcome.MISS)


class SourceUnavailableError(Exception):
    """Postgres did not answer, and no tier had the object."""


class OnFailure(StrEnum):
    """What a reader does with a value that does not decode."""

    PAIR = "pair"
    """Log WARNING and ERROR, continue as after a miss: a typed read."""
    WARNING = "warning"
    """Log the WARNING alone: an untyped read decoded by hand."""
    RAISE = "raise"
    """Raise DecodeError: an untyped read whose model is built without error handling."""


class Found(msgspec.Struct, frozen=True):
    """What a lookup found. ``value`` is None for a remembered or fresh absence."""

    value: Any
    read_at: float
    """Epoch second of the read from Postgres."""
    tier: str
    """``memory``, ``redis``, ``source`` or ``shared``."""


class Entry(msgspec.Struct, frozen=True):
    """One object to write."""

    kind: ObjectKind
    key: str
    value: CachedObject
    read_at: float
    began: int | None = None
    """By `AuthCache.tick`, when the load began that found it; None for one that is written back."""


class Fetched(NamedTuple):
    """What Redis held for one lookup."""

    payload: bytes
    read_at: float
    waited: bool = False
    """Whether another worker stored it while the lookup waited for its read from Postgres."""


class AuthCache:
    """Two tiers in front of Postgres, for one worker.

    Args:
        switches: the behaviour under study.
        codec: the codec that ``switches.codec`` names.
        memory: the memory tier.
        redis: the Redis tier, None where the variant has none.
        recorder: counts lookups, reads and writes.
        ttl_s: time to live in both tiers.
        time_scale: factor on the times that upstream hard-codes.
    """

    refreshes_early = False
    keeps_newest = False
    """Whether an older read never takes the place of a newer one, in either tier. Releases write
    whatever they hold, so only caches of our own set it."""

    def __init__(
        self,
        *,
        switches: Switches,
        codec: Codec,
        memory: MemoryTier[MemoryValue],
        redis: RedisTier | None,
        recorder: Recorder,
        ttl_s: float,
        time_scale: float = 1.0,
    ) -> None:
        self.switches = switches
        self.models = switches.models
        self.memory = memory
        self.redis = redis
        self.ttl_s = ttl_s
        self._codec = codec
        self.recorder = recorder
        self._memory_ages, self._redis_ages = recorder.ages(_MEMORY), recorder.ages(_REDIS)
        self._encoded_memory = switches.memory_payload == "encoded"
        self._remember_absence = switches.negative_caching != "off"
        self._absence_is_brief = switches.negative_caching == "brief"
        self._jitter = JITTER if switches.expiry == "jittered" else 0.0
        self._backfill_ttl_s = (
            BACKFILL_FIXED_S * time_scale if switches.backfill_ttl == "fixed_600s" else ttl_s
        )
        self.copies_live_s = ttl_s + self._backfill_ttl_s
        """The greatest age at which a copy is served that nothing writes again."""
        self.stores_late = switches.late_store == "on"
        self.hold_s = ttl_s / LIVES_PER_TTL
        """No load stores what it began to read longer ago, if it may not store late."""
        self.check: Callable[[], None] = _nothing
        self._checked_at = -math.inf
        self.check_at = math.inf
        """Epoch second from which on an answer from memory calls ``check``, as one before the
        last check does: the clock was set back."""
        self.kinds: dict[str, ObjectKind] | None = None
        """What memory was filled with under each key, where it must be known."""
        self.writer = ""
        """The variant, where replicas of another one share Redis: entries and failures name it."""
        self.fills_memory = True
        """Off while memory could not be told of changes."""
        self.tick = 0
        """Counts what was evicted. A load that began at an earlier tick may have read the old row:
        a count in this worker, so no clock is compared."""
        self._evicted: dict[str, int] = {}
        self._flushed = 0
        """Evictions up to this tick are no longer kept by key: whatever began before is late."""
        self._distrusted: MemoryTier[None] = MemoryTier(EVICTIONS_KEPT, _loop_time)

    def writer_of(self, read_at: float) -> str:
        """The variant that wrote an entry with this read time; empty where no other could have."""
        return read_at.writer if isinstance(read_at, WrittenBy) else self.writer

    def check_in(self, seconds: float) -> None:
        """Let ``check`` be called by the first answer from memory after that time."""
        self._checked_at = now = _now()
        self.check_at = now + seconds

    def evict(self, key: str) -> bool:
        """Drop a copy in memory; loads under way do not fill it unless the variant stores late.

        Returns:
            Whether there was a copy.
        """
        self.tick += 1
        if len(self._evicted) >= EVICTIONS_KEPT:
            self._forget_evictions()
        self._evicted[key] = self.tick
        return self.memory.delete(key)

    def flush(self) -> None:
        """Drop all copies in memory; as `evict` for every key."""
        self.tick += 1
        self._forget_evictions()
        self.memory.clear()

    def _forget_evictions(self) -> None:
        self._evicted.clear()
        self._flushed = self.tick

    def late(self, key: str, began: int) -> bool:
        """Whether a load of a key that began at a tick may have read what has changed since."""
        return began < self._flushed or began < self._evicted.get(key, 0)

    def distrust(self, key: str) -> None:
        """Take what Redis holds under a key for a miss: it has changed, and is not evicted there.

        For one TTL: then the entry has expired.
        """
        self.trust(key)
        self._distrusted.set(key, None, 0.0, self.ttl_s)

    def trust(self, key: str) -> None:
        """Take what Redis holds under a key again: it has been evicted."""
        self._distrusted.delete(key)

    @property
    def redis_hold_s(self) -> float:
        """How long a change keeps its key claimed in Redis (`RedisTier.forget`); 0 deletes it."""
        return 0.0 if self.stores_late else self.hold_s

    async def peek(
        self,
        kind: ObjectKind,
        key: str | None,
        trace: Trace,
        on_failure: OnFailure = OnFailure.PAIR,
    ) -> Found | None:
        """Ask the tiers, never Postgres. None on a miss.

        Raises:
            DecodeError: with ``OnFailure.RAISE``, for a value that does not decode.
        """
        if key is None:
            return None
        found = self.ask_memory(kind, key, _PEEK, trace, on_failure)
        if found is _MISS and self.redis is not None:
            found = await self.ask_redis(kind, key, _PEEK, trace, on_failure)
        return found if isinstance(found, Found) else None

    async def load(
        self, kind: ObjectKind, key: str | None, read: ReadSource, trace: Trace
    ) -> Found | None:
        """Ask the tiers, then Postgres. None where there is no such object.

        Raises:
            SourceUnavailableError: no tier had it and Postgres did not answer.
        """
        if key is None:
            return None
        found = self.ask_memory(kind, key, _LOAD, trace)
        if isinstance(found, Found):
            if self.refreshes_early:
                self.refresh_early(kind, key, read, trace)
            return found
        return await self.load_beyond(kind, key, found, read, trace)

    async def load_beyond(
        self, kind: ObjectKind, key: str, reason: ReadReason, read: ReadSource, trace: Trace
    ) -> Found | None:
        """The second half of a load, beyond memory; ``reason`` is why memory had no answer.

        Raises:
            SourceUnavailableError: no tier had it and Postgres did not answer.
        """
        if reason is _MISS and self.redis is not None:
            found = await self.ask_redis(kind, key, _LOAD, trace)
            if isinstance(found, Found):
                return found
            reason = found
        return await self.read_source(kind, key, reason, read, trace)

    def refresh_early(self, kind: ObjectKind, key: str, read: ReadSource, trace: Trace) -> None:
        """Called after a load that memory answered, if ``refreshes_early`` is set."""

    def ask_memory(
        self,
        kind: ObjectKind,
        key: str,
        op: Op,
        trace: Trace,
        on_failure: OnFailure = OnFailure.PAIR,
    ) -> Found | ReadReason:
        """Look up the memory tier: an answer, or the reason why there is none. Never waits.

        A caller that runs both halves of a load itself, this one and `load_beyond`, saves a
        coroutine per hit. After a hit it calls `refresh_early` where the cache refreshes early.

        Raises:
            DecodeError: with ``OnFailure.RAISE``, for a value that does not decode.
        """
        trace.asked.append(_ASKED[op, kind])
        slot = self.memory.get(key)
        if slot is None:
            trace.lookups.append(_MEMORY_MISS[op, kind])
            return _MISS
        value: Any = slot.value
        if type(value) is not MODELS[kind]:
            if isinstance(value, bytes):
                value = self._decode_or_log(
                    kind, key, _MEMORY, op, value, trace, on_failure, slot.read_at
                )
                if value is None:
                    return ReadReason.DESERIALIZE_FAILURE
            elif value is not None and not isinstance(value, MODELS[kind]):
                # A live object of another kind under the same key: up to 1.83 this fell through
                # to Postgres silently.
                trace.lookups.append(Lookup(_MEMORY, op, Outcome.DESERIALIZE_FAILURE, kind))
                if self.writer:
                    self.recorder.failed_entry(kind, self.writer_of(slot.read_at))
                self.recorder.failed_read(kind, "nothing", trace.scope)
                return ReadReason.DESERIALIZE_FAILURE
        trace.lookups.append(_MEMORY_HIT[op, kind])
        now = _now()
        if not self._checked_at <= now < self.check_at:
            self.check()
        age_s = now - slot.read_at
        # A clock that was set, or that of another host, may have been ahead.
        self._memory_ages[kind](max(0.0, age_s))
        return Found(value, slot.read_at, _MEMORY)

    async def ask_redis(
        self,
        kind: ObjectKind,
        key: str,
        op: Op,
        trace: Trace,
        on_failure: OnFailure = OnFailure.PAIR,
    ) -> Found | ReadReason:
        """Look up Redis and backfill memory. Raises DecodeError like `ask_memory`."""
        began = self.tick
        try:
            fetched = await self.fetch(key, op)
        except RedisUnavailableError as error:
            return self._failed_fetch(kind, key, op, error, trace)
        except asyncio.CancelledError:
            # Given up, mostly while another worker read: no read follows.
            trace.lookups.append(_REDIS_MISS[op, kind])
            if op is _LOAD:
                trace.waits.append(Wait(kind, Coalesced.BEFORE_SOURCE))
            raise
        if fetched is None or self._distrusted.get(key) is not None:
            trace.lookups.append(_REDIS_MISS[op, kind])
            return _MISS
        payload, read_at, waited = fetched
        absent = payload == ABSENT_PAYLOAD and self._remembers_absent(kind)
        brief = absent and self._absence_is_brief
        age_s = max(0.0, _now() - read_at)
        life_s = self.ttl_s - age_s if brief else self._backfill_ttl_s
        if self._encoded_memory:
            # Before decoding, as upstream: an unreadable value is backfilled too.
            self._set_memory(kind, key, None if absent else payload, read_at, life_s, began)
        if absent:
            value = None
        else:
            value = self._decode_or_log(
                kind, key, Tier.REDIS, op, payload, trace, on_failure, read_at
            )
            if value is None:
                self.unreadable(key, payload)
                return ReadReason.DESERIALIZE_FAILURE
        if not self._encoded_memory:
            self._set_memory(kind, key, value, read_at, life_s, began)
        if waited:
            trace.lookups.append(_REDIS_MISS[op, kind])
            trace.waits.append(Wait(kind, Coalesced.BEFORE_SOURCE))
            return Found(value, read_at, SHARED)
        trace.lookups.append(_REDIS_HIT[op, kind])
        self._redis_ages[kind](age_s)
        return Found(value, read_at, _REDIS)

    def _failed_fetch(
        self, kind: ObjectKind, key: str, op: Op, error: RedisUnavailableError, trace: Trace
    ) -> ReadReason:
        if isinstance(error, RedisRefusedError) and error.wrong_type:
            # Redis is well; what the key holds is no entry.
            trace.lookups.append(Lookup(_REDIS, op, Outcome.DESERIALIZE_FAILURE, kind))
            self.recorder.failed_read(kind, "nothing", trace.scope)
            self.unreadable(key, None)
            return ReadReason.DESERIALIZE_FAILURE
        trace.lookups.append(Lookup(_REDIS, op, Outcome.BACKEND_ERROR, kind))
        return ReadReason.BACKEND_ERROR

    def unreadable(self, key: str, payload: bytes | None) -> None:
        """Called when a lookup has met an entry in Redis that is no object of its kind.

        Args:
            key: of the entry.
            payload: what it holds; None for a value of another type.
        """

    def _remembers_absent(self, kind: ObjectKind) -> bool:
        return self._remember_absence and kind in REMEMBERED_ABSENT

    async def fetch(self, key: str, op: Op) -> Fetched | None:  # noqa: ARG002 - for subclasses that treat loads differently
        """What Redis holds, None when absent. Raises RedisUnavailableError."""
        assert self.redis is not None
        framed = await self.redis.get(key)
        return None if framed is None else Fetched(*framed)

    async def read_source(
        self, kind: ObjectKind, key: str, reason: ReadReason, read: ReadSource, trace: Trace
    ) -> Found | None:
        """Send one statement to Postgres and write the result to both tiers.

        Raises:
            SourceUnavailableError: Postgres did not answer.
        """
        trace.source_reads.append(SourceRead(kind, reason))
        began, read_at = self.tick, time.time()
        try:
            value = await read()
        except asyncio.CancelledError:
            self.recorder.source_read_error(kind)
            raise
        except (OSError, TimeoutError, SourceUnavailableError) as error:
            self.recorder.source_read_error(kind)
            raise SourceUnavailableError(f"{type(error).__name__}: {error}") from error
        if value is None:
            if self._remembers_absent(kind):
                await self._put_absent(kind, key, read_at, began)
            return None
        await self.put(Entry(kind, key, value, read_at, began))
        return Found(value, read_at, SOURCE)

    async def put(self, entry: Entry, ttl_s: float | None = None) -> None:
        """Write one object to both tiers."""
        await self.put_many([entry], ttl_s)

    async def put_many(
        self, entries: Sequence[Entry], ttl_s: float | None = None, *, memory_only: bool = False
    ) -> None:
        """Write objects to memory and, in one round trip, to Redis. Failures are counted."""
        ttl = self.ttl_s if ttl_s is None else ttl_s
        to_redis = self.redis is not None and not memory_only
        wires: list[Wire] = []
        kinds: list[ObjectKind] = []
        for entry in entries:
            payload: bytes | None = None
            if self._encoded_memory or to_redis:
                payload = self._encode_or_log(entry)
            if self._encoded_memory and payload is None:
                self.recorder.write(Tier.MEMORY, WriteOutcome.ERROR, entry.kind)
            else:
                held = payload if self._encoded_memory else entry.value
                # A plain time: what memory holds now was encoded here, not by the writer before.
                read_at = float(entry.read_at)
                self._set_memory(entry.kind, entry.key, held, read_at, ttl, entry.began)
            if not to_redis:
                continue
            if payload is None:
                self.recorder.write(Tier.REDIS, WriteOutcome.ERROR, entry.kind)
            else:
                wires.append((entry.key, payload, entry.read_at))
                kinds.append(entry.kind)
        if wires:
            loaded = entries[0].began is not None
            await self._set_redis(kinds, wires, ttl, loaded=loaded)

    async def _put_absent(self, kind: ObjectKind, key: str, read_at: float, began: int) -> None:
        self._set_memory(kind, key, None, read_at, self.ttl_s, began)
        if self.redis is not None:
            wires = [(key, ABSENT_PAYLOAD, read_at)]
            await self._set_redis([kind], wires, self.ttl_s, loaded=True)

    def _set_memory(
        self,
        kind: ObjectKind,
        key: str,
        value: MemoryValue,
        read_at: float,
        ttl_s: float,
        began: int | None,
    ) -> None:
        outcome = WriteOutcome.OK
        late = began is not None and not self.stores_late and self.late(key, began)
        slot = self.memory.get(key) if self.keeps_newest else None
        if late or not self.fills_memory or (slot is not None and slot.read_at > read_at):
            outcome = WriteOutcome.SKIPPED
        else:
            if self._jitter:
                ttl_s *= 1.0 - self._jitter * random.random()
            self.memory.set(key, value, read_at, ttl_s)
            if self.kinds is not None:
                self._remember_kind(key, kind)
        self.recorder.write(Tier.MEMORY, outcome, kind)

    def _remember_kind(self, key: str, kind: ObjectKind) -> None:
        assert self.kinds is not None
        if len(self.kinds) > 2 * len(self.memory) + EVICTIONS_KEPT:
            self.kinds = {held: self.kinds[held] for held in self.memory if held in self.kinds}
        self.kinds[key] = kind

    async def _set_redis(
        self, kinds: Sequence[ObjectKind], wires: Sequence[Wire], ttl_s: float, *, loaded: bool
    ) -> None:
        """Write payloads and count them."""
        try:
            stored = await self.store(wires, ttl_s, loaded=loaded)
        except RedisUnavailableError as error:
            outcome = WriteOutcome.ERROR if error.asked else WriteOutcome.SKIPPED
            outcomes = [outcome] * len(kinds)
        else:
            outcomes = [WriteOutcome.OK if one else WriteOutcome.SKIPPED for one in stored]
        for kind, outcome in zip(kinds, outcomes, strict=True):
            self.recorder.write(_REDIS, outcome, kind)

    async def store(self, wires: Sequence[Wire], ttl_s: float, *, loaded: bool) -> list[bool]:
        """Write payloads to Redis; which of them were stored. Raises RedisUnavailableError.

        Args:
            wires: what to write.
            ttl_s: time to live in seconds.
            loaded: whether loads found them; otherwise objects are written back.
        """
        assert self.redis is not None
        if loaded and not self.stores_late:
            items = [(*wire, None) for wire in wires]
            return await self.redis.set_newer(items, ttl_s, fills_s=self.hold_s)
        await self.redis.set_many(wires, ttl_s)
        return [True] * len(wires)

    def _encode_or_log(self, entry: Entry) -> bytes | None:
        start = time.perf_counter()
        try:
            payload = self._codec.encode(entry.kind, entry.value)
        except Exception as error:  # noqa: BLE001 - a user's codec may raise anything
            logs.encode_failed(entry.kind, entry.key, error)
            return None
        self.recorder.encoded(entry.kind, len(payload), time.perf_counter() - start)
        return payload

    def _decode_or_log(
        self,
        kind: ObjectKind,
        key: str,
        tier: Tier,
        op: Op,
        payload: bytes,
        trace: Trace,
        on_failure: OnFailure,
        read_at: float,
    ) -> CachedObject | None:
        start = time.perf_counter()
        try:
            return self._codec.decode(kind, payload, self.models[kind])
        except Exception as error:  # a user's codec may raise anything
            trace.lookups.append(Lookup(tier, op, Outcome.DESERIALIZE_FAILURE, kind))
            if self.writer:
                self.recorder.failed_entry(kind, self.writer_of(read_at))
            silent = on_failure is OnFailure.RAISE or isinstance(error, ForeignPayloadError)
            self.recorder.failed_read(kind, "nothing" if silent else on_failure.value, trace.scope)
            if on_failure is OnFailure.RAISE:
                raise DecodeError(str(error)) from error
            if not silent:
                logs.validation_failed(trace.scope, self._title(kind), error)
                if on_failure is OnFailure.PAIR:
                    logs.typed_read_failed(trace.scope, key, self._title(kind))
            return None
        finally:
            self.recorder.decoded(kind, time.perf_counter() - start)

    def _title(self, kind: ObjectKind) -> str:
        model = self.models[kind]
        return model.model_config.get("title") or model.__name__
