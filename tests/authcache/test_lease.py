from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any

import pytest

from harness.authcache.cache import LIVES_PER_TTL, Entry, SourceUnavailableError
from harness.authcache.coalescing import LIFE_MOST_S, Lease, _Claim
from harness.authcache.objects import Team
from harness.authcache.tiers import _is_claim, new_claim
from harness.authcache.words import Coalesced, ObjectKind, ReadReason, Tier, WriteOutcome
from tests.authcache.crowd import TEAM, Crowd, balanced
from tests.authcache.fakes import TTL_S, FakeClient, Source, World, seen, switched, trace, until
from tests.authcache.virtual import virtually

LEASE = switched(coalescing="lease")


async def test_a_renewal_that_is_given_up_is_counted() -> None:
    """The server carries it out and counts it, whether or not anything waits for the answer."""
    world = World(LEASE, ttl_s=0.05)
    lease, claim = world.cache, _Claim(new_claim(), 0.0)
    assert isinstance(lease, Lease)
    lease._claims["t"] = claim
    world.client.hold.clear()
    renewal = asyncio.create_task(lease._renew("t", claim))
    await until(lambda: world.client.sent["EVAL"] == 1)
    renewal.cancel()
    await asyncio.gather(renewal, return_exceptions=True)

    world.client.hold.set()

    await until(lambda: world.client.sent["get"] == 1)


LIFE_S = min(TTL_S / LIVES_PER_TTL, LIFE_MOST_S)
Test = Callable[..., Coroutine[Any, Any, None]]


def at_once(test: Test) -> Callable[..., None]:
    """Run a test in virtual time."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        virtually(test(*args, **kwargs))

    return run


def now() -> float:
    return asyncio.get_running_loop().time()


def world_of(client: Any = None, **changes: Any) -> World:
    """A worker in the loop's time."""
    return World(switched(LEASE, **changes), client=client or FakeClient(), clock=now)


