from __future__ import annotations

import contextlib
import json
import uuid
from typing import Any

from harness.authcache.words import KeyScope
from harness.domain.series import HookPoint
from harness.observe.counters import Counters
from harness.targets.litellm.inside.instrument import StatementObserver
from harness.targets.litellm.inside.request import Requests
from harness.targets.litellm.inside.writes import Writes
from harness.targets.metrics import Metrics
from tests.targets.litellm.inside.caches import (
    Cache,
    Client,
    LiteLLM_TeamTableCachedObj,
    LiteLLM_UserTable,
    Pipeline,
    Redis,
)

TEAM = str(uuid.UUID(int=2, version=4))


def _wrapped() -> tuple[Metrics, Requests, Writes, Client, Pipeline]:
    class OwnClient(Client):
        pass

    class OwnPipeline(Pipeline):
        pass

    metrics = Metrics("x", {})
    requests = Requests(metrics)
    # As after the answer: what comes then is counted as it comes.
    requests.begin().end()
    writes = Writes(requests, "ns")
    writes.wrap_client(OwnClient, OwnPipeline)
    return metrics, requests, writes, OwnClient(), OwnPipeline()


def _counted(metrics: Metrics) -> Counters:
    return Counters.parse(metrics.render()[0].decode())


class SendingCache(Cache):
    """Writes to memory and through a client."""

    def __init__(self, client: Client, pipeline: Pipeline) -> None:
        super().__init__(Redis())
        self.client, self.pipeline = client, pipeline

    async def async_set_cache(self, key: str, value: Any, **_: Any) -> None:
        self.in_memory_cache.set_cache(key, value)
        await self.client.execute_command("SET", f"ns:{key}", "x" * 100, "EX", 60)

    async def async_set_cache_pipeline(self, cache_list: Any, **_: Any) -> None:
        for key, _value in cache_list:
            self.pipeline.pipeline_execute_command("SETEX", f"ns:{key}", 60, b"y" * 10)


async def test_a_write_is_counted_in_both_tiers_with_its_bytes() -> None:
    metrics, _, writes, client, pipeline = _wrapped()
    cache = SendingCache(client, pipeline)
    writes.wrap_cache(HookPoint.AUTH_CACHE, cache)
    await cache.async_set_cache(TEAM, LiteLLM_TeamTableCachedObj(TEAM))
    counted = _counted(metrics)
    assert counted.by("authcache_writes_total", "tier", "outcome", "object") == {
        ("memory", "ok", "team"): 1,
        ("redis", "ok", "team"): 1,
    }
    assert counted.sum("authcache_payload_bytes_sum", object="team") == 100


async def test_a_pipeline_is_counted_entry_by_entry() -> None:
    metrics, _, writes, client, pipeline = _wrapped()
    cache = SendingCache(client, pipeline)
    writes.wrap_cache(HookPoint.AUTH_CACHE, cache)
    entries = [(TEAM, {"user_id": TEAM}), ("default_user_id:spend", 1.0)]
    await cache.async_set_cache_pipeline(entries)
    counted = _counted(metrics)
    assert counted.by("authcache_writes_total", "tier", "object") == {("redis", "user"): 1}
    assert counted.sum("authcache_payload_bytes_sum", object="user") == 10
    assert len(pipeline.sent) == 2


async def test_what_is_not_under_study_is_not_counted() -> None:
    metrics, _, _, client, _ = _wrapped()
    await client.execute_command("SET", "ns:spend:key:x", "1")
    await client.execute_command("GET", "ns:spend:key:x")
    await client.execute_command("GET", f"ns:team_id:{TEAM}")
    counted = _counted(metrics)
    assert counted.by("authcache_writes_total", "tier") == {}
    assert counted.sum("authcache_redis_gets_total") == 1


async def test_what_was_read_from_postgres_is_what_is_written_next() -> None:
    metrics, requests, writes, client, pipeline = _wrapped()
    cache = SendingCache(client, pipeline)
    writes.wrap_cache(HookPoint.AUTH_CACHE, cache)
    request = requests.begin()

    class Statement:
        sql = 'SELECT * FROM "LiteLLM_UserTable" WHERE user_id = $1'

    StatementObserver(requests).sent(Statement)
    user = LiteLLM_UserTable(TEAM, 2.0)
    await cache.async_set_cache(TEAM, user)
    await cache.async_set_cache(TEAM, user)
    assert [(one.object, one.tier) for one in request.served] == [("user", "source")]
    assert request.scope is KeyScope.UNKNOWN
    del metrics


