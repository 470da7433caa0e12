"""The two tiers, each by itself: this worker's memory, and Redis for all replicas.

Neither knows what an object or a codec is. A slot carries, beside its value, when that value was
read from Postgres, so that the age of what is served can be told however often it was rewritten.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

V = TypeVar("V")


@dataclass(slots=True)
class Slot(Generic[V]):
    """A value with the wall-clock second in which Postgres was asked for it."""

    value: V
    read_at: float
    deadline: float
    """Monotonic second at which the slot expires."""


class MemoryTier(Generic[V]):
    """A bounded map with deadlines, by the rules of LiteLLM's in-memory cache.

    A write to an entry that has not expired replaces the value and keeps the first deadline
    (``allow_ttl_override`` upstream). A full tier evicts what expires first. A size of 0 holds
    nothing.
    """

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._slots: dict[str, Slot[V]] = {}
        self._deadlines: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, key: str) -> Slot[V] | None:
        """The slot of a key, None when there is none or it has expired."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        if slot.deadline <= self._clock():
            del self._slots[key]
            return None
        return slot

    def set(self, key: str, value: V, read_at: float, ttl_s: float) -> None:
        """Store a value; an unexpired entry keeps its deadline."""
        if self._size <= 0:
            return
        slot = self.get(key)
        if slot is not None:
            slot.value = value
            slot.read_at = read_at
            return
        while len(self._slots) >= self._size:
            self._evict()
        deadline = self._clock() + ttl_s
        self._slots[key] = Slot(value, read_at, deadline)
        heapq.heappush(self._deadlines, (deadline, key))
        if len(self._deadlines) > 4 * self._size:
            self._compact()

    def delete(self, key: str) -> None:
        """Forget a key."""
        self._slots.pop(key, None)

    def _evict(self) -> None:
        while self._deadlines:
            deadline, key = heapq.heappop(self._deadlines)
            slot = self._slots.get(key)
            if slot is not None and slot.deadline == deadline:
                del self._slots[key]
                return

    def _compact(self) -> None:
        self._deadlines = [(slot.deadline, key) for key, slot in self._slots.items()]
        heapq.heapify(self._deadlines)


class RedisUnavailableError(Exception):
    """Redis did not answer, or the breaker is open. ``asked`` tells whether a command was sent."""

    def __init__(self, message: str, *, asked: bool) -> None:
        super().__init__(message)
        self.asked = asked


class RedisObserver(Protocol):
    """Who counts commands and hears about outages."""

    def redis_get(self, purpose: str) -> None:
        """One GET is about to be sent: ``lookup`` or ``lease_poll``."""

    def redis_outage(self, error: BaseException) -> None:
        """Called once when the breaker opens."""


@dataclass(slots=True)
class Breaker:
    """Stops asking after ``threshold`` failures in a row, and tries again after ``open_s``."""

    threshold: int = 5
    open_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    _failures: int = 0
    _open_until: float = 0.0

    def allows(self) -> bool:
        """Whether a command may be sent now."""
        return self.clock() >= self._open_until

    def succeeded(self) -> None:
        """The last command was answered."""
        self._failures = 0

    def failed(self) -> bool:
        """The last command was not answered; True when this opens the breaker anew."""
        self._failures += 1
        if self._failures < self.threshold:
            return False
        first = self._failures == self.threshold
        self._open_until = self.clock() + self.open_s
        return first


class RedisTier:
    """Payloads in Redis, with short time-outs, no retries, and a breaker.

    On the wire a value is ``<epoch seconds> <payload>``: the time stands outside the payload, so
    no codec sees it and payload sizes do not contain it.
    """

    def __init__(
        self, client: Redis, observer: RedisObserver, *, namespace: str = "", breaker: Breaker
    ) -> None:
        self._client = client
        self._observer = observer
        self._namespace = namespace
        self._breaker = breaker

    async def get(self, key: str, purpose: str = "lookup") -> tuple[bytes, float] | None:
        """Payload and read time of a key, None when absent. Raises RedisUnavailableError."""
        self._check()
        self._observer.redis_get(purpose)
        try:
            wire = await self._client.get(self._namespace + key)
        except (RedisError, OSError, TimeoutError) as error:
            raise self._fail(error) from error
        self._breaker.succeeded()
        # The client does not decode responses, so a value is always bytes.
        return _unframe(wire) if isinstance(wire, bytes) else None

    async def set(self, key: str, payload: bytes, read_at: float, ttl_s: float) -> None:
        """Store a payload. Raises RedisUnavailableError."""
        await self.set_many([(key, payload, read_at)], ttl_s)

    async def set_many(self, items: Sequence[tuple[str, bytes, float]], ttl_s: float) -> None:
        """Store payloads in one round trip, not one transaction. Raises RedisUnavailableError."""
        self._check()
        ttl_ms = max(1, round(ttl_s * 1000))
        try:
            if len(items) == 1:
                key, payload, read_at = items[0]
                await self._client.set(self._namespace + key, _frame(payload, read_at), px=ttl_ms)
            else:
                pipeline = self._client.pipeline(transaction=False)
                for key, payload, read_at in items:
                    pipeline.set(self._namespace + key, _frame(payload, read_at), px=ttl_ms)
                await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            raise self._fail(error) from error
        self._breaker.succeeded()

    async def acquire(self, key: str, ttl_s: float) -> bool:
        """Take a lease; False when another holds it. Raises RedisUnavailableError."""
        self._check()
        try:
            taken = await self._client.set(
                f"{self._namespace}{key}:lease", b"1", nx=True, px=max(1, round(ttl_s * 1000))
            )
        except (RedisError, OSError, TimeoutError) as error:
            raise self._fail(error) from error
        self._breaker.succeeded()
        return bool(taken)

    async def release(self, key: str) -> None:
        """Give a lease back. Raises RedisUnavailableError."""
        self._check()
        try:
            await self._client.delete(f"{self._namespace}{key}:lease")
        except (RedisError, OSError, TimeoutError) as error:
            raise self._fail(error) from error
        self._breaker.succeeded()

    def _check(self) -> None:
        if not self._breaker.allows():
            raise RedisUnavailableError("the breaker is open", asked=False)

    def _fail(self, error: BaseException) -> RedisUnavailableError:
        if self._breaker.failed():
            self._observer.redis_outage(error)
        return RedisUnavailableError(f"{type(error).__name__}: {error}", asked=True)


def _frame(payload: bytes, read_at: float) -> bytes:
    return b"%.6f %b" % (read_at, payload)


def _unframe(wire: bytes) -> tuple[bytes, float]:
    stamp, _, payload = wire.partition(b" ")
    try:
        return payload, float(stamp)
    except ValueError:
        # Planted or foreign: all of it is payload, and nobody knows how old it is.
        return wire, time.time()


def redis_client(url: str, *, timeout_s: float) -> Redis:
    """A client that sends each command once: no retries, short time-outs.

    Retries are off so that one lookup is one GET; redis-py 8 would otherwise multiply an outage.
    """
    return Redis.from_url(
        url,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