class Slow(Source):
    """Postgres that takes its time."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    async def __call__(self) -> Any:
        self.reads += 1
        self.hold.clear()
        await asyncio.sleep(self.seconds)
        self.hold.set()
        if self.failure is not None:
            raise self.failure
        return None if self.value is None else self.value.model_copy()


@at_once
async def test_replicas_that_share_a_redis_read_once() -> None:
    one, source = world_of(), Slow(0.3 * LIFE_S)
    other = world_of(one.client)
    crowds = [Crowd(one, source, 3), Crowd(other, source, 3)]

    found = [answer for crowd in crowds for answer in await crowd.found()]

    assert [one.tier for one in found].count("source") == 1
    assert [one.tier for one in found].count("shared") == 5
    assert source.reads == 1
    assert [len(crowd.reads) for crowd in crowds] == [1, 0]
    assert crowds[1].waits.count(Coalesced.BEFORE_SOURCE) == 1
    assert all(balanced(crowd) for crowd in crowds)
    assert other.recorder.gets["claim"] == 1
    assert other.cache.memory.get("t") is not None
    assert one.client.held.keys() == {"t"}


@at_once
async def test_a_claim_is_renewed_while_its_reader_lives() -> None:
    one, source = world_of(), Slow(10.5 * LIFE_S)
    crowds = [Crowd(world, source, 2) for world in (one, world_of(one.client))]

    for crowd in crowds:
        await crowd.found()

    assert source.reads == 1
    assert 10.5 * LIFE_S <= now() <= 10.6 * LIFE_S


@at_once
async def test_a_claim_ends_one_life_after_its_reader_dies() -> None:
    client, source = FakeClient(), Source()
    client.held["t"] = new_claim()
    client.expire("t", round(LIFE_S * 1000))
    crowds = [Crowd(world_of(client), source, 2) for _ in range(3)]

    for crowd in crowds:
        await crowd.found()

    assert source.reads == 1
    assert LIFE_S <= now() <= 1.1 * LIFE_S
    assert all(balanced(crowd) for crowd in crowds)


@at_once
async def test_a_waiting_lookup_polls_at_growing_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    one = world_of(client := FakeClient())
    client.held["t"] = new_claim()
    client.expire("t", round(LIFE_S * 1000))
    times: list[float] = []
    monkeypatch.setattr(one.recorder, "redis_get", lambda _: times.append(now()))

    await one.cache.load(TEAM, "t", Source(), trace())

    polls = [round(times[i + 1] - times[i], 6) for i in range(20)]
    assert polls[0] == pytest.approx(LIFE_S / 200)
    assert polls == sorted(polls)
    assert max(polls) == pytest.approx(LIFE_S / 20)


@at_once
async def test_a_claim_under_which_nothing_was_stored_is_given_back() -> None:
    world = world_of()

    assert await world.cache.load(TEAM, "t", Source().absent(), trace()) is None
    with pytest.raises(SourceUnavailableError):
        await world.cache.load(TEAM, "u", Source().away(), trace())
    given_up = asyncio.create_task(world.cache.load(TEAM, "v", Slow(LIFE_S), trace()))
    await asyncio.sleep(0.5 * LIFE_S)
    assert _is_claim(world.client.held["v"])
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)

    assert world.client.held == {}


@at_once
async def test_a_lookup_given_up_before_redis_answers_gives_back_what_it_may_hold() -> None:
    world = world_of()
    world.client.hold.clear()
    given_up = asyncio.create_task(world.cache.load(TEAM, "t", Source(), trace()))
    await asyncio.sleep(0.1)
    given_up.cancel()
    asyncio.get_running_loop().call_later(0.1, world.client.hold.set)
    await asyncio.gather(given_up, return_exceptions=True)
    await asyncio.sleep(0.2)

    assert world.client.held == {}


@at_once
async def test_a_reader_that_lost_its_claim_neither_deletes_nor_replaces_what_another_stored() -> (
    None
):
    client = FakeClient()
    late, fast = world_of(FakeClient(client)), world_of(FakeClient(client))
    for outcome in ("stores", "fails", "finds no row"):
        key = f"t {outcome}"
        source = Slow(3 * LIFE_S)
        if outcome == "fails":
            source.away()
        if outcome == "finds no row":
            source.absent()
        first = asyncio.create_task(late.cache.load(TEAM, key, source, trace()))
        await asyncio.sleep(0.1)
        late.client.away = True  # so that nothing is renewed
        await fast.cache.load(TEAM, key, Source(Team(team_id="new")), trace())
        stored = client.held[key]
        late.client.away = False
        await asyncio.gather(first, return_exceptions=True)

        assert client.held[key] == stored
        late.breaker.succeeded()


@at_once
async def test_a_reader_whose_claim_is_gone_does_not_fill_an_empty_key() -> None:
    """What it read may have been deleted meanwhile, because it had changed."""
    world = world_of()
    load = asyncio.create_task(world.cache.load(TEAM, "t", Slow(0.2 * LIFE_S), trace()))
    await asyncio.sleep(0.1 * LIFE_S)
    world.client.remove("t")

    assert await load is not None

    assert world.client.held == {}
    assert world.recorder.writes[Tier.REDIS, WriteOutcome.SKIPPED, TEAM] == 1
    assert world.recorder.writes[Tier.REDIS, WriteOutcome.OK, TEAM] == 0


@at_once
async def test_what_is_a_ttl_old_does_not_fill_an_empty_key() -> None:
    """Something newer may have been stored and have expired since."""
    world = world_of()
    for key, age_s in (("too old", TTL_S), ("young enough", TTL_S - 1)):
        await world.cache.put(Entry(TEAM, key, Team(team_id="t"), time.time() - age_s))

    assert world.client.held.keys() == {"young enough"}


@at_once
async def test_an_older_value_written_again_does_not_end_the_claim_of_a_read_under_way() -> None:
    world, source = world_of(), Slow(0.5 * LIFE_S)
    older = Entry(TEAM, "t", Team(team_id="older"), time.time() - 1)
    load = asyncio.create_task(world.cache.load(TEAM, "t", source, trace()))
    await asyncio.sleep(0.1 * LIFE_S)

    await world.cache.put(older)

    assert _is_claim(world.client.held["t"])
    await load
    assert world.recorder.writes[Tier.REDIS, WriteOutcome.OK, TEAM] == 1


@at_once
async def test_in_memory_an_older_read_does_not_take_the_place_of_a_newer_one() -> None:
    world = world_of()
    for name, read_at in (("new", 20.0), ("old", 10.0), ("same", 20.0)):
        entry = Entry(TEAM, "t", Team(team_id=name), read_at)
        await world.cache.put_many([entry], memory_only=True)
        slot = world.cache.memory.get("t")
        assert slot is not None
        assert slot.read_at == 20.0

    writes = world.recorder.writes
    assert writes[Tier.MEMORY, WriteOutcome.SKIPPED, TEAM] == 1
    assert writes[Tier.MEMORY, WriteOutcome.OK, TEAM] == 2


@at_once
async def test_a_peek_claims_nothing() -> None:
    world, one = world_of(), trace()

    assert await world.cache.peek(TEAM, "t", one) is None

    assert world.client.held == {}
    assert seen(one) == ["memory peek miss", "redis peek miss"]


@at_once
async def test_an_absence_is_taken_from_the_holder_of_the_lease() -> None:
    one, source = world_of(negative_caching="on"), Slow(0.5 * LIFE_S)
    source.absent()
    loads = [
        asyncio.create_task(world.cache.load(ObjectKind.USER, "u", source, trace()))
        for world in (one, world_of(one.client, negative_caching="on"))
    ]

    leader, waiter = await asyncio.gather(*loads)

    assert leader is None
    assert waiter is not None
    assert (waiter.value, waiter.tier) == (None, "shared")
    assert source.reads == 1


@at_once
async def test_what_the_holder_left_and_we_cannot_read_is_a_failure_like_any_other() -> None:
    world, source, one = world_of(), Source(), trace()
    world.client.held["t"] = new_claim()
    load = asyncio.create_task(world.cache.load(TEAM, "t", source, one))
    await asyncio.sleep(0.5)
    world.client.held["t"] = b"1.0 {}"

    found = await load

    assert found is not None
    assert found.tier == "source"
    assert seen(one) == ["memory load miss", "redis load deserialize_failure"]
    assert one.source_reads == [(TEAM, ReadReason.DESERIALIZE_FAILURE)]
    assert one.waits == []
    assert world.recorder.decodes == 1
    assert world.client.held["t"] != b"1.0 {}"


@at_once
async def test_without_redis_there_is_no_lease_and_postgres_answers() -> None:
    world, source, one = world_of(), Source(), trace()
    world.client.away = True

    assert await world.cache.load(TEAM, "t", source, one) is not None

    assert one.source_reads == [(TEAM, ReadReason.BACKEND_ERROR)]
    assert seen(one) == ["memory load miss", "redis load backend_error"]


@at_once
async def test_redis_that_goes_away_while_another_reads() -> None:
    world, source, one = world_of(), Source(), trace()
    world.client.held["t"] = new_claim()
    load = asyncio.create_task(world.cache.load(TEAM, "t", source, one))
    await asyncio.sleep(0.5)
    world.client.away = True

    assert await load is not None

    assert one.source_reads == [(TEAM, ReadReason.BACKEND_ERROR)]
    assert seen(one) == ["memory load miss", "redis load backend_error"]
