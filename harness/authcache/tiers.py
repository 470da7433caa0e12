"""The two tiers: this worker's memory, and Redis for all replicas.

Neither knows what an object or a codec is. A slot carries its value and the time at which that
value was read from Postgres, so its age is known however often it was rewritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import math
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, Self, TypeVar

from redis.exceptions import NoScriptError, RedisError, ResponseError

from harness.authcache.batching import TRIAL, BatchingClient, Reply

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

    def __iter__(self) -> Iterator[str]:
        """The keys that are held, expired ones included."""
        return iter(self._slots)

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

    def delete(self, key: str) -> bool:
        """Delete a key; whether it had been set, be it expired by now."""
        return self._slots.pop(key, None) is not None

    def clear(self) -> None:
        """Delete every key."""
        self._slots.clear()
        self._deadlines.clear()

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


class WrittenBy(float):
    """The read time of an entry in Redis whose frame names the variant that wrote it."""

    __slots__ = ("writer",)

    def __new__(cls, read_at: float, writer: str) -> Self:
        """A time that can be used as any other."""
        made = super().__new__(cls, read_at)
        made.writer = writer
        return made

    writer: str


class RedisUnavailableError(Exception):
    """Redis did not answer, or the breaker is open. ``asked`` says whether a command was sent."""

    def __init__(self, message: str, *, asked: bool) -> None:
        super().__init__(message)
        self.asked = asked


class RedisRefusedError(RedisUnavailableError):
    """Redis answered, with an error: it takes no writes, or the user may not do that.

    ``wrong_type`` says that the key holds a value of another type than an entry.
    """

    def __init__(self, error: ResponseError) -> None:
        super().__init__(f"{type(error).__name__}: {error}", asked=True)
        self.wrong_type = str(error).startswith("WRONGTYPE")


class RedisObserver(Protocol):
    """Counts commands and is notified of outages."""

    def redis_get(self, purpose: str) -> None:
        """One key is about to be asked for; for the purposes see `Recorder.redis_get`."""

    def redis_outage(self, error: BaseException, *, refused: bool = False) -> None:
        """Called once per outage; ``refused``: Redis answers, with an error."""

    def redis_back(self) -> None:
        """Called once when an outage is over."""

    def background(self, change: int) -> None:
        """A background task started (+1) or ended (-1)."""


SETTLED_S = 2.0
"""For how long nothing may fail before an outage counts as over: a server that comes and goes has
one outage, and one log record."""


@dataclass(slots=True)
class Outage:
    """Knows when something begins to fail, and when it is over."""

    clock: Callable[[], float] = time.monotonic
    lasts: bool = False
    _last: float = 0.0

    def failed(self) -> bool:
        """It failed once more; True if that is the begin."""
        begins, self.lasts, self._last = not self.lasts, True, self.clock()
        return begins

    def worked(self) -> bool:
        """It worked; True if the outage is over by this."""
        if not self.lasts or self.clock() < self._last + SETTLED_S:
            return False
        self.lasts = False
        return True


@dataclass(slots=True)
class ProbedBreaker:
    """The breaker of the switch ``redis_outage = probed``.

    It opens at the first command that gets no answer: a server that is silent for one is silent
    for all, and each would wait for a time-out of its own. While it is open no request asks
    Redis; `RedisTier` sends a PING now and then, which no request waits for, and an answer closes
    it. The pauses between them grow until nothing has failed for `SETTLED_S`.
    """

    clock: Callable[[], float] = time.monotonic
    pauses_s: tuple[float, float] = (0.05, 1.0)
    """The first and the longest; they double."""
    outage: Outage = field(init=False)
    _open: bool = False
    _pause_s: float = 0.0
    _next: float = 0.0

    def __post_init__(self) -> None:
        self.outage = Outage(self.clock)

    def allows(self) -> bool:
        """Whether a command may be sent now."""
        return not self._open

    def due(self) -> bool:
        """Whether a trial may begin now; if so, the next one is due after a pause."""
        if not self._open or self.clock() < self._next:
            return False
        self._plan()
        return True

    def succeeded(self) -> bool:
        """A command, or a trial, was answered; True if the outage is over by this."""
        self._open = False
        if self.outage.worked():
            self._pause_s = 0.0
            return True
        return False

    def failed(self) -> bool:
        """A command, or a trial, was not answered; True if that is the begin of an outage."""
        if not self._open:
            self._open = True
            self._plan()
        return self.outage.failed()

    def _plan(self) -> None:
        first_s, longest_s = self.pauses_s
        self._pause_s = min(2 * self._pause_s, longest_s) if self._pause_s else first_s
        self._next = self.clock() + self._pause_s


@dataclass(slots=True)
class CountedBreaker:
    """Opens after ``threshold`` failures in a row, and lets commands through after ``open_s``."""

    threshold: int = 5
    open_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    _failures: int = 0
    _open_until: float = 0.0

    def allows(self) -> bool:
        """Whether a command may be sent now."""
        return self.clock() >= self._open_until

    def due(self) -> bool:
        """Whether a trial may begin now: here every command is one."""
        return False

    def succeeded(self) -> bool:
        """The last command was answered. False: nothing is said of the end of an outage."""
        self._failures = 0
        return False

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
    no codec sees it and payload sizes exclude it. With a ``writer`` it is
    ``<epoch seconds>;<writer> <payload>``, and every tier reads both.
    """

    def __init__(
        self,
        client: BatchingClient,
        observer: RedisObserver,
        *,
        namespace: str,
        breaker: CountedBreaker | ProbedBreaker,
        writer: str = "",
    ) -> None:
        self._client = client
        self._observer = observer
        self._namespace = namespace
        self._breaker = breaker
        self._writer = writer
        self._refusals: Outage | None = None
        if isinstance(breaker, ProbedBreaker):
            # A server that refuses writes still answers reads: no reason to do without it.
            self._refusals = Outage(breaker.clock)
        self._trial: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """End what runs in the background."""
        if self._trial is not None:
            self._trial.cancel()
            await asyncio.gather(self._trial, return_exceptions=True)

    async def get(self, key: str) -> tuple[bytes, float] | None:
        """Payload and read time of a key, None when absent. Raises RedisUnavailableError."""
        self._check()
        self._observer.redis_get("lookup")
        (wire,) = await self._answers(self._client.send("GET", self._namespace + key))
        return None if wire is None or _is_claim(wire) else _unframe(wire)

    async def get_or_claim(
        self, key: str, claim: bytes, life_s: float
    ) -> tuple[bytes, float] | bool | None:
        """As `get`; a key that is absent is claimed in the same command.

        ``SET NX GET`` returns the value of the key or, if there is none, stores the claim: no
        other command can come in between. It needs Redis 7 or Valkey.

        Args:
            key: the key.
            claim: from `new_claim`.
            life_s: seconds after which the claim ends by itself.

        Returns:
            Payload and read time; or True if the claim is ours now, False if another worker holds
            one, None if the key is absent and Redis takes no claims.

        Raises:
            RedisUnavailableError: the key may have been claimed.
        """
        self._check()
        self._observer.redis_get("claim")
        words = ("SET", self._namespace + key, claim, "NX", "GET", "PX", _ms(life_s))
        try:
            (wire,) = await self._answers(self._client.send(*words))
        except RedisRefusedError as error:
            if error.wrong_type or self._refusals is None:
                raise
            return await self.get(key)
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

    async def claim_over(
        self, key: str, found: tuple[str, int], claim: bytes, life_s: float
    ) -> bool:
        """Put a claim in place of a value that cannot be read; False if the key holds another.

        Args:
            key: the key.
            found: `fingerprint` of the payload that was found there.
            claim: from `new_claim`.
            life_s: seconds.

        Raises:
            RedisUnavailableError: the key may have been claimed.
        """
        self._check()
        words = (self._namespace + key, claim, _ms(life_s), *found)
        (answer,) = await self._answers(self._client.send("EVAL", _CLAIM_OVER, 1, *words))
        ran, taken = answer
        # TYPE counts as a read, too. It is always the first: what becomes a claim is named there.
        self._observer.redis_get("claim" if taken else "script")
        for command in ran[1:]:
            if command != b"set":
                self._observer.redis_get("script")
        self._add_ran({command.decode(): 1 for command in ran})
        return bool(taken)

    async def set(self, key: str, payload: bytes, read_at: float, ttl_s: float) -> None:
        """Store a payload. Raises RedisUnavailableError."""
        await self.set_many([(key, payload, read_at)], ttl_s)

    async def set_many(self, items: Sequence[tuple[str, bytes, float]], ttl_s: float) -> None:
        """Store payloads in one round trip, not one transaction. Raises RedisUnavailableError."""
        self._check()
        px = _ms(ttl_s)
        await self._answers(
            *(
                self._client.send(
                    "SET", self._namespace + key, self._frame(payload, read_at), "PX", px
                )
                for key, payload, read_at in items
            )
        )

    async def set_newer(
        self,
        items: Sequence[tuple[str, bytes, float, bytes | None]],
        ttl_s: float,
        *,
        fills_s: float | None = None,
    ) -> list[bool]:
        """As `set_many`, but no value takes the place of a newer one or of another's claim.

        Args:
            items: key, payload, read time, and the claim under which it was read. With a claim, a
                key that has become absent is left so: the claim has expired, or what was read
                was deleted meanwhile. Without one, an absent key is set unless the value is
                older than ``ttl_s``: a newer one may have been stored and have expired since.
            ttl_s: time to live in seconds.
            fills_s: given, no value is stored that was read before a change: with a claim, it is
                stored in place of that very claim only, which a change removes; without one, only
                if it was read less than ``fills_s`` ago, which is how long `forget` keeps the key
                claimed. Its age is a difference on the clock of this host.

        Returns:
            Which items were stored.

        Raises:
            RedisUnavailableError: any of them may have been stored.
        """
        calls = []
        for key, payload, read_at, claim in items:
            age_s = time.time() - read_at
            # Below 0 where the clock was set back: then what happened since is not known.
            young = age_s < ttl_s if fills_s is None else 0 <= age_s < fills_s
            mode = int(claim is None and young)
            if fills_s is not None and not mode:
                mode = _ONLY_OVER_CLAIM
            wire = self._frame(payload, read_at)
            calls.append((key, (claim or b"", wire, _ms(ttl_s), mode)))
        return [bool(stored) for stored in await self._scripts(_SET_NEWER, "set", *calls)]

    async def delete(self, *keys: str) -> None:
        """Delete keys, whatever they hold. Raises RedisUnavailableError."""
        self._check()
        await self._answers(self._client.send("DEL", *(self._namespace + key for key in keys)))

    async def forget(self, keys: Sequence[str], hold_s: float) -> None:
        """Put a claim that no worker holds in place of each key, for ``hold_s``.

        A lookup takes it for a miss, and `set_newer` stores nothing over it: what a load finds
        that began before is not stored. Raises RedisUnavailableError.
        """
        self._check()
        px = _ms(hold_s)
        await self._answers(
            *(
                self._client.send("SET", self._namespace + key, new_claim(), "PX", px)
                for key in keys
            )
        )

    async def publish(self, channel: str, message: str) -> None:
        """Send a message to the subscribers of a channel. Raises RedisUnavailableError."""
        self._check()
        await self._answers(self._client.send("PUBLISH", self._namespace + channel, message))

    async def forget_numbered(
        self, keys: Sequence[str], hold_s: float, channel: str, news: str
    ) -> None:
        """Evict keys, give the change the next number, log it and tell it, as one command.

        Keys that the user may not delete are claimed for a moment. A log that has been evicted is
        begun anew behind a gap in the numbers, which no worker can bridge: each drops its memory.

        Args:
            keys: to be deleted; with ``hold_s`` above 0, to be claimed as by `forget`.
            hold_s: seconds.
            channel: of the message, which is the number, a space and ``news``.
            news: one line for each key.

        Raises:
            RedisUnavailableError: it may have happened.
        """
        self._check()
        names = [self._namespace + name for name in (NUMBER_KEY, LOG_KEY, *keys)]
        words: tuple[str | bytes | int, ...] = (
            _CHANGED,
            len(names),
            *names,
            self._namespace + channel,
            news,
            _ms(hold_s) if hold_s > 0 else 0,
            new_claim(),
            LOG_DEPTH,
        )
        (answer,) = await self._answers(self._client.send("EVAL", *words))
        begun, claimed = answer
        ran = {"incrby": 1, "zadd": 1, "zremrangebyscore": 1, "publish": 1}
        ran |= {"set": len(keys)} if claimed else {"del": 1}
        if begun == _FIRST:
            ran |= {"time": 1, "incrby": 2}
        else:
            self._observer.redis_get("generation")
            ran |= {"exists": 1, "incrby": 1 + (begun == _GAP)}
        self._add_ran(ran)

    async def changes_since(self, number: int) -> tuple[int, list[str] | None]:
        """The number of the last change, and the news of those after ``number``.

        None in place of the news: they are more than the log keeps, or Redis has lost it.

        Raises:
            RedisUnavailableError: Redis did not answer.
        """
        self._check()
        self._observer.redis_get("generation")
        names = (self._namespace + NUMBER_KEY, self._namespace + LOG_KEY)
        words: tuple[str | int, ...] = (_SINCE, len(names), *names, number, LOG_DEPTH)
        (answer,) = await self._answers(self._client.send("EVAL", *words))
        last, how, news = answer
        ran = {"get": 1}
        if how in (_LOGGED, _GONE):
            self._observer.redis_get("generation")
            ran["zrangebyscore"] = 1
        elif how == _BEGUN:
            ran |= {"time": 1, "incrby": 1, "zadd": 1}
        self._add_ran(ran)
        known = how in (_SAME, _LOGGED)
        lines = [line.decode(errors="replace") for line in news if line]
        return int(last), lines if known else None

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

    def _frame(self, payload: bytes, read_at: float) -> bytes:
        return _frame(payload, read_at, self._writer)

    def _check(self) -> None:
        if not self._breaker.allows():
            if (self._trial is None or self._trial.done()) and self._breaker.due():
                # Counted before the task runs: a snapshot in between would see a quiescent worker.
                self._observer.background(+1)
                self._trial = asyncio.create_task(self._try())
            raise RedisUnavailableError("the breaker is open", asked=False)

    async def _try(self) -> None:
        try:
            with contextlib.suppress(RedisUnavailableError):
                await self._answers(self._client.send(TRIAL))
        finally:
            self._observer.background(-1)

    async def _answers(self, *futures: asyncio.Future[Reply]) -> list[Reply]:
        try:
            answers = [await future for future in futures]
        except NoScriptError:
            raise
        except (RedisError, OSError, TimeoutError) as error:
            if self._refusals is not None and isinstance(error, ResponseError):
                # An error is an answer: a PING may be refused by a server that answers all else.
                if self._breaker.succeeded():
                    self._observer.redis_back()
                refused = RedisRefusedError(error)
                if not refused.wrong_type and self._refusals.failed():
                    self._observer.redis_outage(error, refused=True)
                raise refused from error
            if self._breaker.failed():
                self._observer.redis_outage(error)
            raise RedisUnavailableError(f"{type(error).__name__}: {error}", asked=True) from error
        back = self._breaker.succeeded()
        if self._refusals is not None and self._refusals.worked():
            back = True
        if back:
            self._observer.redis_back()
        return answers


