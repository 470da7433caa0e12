from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import pytest

from harness.authcache.words import KeyScope, ObjectKind, Op
from harness.domain.series import HookPoint
from harness.observe.counters import Counters
from harness.targets.litellm.inside.instrument import StatementObserver
from harness.targets.litellm.inside.lookups import Lookups
from harness.targets.litellm.inside.request import Request, Requests
from harness.targets.metrics import Metrics
from tests.targets.litellm.inside.caches import (
    Cache,
    Codec,
    LiteLLM_TeamTableCachedObj,
    LiteLLM_UserTable,
    Redis,
    UserAPIKeyAuth,
)

USER = str(uuid.UUID(int=1, version=4))
TEAM = str(uuid.UUID(int=2, version=4))
TOKEN = "ab" * 32
LOOKUPS = "authcache_lookups_total"
READS = "authcache_source_reads_total"


class Statement:
    sql = 'SELECT * FROM "LiteLLM_UserTable" WHERE user_id = $1'


class World:
    """A wrapped cache with two tiers, its counters, and one request that runs."""

    def __init__(self) -> None:
        class OwnCodec(Codec):
            """Wrapped, and thrown away with the test."""

        self.metrics = Metrics("x", {})
        self.requests = Requests(self.metrics)
        self.lookups = Lookups(self.requests)
        self.redis = Redis()
        self.cache = Cache(self.redis, OwnCodec)
        self.lookups.wrap_cache(HookPoint.AUTH_CACHE, self.cache)
        self.lookups.wrap_redis(self.redis)
        self.lookups.wrap_codec(OwnCodec)
        self.statements = StatementObserver(self.requests)
        self.request: Request = self.requests.begin()

    async def get(self, key: str, op: Op = Op.LOAD, model: Any = None) -> Any:
        async def getter(**_: Any) -> Any:
            return await self.cache.async_get_cache(key, model_type=model)

        wrapped = self.lookups.wrap_getter(getter, ObjectKind.USER)
        return await wrapped(check_cache_only=op is Op.PEEK)

    def counted(self) -> Counters:
        self.request.end()
        return Counters.parse(self.metrics.render()[0].decode())

    def outcomes(self) -> dict[tuple[str, ...], float]:
        return self.counted().by(LOOKUPS, "tier", "op", "outcome")


@pytest.fixture
def world() -> World:
    return World()


async def test_memory_answers(world: World) -> None:
    world.cache.in_memory_cache.values[USER] = {"user_id": USER}
    found = await world.get(USER, model=LiteLLM_UserTable)
    assert found.user_id == USER
    assert world.outcomes() == {("memory", "load", "hit"): 1}
    assert [(one.object, one.tier) for one in world.request.served] == [("user", "memory")]


async def test_redis_answers_and_the_backfill_is_seen(world: World) -> None:
    world.redis.values[USER] = {"user_id": USER}
    world.cache.in_memory_cache.ttl_dict[USER] = time.time() + 600
    await world.get(USER, model=LiteLLM_UserTable)
    assert world.outcomes() == {("memory", "load", "miss"): 1, ("redis", "load", "hit"): 1}
    assert world.lookups.backfill_ttl_s[ObjectKind.USER] == pytest.approx(600, abs=60)


async def test_the_backfill_of_a_cache_beside_the_auth_cache_is_not_told(world: World) -> None:
    """It shares the Redis and its keys; how long it keeps them is its own affair."""
    beside = Cache(world.redis)
    world.lookups.wrap_cache(HookPoint.INTERNAL_USAGE_CACHE, beside, may_load=False)
    world.redis.values[USER] = {"user_id": USER}
    beside.in_memory_cache.ttl_dict[USER] = time.time() + 1
    await beside.async_get_cache(USER)
    assert world.outcomes() == {("memory", "peek", "miss"): 1, ("redis", "peek", "hit"): 1}
    assert world.lookups.backfill_ttl_s == {}


def test_a_cache_that_cannot_be_wrapped_whole_is_left_as_it_is(world: World) -> None:
    """Else its lookups would be counted without their tiers."""
    strange = Cache(world.redis)
    del strange.in_memory_cache
    with pytest.raises(AttributeError):
        world.lookups.wrap_cache(HookPoint.AUTH_CACHE, strange)
    assert "async_get_cache" not in vars(strange)


async def test_redis_does_not_answer_and_postgres_is_read(world: World) -> None:
    assert await world.get(USER, model=LiteLLM_UserTable) is None
    world.statements.sent(Statement)
    counted = world.counted()
    assert counted.by(LOOKUPS, "tier", "outcome") == {("memory", "miss"): 1, ("redis", "miss"): 1}
    assert counted.by(READS, "object", "reason") == {("user", "miss"): 1}


