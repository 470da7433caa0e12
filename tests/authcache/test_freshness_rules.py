"""Random interleavings of loads, changes, losses and expiry for every mechanism, in virtual time.

Three rules. *Promise*: no answer is older than both TTLs and one read, whatever is lost. *Late
store*: with ``late_store = off`` no tier is filled with a row that had changed before the worker
applied the change (memory) or before the handler evicted it (Redis). *Convergence*: even if
nothing ever expires, a mechanism that repairs losses brings every worker to the last version.
Faults are planted at the end; Hypothesis must find each and shrink it to a few steps.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from harness.authcache.cache import AuthCache, SourceUnavailableError
from harness.authcache.invalidation import (
    CHANNEL,
    CHECK_S,
    MECHANISMS,
    Broadcast,
    Generation,
    Invalidation,
    Tracking,
)
from harness.authcache.objects import Team
from harness.authcache.switches import Switches
from harness.authcache.tiers import RedisTier, RedisUnavailableError, _is_claim
from harness.authcache.variants import load_variants
from harness.authcache.words import ObjectKind
from tests.authcache.fakes import TTL_S, FakeClient, World, switched, trace
from tests.authcache.virtual import virtually

TEAM = ObjectKind.TEAM
RECOMMENDED = load_variants()["recommended"].switches
WORKERS = 2
LATENCIES_S = (0.0, 0.01, 0.2)
READS_S = (0.0, 0.05, 1.0, 5.0)
PROMISE_S = 2 * TTL_S + max(READS_S) + 20 * max(LATENCIES_S)
"""The last part is for commands on their way and for a lookup that waits for another's read."""
FOR_EVER_S = 1e9
VERSION = re.compile(rb"version-(\d+)")


class Step(NamedTuple):
    """What happens ``after_s`` seconds after the step before."""

    after_s: float
    worker: int
    what: str


class Plan(NamedTuple):
    """An interleaving. Its reads and latencies are used in turn, over and over."""

    steps: list[Step]
    reads_s: list[float]
    latencies_s: list[float]


def plans(*kinds: str) -> st.SearchStrategy[Plan]:
    pauses = st.sampled_from([0.0, 0.005, 0.1, 1.0, 20.0, 0.9 * TTL_S, 1.5 * TTL_S])
    steps = st.builds(Step, pauses, st.integers(0, WORKERS - 1), st.sampled_from(kinds))
    return st.builds(
        Plan,
        st.lists(steps, max_size=10),
        st.lists(st.sampled_from(READS_S), min_size=1, max_size=3),
        st.lists(st.sampled_from(LATENCIES_S), min_size=1, max_size=3),
    )


ANY = plans("load", "load", "load", "change", "change", "lose", "cut", "mend", "away", "back")
CONNECTED = plans("load", "load", "change", "change")
CUT = plans("load", "load", "change", "change", "cut", "mend")
LOSSY = plans("load", "load", "change", "change", "lose", "cut", "mend")


class Row:
    """One team in Postgres; its alias says which version it is."""

    def __init__(self, reads_s: Iterator[float]) -> None:
        self.reads_s = reads_s
        self.ended: list[float] = []
        """When each version ceased to be true."""

    @property
    def version(self) -> int:
        return len(self.ended)

    async def read(self) -> Team:
        value = Team(team_id="t", team_alias=f"version-{self.version}")
        await asyncio.sleep(next(self.reads_s))
        return value

    def change(self) -> None:
        self.ended.append(now())


class Line(FakeClient):
    """A worker's connection: commands are carried out in order, and each answer takes a while."""

    def __init__(self, shared: FakeClient, fleet: Fleet, latencies_s: Iterator[float]) -> None:
        super().__init__(shared)
        self.fleet = fleet
        self.latencies_s = latencies_s
        self.order = asyncio.Lock()

    async def _run(self, name: str, words: tuple[Any, ...]) -> Any:
        async with self.order:
            await asyncio.sleep(next(self.latencies_s))
            reply = await super()._run(name, words)
            tombstone = name == "SET" and "NX" not in words and _is_claim(words[2])
            if tombstone or name == "DEL" or CHANNEL in words:
                self.fleet.evicted()
            return reply

    async def _answer(self, answer: asyncio.Future[Any], name: str, words: tuple[Any, ...]) -> None:
        on_its_way: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await super()._answer(on_its_way, name, words)
        # Meanwhile the commands after it are carried out.
        await asyncio.sleep(next(self.latencies_s))
        if answer.done():
            return
        if (error := on_its_way.exception()) is not None:
            answer.set_exception(error)
            answer.exception()
        else:
            answer.set_result(on_its_way.result())

    def set(self, key: str, value: bytes, px: int) -> None:
        super().set(key, value, px)
        if (version := VERSION.search(value)) and int(version[1]) < self.fleet.evicted_version:
            self.fleet.faults.add("an old row was stored in Redis")


