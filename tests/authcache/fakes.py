"""Parts of a cache that a test can look into: a clock, a Redis, a source, a recorder."""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError, ResponseError

from harness.authcache.batching import TRIAL
from harness.authcache.cache import AuthCache, MemoryValue, SourceUnavailableError
from harness.authcache.coalescing import CACHES
from harness.authcache.codecs import load_codec
from harness.authcache.objects import CachedObject, Team
from harness.authcache.switches import Switches
from harness.authcache.tiers import (
    _BEGUN,
    _CHANGED,
    _CLAIM_OVER,
    _FIRST,
    _GAP,
    _GONE,
    _KEEP,
    _LOGGED,
    _LOST,
    _ONLY_OVER_CLAIM,
    _SAME,
    _SET_NEWER,
    _SINCE,
    CountedBreaker,
    MemoryTier,
    ProbedBreaker,
    RedisTier,
    _is_claim,
    _unframe,
    fingerprint,
)
from harness.authcache.trace import Trace
from harness.authcache.words import Invalidated, KeyScope, ObjectKind, Tier, WriteOutcome

TTL_S = 60.0
FRAME = re.compile(rb"\d+\.\d+[; ]")
PLAIN = Switches(codec="keep_none", memory_payload="encoded")
"""Switches that show one behaviour at a time: both tiers, no defect, nothing coalesced."""


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """What all connections to a Redis meet: whether it runs, and what it refuses."""

    TIMEOUT_S = 0.25

    def __init__(self) -> None:
        self.fault = ""
        """``hangs``, ``readonly``, ``full`` or ``no del``."""
        self.refuses_ping: Exception | None = None
        self.runs = asyncio.Event()
        self.runs.set()
        self.under_way: list[set[asyncio.Future[Any]]] = []
        """Commands without an answer, by connection."""

    def breaks(self, fault: str) -> None:
        """Break, or mend with an empty text. What a server that hangs has been sent it carries
        out afterwards, though its client has given up by then."""
        self.fault = fault
        if fault != "hangs":
            self.runs.set()
            return
        self.runs.clear()
        for answers in self.under_way:
            self.time_out(answers)

    def refuses(self, command: str) -> Exception | None:
        """The error that it answers to a command that writes, None if it carries it out."""
        if self.fault == "readonly":
            return ReadOnlyError("You can't write against a read only replica.")
        if self.fault == "full" and command != "del":
            return OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
        if self.fault == "no del" and command == "del":
            return NoPermissionError("this user has no permissions to run the 'del' command")
        return None

    def time_out(self, answers: set[asyncio.Future[Any]]) -> None:
        """Let the commands of a connection fail together, with those sent meanwhile."""

        def give_up() -> None:
            for answer in list(answers):
                if not answer.done():
                    answer.set_exception(TimeoutError())
                    answer.exception()
            answers.clear()

        if answers:
            asyncio.get_running_loop().call_later(self.TIMEOUT_S, give_up)