_CLAIM = "claim:"
"""What a claim begins with; a frame begins with a digit."""

# Each script asks for its key once: the server counts that as a key read, and so do we.
_KEEP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
"""Claim, life in ms; a life of 0 deletes the key."""

_CLAIM_OVER = """
local ran, kind = {'type'}, redis.call('TYPE', KEYS[1]).ok
if kind == 'string' then
  ran[2] = 'get'
  local held = redis.call('GET', KEYS[1])
  local size = tonumber(ARGV[4])
  local same = held == '' or string.sub(held, -1) == ' '
  if size > 0 then same = redis.sha1hex(string.sub(held, -size)) == ARGV[3] end
  if not same then return {ran, 0} end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
ran[#ran + 1] = 'set'
return {ran, 1}
"""
"""Claim, life in ms, hash and size of what was found: replies with the commands that it ran, and
whether the claim is in place. A SET takes the place of a value of any type."""

_SET_NEWER = f"""
local held = redis.call('GET', KEYS[1])
if held ~= ARGV[1] and ARGV[4] == '2' then return 0 end
if not held then
  if ARGV[4] == '0' then return 0 end
elseif held ~= ARGV[1] then
  if string.sub(held, 1, {len(_CLAIM)}) == '{_CLAIM}' then return 0 end
  local theirs = string.match(held, '^(%d+%.%d+)[; ]')
  local ours = string.match(ARGV[2], '^%d+%.%d+')
  if theirs and tonumber(theirs) > tonumber(ours) then return 0 end
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
"""Claim or nothing, frame, TTL in ms, whether an absent key is set (1) or left (0), or the frame
takes the place of its claim alone (2). A held value without a read time is foreign and gives way.
"""
_ONLY_OVER_CLAIM = 2

NUMBER_KEY = "authcache:changes"
"""The number of the last change. The first is Redis' clock in microseconds, so that numbers never
start again, not even on a server that has lost its data."""
LOG_KEY = "authcache:change_log"
"""News by number; what is said of a key twice is kept once, with the later number."""
LOG_DEPTH = 10_000
"""Changes that the log keeps."""

_CHANGED = """
local n = redis.call('INCRBY', KEYS[1], 1)
local first = n == 1
if first then
  local t = redis.call('TIME')
  n = redis.call('INCRBY', KEYS[1], string.format('%d', t[1] * 1000000 + t[2]))