async def test_what_does_not_decode_is_a_failure_of_the_tier_that_had_it(world: World) -> None:
    world.cache.in_memory_cache.values[USER] = {"team_id": TEAM, "members_with_roles": []}
    assert await world.get(USER, model=LiteLLM_UserTable) is None
    world.statements.sent(Statement)
    counted = world.counted()
    assert counted.by(LOOKUPS, "tier", "outcome") == {("memory", "deserialize_failure"): 1}
    assert counted.by(READS, "reason") == {("deserialize_failure",): 1}
    assert world.request.served == []


async def test_an_untyped_read_that_finds_another_object_has_failed(world: World) -> None:
    world.cache.in_memory_cache.values[USER] = LiteLLM_TeamTableCachedObj(TEAM)
    await world.get(USER)
    assert world.outcomes() == {("memory", "load", "deserialize_failure"): 1}


async def test_a_getter_that_fails_over_what_it_found_has_not_loaded(world: World) -> None:
    world.cache.in_memory_cache.values[USER] = {"team_id": TEAM, "members_with_roles": []}

    async def getter() -> Any:
        found = await world.cache.async_get_cache(USER)
        return LiteLLM_UserTable(**found)

    with pytest.raises(TypeError):
        await world.lookups.wrap_getter(getter, ObjectKind.USER)()
    assert world.outcomes() == {("memory", "peek", "deserialize_failure"): 1}


async def test_a_getter_that_misses_and_fails_has_loaded(world: World) -> None:
    async def getter() -> Any:
        await world.cache.async_get_cache(USER)
        raise LookupError

    with pytest.raises(LookupError):
        await world.lookups.wrap_getter(getter, ObjectKind.USER)()
    assert ("memory", "load", "miss") in world.outcomes()


async def test_a_getter_that_asks_the_cache_alone_peeks(world: World) -> None:
    await world.get(USER, Op.PEEK, LiteLLM_UserTable)
    assert {op for _, op, _ in world.outcomes()} == {"peek"}


async def test_a_read_outside_any_getter_peeks(world: World) -> None:
    await world.cache.async_get_cache(USER)
    assert {op for _, op, _ in world.outcomes()} == {"peek"}


async def test_the_inline_check_of_a_member_is_a_load(world: World) -> None:
    await world.cache.async_get_cache(f"{TEAM}_{USER}")
    await world.cache.async_get_cache(f"team_membership:{USER}:{TEAM}")
    ops = world.counted().by(LOOKUPS, "tier", "op")
    assert ops[("memory", "load")] == 1
    assert ops[("memory", "peek")] == 1


async def test_a_redis_that_fails_is_a_backend_error(world: World) -> None:
    world.redis.error = ConnectionError("gone")
    await world.get(USER, model=LiteLLM_UserTable)
    assert world.outcomes() == {
        ("memory", "load", "miss"): 1,
        ("redis", "load", "backend_error"): 1,
    }


async def test_a_statement_that_no_lookup_came_before_is_direct(world: World) -> None:
    world.cache.in_memory_cache.values[USER] = {"user_id": USER}
    await world.get(USER, model=LiteLLM_UserTable)
    world.statements.sent(Statement)
    assert world.counted().by(READS, "object", "reason") == {("user", "direct"): 1}


async def test_everything_is_counted_under_the_scope_of_the_key(world: World) -> None:
    world.cache.in_memory_cache.values[TOKEN] = UserAPIKeyAuth(TOKEN, TEAM, TEAM)
    await world.get(USER, model=LiteLLM_UserTable)
    await world.cache.async_get_cache(TOKEN)
    scopes = {scope for (scope,) in world.counted().by(LOOKUPS, "key_scope")}
    assert scopes == {KeyScope.SHARED_ID}


async def test_what_a_background_task_does_is_counted_too(world: World) -> None:
    world.cache.in_memory_cache.values[TOKEN] = UserAPIKeyAuth(TOKEN, None, TEAM)
    await world.cache.async_get_cache(TOKEN)

    async def later() -> None:
        await ended.wait()
        await world.cache.async_get_cache(USER)

    ended = asyncio.Event()
    task = asyncio.create_task(later())
    before = world.counted().by(LOOKUPS, "object", "key_scope")
    ended.set()
    await task
    after = Counters.parse(world.metrics.render()[0].decode()).by(LOOKUPS, "object", "key_scope")
    assert before == {("key", "team"): 1}
    assert after[("user", "team")] == 2


async def test_requests_do_not_mix(world: World) -> None:
    world.cache.in_memory_cache.values[TOKEN] = UserAPIKeyAuth(TOKEN, USER, None)

    async def one(key: str) -> Request:
        request = world.requests.begin()
        await world.cache.async_get_cache(key)
        return request

    first, second = await asyncio.gather(one(TOKEN), one(USER))
    assert first.scope is KeyScope.USER
    assert second.scope is KeyScope.UNKNOWN
