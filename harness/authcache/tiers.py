"""The two tiers: this worker's memory, and Redis for all replicas.

Neither knows what an object or a codec is. A slot carries its value and the time at which that
value was read from Postgres, so its age is known however often it was rewritten.
"""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from redis.exceptions import NoScriptError, RedisError

from harness.authcache.batching import BatchingClient, Reply

V = TypeVar("V")


@dataclass(slots=True)
class StampedValue(Generic[V]):
    """A value with the epoch second of its read from Postgres."""

    value: V
    read_at: float
    deadline: float
    """Monotonic second at which the slot expires."""


class MemoryTier(Generic[V]):
    """A bounded map with deadlines, by the rules of LiteLLM's in-memory cache.

    A write to an entry that has not expired replaces the value and keeps the first deadline
    (``allow_ttl_override`` upstream). A full tier evicts the entry that expires first. A size
    of 0 holds nothing.
    """

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._slots: dict[str, StampedValue[V]] = {}
        self._deadlines: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._slots)

    def get(self, key: str) -> StampedValue[V] | None:
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
        self._slots[key] = StampedValue(value, read_at, deadline)
        heapq.heappush(self._deadlines, (deadline, key))
        if len(self._deadlines) > 4 * self._size:
            self._compact()

    def delete(self, key: str) -> None:
        """Delete a key."""
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
    """Redis did not answer, or the breaker is open. ``asked`` says whether a command was sent."""

    def __init__(self, message: str, *, asked: bool) -> None:
        super().__init__(message)
        self.asked = asked


class RedisObserver(Protocol):
    """Counts commands and is notified of outages."""

    def redis_get(self, purpose: str) -> None:
        """One key is about to be asked for; for the purposes see `Recorder.redis_get`."""

    def redis_outage(self, error: BaseException) -> None:
        """Called once when the breaker opens."""


@dataclass(slots=True)
class Breaker:
    """Opens after ``threshold`` failures in a row, and lets commands through after ``open_s``."""

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
        """The last command was not answered; True if this is the failure that opens the breaker."""
        self._failures += 1
        if self._failures < self.threshold:
            return False
        first = self._failures == self.threshold
        self._open_until = self.clock() + self.open_s
        return first


