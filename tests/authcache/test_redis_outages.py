"""What `recommended` does about a Redis that fails, step by step."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import NoPermissionError, ResponseError

from harness.authcache.cache import ABSENT_PAYLOAD, JITTER, LIVES_PER_TTL
from harness.authcache.codecs import load_codec
from harness.authcache.invalidation import CHECK_S, MECHANISMS, Generation
from harness.authcache.objects import Team, User
from harness.authcache.tiers import SETTLED_S, Outage, ProbedBreaker, RedisUnavailableError, _frame
from harness.authcache.variants import load_variants
from harness.authcache.words import Invalidated, ObjectKind, ReadReason, Tier, WriteOutcome
from tests.authcache.crowd import Crowd, balanced
from tests.authcache.fakes import (
    TTL_S,
    Clock,
    FakeClient,
    Source,
    World,
    seen,
    switched,
    trace,
    until,
)
from tests.authcache.test_fault_rules import GARBAGE
from tests.authcache.virtual import virtually

TEAM, USER = ObjectKind.TEAM, ObjectKind.USER
RECOMMENDED = load_variants()["recommended"].switches


def test_the_breaker_opens_at_the_first_silence_and_tries_ever_more_rarely() -> None:
    clock = Clock()
    breaker = ProbedBreaker(clock)
    assert breaker.allows()
    assert breaker.failed()
    assert not breaker.failed()  # one that was under way when it opened
    assert not breaker.allows()
    trials = []
    for tick in range(500):
        clock.now = 1000.0 + tick / 100
        if breaker.due():
            trials.append(clock.now - 1000.0)
            breaker.failed()

    pauses = [round(b - a, 2) for a, b in itertools.pairwise(trials)]
    assert trials[0] == pytest.approx(0.05)
    assert pauses[:5] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0], abs=0.011)
    assert not breaker.succeeded()
    assert breaker.allows()


def test_a_server_that_comes_and_goes_has_one_outage() -> None:
    clock = Clock()
    breaker = ProbedBreaker(clock)
    assert breaker.failed()
    for _ in range(10):
        clock.now += SETTLED_S / 2
        assert not breaker.succeeded()
        assert not breaker.failed()
    assert not breaker.succeeded()
    clock.now += SETTLED_S
    assert breaker.succeeded()
    assert not breaker.succeeded()
    assert breaker.failed()


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 5)), max_size=40))
def test_begins_and_ends_of_outages_alternate(events: list[tuple[bool, float]]) -> None:
    clock = Clock()
    outage, said = Outage(clock), []
    for works, after_s in events:
        clock.now += after_s
        if works and outage.worked():
            said.append("end")
        elif not works and outage.failed():
            said.append("begin")

    assert said == (["begin", "end"] * len(said))[: len(said)]


def silent(world: World) -> None:
    world.client.server.breaks("hangs")


def test_many_requests_wait_for_one_time_out_and_then_for_none() -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        world = World(RECOMMENDED, clock=loop.time)
        silent(world)
        crowds = [Crowd(world, Source(), 1) for _ in range(1)]
        keys = [world.cache.load(TEAM, f"t{i}", Source(), trace()) for i in range(50)]
        began = loop.time()
        answers = await asyncio.gather(*keys, *(crowd.found() for crowd in crowds))

        assert loop.time() - began == world.client.server.TIMEOUT_S
        assert None not in answers
        began, sent = loop.time(), world.client.sent["SET GET"]
        for i in range(50):
            assert await world.cache.load(TEAM, f"u{i}", Source(), trace()) is not None
        assert loop.time() == began
        assert world.client.sent["SET GET"] == sent
        assert len(world.recorder.outages) == 1

        world.client.server.breaks("")
        await until_closed(world)
        one = trace()
        await world.cache.load(TEAM, "v", Source(), one)
        assert seen(one) == ["memory load miss", "redis load miss"]
        assert world.recorder.returns == 0
        await asyncio.sleep(SETTLED_S)
        await world.cache.load(TEAM, "w", Source(), trace())
        assert (len(world.recorder.outages), world.recorder.returns) == (1, 1)
        assert world.recorder.pending == 0

    virtually(play())


async def until_closed(world: World) -> None:
    """Until a trial has been answered; lookups start the trials."""
    for _ in range(20):
        if world.breaker.allows():
            return
        await asyncio.sleep(0.25)
        assert world.cache.redis is not None
        try:
            await world.cache.redis.get("asked")
        except RedisUnavailableError:
            continue
    raise AssertionError("no trial was answered")


@pytest.mark.parametrize(
    "error",
    [
        NoPermissionError("this user has no permissions to run the 'ping' command"),
        ResponseError("MISCONF Errors writing to the AOF file: No space left on device"),
    ],
)
def test_a_refused_trial_is_an_answer(error: Exception) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        world = World(RECOMMENDED, clock=loop.time)
        silent(world)
        assert await world.cache.load(TEAM, "t", Source(), trace()) is not None
        world.client.server.refuses_ping = error
        world.client.server.breaks("")
        await until_closed(world)

    virtually(play())


def test_one_trial_at_a_time_and_no_request_waits_for_it() -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        world = World(RECOMMENDED, clock=loop.time)
        silent(world)
        await world.cache.load(TEAM, "t", Source(), trace())
        for i in range(100):
            began = loop.time()
            await world.cache.load(TEAM, f"u{i}", Source(), trace())
            assert loop.time() == began
            await asyncio.sleep(0.01)
        assert 1 < world.client.sent["ping"] <= 4
        assert world.cache.redis is not None
        await world.cache.redis.close()
        assert world.recorder.pending == 0

    virtually(play())


@pytest.mark.parametrize("fault", ["readonly", "full"])
async def test_a_redis_that_takes_no_writes_is_read(fault: str) -> None:
    world = World(RECOMMENDED)
    await world.cache.load(TEAM, "t", Source(), trace())
    world.forget_memory()
    world.client.server.breaks(fault)
    held, absent = trace(), trace()

    found = await world.cache.load(TEAM, "t", Source(), held)
    await world.cache.load(TEAM, "u", Source(), absent)
    await world.cache.load(TEAM, "v", Source(), trace())

    assert found is not None
    assert found.tier == "redis"
    assert seen(absent) == ["memory load miss", "redis load miss"]
    assert absent.source_reads == [(TEAM, ReadReason.MISS)]
    assert world.breaker.allows()
    assert (len(world.recorder.outages), world.recorder.refused) == (1, 1)
    assert world.recorder.writes[Tier.REDIS, WriteOutcome.SKIPPED, TEAM] == 2


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("kind", [TEAM, USER])
async def test_an_entry_that_cannot_be_read_is_one_miss(garbage: str, kind: ObjectKind) -> None:
    if kind is USER and garbage in ("of another kind", "cut short"):
        pytest.skip("is the entry of a user, or of another kind anyway")
    one = World(RECOMMENDED)
    other = one.peer()
    value = Team(team_id="t") if kind is TEAM else User(user_id="t")
    one.client.held["t"] = GARBAGE[garbage]
    source, traces = Source(value), [trace(), trace(), trace()]

    for world, each in zip((one, other, one), traces, strict=True):
        found = await world.cache.load(kind, "t", source, each)
        assert found is not None
        assert found.value == value

    assert source.reads == 1
    assert traces[0].source_reads == [(kind, ReadReason.DESERIALIZE_FAILURE)]
    assert seen(traces[1]) == ["memory load miss", "redis load hit"]
    assert one.recorder.writes[Tier.REDIS, WriteOutcome.OK, kind] == 1


async def test_what_replaces_an_entry_meanwhile_stays() -> None:
    world = World(RECOMMENDED)
    world.client.held["t"] = GARBAGE["foreign"]
    newer = _frame(b"stored meanwhile", time.time())

    class Meanwhile(Source):
        async def __call__(self) -> Any:
            world.client.held["t"] = newer
            return await super().__call__()

    await world.cache.load(TEAM, "t", Meanwhile(), trace())

    assert world.client.held["t"] == newer


@pytest.mark.parametrize("kind", [TEAM, ObjectKind.KEY])
async def test_no_key_and_no_team_is_absent_because_redis_says_so(kind: ObjectKind) -> None:
    world = World(RECOMMENDED)
    world.client.held["t"] = _frame(ABSENT_PAYLOAD, time.time())
    source = Source()

    assert await world.cache.load(kind, "t", source, trace()) is not None
    assert source.reads == 1


def test_an_absence_is_forgotten_after_one_ttl_whatever_tier_has_it() -> None:
    async def play(switches: Any) -> tuple[int, float]:
        loop = asyncio.get_running_loop()
        first = World(switches, clock=loop.time)
        other = World(switches, client=first.client, clock=loop.time)
        source = Source().absent()
        await first.cache.load(USER, "u", source, trace())
        await asyncio.sleep(0.9 * TTL_S)
        found = await other.cache.load(USER, "u", source, trace())
        assert (found is not None, source.reads) == (True, 1)
        while source.reads == 1:
            await asyncio.sleep(0.05 * TTL_S)
            await other.cache.load(USER, "u", source, trace())
        return source.reads, loop.time()

    def forgotten(value: str) -> float:
        return virtually(play(switched(RECOMMENDED, negative_caching=value, expiry="exact")))[1]

    assert forgotten("brief") <= 1.06 * TTL_S
    assert forgotten("on") > 1.8 * TTL_S  # what `brief` is for


async def test_jitter_shortens_what_memory_keeps_and_never_lengthens_it() -> None:
    world = World(RECOMMENDED)
    for i in range(200):
        await world.cache.load(TEAM, f"t{i}", Source(), trace())

    lives = [slot.deadline - world.clock.now for slot in world.cache.memory._slots.values()]
    assert (1 - JITTER) * TTL_S <= min(lives) < max(lives) <= TTL_S
    assert max(lives) - min(lives) > 0.5 * JITTER * TTL_S
    assert set(world.client.ttl_ms.values()) == {round(TTL_S * 1000)}


async def test_a_clock_that_is_set_back_does_not_put_off_the_question_for_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(RECOMMENDED)
    told = Generation(world.cache)
    now = time.time()
    monkeypatch.setattr("harness.authcache.cache._now", lambda: now)
    await told.catch_up()
    await world.cache.load(TEAM, "t", Source(), trace())
    asked = world.recorder.gets["generation"]
    await world.cache.load(TEAM, "t", Source(), trace())
    assert world.recorder.gets["generation"] == asked

    now -= 3600.0
    await world.cache.load(TEAM, "t", Source(), trace())
    await until(lambda: world.recorder.pending == 0)

    assert world.recorder.gets["generation"] == asked + 1


async def test_a_change_that_redis_refuses_to_number_is_sent_without_a_number() -> None:
    one = World(RECOMMENDED)
    other = one.peer()
    handler, hears = Generation(one.cache), Generation(other.cache)
    one.client.hearing.append(hears.receive)
    await handler.catch_up()
    await hears.catch_up()
    await other.cache.load(TEAM, "t", Source(), trace())
    one.client.server.breaks("full")

    await handler.changed([(TEAM, "t")])

    assert other.cache.memory.get("t") is None
    assert "t" not in one.client.held
    assert one.recorder.news[Invalidated.DROPPED, TEAM] == 1
    one.client.server.breaks("")
    await handler.catch_up()
    assert one.recorder.news[Invalidated.SENT, TEAM] == 1
    assert one.client.numbers[-1] == handler._seen == hears._seen


@pytest.mark.parametrize("ends", [False, True], ids=["goes on", "ends"])
@pytest.mark.parametrize("fault", ["readonly", "away", "readonly for ever"])
def test_news_is_sent_though_its_worker_looks_nothing_up(fault: str, ends: bool) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        one = World(RECOMMENDED, clock=loop.time)
        other = World(RECOMMENDED, client=FakeClient(one.client), clock=loop.time)
        handler, hears = Generation(one.cache), Generation(other.cache)
        await handler.catch_up()
        await hears.catch_up()
        await other.cache.load(TEAM, "t", Source(), trace())
        one.client.away = fault == "away"
        one.client.server.breaks("" if one.client.away else "readonly")
        await handler.changed([(TEAM, "t")])
        await asyncio.sleep(10 * CHECK_S)
        assert one.recorder.pending == 0
        one.client.hearing.append(hears.receive)
        if fault != "readonly for ever":
            one.client.away = False
            one.client.server.breaks("")

        began = loop.time()
        if ends:
            await handler.close()
            assert loop.time() - began <= CHECK_S
        else:
            await asyncio.sleep(2.0)

        heard = fault != "readonly for ever"
        assert (other.cache.memory.get("t") is None) == heard
        assert one.recorder.news[Invalidated.SENT, TEAM] == heard
        await handler.close()
        assert one.recorder.pending == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    virtually(play())


def test_news_of_a_change_that_is_given_up_is_sent_all_the_same() -> None:
    async def play() -> None:
        world = World(RECOMMENDED, clock=asyncio.get_running_loop().time)
        told = Generation(world.cache)
        await told.catch_up()
        world.client.hold.clear()
        change = asyncio.create_task(told.changed([(TEAM, "t")]))
        await asyncio.sleep(0.1)
        change.cancel()
        await asyncio.gather(change, return_exceptions=True)
        world.client.hold.set()
        await asyncio.sleep(2 * CHECK_S)

        assert world.recorder.news[Invalidated.SENT, TEAM] == 1
        await told.close()

    virtually(play())


class Warm:
    """Two workers that hear of changes, and a team of which both and Redis hold a copy."""

    def __init__(self, handler: str = "kept", listener: str = "kept") -> None:
        clock = asyncio.get_running_loop().time
        one = World(switched(RECOMMENDED, lost_news=handler), clock=clock)
        client = FakeClient(one.client)
        other = World(switched(RECOMMENDED, lost_news=listener), client=client, clock=clock)
        self.worlds = one, other
        self.server = one.client.server
        self.handler, self.hears = (Generation(world.cache) for world in self.worlds)
        for told in (self.handler, self.hears):
            one.client.hearing.append(told.receive)
        self.source = Source(Team(team_id="t", team_alias="old"))

    async def up(self) -> None:
        for told in (self.handler, self.hears):
            await told.catch_up()
        assert await self.found() == [("old", "source"), ("old", "redis")]

    async def change(self) -> None:
        self.source.value = Team(team_id="t", team_alias="new")
        await self.handler.changed([(TEAM, "t")])

    async def found(self) -> list[tuple[str, str]]:
        """By each worker: the version and its tier, beyond memory."""
        answers = []
        for world in self.worlds:
            world.cache.memory.clear()
            found = await world.cache.load(TEAM, "t", self.source, trace())
            assert found is not None
            answers.append((found.value.team_alias, found.tier))
        return answers

    async def close(self) -> None:
        for told in (self.handler, self.hears):
            await told.close()


NEW = ("new", "source")


@pytest.mark.parametrize("hears_itself", [True, False])
def test_no_entry_is_taken_from_redis_that_is_known_to_be_outdated(hears_itself: bool) -> None:
    async def play() -> None:
        warm = Warm()
        await warm.up()
        if not hears_itself:
            warm.worlds[0].client.hearing.remove(warm.handler.receive)
        warm.server.breaks("readonly")
        await warm.change()

        assert await warm.found() == [NEW, NEW]
        await asyncio.sleep(0.9 * TTL_S)
        assert await warm.found() == [NEW, NEW]
        warm.server.breaks("")
        assert await warm.found() == [NEW, NEW]
        await asyncio.sleep(2 * CHECK_S)  # Now the change has a number.
        assert await warm.found() == [NEW, ("new", "redis")]
        assert await warm.found() == [("new", "redis")] * 2
        await warm.close()

    virtually(play())


def test_redis_is_trusted_again_when_what_it_held_has_expired() -> None:
    async def play() -> None:
        warm = Warm()
        await warm.up()
        warm.server.breaks("readonly")
        await warm.change()
        await asyncio.sleep(TTL_S)
        client, later = warm.worlds[0].client, Team(team_id="t", team_alias="later")
        client.held["t"] = _frame(load_codec("msgspec").encode(TEAM, later), time.time())
        client.deadlines["t"] = math.inf

        assert await warm.found() == [("later", "redis")] * 2
        await warm.close()

    virtually(play())


def test_a_handler_that_redis_did_not_hear_takes_nothing_outdated_when_it_is_back() -> None:
    async def play() -> None:
        warm = Warm()
        await warm.up()
        client = warm.worlds[0].client
        client.away = True
        await warm.change()
        client.away = False
        await until_closed(warm.worlds[0])

        assert (await warm.found())[0] == NEW
        await warm.close()

    virtually(play())


def test_the_log_does_not_say_that_redis_has_evicted_what_changed_again() -> None:
    async def play() -> None:
        warm = Warm()
        await warm.up()
        hearing = warm.worlds[0].client.hearing
        hearing.remove(warm.hears.receive)
        await warm.handler.changed([(TEAM, "t")])  # The other misses it.
        await warm.found()
        hearing.append(warm.hears.receive)
        warm.server.breaks("readonly")
        await warm.change()
        await warm.hears.catch_up()

        assert await warm.found() == [NEW, NEW]
        await warm.close()

    virtually(play())


def test_a_late_message_does_not_say_so_either() -> None:
    async def play() -> None:
        warm = Warm()
        await warm.up()
        warm.server.breaks("readonly")
        await warm.change()
        warm.handler.receive([b"message", b"", b"%d\nteam t" % warm.handler._seen])

        assert (await warm.found())[0] == NEW
        await warm.close()

    virtually(play())


@pytest.mark.parametrize("handler", ["dropped", "kept"])
def test_what_keeps_no_news_trusts_redis_as_before(handler: str) -> None:
    async def play() -> None:
        warm = Warm(handler, listener="dropped")
        await warm.up()
        warm.server.breaks("readonly")
        await warm.change()

        outdated = ("old", "redis")
        assert await warm.found() == [outdated if handler == "dropped" else NEW, outdated]
        await warm.close()

    virtually(play())


async def test_a_log_that_was_evicted_is_no_log_without_news() -> None:
    one = World(RECOMMENDED)
    other = one.peer()
    handler, hears = Generation(one.cache), Generation(other.cache)
    await handler.changed([(TEAM, "t")])
    await hears.catch_up()
    await other.cache.load(TEAM, "u", Source(), trace())
    await handler.changed([(TEAM, "u")])
    one.client.log.clear()
    one.client.remove("u")

    await hears.catch_up()

    assert other.cache.memory.get("u") is None
    await other.cache.load(TEAM, "u", Source(), trace())
    await handler.changed([(TEAM, "v")])  # begins a new log, which does not say what was in the old
    await handler.changed([(TEAM, "w")])
    await hears.catch_up()
    assert other.cache.memory.get("u") is None


KEYS = st.text() | st.sampled_from(["a\nb", "a\r\nteam b", "\x85", "\u2028", "a b", "%0A", "", " "])
OBJECTS = st.lists(st.tuples(st.sampled_from(ObjectKind), KEYS), min_size=1, unique=True)


@pytest.mark.parametrize(
    ("mechanism", "heard"),
    [("broadcast", "message"), ("generation", "message"), ("generation", "log")],
)
@given(changed=OBJECTS)
def test_news_names_each_object_whatever_its_key(
    mechanism: str, heard: str, changed: list[tuple[ObjectKind, str]]
) -> None:
    async def play() -> None:
        one = World(switched(RECOMMENDED, invalidation=mechanism))
        other = one.peer()
        handler, hears = (MECHANISMS[mechanism](world.cache) for world in (one, other))
        if isinstance(hears, Generation):
            await hears.catch_up()
        if heard == "message":
            one.client.hearing.append(hears.receive)
        await handler.changed(changed)
        if isinstance(hears, Generation):
            await hears.catch_up()

        kinds = Counter(kind for kind, _ in changed)
        assert other.recorder.news == {(Invalidated.RECEIVED, kind): n for kind, n in kinds.items()}
        assert other.cache._evicted.keys() == {key for _, key in changed}

    virtually(play())


@pytest.mark.parametrize("mechanism", ["broadcast", "generation"])
@pytest.mark.parametrize(
    "message",
    [b"", b"no number", b"0\nno_kind t", b"0\nteam", b"0\nteam t u", b"0\nteam %FF", b"\xff\nteam"],
)
async def test_a_message_that_cannot_be_read_empties_memory(mechanism: str, message: bytes) -> None:
    world = World(RECOMMENDED)
    told = MECHANISMS[mechanism](world.cache)
    await world.cache.load(TEAM, "t", Source(), trace())

    told.receive([b"message", b"channel", message])

    assert world.cache.memory.get("t") is None


async def test_a_log_that_cannot_be_read_is_read_once() -> None:
    world = World(RECOMMENDED)
    told = Generation(world.cache)
    await told.catch_up()
    await told.changed([(TEAM, "u")])
    world.client.log["no_kind t"] = world.client.numbers[-1]
    await world.cache.load(TEAM, "t", Source(), trace())

    await told.catch_up()

    assert world.cache.memory.get("t") is None
    await world.cache.load(TEAM, "t", Source(), trace())
    await told.catch_up()
    assert world.cache.memory.get("t") is not None


async def test_tracking_hears_of_keys_that_are_no_text() -> None:
    world = World(switched(RECOMMENDED, invalidation="tracking"))
    told = MECHANISMS["tracking"](world.cache)
    await told.connected()
    await world.cache.load(TEAM, "t", Source(), trace())

    told.receive([b"invalidate", [b"\xff\x00", b"t"]])

    assert world.cache.memory.get("t") is None


def test_a_claim_is_short_whatever_the_ttl() -> None:
    lives = [World(RECOMMENDED, ttl_s=ttl_s).cache for ttl_s in (0.5, 2.0, 60.0)]
    assert [one._life_s for one in lives] == [  # type: ignore[attr-defined]
        0.5 / LIVES_PER_TTL,
        2.0 / LIVES_PER_TTL,
        0.5,
    ]


@pytest.mark.parametrize("where", ["before redis", "another's claim", "its own read"])
def test_a_lookup_that_is_given_up_leaves_the_ledger_balanced(where: str) -> None:
    async def play() -> None:
        loop = asyncio.get_running_loop()
        world = World(RECOMMENDED, clock=loop.time)
        other = World(RECOMMENDED, client=world.client, clock=loop.time)
        source = Source()
        source.hold.clear()
        leader = Crowd(other if where == "another's claim" else world, source, 1)
        await asyncio.sleep(0.1)
        crowd = leader if where == "its own read" else Crowd(world, source, 1)
        await asyncio.sleep(0.1)
        for task in crowd.tasks:
            task.cancel()
        await asyncio.gather(*crowd.tasks, return_exceptions=True)

        assert balanced(crowd)
        errors = world.recorder.read_errors[TEAM]
        assert errors == len(crowd.reads) == (where == "its own read")
        source.hold.set()
        await asyncio.gather(*leader.tasks, return_exceptions=True)

    virtually(play())
