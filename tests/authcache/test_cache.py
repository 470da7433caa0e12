from __future__ import annotations

import time
from typing import Any

import pytest

from harness.authcache.cache import BACKFILL_FIXED_S, Entry, Found
from harness.authcache.objects import Key, Membership, MembershipDefaultNone, Team, User
from harness.authcache.words import ObjectKind, ReadReason, Tier, WriteOutcome
from tests.authcache.fakes import TTL_S, Source, World, seen, switched, trace

TEAM, USER, KEY, MEMBERSHIP = (
    ObjectKind.TEAM,
    ObjectKind.USER,
    ObjectKind.KEY,
    ObjectKind.MEMBERSHIP,
)
OK = WriteOutcome.OK


def left(world: World, key: str) -> float:
    """Seconds that memory still holds a key."""
    slot = world.cache.memory.get(key)
    assert slot is not None
    return slot.deadline - world.clock.now


async def test_a_first_load_asks_all_and_fills_both_tiers() -> None:
    world, source, one = World(), Source(), trace()

    found = await world.cache.load(TEAM, "t", source, one)

    assert found is not None
    assert (found.value.team_id, found.tier) == ("t", "source")
    assert seen(one) == ["memory load miss", "redis load miss"]
    assert one.source_reads == [(TEAM, ReadReason.MISS)]
    assert world.recorder.writes == {(Tier.MEMORY, OK, TEAM): 1, (Tier.REDIS, OK, TEAM): 1}
    assert world.client.ttl_ms == {"t": TTL_S * 1000}
    assert left(world, "t") == TTL_S


async def test_a_second_load_is_a_memory_hit_of_the_first_read() -> None:
    world, source, one = World(), Source(), trace()
    first = await world.cache.load(TEAM, "t", source, trace())

    found = await world.cache.load(TEAM, "t", source, one)

    assert seen(one) == ["memory load hit"]
    assert one.source_reads == []
    assert source.reads == 1
    assert first is not None
    assert found is not None
    assert (found.tier, found.read_at) == ("memory", first.read_at)
    assert [(tier, kind) for tier, kind, _ in world.recorder.served] == [(Tier.MEMORY, TEAM)]


async def test_with_cold_memory_redis_answers_and_keeps_the_read_time() -> None:
    world, source, one = World(), Source(), trace()
    first = await world.cache.load(TEAM, "t", source, trace())
    peer = world.peer()

    found = await peer.cache.load(TEAM, "t", source, one)

    assert seen(one) == ["memory load miss", "redis load hit"]
    assert source.reads == 1
    assert first is not None
    assert found is not None
    assert found.tier == "redis"
    assert found.read_at == pytest.approx(first.read_at, abs=1e-5)
    assert found.value == first.value


async def test_a_peek_never_asks_postgres() -> None:
    world, one = World(), trace()

    assert await world.cache.peek(TEAM, "t", one) is None

    assert seen(one) == ["memory peek miss", "redis peek miss"]
    assert one.source_reads == []


async def test_without_redis_one_tier_is_asked() -> None:
    world, one = World(switched(redis="off")), trace()

    await world.cache.load(TEAM, "t", Source(), one)

    assert seen(one) == ["memory load miss"]
    assert world.client.sent == {}


@pytest.mark.parametrize(
    ("backfill_ttl", "time_scale", "expected"),
    [
        ("fixed_600s", 1.0, BACKFILL_FIXED_S),
        ("fixed_600s", 0.4, BACKFILL_FIXED_S * 0.4),
        ("entry_ttl", 0.4, TTL_S),
    ],
)
@pytest.mark.parametrize("memory_payload", ["encoded", "object"])
async def test_how_long_memory_keeps_what_came_from_redis(
    backfill_ttl: str, time_scale: float, expected: float, memory_payload: str
) -> None:
    switches = switched(backfill_ttl=backfill_ttl, memory_payload=memory_payload)
    writer = World(switches)
    await writer.cache.load(TEAM, "t", Source(), trace())
    reader = World(switches, client=writer.client, time_scale=time_scale)

    await reader.cache.load(TEAM, "t", Source(), trace())

    assert left(reader, "t") == pytest.approx(expected)
    assert reader.recorder.writes == {(Tier.MEMORY, OK, TEAM): 1}


