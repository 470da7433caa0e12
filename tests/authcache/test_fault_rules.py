"""`recommended` over a Redis that hangs, refuses or holds garbage, in any order, in virtual time.

Whatever it does, an answer is right within the promise, and a request waits no longer than its
budget: in all, and far less where Postgres is quick. At the end each mend is taken away, by its
switch or its rule, and a plan must show it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.authcache.codecs import load_codec
from harness.authcache.invalidation import CHECK_S
from harness.authcache.objects import Team, User
from harness.authcache.switches import Switches
from harness.authcache.tiers import SETTLED_S, _frame
from harness.authcache.words import ObjectKind, Outcome
from harness.targets.reference.problems import UnavailableError
from harness.targets.reference.request_lookups import LOOKUPS_S, RequestLookups
from tests.authcache.fakes import TTL_S, switched, trace
from tests.authcache.test_freshness_rules import (
    LATE,
    PROMISE,
    PROMISE_S,
    RECOMMENDED,
    TEAM,
    WORKERS,
    Fleet,
    Plan,
    Step,
    Worker,
    now,
)
from tests.authcache.virtual import virtually

QUICK_S = 1.0
"""A request waits at most so long where Postgres answers at once, whatever Redis does: one
time-out, after the rest of a claim whose holder lost Redis."""
SLOW_BUDGET_S = LOOKUPS_S + 0.5
"""And one time-out, to give a claim back."""
BUDGET = "a request waited longer than its budget"
ANSWERED = "nothing was answered though Postgres was well"
ONCE = "a worker met an entry that cannot be read more than once"
OWN = "a worker served an old copy of what it had changed"
CONVERGES = "a worker never came to the last version"
UNREADABLE = Outcome.DESERIALIZE_FAILURE
READS_S = (0.0, 0.05)
SLOW_S = (0.0, 0.05, 1.0, 5.0)
GARBAGE: dict[str, Any] = {
    "other type": ["a list"],
    "truncated": b"17000",
    "cut short": _frame(load_codec("msgspec").encode(TEAM, Team(team_id="t"))[:-2], 1.7e9),
    "cut before its payload": b"1700000000.000000 ",
    "empty": b"",
    "foreign": _frame(b"t\x00\x00\x00\x00{}", 1.7e9),
    "of another kind": _frame(
        load_codec("msgspec").encode(ObjectKind.USER, User(user_id="t")), 1.7e9
    ),
    "large": b"x" * 100_000,
    "no number": b"nan \xff",
}
OTHERS = ("u", "v", "w")
"""What a request looks up besides."""
FAULTS = ("hangs", "readonly", "full", "no del")
ANY = ("load", "load", "load", "change", "well", "well", "flush", "unsubscribe", *FAULTS, *GARBAGE)


def plans(*kinds: str, reads_s: tuple[float, ...] = READS_S) -> st.SearchStrategy[Plan]:
    pauses = st.sampled_from([0.0, 0.005, 0.1, 0.3, 1.0, 20.0, 0.9 * TTL_S, 1.5 * TTL_S])
    steps = st.builds(Step, pauses, st.integers(0, WORKERS - 1), st.sampled_from(kinds))
    return st.builds(
        Plan,
        st.lists(steps, max_size=12),
        st.lists(st.sampled_from(reads_s), min_size=1, max_size=3),
        st.lists(st.sampled_from([0.0, 0.01]), min_size=1, max_size=3),
    )


class Broken(Fleet):
    """A fleet whose Redis fails."""

    budget_s = QUICK_S
    failures = 0
    planted = 0
    """Entries that cannot be read."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.own: Counter[Worker] = Counter()
        """The last version whose change each worker has answered."""

    async def load(self, worker: Worker) -> int | None:
        sent, own = now(), self.own[worker]
        asked = RequestLookups(worker.cache, one := trace(), None)
        try:
            for key in OTHERS:
                _ = asked.load(TEAM, key, self.row.read) or await asked.beyond()
            found = asked.load(TEAM, "t", self.row.read) or await asked.beyond()
        except UnavailableError:
            if self.budget_s < LOOKUPS_S:
                self.faults.add(ANSWERED)
            return None
        finally:
            self.failures += sum(
                look.outcome is Outcome.DESERIALIZE_FAILURE for look in one.lookups
            )
            if now() - sent > self.budget_s:
                self.faults.add(BUDGET)
        version = int(found.value.team_alias.removeprefix("version-"))
        if version < len(self.row.ended) and self.row.ended[version] < sent - PROMISE_S:
            self.faults.add(PROMISE)
        if version < own:
            self.faults.add(OWN)
        return version

    async def change(self, worker: Worker) -> None:
        self.row.change()
        self.changing = version = self.row.version
        await worker.told.changed([(TEAM, "t")])
        self.own[worker] = max(version, self.own[worker])

    async def step(self, step: Step, tasks: set[asyncio.Task[Any]]) -> None:
        server = self.redis.server
        if step.what in FAULTS or step.what == "well":
            server.breaks("" if step.what == "well" else step.what)
        elif step.what in GARBAGE:
            self.planted += 1
            self.redis.held["t"] = GARBAGE[step.what]
            self.redis.deadlines["t"] = now() + 2 * TTL_S
        elif step.what == "flush":
            for table in (self.redis.held, self.redis.deadlines, self.redis.log):
                table.clear()
        elif step.what == "unsubscribe":
            self.workers[step.worker].cut()
        elif step.what == "change":
            # As the caller does: it waits no longer than a request.
            tasks.add(asyncio.create_task(self.change(self.workers[step.worker])))
            await asyncio.sleep(0)
        else:
            await super().step(step, tasks)