class FakeClient:
    """What `RedisTier` needs of a Redis client. Two tiers over one client share a Redis.

    What a command stored expires by the clock of the event loop; what a test put there does not.
    """

    def __init__(self, shared: FakeClient | None = None) -> None:
        self.held: dict[str, Any] = {} if shared is None else shared.held
        self.ttl_ms: dict[str, int] = {} if shared is None else shared.ttl_ms
        self.deadlines: dict[str, float] = {} if shared is None else shared.deadlines
        self.log: dict[str, int] = {} if shared is None else shared.log
        self.numbers: list[int] = [] if shared is None else shared.numbers
        """Of changes; the last is the last."""
        self.hearing: list[Callable[[list[Any]], None]] = [] if shared is None else shared.hearing
        """Called with what the server pushes: messages, and the keys that were written."""
        self.server: Server = Server() if shared is None else shared.server
        self.sent: Counter[str] = Counter()
        """Commands by name; ``batch`` counts turns of the loop in which any were sent."""
        self.away = False
        self._under_way: set[asyncio.Future[Any]] = set()
        self.server.under_way.append(self._under_way)
        self.hold = asyncio.Event()
        """Commands that read wait for it; set by default."""
        self.hold.set()
        self._in_batch = False
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, *words: str | bytes | int) -> asyncio.Future[Any]:
        name = str(words[0])
        self.sent["SET GET" if "GET" in words[1:] else name] += 1
        if not self._in_batch:
            self._in_batch = True
            self.sent["batch"] += 1
            asyncio.get_running_loop().call_soon(self._end_batch)
        answer = asyncio.get_running_loop().create_future()
        first = not self._under_way
        self._under_way.add(answer)
        answer.add_done_callback(self._under_way.discard)
        if self.server.fault == "hangs" and first:
            self.server.time_out(self._under_way)
        # A command that was sent is carried out, whether or not its answer is still awaited.
        task = asyncio.create_task(self._answer(answer, name, words))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return answer

    async def _answer(self, answer: asyncio.Future[Any], name: str, words: tuple[Any, ...]) -> None:
        try:
            reply = await self._run(name, words)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            if not answer.done():
                answer.set_exception(error)
                answer.exception()
        else:
            if not answer.done():
                answer.set_result(reply)

    def _end_batch(self) -> None:
        self._in_batch = False

    async def _run(self, name: str, words: tuple[Any, ...]) -> Any:
        await asyncio.sleep(0)
        if "GET" in words or name == "EVAL":
            await self.hold.wait()
        if self.away:
            raise RedisConnectionError("connection refused")
        await self.server.runs.wait()
        if name == TRIAL:
            if self.server.refuses_ping is not None:
                raise self.server.refuses_ping
            return b"PONG"
        if name == "EVAL":
            script, n, *rest = words[1:]
            return getattr(self, self.scripts[script])(*rest[:n], *rest[n:])
        if name == "PUBLISH":
            self.push([b"message", words[1].encode(), words[2].encode()])
            return len(self.hearing)
        return self._plain(name, words)

    def _plain(self, name: str, words: tuple[Any, ...]) -> Any:
        key = words[1]
        if name in ("DEL", "SET"):
            self.may(name.lower())
        held = self.get(key)
        if isinstance(held, list) and name in ("GET", "SET") and "GET" in words:
            raise ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
        if name == "DEL":
            for one in words[1:]:
                self.remove(one)
        if name == "SET" and not ("NX" in words and held is not None):
            self.set(key, words[2], words[words.index("PX") + 1])
        return held

    def get(self, key: str) -> bytes | None:
        if self.deadlines.get(key, math.inf) <= asyncio.get_running_loop().time():
            self.remove(key)
        return self.held.get(key)

    def may(self, command: str) -> None:
        """Raise what a server answers to a command that it refuses."""
        if refusal := self.server.refuses(command):
            raise refusal

    def push(self, message: list[Any]) -> None:
        for hears in self.hearing:
            hears(message)

    def set(self, key: str, value: bytes, px: int) -> None:
        self.may("set")
        self.held[key] = value
        self.expire(key, px)
        self.push([b"invalidate", [key.encode()]])

    def expire(self, key: str, px: int) -> None:
        self.may("pexpire")
        self.ttl_ms[key] = px
        self.deadlines[key] = asyncio.get_running_loop().time() + px / 1000

    def remove(self, key: str) -> None:
        for table in (self.held, self.ttl_ms, self.deadlines):
            table.pop(key, None)
        self.push([b"invalidate", [key.encode()]])

    def keep(self, key: str, claim: bytes, px: int) -> int:
        if self.get(key) != claim:
            return 0
        self.may("pexpire")
        if px:
            self.expire(key, px)
        else:
            self.remove(key)
        return 1

    def claim_over(self, key: str, claim: bytes, px: int, known: str, size: int) -> list[Any]:
        ran, held = [b"type"], self.get(key)
        if isinstance(held, bytes):
            ran.append(b"get")
            same = held == b"" or held.endswith(b" ")
            if size:
                same = fingerprint(held[-size:]) == (known, size)
            if not same:
                return [ran, 0]
        self.set(key, claim, px)
        return [[*ran, b"set"], 1]

    def set_newer(self, key: str, claim: bytes, wire: bytes, px: int, fills: int) -> int:
        held = self.get(key)
        if fills == _ONLY_OVER_CLAIM and held != claim:
            return 0
        if held is None:
            if not fills:
                return 0
        elif held != claim:
            if _is_claim(held):
                return 0
            if FRAME.match(held) and _unframe(held)[1] > _unframe(wire)[1]:
                return 0
        self.set(key, wire, px)
        return 1

    def changed(self, *words: Any) -> list[int]:
        *keys, channel, news, px, claim, depth = words
        self.may("incrby")
        begun = 0 if self.numbers else _FIRST
        self.numbers.append(1 + (self.numbers[-1] if self.numbers else int(time.time() * 1e6)))
        if not begun and not self.log:
            begun = _GAP
            self.numbers.append(self.numbers[-1] + depth)
        px = px or int(self.server.fault == "no del")
        for key in keys[2:]:
            if px:
                self.set(key, claim, px)
            else:
                self.remove(key)
        number = self.numbers[-1]
        self.log.update(dict.fromkeys(filter(None, news.split("\n")), number))
        for line in [line for line, at in self.log.items() if at <= number - depth]:
            del self.log[line]
        self.push([b"message", channel.encode(), f"{number}\n{news}".encode()])
        return [begun, int(px > 0)]

    def since(self, _number_key: str, _log_key: str, number: int, depth: int) -> list[Any]:
        if not self.numbers:
            self.may("incrby")
            self.numbers.append(int(time.time() * 1e6))
            self.log[""] = self.numbers[-1]
            return [b"%d" % self.numbers[-1], _BEGUN, []]
        last = self.numbers[-1]
        if last == number:
            return [b"%d" % last, _SAME, []]
        if not 0 < last - number < depth:
            return [b"%d" % last, _LOST, []]
        news = sorted((at, line.encode()) for line, at in self.log.items() if at > number)
        return [b"%d" % last, _LOGGED if news else _GONE, [line for _, line in news]]

    scripts: ClassVar[dict[str, str]] = {
        _CLAIM_OVER: "claim_over",
        _KEEP: "keep",
        _SET_NEWER: "set_newer",
        _CHANGED: "changed",
        _SINCE: "since",
    }
    """Methods that do what a script does in Lua; a test on a real server compares them."""


