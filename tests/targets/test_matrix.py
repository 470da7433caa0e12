"""The matrix of the design, one key a cell: one symptom, several causes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.authcache.digest import digest
from harness.domain.population import VirtualKey
from harness.stack.base import Fleet
from tests.targets.world import (
    VARIANTS,
    Node,
    node,
    one_key,
    right_digests,
    served_digests,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

REQUESTS = 4
SCOPES = ("team", "user", "shared_id", "member")
# The premise is planted: a team key without a user has a user looked up, whose row is all NULL.
# In scope member the budget is cleared.
MATRIX: Mapping[str, tuple[str, str, str, str]] = {
    "litellm_1_84": ("broken", "healthy", "broken", "broken"),
    "fix_optional_user_id": ("healthy", "healthy", "hidden", "broken"),
    "fix_keep_none": ("broken", "healthy", "broken", "healthy"),
    "fix_keep_required_none": ("broken", "healthy", "broken", "healthy"),
    "all_prefixed": ("broken", "healthy", "healthy", "broken"),
    "envelope": ("broken", "healthy", "broken", "healthy"),
    "memory_only": ("broken", "healthy", "broken", "broken"),
    "litellm_1_91": ("broken", "healthy", "healthy", "healthy"),
    "litellm_1_93": ("broken", "healthy", "healthy", "healthy"),
    "litellm_1_94": ("broken", "healthy", "healthy", "healthy"),
    "recommended": ("healthy", "healthy", "healthy", "healthy"),
}


async def cell(one: Node, key: VirtualKey, *, planted: bool) -> str:
    """What one key shows under a variant; how many reads it costs is for a run to say."""
    right = right_digests(key)
    if planted and key.user_id is None:
        right["user"] = digest("user", {})
    answers = [await one.chat(key.secret) for _ in range(REQUESTS)]
    await one.settled()
    failures = {"outcome": "deserialize_failure", "key_scope": key.scope}
    if one.counters().sum("authcache_lookups_total", **failures):
        return "broken"
    if any(answer.status_code != 200 for answer in answers):
        return "broken"
    wrong = [
        kind
        for answer in answers
        for kind, found in served_digests(answer).items()
        if found != {right[kind]}
    ]
    return "hidden" if wrong else "healthy"


@pytest.mark.parametrize("variant", MATRIX)
async def test_a_row_of_the_matrix(baseline: Fleet, variant: str) -> None:
    async with node(baseline, VARIANTS[variant].switches, planted_null_user=True) as one:
        cells = [
            await cell(
                one,
                await one_key(baseline.dsn, scope, "cleared" if scope == "member" else "budget"),
                planted=True,
            )
            for scope in SCOPES
        ]

    assert tuple(cells) == MATRIX[variant]


@pytest.mark.parametrize("variant", MATRIX)
async def test_without_the_premise_a_team_key_is_healthy(baseline: Fleet, variant: str) -> None:
    key = await one_key(baseline.dsn, "team")
    async with node(baseline, VARIANTS[variant].switches) as one:
        assert await cell(one, key, planted=False) == "healthy"


async def test_a_cleared_budget_is_a_401_on_every_request(baseline: Fleet) -> None:
    key = await one_key(baseline.dsn, "member", "cleared")
    async with node(baseline, VARIANTS["litellm_1_84"].switches) as one:
        answers = [await one.chat(key.secret) for _ in range(3)]
        reads = one.counters().by("authcache_source_reads_total", "object", "reason")

    assert reads["key", "direct"] == 3, "the log of a refusal reads the key past the cache"
    for answer in answers:
        assert answer.status_code == 401
        message = answer.json()["error"]["message"]
        assert message.startswith("Authentication Error, 1 validation error for LiteLLM_TeamMember")
        assert "litellm_budget_table\n  Field required" in message


@pytest.mark.parametrize(
    ("variant", "reads"), [("litellm_1_84", 2), ("litellm_1_94", 2), ("recommended", 0)]
)
async def test_a_membership_without_a_row_is_read_again_and_again(
    baseline: Fleet, variant: str, reads: int
) -> None:
    key = await one_key(baseline.dsn, "member", "none")
    async with node(baseline, VARIANTS[variant].switches) as one:
        await one.ok(key)
        before = one.counters()
        await one.ok(key)
        since = one.counters().since(before)

    # One of the two cache keys is asked for only where the view gave a member's spend.
    assert since.sum("authcache_source_reads_total", object="membership") == reads
    assert since.sum("authcache_source_reads_total") == reads
