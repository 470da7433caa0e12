"""Which objects one request asks for, and in which order: that of LiteLLM 1.84, or each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict

import pytest

from harness.authcache.digest import digest
from harness.authcache.words import ObjectKind, Op, Tier
from harness.domain.population import MembershipRow, VirtualKey, make_population
from harness.stack.base import Fleet
from harness.targets.reference.auth import lookups_of
from harness.targets.settings import RunSettings
from tests.targets.world import (
    MODEL,
    VARIANTS,
    Node,
    node,
    one_key,
    right_digests,
    seed,
    served_digests,
    served_tiers,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

# What the first request of a cold worker asks for: the key from the cache alone, then with
# Postgres; user, membership (as the key check looks it up) and team; then the common checks with
# team, user and membership once more, the membership twice, and the budget reservation.
COLD: Mapping[str, list[str]] = {
    "team": ["peek key", "load key", "load team", "load team"],
    "user": ["peek key", "load key", "load user", "load user"],
    "member": [
        *("peek key", "load key", "load user", "load membership", "load team"),
        *("load team", "load user", "load membership", "load membership", "peek membership"),
    ],
    # Upstream looks at the team member's own spend only where there is one.
    "no membership": [
        *("peek key", "load key", "load user", "load team"),
        *("load team", "load user", "load membership", "load membership", "peek membership"),
    ],
    "planted": [
        *("peek key", "load key", "load user", "load team", "load team", "load user"),
    ],
}
ONCE: Mapping[str, list[str]] = {
    "team": ["load key", "load team"],
    "user": ["load key", "load user"],
    "member": ["load key", "load user", "load membership", "load team"],
    "no membership": ["load key", "load user", "load team", "load membership"],
    "planted": ["load key", "load user", "load team"],
}
# After it, the spend path: cached copies of key, user and team, and, before the user's increment
# goes to Postgres, whatever lies under the user's cache key.
SPEND: Mapping[str, list[str]] = {
    "team": ["peek key", "peek team"],
    "user": ["peek key", "peek user", "peek user"],
    "member": ["peek key", "peek user", "peek team", "peek user"],
    "no membership": ["peek key", "peek user", "peek team", "peek user"],
    "planted": ["peek key", "peek team"],
}
SCOPES = list(COLD)


def warm(scope: str) -> list[str]:
    """As cold, but the key is there at once and its team is looked at with it."""
    first, _, *rest = COLD[scope]
    return [first, *(["peek team"] if scope != "user" else []), *rest]


async def key_of(fleet: Fleet, scope: str) -> VirtualKey:
    if scope == "no membership":
        return await one_key(fleet.dsn, "member", "none")
    return await one_key(fleet.dsn, "team" if scope == "planted" else scope)


def questions(of: Node, index: int) -> list[str]:
    """What one request, or one piece of work after it, asked memory."""
    lookups = of.traces[index].lookups
    return [f"{look.op} {look.kind}" for look in lookups if look.tier is Tier.MEMORY]


@pytest.mark.parametrize("scope", SCOPES)
async def test_repeated_lookups_are_those_of_litellm(baseline: Fleet, scope: str) -> None:
    switches = VARIANTS["litellm_1_94"].switches
    async with node(baseline, switches, planted_null_user=scope == "planted") as one:
        key = await key_of(baseline, scope)
        await one.ok(key)
        await one.ok(key)

        assert [questions(one, i) for i in range(4)] == [
            COLD[scope],
            SPEND[scope],
            warm(scope),
            SPEND[scope],
        ]


@pytest.mark.parametrize("scope", SCOPES)
async def test_once_is_each_object_once(recommended: Fleet, scope: str) -> None:
    switches = VARIANTS["recommended"].switches
    async with node(recommended, switches, planted_null_user=scope == "planted") as one:
        key = await key_of(recommended, scope)
        for _ in range(2):
            await one.ok(key)

        assert [questions(one, i) for i in range(2)] == [ONCE[scope]] * 2
        assert len(one.traces) == 2  # spend is charged without a lookup


@pytest.mark.parametrize("scope", SCOPES)
def test_the_ledger_expects_these_lookups(scope: str) -> None:
    wanted = {"planted": "team", "no membership": "member"}.get(scope, scope)
    row: MembershipRow = "none" if scope == "no membership" else "budget"
    (key,) = make_population({wanted: 1}, {"member": row, "shared_id": row}, seed=1, model=MODEL)
    settings = RunSettings(ttl_s=60.0, planted_null_user=scope == "planted")

    repeated = lookups_of(VARIANTS["litellm_1_94"].switches, key, settings)
    for path in (COLD[scope], warm(scope)):
        asked = Counter([*path, *SPEND[scope]])
        assert {pair: asked[f"{pair[1]} {pair[0]}"] for pair in repeated} == repeated
    pairs = {(kind.value, op.value) for kind in ObjectKind for op in Op}
    assert pairs - repeated.keys() == {("key", "load"), ("team", "peek")}

    once = lookups_of(VARIANTS["recommended"].switches, key, settings)
    assert {pair: n for pair, n in once.items() if n} == Counter(
        (question.split()[1], question.split()[0]) for question in ONCE[scope]
    )
    assert once.keys() == pairs


@pytest.mark.parametrize("variant", ["litellm_1_84", "litellm_1_94", "recommended"])
@pytest.mark.parametrize("scope", ["team", "user", "member"])
async def test_a_request_is_served_with_what_postgres_holds(
    baseline: Fleet, variant: str, scope: str
) -> None:
    async with node(baseline, VARIANTS[variant].switches) as one:
        key = (await seed(baseline.dsn))[scope][0]

        answers = [await one.ok(key) for _ in range(3)]

    right = right_digests(key)
    for answer in answers:
        assert served_digests(answer) == {kind: {value} for kind, value in right.items()}
    assert {tiers[0] for tiers in served_tiers(answers[0]).values()} == {"source"}
    assert all(set(tiers) == {"memory"} for tiers in served_tiers(answers[2]).values())


@pytest.mark.parametrize(
    ("variant", "writes"),
    [
        # Once after the read, and once more for each request.
        ("litellm_1_84", {"key": 4, "team": 1 + 3}),
        # The team's second copy lies under the team's own cache key from 1.91 on.
        ("litellm_1_94", {"key": 1, "team": 1 + 3}),
        ("recommended", {"key": 1, "team": 1}),
    ],
)
async def test_what_three_requests_write_to_redis(
    baseline: Fleet, variant: str, writes: dict[str, int]
) -> None:
    key = await one_key(baseline.dsn, "team")
    async with node(baseline, VARIANTS[variant].switches, spend_tracking=False) as one:
        for _ in range(3):
            await one.ok(key)

        counted = one.counters().by("authcache_writes_total", "object", tier="redis", outcome="ok")
    assert counted == {(kind,): count for kind, count in writes.items()}


async def test_a_rewritten_key_is_as_old_as_its_read(baseline: Fleet) -> None:
    key = await one_key(baseline.dsn, "user")
    async with node(baseline, VARIANTS["litellm_1_84"].switches) as one:
        redis = one.worker.cache.redis
        assert redis is not None
        await one.ok(key)
        first = await redis.get(key.token)
        await one.ok(key)
        rewritten = await redis.get(key.token)

    assert first is not None
    assert rewritten is not None
    assert rewritten[0] != first[0]  # the spend
    assert rewritten[1] == pytest.approx(first[1], abs=1e-5)


async def test_a_team_overwrites_the_user_of_the_same_id(
    baseline: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    key = await one_key(baseline.dsn, "shared_id")
    assert key.team_limits is not None
    right = right_digests(key)

    async with node(baseline, VARIANTS["litellm_1_84"].switches) as one:
        answers = [await one.ok(key) for _ in range(2)]
        counted = one.counters()
    assert served_digests(answers[1])["user"] == {right["user"]}
    # The second of the two user lookups of each request.
    failed = counted.by("authcache_lookups_total", "object", "tier", outcome="deserialize_failure")
    assert failed == {("user", "memory"): 2}
    pairs = counted.by("authcache_log_records_total", "level", "signature", "key_scope")
    assert pairs == {
        ("warning", "codec_validation_failed", "shared_id"): 2,
        ("error", "typed_read_failed", "shared_id"): 2,
    }
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"] * 2
    warning, error = (record.getMessage() for record in caplog.records[2:])
    assert f"input_value={{'team_alias': '{str(key.team_id)[:8]}" in warning
    assert error.endswith(f"value for key={key.user_id!r} model_type=LiteLLM_UserTable")
    caplog.clear()

    async with node(baseline, VARIANTS["fix_optional_user_id"].switches) as one:
        hidden = [await one.ok(key) for _ in range(2)][1]
        counted = one.counters()
    assert served_digests(hidden)["user"] != {right["user"]}
    assert counted.sum("authcache_lookups_total", outcome="deserialize_failure") == 0
    limits = {"user_id": None, **asdict(key.team_limits), "models": list(key.models)}
    assert digest("user", limits) in served_digests(hidden)["user"]

    async with node(baseline, VARIANTS["all_prefixed"].switches) as one:
        healthy = [await one.ok(key) for _ in range(2)][1]
    assert served_digests(healthy)["user"] == {right["user"]}
    assert caplog.records == []
