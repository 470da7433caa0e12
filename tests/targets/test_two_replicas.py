"""What one replica writes and another reads with cold memory is as on one node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest

from harness.authcache.layout import LAYOUTS
from harness.authcache.trace import Trace
from harness.authcache.words import ObjectKind
from harness.domain.population import VirtualKey
from harness.stack.base import Fleet
from harness.targets.reference.store import MICRO
from tests.targets.world import (
    COST_MICRO,
    VARIANTS,
    Node,
    node,
    one_key,
    right_digests,
    served_digests,
    served_tiers,
    set_budget,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SHARING = sorted(
    name
    for name, variant in VARIANTS.items()
    # raw_redis writes nothing that another could read: that is its defect.
    if variant.switches.redis == "on" and variant.switches.codec != "raw"
)
COUNTING = ["litellm_1_84", "litellm_1_94", "recommended"]
"""One for each spend counter in Redis and spend path that these have."""
SCOPES = ["team", "user", "member"]
KINDS = (ObjectKind.KEY, ObjectKind.USER, ObjectKind.TEAM)
SEEN_LATE: Mapping[str, Mapping[ObjectKind, int]] = {
    # The spend pipeline writes to memory alone; but every request writes its team to both tiers,
    # as it was when the request came.
    "litellm_1_94": {**dict.fromkeys(KINDS, 0), ObjectKind.TEAM: COST_MICRO},
    # What is charged goes to Postgres and to no copy; budgets go by the counters.
    "recommended": dict.fromkeys(KINDS, 0),
}
"""What another replica sees of two charged requests at once, where it does not see both, in the
copies that it gets."""


@asynccontextmanager
async def two(fleet: Fleet, variant: str, **settings: object) -> AsyncIterator[tuple[Node, Node]]:
    """Two workers that share Redis and nothing else."""
    switches, name = VARIANTS[variant].switches, f"{variant}-{id(settings)}:"
    async with (
        node(fleet, switches, namespace=name, **settings) as first,
        node(fleet, switches, namespace=name, **settings) as second,
    ):
        yield first, second


async def spend_seen(by: Node, variant: str, key: VirtualKey) -> dict[str, int]:
    """Spend of the cached copies that a worker gets, with what it knows besides."""
    layout = LAYOUTS[VARIANTS[variant].switches.key_layout]
    keys = {ObjectKind.KEY: (layout.key(key.token), key.token)}
    if key.user_id is not None:
        keys[ObjectKind.USER] = layout.user(key.user_id), key.user_id
    if key.team_id is not None:
        keys[ObjectKind.TEAM] = layout.team(key.team_id), key.team_id
    seen: dict[str, int] = {}
    for kind, (name, owner) in keys.items():
        found = await by.worker.cache.peek(kind, name, Trace())
        if found is not None:
            copy = found.value
            seen[kind.value] = by.worker.auth._budgets.seen(
                (kind.value, (owner,)), copy.spend, copy.created_at
            )
    return seen


@pytest.mark.parametrize("variant", SHARING)
async def test_another_replica_serves_the_same_from_redis(baseline: Fleet, variant: str) -> None:
    async with two(baseline, variant) as (first, second):
        for scope in SCOPES:
            key = await one_key(baseline.dsn, scope)
            await first.ok(key)
            own = await first.ok(key)

            others = await second.ok(key)

            right = {kind: {value} for kind, value in right_digests(key).items()}
            assert served_digests(others) == served_digests(own) == right
            tiers = [tier for several in served_tiers(others).values() for tier in several]
            assert set(tiers) <= {"redis", "memory"}
        counted = second.counters()
        assert counted.sum("authcache_source_reads_total") == 0
        found = counted.by("authcache_lookups_total", "object", tier="redis", outcome="hit")
        assert found.keys() == {(kind.value,) for kind in ObjectKind}
        failures = {"outcome": "deserialize_failure"}
        for one in (first, second):
            assert one.counters().sum("authcache_lookups_total", **failures) == 0


@pytest.mark.parametrize("variant", SHARING)
async def test_spend_charged_by_one_is_seen_by_the_other(baseline: Fleet, variant: str) -> None:
    key = await one_key(baseline.dsn, "member")
    async with two(baseline, variant) as (first, second):
        await first.ok(key)
        await first.ok(key)

        own = await spend_seen(first, variant, key)
        others = await spend_seen(second, variant, key)

    both = dict.fromkeys(KINDS, 2 * COST_MICRO)
    assert own == both
    assert others == SEEN_LATE.get(variant, both)


@pytest.mark.parametrize("variant", COUNTING)
@pytest.mark.parametrize("owner", ["key", "user", "team", "membership"])
async def test_one_after_the_other_admits_exactly_the_budget(
    baseline: Fleet, variant: str, owner: str
) -> None:
    key = await one_key(baseline.dsn, "member")
    await set_budget(baseline.dsn, key, owner, 7 * COST_MICRO / MICRO)
    async with two(baseline, variant) as nodes:
        statuses = [(await nodes[i % 2].chat(key.secret)).status_code for i in range(12)]
        reads = [n.counters().sum("authcache_source_reads_total", reason="seed") for n in nodes]

    assert statuses == [200] * 7 + [429] * 5
    # `redis_add` reads the four counters' seeds. A refusal reads nothing.
    adds = VARIANTS[variant].switches.spend_counter == "redis_add"
    assert reads == [4 if adds else 0, 0]


async def test_what_an_older_codec_wrote_is_told_from_what_we_write(baseline: Fleet) -> None:
    key = await one_key(baseline.dsn, "member")
    async with (
        node(baseline, VARIANTS["litellm_1_84"].switches, namespace="mixed:") as old,
        node(baseline, VARIANTS["recommended"].switches, namespace="mixed:") as new,
    ):
        await old.ok(key)
        served = await new.ok(key)
        again = await old.ok(key)

    right = {kind: {value} for kind, value in right_digests(key).items()}
    assert served_digests(served) == served_digests(again) == right


async def test_raw_writes_nothing_that_another_could_read(
    baseline: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    key = await one_key(baseline.dsn, "team")
    async with two(baseline, "raw_redis") as (first, second):
        await first.ok(key)
        await first.ok(key)
        await second.ok(key)

        for one in (first, second):
            counted = one.counters()
            assert counted.sum("authcache_source_reads_total", reason="miss") == 2
            assert counted.sum("authcache_writes_total", tier="redis", outcome="ok") == 0
            assert counted.sum("authcache_writes_total", tier="redis", outcome="error") > 0
    assert {record.__dict__["signature"] for record in caplog.records} == {"encode_failed"}
