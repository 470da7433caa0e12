"""Random interleavings of several workers over one Redis, in virtual time.

The rules hold whatever happens: connections that break before or after a command, readers that are
slow, fail, find no row or are given up, objects that are written once more. Three faults that an
earlier lease had are planted at the end, and the rules must find each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import cycle
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import ConnectionError as RedisConnectionError

from harness.authcache.cache import LIVES_PER_TTL, Entry, Found, SourceUnavailableError
from harness.authcache.coalescing import LIFE_MOST_S, Lease
from harness.authcache.objects import Team
from harness.authcache.tiers import RedisTier, _is_claim, _unframe
from tests.authcache.crowd import TEAM
from tests.authcache.fakes import TTL_S, FakeClient, World, switched, trace
from tests.authcache.virtual import virtually

LIFE_S = min(TTL_S / LIVES_PER_TTL, LIFE_MOST_S)
WORKERS = 3
LEASE = switched(coalescing="lease", backfill_ttl="entry_ttl")
ROUNDING_S = 1e-5


class Step(NamedTuple):
    """What happens ``after_s`` seconds after the step before."""

    after_s: float
    worker: int
    what: str


class Read(NamedTuple):
    """How long one read from Postgres takes, and how it ends."""

    seconds: float
    ends: str


class Plan(NamedTuple):
    """An interleaving. Its reads and latencies are used in turn, over and over."""

    steps: list[Step]
    reads: list[Read]
    latencies_s: list[float]


def plans(steps: list[str], ends: list[str]) -> st.SearchStrategy[Plan]:
    lives = st.integers(0, 20).map(lambda tenths: tenths / 10 * LIFE_S)
    return st.builds(
        Plan,
        st.lists(
            st.builds(Step, lives, st.integers(0, WORKERS - 1), st.sampled_from(steps)),
            max_size=12,
        ),
        st.lists(
            st.builds(
                Read, st.integers(0, 40).map(lambda n: n / 10 * LIFE_S), st.sampled_from(ends)
            ),
            min_size=1,
            max_size=4,
        ),
        st.lists(st.sampled_from([0.0, 0.01 * LIFE_S, 0.05 * LIFE_S]), min_size=1, max_size=3),
    )


ANY = plans(
    ["load", "load", "load", "write again", "cut", "lose answers", "mend", "give up"],
    ["found", "found", "fails", "no row"],
)
QUIET = plans(["load"], ["found"])


class Watch:
    """What the rules say about every command that Redis carries out."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.claims: dict[bytes, tuple[object, float]] = {}
        """Claims that were granted and not ended by their owner: owner, deadline."""
        self.newest = 0.0

    def granted(self, owner: object, claim: bytes, deadline: float) -> None:
        live = [one for one, (_, ends) in self.claims.items() if ends > now()]
        if live:
            self.faults.append("two live claims")
        self.claims[claim] = (owner, deadline)

    def ended(self, owner: object) -> None:
        self.claims = {c: one for c, one in self.claims.items() if one[0] is not owner}

    def stored(self, read_at: float) -> None:
        if read_at < self.newest - ROUNDING_S:
            self.faults.append("an older read took the place of a newer one in Redis")
        self.newest = max(self.newest, read_at)

    def removed(self, held: bytes | None) -> None:
        if held is not None and not _is_claim(held):
            self.faults.append("an object was deleted")


class Connection(FakeClient):
    """One worker's connection: its commands are carried out in their order, each after a while."""

    def __init__(self, shared: FakeClient, watch: Watch, latencies_s: Iterator[float]) -> None:
        super().__init__(shared)
        self.watch = watch
        self.latencies_s = latencies_s
        self.loses_answers = False
        self.turn = asyncio.Lock()

    async def _run(self, name: str, words: tuple[Any, ...]) -> Any:
        async with self.turn:
            await asyncio.sleep(next(self.latencies_s))
            if self.away:
                raise RedisConnectionError("connection refused")
            reply = self._carry_out(name, words)
            await asyncio.sleep(next(self.latencies_s))
        if self.loses_answers:
            raise RedisConnectionError("connection reset")
        return reply

    def _carry_out(self, name: str, words: tuple[Any, ...]) -> Any:
        if name == "EVAL":
            script, _, key, *arguments = words[1:]
            return getattr(self, self.scripts[script])(key, *arguments)
        key = words[1]
        held = self.get(key)
        if name == "DEL":
            self.watch.ended(self)
            self.remove_by_command(key)
        if name == "SET" and not ("NX" in words and held is not None):
            self.set(key, words[2], words[words.index("PX") + 1])
        return held

    def set(self, key: str, value: bytes, px: int) -> None:
        if _is_claim(value):
            self.watch.granted(self, value, now() + px / 1000)
        else:
            if self.held.get(key) in self.watch.claims:
                self.watch.ended(self)
            self.watch.stored(_unframe(value)[1])
        super().set(key, value, px)

    def keep(self, key: str, claim: bytes, px: int) -> int:
        if self.get(key) != claim:
            return 0
        if px:
            self.expire(key, px)
            self.watch.claims[claim] = (self, self.deadlines[key])
        else:
            self.watch.ended(self)
            self.remove_by_command(key)
        return 1

    def remove_by_command(self, key: str) -> None:
        self.watch.removed(self.get(key))
        self.remove(key)