class Worker:
    """A worker's real cache and mechanism over the fake Redis."""

    def __init__(self, fleet: Fleet, switches: Switches, ttl_s: float) -> None:
        self.fleet = fleet
        self.line = Line(fleet.redis, fleet, fleet.latencies_s)
        clock = asyncio.get_running_loop().time
        self.cache = World(switches, client=self.line, clock=clock, ttl_s=ttl_s).cache
        self.told: Invalidation = MECHANISMS[switches.invalidation](self.cache)
        self.hears = False
        self.loses = 0
        self.applied = 0
        """The version that was true when memory was last told to drop the row."""
        self._watch(self.cache)
        fleet.redis.hearing.append(self.pushed)

    def _watch(self, cache: AuthCache) -> None:
        evict, flush, put = cache.evict, cache.flush, cache.memory.set

        def evicting(key: str) -> bool:
            self.applied = self.fleet.evicted_version if key == "t" else self.applied
            return evict(key)

        def setting(key: str, value: Any, read_at: float, ttl_s: float) -> None:
            put(key, value, read_at, ttl_s)
            version = VERSION.search(value.team_alias.encode())
            if version is not None and int(version[1]) < self.applied:
                self.fleet.faults.add("an old row was stored in memory")

        def flushing() -> None:
            self.applied = self.fleet.evicted_version
            flush()

        cache.evict = evicting  # type: ignore[method-assign]
        cache.flush = flushing  # type: ignore[method-assign]
        cache.memory.set = setting  # type: ignore[method-assign]

    def pushed(self, message: list[Any]) -> None:
        if not self.hears:
            return
        if self.loses and message[0] == b"message":
            self.loses -= 1
            return
        delay_s = next(self.fleet.latencies_s)
        asyncio.get_running_loop().call_later(delay_s, self._hear, message)

    def _hear(self, message: list[Any]) -> None:
        if self.hears:
            self.told.receive(message)

    async def mend(self) -> None:
        self.hears = True
        self.line.away = False
        while True:
            try:
                await self.told.connected()
            except RedisUnavailableError:
                await asyncio.sleep(0.5)
            else:
                return

    def cut(self) -> None:
        if self.hears:
            self.hears = False
            self.told.lost()


class Fleet:
    """Workers, one row, and what the rules say."""

    def __init__(self, plan: Plan, switches: Switches, ttl_s: float) -> None:
        self.faults: set[str] = set()
        self.latencies_s = cycle(plan.latencies_s)
        self.row = Row(cycle(plan.reads_s))
        self.redis = FakeClient()
        self.evicted_version = 0
        """Copies of older versions are gone from Redis."""
        self.changing = 0
        self.workers = [Worker(self, switches, ttl_s) for _ in range(WORKERS)]

    def evicted(self) -> None:
        if self.changing:
            self.evicted_version = self.changing

    async def load(self, worker: Worker) -> int | None:
        sent = now()
        try:
            found = await worker.cache.load(TEAM, "t", self.row.read, trace())
        except SourceUnavailableError:
            return None
        assert found is not None
        version = int(found.value.team_alias.removeprefix("version-"))
        if version < len(self.row.ended) and self.row.ended[version] < sent - PROMISE_S:
            self.faults.add("an answer was older than the promise")
        return version

    async def change(self, worker: Worker) -> None:
        self.row.change()
        self.changing = self.row.version
        await worker.told.changed([(TEAM, "t")])

    async def step(self, step: Step, tasks: set[asyncio.Task[Any]]) -> None:
        worker = self.workers[step.worker]
        if step.what == "load":
            tasks.add(asyncio.create_task(self.load(worker)))
        elif step.what == "change":
            # One after the other: what a version is called is what was evicted.
            await self.change(worker)
        elif step.what == "lose":
            worker.loses += 1
        elif step.what == "cut":
            worker.cut()
        elif step.what == "mend":
            await worker.mend()
        else:
            worker.line.away = step.what == "away"


def now() -> float:
    return asyncio.get_running_loop().time()


async def play(plan: Plan, switches: Switches, ttl_s: float) -> set[str]:
    fleet = Fleet(plan, switches, ttl_s)
    tasks: set[asyncio.Task[Any]] = set()
    for worker in fleet.workers:
        await worker.mend()
    for step in plan.steps:
        await asyncio.sleep(step.after_s)
        await fleet.step(step, tasks)
    await asyncio.gather(*tasks)
    for worker in fleet.workers:
        worker.loses = 0
        if not worker.hears or worker.line.away:
            await worker.mend()
    for _ in range(2):
        await asyncio.sleep(2 * CHECK_S)
        last = [await fleet.load(worker) for worker in fleet.workers]
    if any(version != fleet.row.version for version in last):
        fleet.faults.add("a worker never came to the last version")
    for worker in fleet.workers:
        await worker.told.close()
    return fleet.faults