async def test_a_prefetch_is_a_peek_for_each_of_its_objects() -> None:
    metrics, _, _, client, _ = _wrapped()
    client.answers["MGET"] = [b"{}", None, b"1"]
    await client.execute_command("MGET", f"ns:team_id:{TEAM}", f"ns:{TEAM}", "ns:spend:user:x")
    found = _counted(metrics).by("authcache_lookups_total", "tier", "op", "outcome", "object")
    assert found == {("redis", "peek", "hit", "team"): 1, ("redis", "peek", "miss", "user"): 1}
    assert _counted(metrics).sum("authcache_redis_gets_total") == 2


async def test_a_prefetch_in_a_pipeline_counts_when_it_is_answered() -> None:
    metrics, _, _, _, pipeline = _wrapped()
    pipeline.answers["MGET"] = [None]
    pipeline.pipeline_execute_command("MGET", f"ns:team_id:{TEAM}")
    assert _counted(metrics).sum("authcache_lookups_total") == 0
    assert await pipeline.execute() == [[None]]
    found = _counted(metrics).by("authcache_lookups_total", "tier", "outcome")
    assert found == {("redis", "miss"): 1}


async def test_a_write_past_the_cache_is_known_by_its_key() -> None:
    metrics, _, _, client, _ = _wrapped()
    await client.execute_command("SET", f"ns:team_id:{TEAM}", "x" * 7)
    assert _counted(metrics).sum("authcache_payload_bytes_sum", object="team") == 7


class Subscriber:
    """Of a release: drops from memory what a message names."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def _apply_message(self, message: Any) -> None:
        with contextlib.suppress(TypeError, ValueError):
            self._cache.in_memory_cache.delete_cache(json.loads(message["data"])["cache_key"])


def _heard(metrics: Metrics) -> dict[tuple[str, ...], float]:
    return _counted(metrics).by("authcache_invalidations_total", "event", "object")


def test_a_copy_that_is_dropped_is_counted_and_one_that_was_not_held_is_not() -> None:
    metrics, _, writes, client, pipeline = _wrapped()
    cache = SendingCache(client, pipeline)
    writes.wrap_cache(HookPoint.AUTH_CACHE, cache)
    memory = cache.in_memory_cache
    for key in (f"team_id:{TEAM}", "0" * 64, "spend:x"):
        memory.set_cache(key, {})
        memory.delete_cache(key=key)
        memory.delete_cache(key)
    assert memory.values == {}
    assert _heard(metrics) == {("applied", "team"): 1, ("applied", "key"): 1}


def test_a_message_is_counted_where_it_is_heard_and_what_it_drops() -> None:
    class OwnSubscriber(Subscriber):
        pass

    metrics, _, writes, client, pipeline = _wrapped()
    cache = SendingCache(client, pipeline)
    writes.wrap_cache(HookPoint.AUTH_CACHE, cache)
    writes.wrap_subscriber(HookPoint.AUTH_CACHE, OwnSubscriber)
    cache.in_memory_cache.set_cache("0" * 64, {})
    subscriber = OwnSubscriber(cache)
    for text in ("0" * 64, f"team_id:{TEAM}", "spend:x"):
        subscriber._apply_message({"data": json.dumps({"cache_key": text}).encode()})
    for other in (b"no JSON", None, b"[1]"):
        subscriber._apply_message({"data": other})
    assert _heard(metrics) == {
        ("received", "key"): 1,
        ("applied", "key"): 1,
        ("received", "team"): 1,
    }
    assert _counted(metrics).sum("authcache_instrument_errors_total") == 0


async def test_a_message_is_counted_where_it_is_sent() -> None:
    metrics, _, _, client, pipeline = _wrapped()
    news = json.dumps({"cache_key": "0" * 64})
    channel = "ns:litellm_proxy.auth_cache_invalidation"
    await client.execute_command("PUBLISH", channel, news)
    pipeline.pipeline_execute_command("PUBLISH", channel, news)
    await client.execute_command("PUBLISH", "ns:another", news)
    assert _heard(metrics) == {("sent", "key"): 2}
