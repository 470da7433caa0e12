"""A real release, complete: installed, started, asked, and held to the ledger."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from harness.authcache.words import ObjectKind
from harness.domain.population import VirtualKey
from harness.domain.served import WORKER_HEADER
from harness.observe.counters import Counters
from harness.observe.snapshots import Observer, Snapshot, watch
from harness.process.loopback import local_http
from harness.stack.base import Fleet, FleetSpec
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.releases import parse_release
from harness.targets.litellm.target import LiteLLMTarget
from harness.targets.settings import RunSettings
from tests.silence import Silence
from tests.targets.world import (
    COST_MICRO,
    MODEL,
    one_key,
    right_digests,
    running_stack,
    served_digests,
    spent,
)

pytestmark = pytest.mark.integration

RELEASE = "litellm==1.84.0rc1"
LOOKUPS = "authcache_lookups_total"
READS = "authcache_source_reads_total"
LOGS = "authcache_log_records_total"


@pytest.fixture(scope="package")
def release_fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One replica with two workers of the release that issue #27874 is about."""
    release = parse_release(RELEASE)
    with running_stack(tmp_path_factory.mktemp("release")) as (stack, run):
        target = LiteLLMTarget(release, run(ensure_environment(release, Silence())))
        settings = RunSettings(ttl_s=60.0, cost_micro=COST_MICRO)
        yield run(stack.start(FleetSpec(RELEASE, target, 1, 2, settings)))


@dataclass
class Release:
    """The fleet, watched."""

    fleet: Fleet
    observer: Observer
    http: httpx.AsyncClient

    async def chat(self, key: VirtualKey) -> httpx.Response:
        return await self.http.post(
            f"{self.fleet.replica_urls[0]}/v1/chat/completions",
            json={
                "model": MODEL,
                "messages": [{"role": "user", "content": "hello"}],
                "max_tokens": 20,
            },
            headers={"authorization": f"Bearer {key.secret}"},
        )

    async def measured(self, key: VirtualKey, times: int) -> Measured:
        """Some requests of one key, between snapshots at rest. Both workers are warm before."""
        warm: Counter[str] = Counter()
        # The kernel chooses the worker, for each connection.
        while len(warm) < len(self.fleet.workers) or min(warm.values()) < 2:
            async with local_http(timeout=60.0) as http:
                answer = await Release(self.fleet, self.observer, http).chat(key)
                warm[answer.headers[WORKER_HEADER]] += 1
        before = await self.observer.at_rest(60.0)
        answers = []
        for _ in range(times):
            answers.append(await self.chat(key))
            # What a request leaves to its background tasks is done before the next one comes.
            await self.observer.at_rest(60.0)
        after = await self.observer.at_rest(60.0)
        return Measured(before, after, answers, warm.total())


@dataclass
class Measured:
    """What a few requests did."""

    before: Snapshot
    after: Snapshot
    answers: list[httpx.Response]
    warm: int
    """Requests before them."""

    @property
    def counted(self) -> Counters:
        return self.after.total.since(self.before.total)

    @property
    def statuses(self) -> list[int]:
        return [answer.status_code for answer in self.answers]

    def calls(self, kind: ObjectKind) -> int:
        assert self.after.statements is not None
        assert self.before.statements is not None
        return self.after.statements.since(self.before.statements).reads[kind].calls

    def check_ledger(self) -> None:
        """Equations 1, 4 and 5, and 2."""
        c = self.counted
        done = c.by("http_requests_total", "status", route="/v1/chat/completions")
        assert {int(status): n for (status,), n in done.items()} == {
            status: self.statuses.count(status) for status in set(self.statuses)
        }
        loads = c.sum(LOOKUPS, tier="memory", op="load") - c.sum(
            LOOKUPS, tier="memory", op="load", outcome="hit"
        )
        answered = c.sum(LOOKUPS, tier="redis", op="load", outcome="hit")
        assert c.sum(READS) == loads - answered + c.sum(READS, reason="direct")
        for kind in ObjectKind:
            assert c.sum(READS, object=kind) == self.calls(kind), kind
        misses = c.sum(LOOKUPS, tier="memory", outcome="miss")
        assert c.sum(LOOKUPS, tier="redis") == misses


@pytest.fixture
async def release(release_fleet: Fleet) -> AsyncIterator[Release]:
    async with (
        watch(release_fleet) as observer,
        local_http(timeout=60.0) as http,
    ):
        yield Release(release_fleet, observer, http)