class Script:
    """A Lua script that a server runs as one command.

    Args:
        text: in Lua.
        reads: whether it reads its keys.
        ran: the commands within it, by name in lower case, from its reply and its number of keys:
            the server counts them too.
    """

    def __init__(
        self, text: str, *, reads: bool, ran: Callable[[Reply, int], Mapping[str, int]]
    ) -> None:
        self.text = text
        self.reads = reads
        self.ran = ran
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisTier:
    """Payloads in Redis, with short time-outs, no retries, and a breaker.

    On the wire a value is ``<epoch seconds> <payload>``: the time is not part of the payload, so
    no codec sees it and payload sizes exclude it.
    """

    def __init__(
        self, client: BatchingClient, observer: RedisObserver, *, namespace: str, breaker: Breaker
    ) -> None:
        self._client = client
        self._observer = observer
        self._namespace = namespace
        self._breaker = breaker

    async def get(self, key: str) -> tuple[bytes, float] | None:
        """Payload and read time of a key, None when absent. Raises RedisUnavailableError."""
        self._check()
        self._observer.redis_get("lookup")
        (wire,) = await self._answers(self._client.send("GET", self._namespace + key))
        return None if wire is None or _is_claim(wire) else _unframe(wire)

    async def get_or_claim(
        self, key: str, claim: bytes, life_s: float
    ) -> tuple[bytes, float] | bool:
        """As `get`; a key that is absent is claimed in the same command.

        ``SET NX GET`` returns the value of the key or, if there is none, stores the claim: no
        other command can come in between. It needs Redis 7 or Valkey.

        Args:
            key: the key.
            claim: from `new_claim`.
            life_s: seconds after which the claim ends by itself.

        Returns:
            Payload and read time; or True if the claim is ours now, False if another worker holds
            one.

        Raises:
            RedisUnavailableError: the key may have been claimed.
        """
        self._check()
        self._observer.redis_get("claim")
        (wire,) = await self._answers(
            self._client.send("SET", self._namespace + key, claim, "NX", "GET", "PX", _ms(life_s))
        )
        if wire is None:
            return True
        return False if _is_claim(wire) else _unframe(wire)

    async def poll(self, key: str) -> tuple[bytes, float] | bool:
        """What became of a key that another worker had claimed.

        Returns:
            Payload and read time; or True if the key is absent, so the claim is over, False while
            it is claimed.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        self._check()
        self._observer.redis_get("lease_poll")
        (wire,) = await self._answers(self._client.send("GET", self._namespace + key))
        if wire is None:
            return True
        return False if _is_claim(wire) else _unframe(wire)

    async def keep_claim(self, key: str, claim: bytes, life_s: float) -> bool:
        """Let a claim end ``life_s`` from now, at once for 0; False if the key holds another value.

        Raises RedisUnavailableError.
        """
        px = _ms(life_s) if life_s > 0 else 0
        (kept,) = await self._scripts(_KEEP, "pexpire", (key, (claim, px)))
        return bool(kept)

    async def set(self, key: str, payload: bytes, read_at: float, ttl_s: float) -> None:
        """Store a payload. Raises RedisUnavailableError."""
        await self.set_many([(key, payload, read_at)], ttl_s)

    async def set_many(self, items: Sequence[tuple[str, bytes, float]], ttl_s: float) -> None:
        """Store payloads in one round trip, not one transaction. Raises RedisUnavailableError."""
        self._check()
        px = _ms(ttl_s)
        await self._answers(
            *(
                self._client.send("SET", self._namespace + key, _frame(payload, read_at), "PX", px)
                for key, payload, read_at in items
            )
        )

    async def set_newer(
        self, items: Sequence[tuple[str, bytes, float, bytes | None]], ttl_s: float
    ) -> list[bool]:
        """As `set_many`, but no value takes the place of a newer one or of another's claim.

        Args:
            items: key, payload, read time, and the claim under which it was read. With a claim, a
                key that has become absent is left so: the claim has expired, or what was read
                was deleted meanwhile. Without one, an absent key is set unless the value is
                older than ``ttl_s``: a newer one may have been stored and have expired since.
            ttl_s: time to live in seconds.

        Returns:
            Which items were stored.

        Raises:
            RedisUnavailableError: any of them may have been stored.
        """
        calls = []
        for key, payload, read_at, claim in items:
            fills = claim is None and time.time() - read_at < ttl_s
            wire = _frame(payload, read_at)
            calls.append((key, (claim or b"", wire, _ms(ttl_s), int(fills))))
        return [bool(stored) for stored in await self._scripts(_SET_NEWER, "set", *calls)]

    async def delete(self, key: str) -> None:
        """Delete a key, whatever it holds. Raises RedisUnavailableError."""
        self._check()
        await self._answers(self._client.send("DEL", self._namespace + key))

    async def _scripts(
        self, script: str, last: str, *calls: tuple[str, tuple[bytes | int, ...]]
    ) -> list[Reply]:
        """Run a script for several keys, each with its arguments, in one round trip.

        Args:
            script: of a GET and, where it does not return 0, of one command more.
            last: the name of that command, in lower case.
            calls: key and arguments of each.
        """
        # EVAL, not EVALSHA: after a restart of Redis no call has to be sent a second time, so what
        # is counted here is what the server runs. It is one per read from Postgres.
        self._check()
        for _ in calls:
            self._observer.redis_get("script")
        answers = await self._answers(
            *(
                self._client.send("EVAL", script, 1, self._namespace + key, *arguments)
                for key, arguments in calls
            )
        )
        self._add_ran({"get": len(calls), last: sum(map(bool, answers))})
        return answers

    async def run(self, script: Script, keys: Sequence[str], *arguments: str | int) -> Reply:
        """Run a script on keys of this tier, and return its reply.

        Raises:
            RedisUnavailableError: the script may have run.
        """
        self._check()
        for _ in keys if script.reads else ():
            self._observer.redis_get("spend")
        words = (len(keys), *(self._namespace + key for key in keys), *arguments)
        try:
            (answer,) = await self._answers(self._client.send("EVALSHA", script.sha, *words))
        except NoScriptError:  # A server that has started since the last time.
            (answer,) = await self._answers(self._client.send("EVAL", script.text, *words))
        self._add_ran(script.ran(answer, len(keys)))
        return answer

    def _add_ran(self, commands: Mapping[str, int]) -> None:
        sent = self._client.sent
        for name, n in commands.items():
            sent[name] = sent.get(name, 0) + n

    def _check(self) -> None:
        if not self._breaker.allows():
            raise RedisUnavailableError("the breaker is open", asked=False)

    async def _answers(self, *futures: asyncio.Future[Reply]) -> list[Reply]:
        try:
            answers = [await future for future in futures]
        except NoScriptError:
            raise
        except (RedisError, OSError, TimeoutError) as error:
            if self._breaker.failed():
                self._observer.redis_outage(error)
            raise RedisUnavailableError(f"{type(error).__name__}: {error}", asked=True) from error
        self._breaker.succeeded()
        return answers


_CLAIM = "claim:"
"""What a claim begins with; a frame begins with a digit."""

# Each script asks for its key once: the server counts that as a key read, and so do we.
_KEEP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
"""Claim, life in ms; a life of 0 deletes the key."""

_SET_NEWER = f"""
local held = redis.call('GET', KEYS[1])
if not held then
  if ARGV[4] == '0' then return 0 end
elseif held ~= ARGV[1] then
  if string.sub(held, 1, {len(_CLAIM)}) == '{_CLAIM}' then return 0 end
  local theirs, ours = string.match(held, '^(%d+%.%d+) '), string.match(ARGV[2], '^%S+')
  if theirs and tonumber(theirs) > tonumber(ours) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
"""Claim or nothing, frame, TTL in ms, whether an absent key is set. A held value without a read
time is foreign and gives way."""


def new_claim() -> bytes:
    """The value of a key while a worker reads its object from Postgres; no two are equal."""
    return (_CLAIM + secrets.token_hex(16)).encode()


def _is_claim(wire: bytes) -> bool:
    return wire.startswith(_CLAIM.encode())


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _frame(payload: bytes, read_at: float) -> bytes:
    return b"%.6f %b" % (read_at, payload)


def _unframe(wire: bytes) -> tuple[bytes, float]:
    stamp, _, payload = wire.partition(b" ")
    try:
        return payload, float(stamp)
    except ValueError:
        # Planted or foreign: all of it is payload, and its age is unknown.
        return wire, time.time()