async def test_an_absent_object_is_asked_for_again_without_negative_caching() -> None:
    world, source = World(), Source().absent()

    assert await world.cache.load(USER, "u", source, trace()) is None
    assert await world.cache.load(USER, "u", source, trace()) is None

    assert source.reads == 2
    assert world.recorder.writes == {}


@pytest.mark.parametrize("memory_payload", ["encoded", "object"])
@pytest.mark.parametrize(("kind", "reads"), [(USER, 1), (MEMBERSHIP, 1), (TEAM, 2), (KEY, 2)])
async def test_negative_caching_remembers_absent_users_and_memberships(
    kind: ObjectKind, reads: int, memory_payload: str
) -> None:
    world = World(switched(negative_caching="on", memory_payload=memory_payload))
    source, one = Source().absent(), trace()
    assert await world.cache.load(kind, "id", source, trace()) is None

    again = await world.cache.load(kind, "id", source, one)

    assert source.reads == reads
    if reads == 1:
        assert again == Found(None, again.read_at if again else 0.0, "memory")
        assert seen(one) == ["memory load hit"]


@pytest.mark.parametrize("memory_payload", ["encoded", "object"])
async def test_an_absence_is_shared_through_redis(memory_payload: str) -> None:
    world = World(switched(negative_caching="on", memory_payload=memory_payload))
    source, one, two = Source().absent(), trace(), trace()
    await world.cache.load(USER, "u", source, trace())
    peer = world.peer()

    found = await peer.cache.load(USER, "u", source, one)
    await peer.cache.load(USER, "u", source, two)

    assert source.reads == 1
    assert found is not None
    assert found.value is None
    assert seen(one) == ["memory load miss", "redis load hit"]
    assert seen(two) == ["memory load hit"]


async def test_nothing_is_read_or_written_under_no_key() -> None:
    world, source, one = World(), Source(), trace()

    assert await world.cache.load(USER, None, source, one) is None
    assert await world.cache.peek(USER, None, one) is None

    assert source.reads == 0
    assert not one.lookups
    assert not one.source_reads
    assert world.client.sent == {}
    assert len(world.cache.memory) == 0


async def test_several_objects_are_one_round_trip_and_one_write_each() -> None:
    world = World()
    user = Entry(USER, "u", User(user_id="u"), 1.0)
    team = Entry(TEAM, "t", Team(team_id="t"), 2.0)

    await world.cache.put_many([user, team], ttl_s=7.0)

    assert world.client.sent["batch"] == 1
    assert world.client.ttl_ms == {"u": 7000, "t": 7000}
    assert left(world, "t") == 7.0
    assert world.recorder.writes[Tier.REDIS, OK, USER] == 1
    assert len(world.recorder.sizes) == 2


async def test_a_write_back_to_memory_alone_leaves_redis_as_it_was() -> None:
    world = World()

    await world.cache.put_many([Entry(TEAM, "t", Team(team_id="t"), 1.0)], memory_only=True)

    assert world.client.sent == {}
    assert world.recorder.writes == {(Tier.MEMORY, OK, TEAM): 1}


@pytest.mark.parametrize(
    ("rule", "model"), [("required", Membership), ("default_none", MembershipDefaultNone)]
)
async def test_the_rule_for_memberships_is_the_readers(rule: str, model: type[Any]) -> None:
    assert World(switched(membership_budget=rule)).cache.models[MEMBERSHIP] is model


async def test_a_size_of_0_asks_redis_every_time() -> None:
    world, source = World(switched(memory_entries=0)), Source()
    await world.cache.load(TEAM, "t", source, trace())
    one = trace()

    await world.cache.load(TEAM, "t", source, one)

    assert seen(one) == ["memory load miss", "redis load hit"]


async def test_an_old_key_object_is_as_old_as_its_read_from_postgres() -> None:
    world = World()
    an_hour_ago = time.time() - 3600
    await world.cache.put(Entry(KEY, "k", Key(token="k"), an_hour_ago))
    peer = world.peer()
    rewritten = await peer.cache.peek(KEY, "k", trace())
    assert rewritten is not None
    await peer.cache.put(Entry(KEY, "k", rewritten.value, rewritten.read_at))

    await world.cache.peek(KEY, "k", trace())

    assert all(age >= 3600 for _, _, age in world.recorder.served + peer.recorder.served)
