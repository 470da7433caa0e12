from __future__ import annotations

import asyncio

import pytest

from harness.authcache import coalescing
from harness.authcache.cache import SourceUnavailableError
from harness.authcache.tiers import CLAIM
from harness.authcache.words import Coalesced, ObjectKind, ReadReason
from tests.authcache.crowd import TEAM, Crowd, balanced
from tests.authcache.fakes import Source, World, seen, switched, trace, until

pytestmark = pytest.mark.timeout(60)

LEASE = switched(coalescing="lease")


async def test_replicas_that_share_a_redis_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalescing, "LEASE_WAIT_S", 60.0)
    one, source = World(LEASE), Source()
    other = one.peer()
    source.hold.clear()
    crowds = [Crowd(one, source, 3), Crowd(other, source, 3)]
    await until(lambda: other.recorder.gets["lease_poll"] > 0)
    source.hold.set()

    found = [answer for crowd in crowds for answer in await crowd.found()]

    assert [one.tier for one in found].count("source") == 1
    assert [one.tier for one in found].count("shared") == 5
    assert source.reads == 1
    assert [len(crowd.reads) for crowd in crowds] == [1, 0]
    assert crowds[1].waits.count(Coalesced.BEFORE_SOURCE) == 1
    assert all(balanced(crowd) for crowd in crowds)
    assert other.recorder.gets["lookup"] == 1
    assert other.cache.memory.get("t") is not None
    assert one.client.held.keys() == {"t"}


async def test_a_lease_that_nobody_fills_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coalescing, "LEASE_WAIT_S", 0.02)
    world, source, one = World(LEASE), Source(), trace()
    world.client.held["t"] = CLAIM

    found = await world.cache.load(TEAM, "t", source, one)

    assert found is not None
    assert found.tier == "source"
    assert one.source_reads == [(TEAM, ReadReason.MISS)]
    assert one.waits == []
    assert world.client.held["t"] != CLAIM  # what we read is there for others


async def test_a_claim_under_which_nothing_was_stored_is_given_back() -> None:
    world = World(LEASE)

    assert await world.cache.load(TEAM, "t", Source().absent(), trace()) is None
    with pytest.raises(SourceUnavailableError):
        await world.cache.load(TEAM, "u", Source().away(), trace())

    assert world.client.held == {}


async def test_a_peek_claims_nothing() -> None:
    world, one = World(LEASE), trace()

    assert await world.cache.peek(TEAM, "t", one) is None

    assert world.client.held == {}
    assert seen(one) == ["memory peek miss", "redis peek miss"]


async def test_an_absence_is_taken_from_the_holder_of_the_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coalescing, "LEASE_WAIT_S", 60.0)
    switches = switched(LEASE, negative_caching="on")
    one, source = World(switches), Source().absent()
    other = one.peer()
    source.hold.clear()
    loads = [
        asyncio.create_task(world.cache.load(ObjectKind.USER, "u", source, trace()))
        for world in (one, other)
    ]
    await until(lambda: other.recorder.gets["lease_poll"] > 0)
    source.hold.set()

    leader, waiter = await asyncio.gather(*loads)

    assert leader is None
    assert waiter is not None
    assert waiter.value is None
    assert source.reads == 1


async def test_what_the_holder_left_and_we_cannot_read_is_read_from_postgres(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coalescing, "LEASE_WAIT_S", 60.0)
    world, source, one = World(LEASE), Source(), trace()
    world.client.held["t"] = CLAIM
    load = asyncio.create_task(world.cache.load(TEAM, "t", source, one))
    await until(lambda: world.recorder.gets["lease_poll"] > 0)
    world.client.held["t"] = b"{}"

    found = await load

    assert found is not None
    assert found.tier == "source"
    assert one.source_reads == [(TEAM, ReadReason.MISS)]
    assert one.waits == []


async def test_without_redis_there_is_no_lease_and_postgres_answers() -> None:
    world, source, one = World(LEASE), Source(), trace()
    world.client.away = True

    assert await world.cache.load(TEAM, "t", source, one) is not None

    assert one.source_reads == [(TEAM, ReadReason.BACKEND_ERROR)]
    assert seen(one) == ["memory load miss", "redis load backend_error"]


async def test_redis_that_goes_away_while_another_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalescing, "LEASE_WAIT_S", 60.0)
    world, source, one = World(LEASE), Source(), trace()
    world.client.held["t"] = CLAIM
    load = asyncio.create_task(world.cache.load(TEAM, "t", source, one))
    await until(lambda: world.recorder.gets["lease_poll"] > 0)
    world.client.away = True

    assert await load is not None

    assert one.source_reads == [(TEAM, ReadReason.MISS)]
    assert seen(one) == ["memory load miss", "redis load miss"]