async def play(plan: Plan, switches: Switches, budget_s: float) -> set[str]:
    fleet = Broken(plan, switches, TTL_S)
    fleet.budget_s = budget_s
    tasks: set[asyncio.Task[Any]] = set()
    for worker in fleet.workers:
        await worker.mend()
    for step in plan.steps:
        await asyncio.sleep(step.after_s)
        await fleet.step(step, tasks)
    # What Redis does not let a worker replace stays.
    refused = any(step.what in FAULTS for step in plan.steps)
    fleet.redis.server.breaks("")
    await asyncio.gather(*tasks)
    for worker in fleet.workers:
        await worker.mend()
        worker.told.cache.check_at = 0.0
    for _ in range(3):
        await asyncio.sleep(2 * CHECK_S + SETTLED_S)
        last = [await fleet.load(worker) for worker in fleet.workers]
    if budget_s < LOOKUPS_S and any(version != fleet.row.version for version in last):
        fleet.faults.add(CONVERGES)
    if not refused and fleet.failures > WORKERS * fleet.planted:
        fleet.faults.add(ONCE)
    for worker in fleet.workers:
        await worker.told.close()
    return fleet.faults


def played(plan: Plan, switches: Switches = RECOMMENDED, budget_s: float = QUICK_S) -> set[str]:
    with patch("harness.authcache.cache._now", lambda: time.time()):  # noqa: PLW0108 - looked up anew
        return virtually(play(plan, switches, budget_s)) - LATE


@given(plans(*ANY))
def test_whatever_redis_does_each_request_is_answered_right_and_soon(plan: Plan) -> None:
    assert played(plan) == set()


@given(plans(*ANY, reads_s=SLOW_S))
def test_with_a_slow_postgres_too_each_request_ends_within_its_budget(plan: Plan) -> None:
    assert played(plan, budget_s=SLOW_BUDGET_S) == set()


def steps(*those: tuple[float, int, str]) -> list[Step]:
    return [Step(*one) for one in those]


PLANTS: dict[str, tuple[dict[str, Any], tuple[str, Any] | None, str, Plan]] = {
    "a breaker that waits for five failures": (
        {"redis_outage": "counted"},
        None,
        BUDGET,
        Plan(steps((0.0, 0, "hangs"), (0.0, 0, "load"), (20.0, 0, "well")), [0.0], [0.0]),
    ),
    "a claim that outlives its holder for long": (
        {},
        ("harness.authcache.coalescing.LIFE_MOST_S", 60.0),
        BUDGET,
        Plan(
            # What was sent before it hung is carried out when the sender has given up.
            steps((0.0, 0, "load"), (0.005, 0, "hangs"), (0.3, 0, "well"), (0.1, 1, "load")),
            [0.0],
            [0.01],
        ),
    ),
    "an entry that cannot be read, and stays": (
        {"unreadable": "kept"},
        None,
        ONCE,
        Plan(
            steps((0.0, 0, "foreign"), (0.0, 0, "load"), (0.1, 1, "load"), (90.0, 0, "load")),
            [0.0],
            [0.0],
        ),
    ),
    "news that is lost while Redis is away": (
        {"lost_news": "dropped"},
        None,
        CONVERGES,
        Plan(
            steps((0.0, 1, "load"), (1.0, 0, "readonly"), (0.0, 0, "change"), (1.0, 0, "well")),
            [0.0],
            [0.0],
        ),
    ),
    "a handler that asks a Redis that has not evicted": (
        {},
        ("harness.authcache.cache.AuthCache.distrust", lambda *_: None),
        OWN,
        Plan(
            steps((0.0, 0, "load"), (1.0, 0, "readonly"), (0.0, 0, "change"), (0.1, 0, "load")),
            [0.0],
            [0.0],
        ),
    ),
    "a request that waits as long as Postgres": (
        {"source_outage": "waits"},
        None,
        BUDGET,
        Plan(steps((0.0, 0, "load")), [5.0], [0.0]),
    ),
}


@pytest.mark.parametrize("name", PLANTS)
def test_without_its_mend_each_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, patched, rule, plan = PLANTS[name]
    budget_s = SLOW_BUDGET_S if max(plan.reads_s) > LOOKUPS_S else QUICK_S
    assert played(plan, budget_s=budget_s) == set()

    if patched is not None:
        monkeypatch.setattr(*patched)

    assert rule in played(plan, switched(RECOMMENDED, **changes), budget_s)