class Recording:
    """A recorder that keeps what it was told."""

    def __init__(self) -> None:
        self.traces: list[Trace] = []
        self.writes: Counter[tuple[Tier, WriteOutcome, ObjectKind]] = Counter()
        self.read_errors: Counter[ObjectKind] = Counter()
        self.gets: Counter[str] = Counter()
        self.news: Counter[tuple[Invalidated, ObjectKind]] = Counter()
        self.sizes: list[int] = []
        self.decodes = 0
        self.failed: Counter[tuple[ObjectKind, str, KeyScope]] = Counter()
        self.unread: Counter[tuple[ObjectKind, str]] = Counter()
        self.served: list[tuple[Tier, ObjectKind, float]] = []
        self.outages: list[BaseException] = []
        self.refused = 0
        """How many of them were refusals."""
        self.returns = 0
        self.pending = 0

    def commit(self, trace: Trace) -> None:
        self.traces.append(trace)

    def source_read_error(self, kind: ObjectKind) -> None:
        self.read_errors[kind] += 1

    def write(self, tier: Tier, outcome: WriteOutcome, kind: ObjectKind) -> None:
        self.writes[tier, outcome, kind] += 1

    def encoded(self, kind: ObjectKind, size: int, seconds: float) -> None:
        assert kind in ObjectKind
        assert seconds >= 0
        self.sizes.append(size)

    def decoded(self, kind: ObjectKind, seconds: float) -> None:
        assert kind in ObjectKind
        assert seconds >= 0
        self.decodes += 1

    def failed_read(self, kind: ObjectKind, logged: str, scope: KeyScope) -> None:
        self.failed[kind, logged, scope] += 1

    def failed_entry(self, kind: ObjectKind, writer: str) -> None:
        self.unread[kind, writer] += 1

    def ages(self, tier: Tier) -> dict[ObjectKind, Callable[[float], None]]:
        def bound(kind: ObjectKind) -> Callable[[float], None]:
            return lambda age_s: self.served.append((tier, kind, age_s))

        return {kind: bound(kind) for kind in ObjectKind}

    def redis_get(self, purpose: str) -> None:
        self.gets[purpose] += 1

    def invalidation(self, event: Invalidated, kind: ObjectKind) -> None:
        self.news[event, kind] += 1

    def redis_outage(self, error: BaseException, *, refused: bool = False) -> None:
        self.outages.append(error)
        self.refused += refused

    def redis_back(self) -> None:
        self.returns += 1

    def background(self, change: int) -> None:
        self.pending += change


