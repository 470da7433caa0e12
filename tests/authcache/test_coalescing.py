from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from harness.authcache.cache import Found, SourceUnavailableError
from harness.authcache.objects import Team
from harness.authcache.words import Coalesced, ReadReason
from tests.authcache.crowd import COALESCING, TEAM, Crowd, balanced
from tests.authcache.fakes import TTL_S, Source, World, seen, switched, trace, until

pytestmark = pytest.mark.timeout(60)


async def test_without_coalescing_every_lookup_reads() -> None:
    world, source = World(), Source()
    crowd = Crowd(world, source, 10)

    assert len(await crowd.found()) == 10
    assert source.reads == 10
    assert crowd.waits == []


@pytest.mark.parametrize("coalesce", COALESCING)
async def test_concurrent_lookups_are_one_read(coalesce: str) -> None:
    world, source = World(switched(coalescing=coalesce)), Source()
    source.hold.clear()
    crowd = Crowd(world, source, 10)
    await until(lambda: source.reads == 1)
    source.hold.set()

    found = await crowd.found()

    assert len(found) == 10
    assert Counter(one.tier for one in found) == {"source": 1, "shared": 9}
    assert source.reads == 1
    assert crowd.reads == [ReadReason.MISS]
    assert crowd.waits == [Coalesced.BEFORE_REDIS] * 9
    assert crowd.redis_lookups == 1
    assert balanced(crowd)


@pytest.mark.parametrize("coalesce", sorted({*COALESCING} - {"lease"}))
async def test_without_redis_they_wait_before_the_source(coalesce: str) -> None:
    world, source = World(switched(coalescing=coalesce, redis="off")), Source()
    crowd = Crowd(world, source, 10)

    await crowd.found()

    assert source.reads == 1
    assert crowd.waits == [Coalesced.BEFORE_SOURCE] * 9


@pytest.mark.parametrize("coalesce", COALESCING)
async def test_a_flight_is_over_when_it_has_landed(coalesce: str) -> None:
    world, source = World(switched(coalescing=coalesce)), Source().absent()

    for reads in (1, 2):
        assert await world.cache.load(TEAM, "t", source, trace()) is None
        assert source.reads == reads
    assert world.client.held == {}


@pytest.mark.parametrize("coalesce", COALESCING)
async def test_an_absence_that_is_waited_for_names_no_second_read(coalesce: str) -> None:
    world, source = World(switched(coalescing=coalesce)), Source().absent()
    source.hold.clear()
    crowd = Crowd(world, source, 3)
    await until(lambda: source.reads == 1)
    source.hold.set()

    answers = await asyncio.gather(*crowd.tasks)

    # The leader's None is served as an absence of the tier `source`.
    assert answers.count(None) == 1
    assert [(one.value, one.tier) for one in answers if one is not None] == [(None, "shared")] * 2


@pytest.mark.parametrize("coalesce", COALESCING)
async def test_lookups_of_different_keys_do_not_wait_for_each_other(coalesce: str) -> None:
    world, slow, fast = World(switched(coalescing=coalesce)), Source(), Source(Team(team_id="f"))
    slow.hold.clear()
    crowd = Crowd(world, slow, 2)
    await until(lambda: slow.reads == 1)

    found = await world.cache.load(TEAM, "fast", fast, trace())

    assert found is not None
    assert found.value.team_id == "f"
    slow.hold.set()
    await crowd.found()


@pytest.mark.parametrize("coalesce", COALESCING)
async def test_a_leader_that_is_given_up_hands_over(coalesce: str) -> None:
    world, source = World(switched(coalescing=coalesce)), Source()
    source.hold.clear()
    crowd = Crowd(world, source, 5)
    await until(lambda: source.reads == 1)

    crowd.tasks[0].cancel()
    await until(lambda: source.reads == 2)
    source.hold.set()
    answers = await asyncio.gather(*crowd.tasks, return_exceptions=True)

    assert isinstance(answers[0], asyncio.CancelledError)
    assert all(isinstance(answer, Found) for answer in answers[1:])
    assert source.reads == 2
    assert len(crowd.waits) == 3
    assert balanced(crowd)


@pytest.mark.parametrize("coalesce", COALESCING)
async def test_a_waiter_that_is_given_up_ends_alone(coalesce: str) -> None:
    world, source = World(switched(coalescing=coalesce)), Source()
    source.hold.clear()
    crowd = Crowd(world, source, 3)
    await until(lambda: source.reads == 1)

    crowd.tasks[1].cancel()
    source.hold.set()

    assert [type(error) for error in await crowd.errors()] == [asyncio.CancelledError]
    assert source.reads == 1


@pytest.mark.parametrize("coalesce", COALESCING)
async def test_when_all_are_given_up_none_takes_the_lead(coalesce: str) -> None:
    world, source = World(switched(coalescing=coalesce)), Source()
    source.hold.clear()
    crowd = Crowd(world, source, 3)
    await until(lambda: source.reads == 1)

    for task in crowd.tasks:
        task.cancel()

    assert [type(error) for error in await crowd.errors()] == [asyncio.CancelledError] * 3
    assert source.reads == 1


@pytest.mark.parametrize("coalesce", COALESCING)
@pytest.mark.parametrize(
    ("failure", "expected"),
    [(OSError("gone"), SourceUnavailableError), (ZeroDivisionError(), ZeroDivisionError)],
    ids=["Postgres away", "a row that fits no model"],
)
async def test_a_leader_that_fails_fails_all(
    coalesce: str, failure: Exception, expected: type[Exception]
) -> None:
    world, source = World(switched(coalescing=coalesce)), Source()
    source.failure = failure
    crowd = Crowd(world, source, 5)

    assert [type(error) for error in await crowd.errors()] == [expected] * 5

    assert source.reads == 1
    # An error is an answer too; without it the ledger would miss four reads.
    assert len(crowd.waits) == 4
    assert balanced(crowd)
    source.failure = None
    assert await world.cache.load(TEAM, "t", source, trace()) is not None


@pytest.mark.parametrize("coalesce", COALESCING)
async def test_what_redis_holds_is_asked_for_once(coalesce: str) -> None:
    world, source = World(switched(coalescing=coalesce)), Source()
    await world.cache.load(TEAM, "t", source, trace())
    crowd = Crowd(world.peer(), source, 10)

    found = await crowd.found()

    assert Counter(one.tier for one in found) == {"redis": 1, "shared": 9}
    assert source.reads == 1
    assert crowd.waits == [Coalesced.BEFORE_REDIS] * 9
    assert crowd.redis_lookups == 1


@pytest.mark.parametrize("coalesce", COALESCING)
async def test_an_unreadable_value_in_memory_is_read_anew_at_once(coalesce: str) -> None:
    world, source, one = World(switched(coalescing=coalesce)), Source(), trace()
    world.cache.memory.set("t", b"{}", time.time(), TTL_S)

    assert await world.cache.load(TEAM, "t", source, one) is not None

    assert one.source_reads == [(TEAM, ReadReason.DESERIALIZE_FAILURE)]
    assert seen(one) == ["memory load deserialize_failure"]


@pytest.mark.parametrize("coalesce", COALESCING)
async def test_nothing_is_asked_under_no_key(coalesce: str) -> None:
    world, source = World(switched(coalescing=coalesce)), Source()

    assert await world.cache.load(TEAM, None, source, trace()) is None
    assert source.reads == 0