async def test_every_point_is_wrapped(release: Release) -> None:
    snapshot = await release.observer.at_rest(60.0)
    for page in snapshot.workers:
        points = {
            dict(labels)["point"]: value
            for (name, labels), value in page.items()
            if name == "authcache_instrumented"
        }
        assert set(points) >= {"getters", "codec", "auth_cache", "redis_cache", "statements"}
        assert all(points.values()), points


@pytest.mark.parametrize("scope", ["team", "user"])
async def test_a_warm_key_costs_nothing_and_logs_nothing(release: Release, scope: str) -> None:
    """The issue's own account: a team key without a user reads no user and fails nowhere."""
    key = await one_key(release.fleet.dsn, scope)
    seen = await release.measured(key, 10)
    assert seen.statuses == [200] * 10
    seen.check_ledger()
    assert seen.counted.sum(READS) == 0
    assert seen.counted.sum(LOOKUPS, outcome="deserialize_failure") == 0
    assert seen.counted.sum(LOGS, signature="typed_read_failed") == 0
    assert seen.counted.sum(LOOKUPS, key_scope=scope) == seen.counted.sum(LOOKUPS) > 0


async def test_a_shared_id_costs_one_log_pair_and_one_read_a_request(release: Release) -> None:
    key = await one_key(release.fleet.dsn, "shared_id")
    seen = await release.measured(key, 10)
    assert seen.statuses == [200] * 10
    seen.check_ledger()
    counted = seen.counted
    assert counted.sum(READS, object="user", key_scope="shared_id") == 10
    assert counted.sum(LOGS, level="error", signature="typed_read_failed") == 10
    assert counted.sum(LOGS, level="warning", signature="codec_validation_failed") >= 10
    assert counted.sum(READS, reason="deserialize_failure") == 10


async def test_a_cleared_budget_is_a_401(release: Release) -> None:
    key = await one_key(release.fleet.dsn, "member", "cleared")
    seen = await release.measured(key, 10)
    assert seen.statuses == [401] * 10
    seen.check_ledger()
    assert seen.counted.sum(LOOKUPS, outcome="deserialize_failure", object="membership") >= 10


@pytest.mark.parametrize("scope", ["team", "user", "shared_id", "member"])
async def test_what_is_served_is_what_postgres_holds(release: Release, scope: str) -> None:
    key = await one_key(release.fleet.dsn, scope)
    first = await release.chat(key)
    second = await release.chat(key)
    truth = right_digests(key)
    for answer in (first, second):
        assert answer.status_code == 200, answer.text
        served = served_digests(answer)
        assert served["key"] == {truth["key"]}
        for kind, digests in served.items():
            assert digests == {truth[kind]}, kind


async def test_spend_reaches_postgres(release: Release) -> None:
    key = await one_key(release.fleet.dsn, "member")
    seen = await release.measured(key, 5)
    assert seen.statuses == [200] * 5
    after, before = (s.spend[ObjectKind.KEY][key.token] for s in (seen.after, seen.before))
    assert after - before == 5 * COST_MICRO
    assert [float(a.headers["x-litellm-response-cost"]) for a in seen.answers] == [0.00025] * 5
    due = (seen.warm + 5) * COST_MICRO
    found = await spent(release.fleet.dsn, key)
    assert found == dict.fromkeys(("key", "user", "team", "membership"), due)


async def test_payloads_have_the_size_that_the_study_saw(release: Release) -> None:
    key = await one_key(release.fleet.dsn, "member")
    seen = await release.measured(key, 3)
    counted: Any = seen.after.total
    mean = counted.sum("authcache_payload_bytes_sum", object="key") / counted.sum(
        "authcache_payload_bytes_count", object="key"
    )
    assert 500 < mean < 1500


async def test_an_unknown_key_is_a_401_without_a_scope(release: Release) -> None:
    before = await release.observer.at_rest(60.0)
    answer = await release.http.get(
        f"{release.fleet.replica_urls[0]}/v1/models", headers={"authorization": "Bearer sk-none"}
    )
    after = await release.observer.at_rest(60.0)
    assert answer.status_code == 401
    counted = after.total.since(before.total)
    assert counted.by("http_requests_total", "route", "status", "key_scope") == {
        ("/v1/models", "401", "unknown"): 1
    }
