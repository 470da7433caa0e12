"""What the proxy does when Redis or Postgres is away: each for a real reason, in a real process."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from harness.authcache.layout import LAYOUTS
from harness.observe.counters import Counters
from harness.process.loopback import local_http
from harness.stack.base import Fleet
from harness.targets.reference.store import MICRO
from tests.targets.chat import chat
from tests.targets.gate import gate_to
from tests.targets.replica import replica
from tests.targets.world import (
    COST_MICRO,
    VARIANTS,
    Servers,
    node,
    node_settings,
    one_key,
    right_digests,
    seed,
    served_digests,
    set_budget,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

BRIEF: dict[str, Any] = {
    "read_s": 0.7,
    "transaction_s": 0.7,
    "last_flush_s": 1.0,
    "pool_closes_s": 0.1,
}
"""How long a bounded replica waits for a Postgres that does not answer."""


async def page(url: str) -> Counters:
    async with local_http() as http:
        return Counters.parse((await http.get(url)).text)


@pytest.mark.parametrize("variant", ["litellm_1_84", "recommended"])
async def test_no_caller_notices_that_redis_has_died(servers: Servers, variant: str) -> None:
    name = f"redis away, {variant}"
    fleet = servers.fleet(name, variant)
    keys = await seed(fleet.dsn, {"team": 20, "user": 20, "member": 20})
    chats = f"{fleet.replica_urls[0]}/v1/chat/completions"
    body = {"model": "mock-model", "messages": [{"role": "user", "content": "hello"}]}
    (pid,) = servers.pids(f"redis:{name}")

    async with local_http(timeout=60.0) as http:

        async def statuses() -> set[int]:
            secrets = [key.secret for several in keys.values() for key in several]
            answers = [
                await http.post(chats, json=body, headers={"authorization": f"Bearer {one}"})
                for one in secrets
            ]
            return {answer.status_code for answer in answers}

        assert await statuses() == {200}
        os.kill(pid, signal.SIGKILL)
        more = await seed(fleet.dsn, {"team": 20, "user": 20, "member": 20})
        keys = {scope: [*keys[scope], *more[scope]] for scope in keys}
        assert await statuses() == {200}

    counted = await page(fleet.workers[0].metrics_url)
    assert counted.sum("authcache_lookups_total", tier="redis", outcome="backend_error") >= 40
    assert counted.sum("authcache_source_reads_total", reason="backend_error") >= 40
    # One record for the outage, and none for a request.
    assert counted.sum("authcache_log_records_total", signature="redis_outage") == 1
    assert counted.sum("authcache_log_records_total") == 1
    log = fleet.log_files[0].read_text()
    assert log.count("Redis does not answer") == 1
    assert len(log.splitlines()) == 1


@pytest.mark.parametrize("variant", ["litellm_1_84", "recommended"])
async def test_a_budget_is_no_budget_without_bound_when_redis_has_died(
    servers: Servers, variant: str
) -> None:
    name = f"redis away, budget, {variant}"
    fleet = servers.fleet(name, variant, workers=2)
    key = await one_key(fleet.dsn, "member")
    await set_budget(fleet.dsn, key, "team", 20 * COST_MICRO / MICRO)
    chats = f"{fleet.replica_urls[0]}/v1/chat/completions"
    body = {"model": "mock-model", "messages": [{"role": "user", "content": "hello"}]}
    (pid,) = servers.pids(f"redis:{name}")
    # No connection is kept: both workers get requests.
    limits = httpx.Limits(max_keepalive_connections=0)
    async with local_http(timeout=60.0, limits=limits) as http:

        async def replies(requests: int) -> int:
            headers = {"authorization": f"Bearer {key.secret}"}
            answers = [await http.post(chats, json=body, headers=headers) for _ in range(requests)]
            assert {answer.status_code for answer in answers} <= {200, 429}
            return sum(answer.status_code == 200 for answer in answers)

        before = await replies(7)
        os.kill(pid, signal.SIGKILL)
        after = await replies(120)

    assert before == 7
    # Each worker knows what it admitted itself, and what was counted when it last asked.
    assert 13 <= after <= 2 * 20


async def test_redis_is_asked_again_when_it_is_back(
    baseline: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    keys = (await seed(baseline.dsn, {"user": 40}))["user"]
    address = httpx.URL(baseline.redis_url or "")
    assert address.port is not None
    async with gate_to(address.port) as gate:
        through = str(address.copy_with(port=gate.port))
        switches = VARIANTS["litellm_1_84"].switches
        async with node(baseline, switches, redis_url=through) as one:
            await one.ok(keys[0])
            for outage in (1, 2):
                await gate.shut()
                for key in keys[1:10]:
                    await one.ok(key)
                assert len(caplog.records) == outage
                await gate.open()
                assert one.worker.cache.redis is not None
                breaker: Any = one.worker.cache.redis._breaker
                breaker._open_until = 0.0  # its time is up
                asked = one.counters().sum("authcache_redis_gets_total")
                key = keys[10 * outage]
                await one.ok(key)
                assert one.counters().sum("authcache_redis_gets_total") > asked
                await one.ok(key)

            counted = one.counters()
    assert counted.sum("authcache_writes_total", tier="redis", outcome="error") > 0
    assert counted.sum("authcache_writes_total", tier="redis", outcome="skipped") > 0
    assert {record.__dict__["signature"] for record in caplog.records} == {"redis_outage"}


@pytest.mark.parametrize("variant", ["litellm_1_84", "recommended"])
async def test_without_postgres_what_is_cached_is_served(
    baseline: Fleet, variant: str, tmp_path: Path
) -> None:
    cached, unknown = await one_key(baseline.dsn, "member"), await one_key(baseline.dsn, "member")
    address = httpx.URL(baseline.dsn)
    assert address.port is not None
    async with gate_to(address.port) as gate:
        settings = node_settings(
            baseline,
            VARIANTS[variant].switches,
            dsn=str(address.copy_with(port=gate.port)),
            **BRIEF,
        )
        async with replica(settings, tmp_path) as one:
            assert (await one.chat(cached.secret)).status_code == 200
            await gate.shut()

            for _ in range(3):
                answer = await one.chat(cached.secret)
                assert answer.status_code == 200
                right = {kind: {value} for kind, value in right_digests(cached).items()}
                assert served_digests(answer) == right
                refused = await one.chat(unknown.secret)
                assert refused.status_code == 503
                assert refused.json()["error"]["code"] == "database_unavailable"
                assert "key is not cached" in refused.json()["error"]["message"]
            assert await one.ready() == 503
            async with openai.AsyncOpenAI(
                api_key=unknown.secret,
                base_url=f"{one.url}/v1",
                max_retries=0,
                http_client=openai.DefaultAsyncHttpxClient(trust_env=False),
            ) as client:
                with pytest.raises(openai.InternalServerError, match="database does not answer"):
                    await chat(client)

            await gate.open()
            await one.becomes_ready()
            assert (await one.chat(unknown.secret)).status_code == 200
            counted = await page(one.pages[0])
            assert counted.sum("authcache_source_read_errors_total", object="key") >= 3
            assert counted.sum("http_requests_total", status="503") == 4


async def test_without_postgres_the_object_that_is_missing_is_named(baseline: Fleet) -> None:
    key = await one_key(baseline.dsn, "member")
    address = httpx.URL(baseline.dsn)
    assert address.port is not None
    async with gate_to(address.port) as gate:
        through = str(address.copy_with(port=gate.port))
        switches = VARIANTS["recommended"].switches
        async with node(baseline, switches, dsn=through, **BRIEF) as one:
            await one.ok(key)
            layout = LAYOUTS[switches.key_layout]
            cache_key, redis = layout.user(key.user_id or ""), one.worker.cache.redis
            one.worker.cache.memory.delete(cache_key)
            assert redis is not None
            await redis.delete(cache_key)
            await gate.shut()

            refused = await one.chat(key.secret)

            assert refused.status_code == 503
            assert "the user is not cached" in refused.json()["error"]["message"]
            await gate.open()


async def test_a_silent_postgres_is_a_503_and_does_not_keep_a_replica_from_ending(
    baseline: Fleet, tmp_path: Path
) -> None:
    cached, *unknown = [await one_key(baseline.dsn, "member") for _ in range(12)]
    address = httpx.URL(baseline.dsn)
    assert address.port is not None
    async with gate_to(address.port) as gate:
        settings = node_settings(
            baseline,
            VARIANTS["recommended"].switches,
            dsn=str(address.copy_with(port=gate.port)),
            **BRIEF,
        )
        async with replica(settings, tmp_path) as one:
            assert (await one.chat(cached.secret)).status_code == 200
            gate.flows.clear()

            # More than there are connections: the last ones wait for one.
            refused = await asyncio.gather(*(one.chat(key.secret) for key in unknown))

            assert {answer.status_code for answer in refused} == {503}
            assert {answer.json()["error"]["code"] for answer in refused} == {
                "database_unavailable"
            }
            assert (await one.chat(cached.secret)).status_code == 200
            gate.flows.set()
            await one.becomes_ready()
            assert (await one.chat(unknown[0].secret)).status_code == 200

            gate.flows.clear()
            assert (await one.chat(cached.secret)).status_code == 200
            one.process.terminate()
            await one.ends()

            log = one.log.read_text()
    assert "is lost: Postgres did not answer before shutdown" in log