class Play:
    """Carries a plan out."""

    def __init__(self, plan: Plan, watch: Watch) -> None:
        self.plan = plan
        self.watch = watch
        self.reads = cycle(plan.reads)
        self.reading = 0
        self.at_once = 0
        """Reads that began while another was under way."""
        self.last: dict[World, Found] = {}
        self.tasks: list[tuple[World, asyncio.Task[None]]] = []
        shared, latencies_s = FakeClient(), cycle(plan.latencies_s)
        self.worlds = [
            World(LEASE, client=Connection(shared, watch, latencies_s), clock=now)
            for _ in range(WORKERS)
        ]
        for world in self.worlds:
            world.breaker.open_s = LIFE_S / 6
            keep_watch_of_memory(world, watch)

    async def run(self) -> None:
        for after_s, number, what in self.plan.steps:
            await asyncio.sleep(after_s)
            self.step(self.worlds[number], what)
        async with asyncio.timeout(1000 * LIFE_S):
            ends = await asyncio.gather(*(task for _, task in self.tasks), return_exceptions=True)
        expected = (SourceUnavailableError, asyncio.CancelledError, type(None))
        self.watch.faults += [repr(end) for end in ends if not isinstance(end, expected)]

    def step(self, world: World, what: str) -> None:
        if what == "load":
            self.tasks.append((world, asyncio.create_task(self.load(world))))
        elif what == "write again":
            self.tasks.append((world, asyncio.create_task(self.write_again(world))))
        elif what == "give up":
            for owner, task in self.tasks:
                if owner is world:
                    task.cancel()
        else:
            world.client.away = what == "cut"
            world.client.loses_answers = what == "lose answers"

    async def load(self, world: World) -> None:
        found = await world.cache.load(TEAM, "t", self.read, trace())
        if found is not None and found.value is not None:
            self.last[world] = found
            longest_s = max(read.seconds for read in self.plan.reads)
            if time.time() - found.read_at > longest_s + 2 * TTL_S + LIFE_S:
                self.watch.faults.append("an answer is older than promised")

    async def write_again(self, world: World) -> None:
        if (found := self.last.get(world)) is not None:
            await world.cache.put(Entry(TEAM, "t", found.value, found.read_at))

    async def read(self) -> Team | None:
        seconds, ends = next(self.reads)
        self.at_once += self.reading > 0
        self.reading += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self.reading -= 1
        if ends == "fails":
            raise SourceUnavailableError("Postgres is away")
        return Team(team_id="t") if ends == "found" else None


def played(plan: Plan) -> tuple[list[str], int]:
    """What went against the rules, and how many reads began while another was under way."""

    async def play() -> tuple[list[str], int]:
        one = Play(plan, Watch())
        await one.run()
        return one.watch.faults, one.at_once

    return virtually(play())


def keep_watch_of_memory(world: World, watch: Watch) -> None:
    memory = world.cache.memory
    write = memory.set

    def watched(key: str, value: Any, read_at: float, ttl_s: float) -> None:
        slot = memory.get(key)
        if slot is not None and read_at < slot.read_at:
            watch.faults.append("an older read took the place of a newer one in memory")
        write(key, value, read_at, ttl_s)

    memory.set = watched  # type: ignore[method-assign]


def now() -> float:
    return asyncio.get_running_loop().time()


@given(ANY)
def test_no_two_claims_live_and_no_read_goes_back(plan: Plan) -> None:
    faults, _ = played(plan)
    assert faults == []


@given(QUIET)
def test_while_all_is_well_one_worker_reads(plan: Plan) -> None:
    assert played(plan) == ([], 0)


SLOW = [
    Step(0.0, 0, "load"),
    Step(0.1 * LIFE_S, 0, "cut"),
    Step(LIFE_S, 1, "load"),
    Step(LIFE_S, 0, "mend"),
]
"""The first reader outlives its claim, and a second one reads and stores meanwhile."""
QUICK_READ = Read(0.1 * LIFE_S, "found")


async def _set(tier: RedisTier, items: Any, ttl_s: float, **_: Any) -> list[bool]:
    await tier.set_many([item[:3] for item in items], ttl_s)
    return [True] * len(items)


async def _delete(tier: RedisTier, key: str, claim: bytes, life_s: float) -> bool:
    if life_s > 0:
        return await KEEP(tier, key, claim, life_s)
    await tier.delete(key)
    return True


async def _never(lease: Lease, key: str, claim: Any) -> None:
    del lease, key, claim


KEEP = RedisTier.keep_claim


@pytest.mark.parametrize(
    ("place", "name", "planted", "rule", "plan"),
    [
        (
            *(RedisTier, "set_newer", _set, "took the place of a newer one in Redis"),
            Plan(SLOW, [Read(3 * LIFE_S, "found"), QUICK_READ], [0.0]),
        ),
        (
            *(RedisTier, "keep_claim", _delete, "an object was deleted"),
            Plan(SLOW, [Read(3 * LIFE_S, "fails"), QUICK_READ], [0.0]),
        ),
        (
            *(Lease, "_renew", _never, ""),
            Plan(
                [Step(0.0, 0, "load"), Step(0.0, 1, "load")], [Read(1.1 * LIFE_S, "found")], [0.0]
            ),
        ),
    ],
    ids=["unconditional SET", "unconditional DEL", "no renewal"],
)
def test_the_rules_find_a_lease_that_is_none(
    place: type, name: str, planted: Any, rule: str, plan: Plan
) -> None:
    """Hypothesis finds such plans too, within seconds (docs/decisions/0020)."""
    assert played(plan)[0] == []
    with patch.object(place, name, planted):
        faults, at_once = played(plan)
    assert any(rule in fault for fault in faults) if rule else at_once > 0