class Source:
    """Postgres, for one object."""

    def __init__(self, value: CachedObject | None = None) -> None:
        self.value: CachedObject | None = Team(team_id="t") if value is None else value
        self.reads = 0
        self.failure: BaseException | None = None
        self.hold = asyncio.Event()
        """Reads wait for it; set by default."""
        self.hold.set()

    async def __call__(self) -> CachedObject | None:
        self.reads += 1
        await asyncio.sleep(0)
        await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        return None if self.value is None else self.value.model_copy()

    def absent(self) -> Source:
        self.value = None
        return self

    def away(self) -> Source:
        self.failure = SourceUnavailableError("Postgres is away")
        return self


class World:
    """One worker's cache, with its memory's clock, its Redis and what it recorded."""

    def __init__(
        self,
        switches: Switches = PLAIN,
        *,
        client: Any = None,
        namespace: str = "",
        time_scale: float = 1.0,
        clock: Callable[[], float] | None = None,
        ttl_s: float = TTL_S,
    ) -> None:
        self.clock = Clock()
        self.namespace = namespace
        self.recorder = Recording()
        fake: Any = FakeClient()
        self.client: Any = client if client is not None else fake
        probed = switches.redis_outage == "probed"
        self.breaker: Any = (ProbedBreaker if probed else CountedBreaker)(clock=clock or self.clock)
        memory: MemoryTier[MemoryValue] = MemoryTier(switches.memory_entries, clock or self.clock)
        redis = RedisTier(self.client, self.recorder, namespace=namespace, breaker=self.breaker)
        self.cache: AuthCache = CACHES[switches.coalescing](
            switches=switches,
            codec=load_codec(switches.codec),
            memory=memory,
            redis=redis if switches.redis == "on" else None,
            recorder=self.recorder,
            ttl_s=ttl_s,
            time_scale=time_scale,
        )

    def peer(self, switches: Switches | None = None) -> World:
        """Another worker over the same Redis."""
        return World(switches or self.cache.switches, client=self.client)

    def forget_memory(self) -> None:
        """Let every memory entry expire."""
        self.clock.now += 10_000.0


def switched(base: Switches = PLAIN, **changes: Any) -> Switches:
    return Switches(**{**base.model_dump(), **changes})


def trace() -> Trace:
    return Trace(KeyScope.TEAM)


def seen(one: Trace) -> list[str]:
    """The lookups of a trace as ``tier op outcome``, in their order."""
    return [f"{look.tier} {look.op} {look.outcome}" for look in one.lookups]


async def until(condition: Callable[[], bool], patience_s: float = 30.0) -> None:
    """Let other tasks run until the condition holds."""
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0)