end
local begun = first and 1 or 0
if not first and redis.call('EXISTS', KEYS[2]) == 0 then
  n, begun = redis.call('INCRBY', KEYS[1], ARGV[5]), 2
end
local number = string.format('%d', n)
local gone, hold = {}, ARGV[3]
for i = 3, #KEYS do gone[i - 2] = KEYS[i] end
if hold == '0' then
  local done = redis.pcall('DEL', unpack(gone))
  if type(done) == 'table' then hold = '1' end
end
if hold ~= '0' then
  for _, key in ipairs(gone) do redis.call('SET', key, ARGV[4], 'PX', hold) end
end
local log = {}
for line in string.gmatch(ARGV[2], '[^\\n]+') do
  log[#log + 1] = number
  log[#log + 1] = line
end
redis.call('ZADD', KEYS[2], unpack(log))
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%d', n - tonumber(ARGV[5])))
redis.call('PUBLISH', ARGV[1], number .. '\\n' .. ARGV[2])
return {begun, hold ~= '0' and 1 or 0}
"""
"""Number, log, keys; channel, news, life of a claim in ms or 0, the claim, depth of the log.
Replies with what has begun, number (1) or log (2), and whether keys were claimed, not deleted."""
_FIRST, _GAP = 1, 2

_SAME, _LOGGED, _LOST, _BEGUN, _GONE = range(5)
_SINCE = f"""
local held = redis.call('GET', KEYS[1])
if not held then
  local t = redis.call('TIME')
  local n = redis.call('INCRBY', KEYS[1], string.format('%d', t[1] * 1000000 + t[2]))
  local number = string.format('%d', n)
  redis.call('ZADD', KEYS[2], number, '')
  return {{number, {_BEGUN}, {{}}}}
end
local behind = tonumber(held) - tonumber(ARGV[1])
if behind == 0 then return {{held, {_SAME}, {{}}}} end
if behind < 0 or behind >= tonumber(ARGV[2]) then return {{held, {_LOST}, {{}}}} end
local news = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf')
return {{held, #news > 0 and {_LOGGED} or {_GONE}, news}}
"""
"""Number, log; the number that the caller knows, depth of the log. A log without the last change
has been evicted; one that begins has a line without news."""


def fingerprint(payload: bytes) -> tuple[str, int]:
    """Hash and size of what an entry holds, by which a script knows it again."""
    return hashlib.sha1(payload, usedforsecurity=False).hexdigest(), len(payload)


def new_claim() -> bytes:
    """The value of a key while a worker reads its object from Postgres; no two are equal."""
    return (_CLAIM + secrets.token_hex(16)).encode()


_NAMED = re.compile(rb"(\d+\.\d{6});([!-~]+)")
"""A read time with the name of a variant behind it."""


def _is_claim(wire: bytes) -> bool:
    return wire.startswith(_CLAIM.encode())


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _frame(payload: bytes, read_at: float, writer: str = "") -> bytes:
    if writer:
        return b"%.6f;%b %b" % (read_at, writer.encode(), payload)
    return b"%.6f %b" % (read_at, payload)


def _unframe(wire: bytes) -> tuple[bytes, float]:
    stamp, space, payload = wire.partition(b" ")
    if space:
        with contextlib.suppress(ValueError):
            if named := _NAMED.fullmatch(stamp):
                return payload, WrittenBy(float(named[1]), named[2].decode())
            if math.isfinite(read_at := float(stamp)):
                return payload, read_at
    # Planted, foreign or cut short: all of it is payload, and its age is unknown.
    return wire, time.time()