def played(plan: Plan, switches: Switches, ttl_s: float = TTL_S) -> set[str]:
    with patch("harness.authcache.cache._now", lambda: time.time()):  # noqa: PLW0108 - looked up anew
        return virtually(play(plan, switches, ttl_s))


PROMISE = "an answer was older than the promise"
LATE = {"an old row was stored in Redis", "an old row was stored in memory"}
CONVERGES = "a worker never came to the last version"


@pytest.mark.parametrize("mechanism", MECHANISMS)
@pytest.mark.parametrize(
    ("coalescing", "late"),
    [("none", "on"), ("none", "off"), ("single_flight", "off"), ("lease", "on"), ("lease", "off")],
)
@given(ANY)
def test_the_promise_holds_and_nothing_is_stored_late(
    mechanism: str, coalescing: str, late: Any, plan: Plan
) -> None:
    switches = switched(RECOMMENDED, invalidation=mechanism, coalescing=coalescing, late_store=late)
    broken = played(plan, switches) & ({PROMISE} | (LATE if late == "off" else set()))
    assert broken == set()


@pytest.mark.parametrize(
    ("mechanism", "what"),
    [("broadcast", CONNECTED), ("tracking", CUT), ("generation", LOSSY)],
)
@pytest.mark.parametrize("coalescing", ["none", "lease"])
def test_what_is_lost_is_repaired_without_any_expiry(
    mechanism: str, what: st.SearchStrategy[Plan], coalescing: str
) -> None:
    switches = switched(RECOMMENDED, invalidation=mechanism, coalescing=coalescing)

    @given(what)
    def converges(plan: Plan) -> None:
        assert CONVERGES not in played(plan, switches, FOR_EVER_S)

    converges()


def _never(*_: Any) -> bool:
    return False


async def _set(tier: RedisTier, items: Any, ttl_s: float, **_: Any) -> list[bool]:
    await tier.set_many([item[:3] for item in items], ttl_s)
    return [True] * len(items)


def _deaf_to_gaps(self: Generation, number: int, objects: Any) -> None:
    Broadcast.told(self, number, objects)
    self._seen = number


def _nothing(*_: Any) -> None:
    """A connection is lost and memory is kept."""


async def _goes_on(self: Tracking) -> None:
    self.cache.fills_memory = True


async def _asks_nothing(self: Generation) -> None:
    self._seen = 0


PLANTS: dict[str, tuple[list[tuple[Any, str, Any]], dict[str, Any], Any, str, float]] = {
    "a loader that stores late in memory": (
        [(AuthCache, "late", _never)],
        {},
        ANY,
        "an old row was stored in memory",
        TTL_S,
    ),
    "a loader that stores late in Redis": (
        [(RedisTier, "set_newer", _set)],
        {},
        ANY,
        "an old row was stored in Redis",
        TTL_S,
    ),
    "a loader that stores late in Redis, without a lease": (
        [(RedisTier, "set_newer", _set)],
        {"coalescing": "none"},
        ANY,
        "an old row was stored in Redis",
        TTL_S,
    ),
    "a lost message that nothing repairs": (
        [],
        {"invalidation": "broadcast"},
        LOSSY,
        CONVERGES,
        FOR_EVER_S,
    ),
    "a connection that was away, and nothing is asked afterwards": (
        [(Generation, "catch_up", _asks_nothing), (Generation, "told", _deaf_to_gaps)],
        {},
        LOSSY,
        CONVERGES,
        FOR_EVER_S,
    ),
    "memory that is kept without its tracking connection": (
        [(Tracking, "lost", _nothing), (Tracking, "connected", _goes_on)],
        {"invalidation": "tracking"},
        CUT,
        CONVERGES,
        FOR_EVER_S,
    ),
    "a handler that forgets its own memory": (
        [(Invalidation, "_evict", _nothing)],
        {"invalidation": "handler"},
        CONNECTED,
        CONVERGES,
        FOR_EVER_S,
    ),
    "backfill that outlives the promise": (
        [],
        {"invalidation": "none", "backfill_ttl": "fixed_600s"},
        ANY,
        PROMISE,
        TTL_S,
    ),
}
SEARCH = settings(
    max_examples=3000,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
)


@pytest.mark.integration  # no server, but each search takes a second or more
@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_fault_is_found_and_shrunk(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patches, changes, what, rule, ttl_s = PLANTS[name]
    switches = switched(RECOMMENDED, **changes)
    for place, attribute, planted in patches:
        monkeypatch.setattr(place, attribute, planted)

    def breaks(plan: Plan) -> bool:
        return rule in played(plan, switches, ttl_s)

    plan = find(what, breaks, settings=SEARCH)
    assert len(plan.steps) <= 8, plan
