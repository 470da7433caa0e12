from __future__ import annotations

import re
from datetime import datetime
from typing import Any, cast

import asyncpg
import pytest

from harness.authcache.digest import digest
from harness.authcache.variants import load_variants
from harness.authcache.words import ObjectKind
from harness.domain.population import MOCK_MODEL, MembershipRow, make_population, make_refusals
from harness.targets.reference import store
from harness.targets.reference.target import ReferenceTarget
from harness.targets.schema.database import LiteLLMDatabase
from harness.targets.schema.statements import REFERENCE_OTHERS, RELEASE_OTHERS
from harness.targets.settings import RunSettings

DATABASE = LiteLLMDatabase()


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (store.COMBINED_VIEW, ObjectKind.KEY),
        (store.USER, ObjectKind.USER),
        (store.PLANTED_USER, ObjectKind.USER),
        (store.TEAM, ObjectKind.TEAM),
        (store.MEMBERSHIP, ObjectKind.MEMBERSHIP),
        *((statement, None) for statement in store.ADD_SPEND.values()),
        ("SELECT true", None),
        ("BEGIN;", None),
        ('INSERT INTO "LiteLLM_UserTable" (user_id) VALUES ($1)', None),
    ],
)
def test_statements_are_told_apart(statement: str, kind: ObjectKind | None) -> None:
    assert DATABASE.classify(statement) is kind
    assert DATABASE.classify(f"\n  {statement}") is kind


REFERENCE, RELEASE = LiteLLMDatabase(REFERENCE_OTHERS), LiteLLMDatabase(RELEASE_OTHERS)


@pytest.mark.parametrize("statement", store.ADD_SPEND.values())
def test_the_reference_proxy_writes_spend_and_nothing_else(statement: str) -> None:
    assert REFERENCE.name_other(statement) == "spend"
    assert RELEASE.name_other(statement) == "write"
    for another in (
        f"{statement} RETURNING 1",
        statement.lower(),
        f"WITH x AS ({statement}) TABLE x",
    ):
        assert REFERENCE.name_other(another) is None


@pytest.mark.parametrize(
    ("statement", "reference", "release"),
    [
        ("BEGIN", "transaction", "transaction"),
        ("COMMIT;", "transaction", "transaction"),
        ("SELECT $1", "health check", None),
        ('UPDATE "LiteLLM_UserTable" SET spend = $1', None, "write"),
        ('INSERT INTO "public"."LiteLLM_SpendLogs" ("id")\n VALUES ($1)', None, "write"),
        ('SELECT a FROM "LiteLLM_Config"', None, None),
        ('UPDATE "LiteLLM_AccessGroupTable"\nSET a = $1', None, "write"),
        (
            'SELECT a FROM "public"."LiteLLM_BudgetTable" WHERE "public"."x"."budget_id" = $1',
            None,
            "management",
        ),
        (
            'SELECT a FROM "LiteLLM_JWTKeyMapping" WHERE "LiteLLM_JWTKeyMapping"."token" = ANY($1)',
            None,
            "management",
        ),
        (
            'SELECT a FROM "LiteLLM_UISettings" WHERE "LiteLLM_UISettings"."id" = $1',
            None,
            "management",
        ),
        (
            'SELECT access_group_id FROM "LiteLLM_AccessGroupTable"\nWHERE a = ANY($2::TEXT[])',
            None,
            "management",
        ),
        ("SELECT pg_advisory_xact_lock(hashtext($1)) IS NULL AS locked", None, "management"),
        ('SELECT a FROM "LiteLLM_BudgetTable" WHERE "LiteLLM_BudgetTable"."x" = $1', None, None),
        ('WITH x AS (SELECT 1) SELECT a FROM "LiteLLM_UserTable"', None, None),
        ("SELECT $1, $2", None, None),
        ("select $1", None, None),
    ],
)
def test_every_other_statement_has_a_name_or_is_listed(
    statement: str, reference: str | None, release: str | None
) -> None:
    assert REFERENCE.name_other(statement) == reference
    assert RELEASE.name_other(statement) == release
    assert DATABASE.name_other(statement) is None


@pytest.mark.parametrize(
    ("row", "rows"),
    [("budget", {"key", "user", "team", "membership"}), ("none", {"key", "user", "team"})],
)
def test_a_key_is_charged_to_the_rows_behind_it(row: MembershipRow, rows: set[str]) -> None:
    (member,) = make_population({"member": 1}, {"member": row}, seed=1, model=MOCK_MODEL)
    assert DATABASE.rows(member).keys() == rows
    (team,) = make_population({"team": 1}, {}, seed=1, model=MOCK_MODEL)
    assert DATABASE.rows(team) == {"key": team.token, "team": team.team_id}


def test_a_key_without_a_row_is_charged_to_none_and_belongs_to_no_scope() -> None:
    (unknown,) = (
        key
        for key in make_refusals(["team"], first=0, seed=1, model=MOCK_MODEL)
        if key.kind == "unknown"
    )
    assert DATABASE.rows(unknown) == {"team": unknown.team_id}
    target = ReferenceTarget(load_variants()["litellm_1_84"])
    assert target.path(unknown, RunSettings(ttl_s=1.0)).scope == "unknown"


class Connection:
    """Postgres: rows by the table that a statement reads first."""

    def __init__(self, **tables: list[dict[str, Any]]) -> None:
        self._tables = tables

    async def fetch(self, statement: str, ids: list[str | None]) -> list[dict[str, Any]]:
        condition = re.search(r"WHERE (?:m\.)?(\w+) = ANY\(\$1\)$", statement.strip())
        assert condition, "it reads no row but those behind the keys"
        table = statement.split('FROM "LiteLLM_')[1].split('"', maxsplit=1)[0]
        if table == "TeamMembership":
            assert 'LEFT JOIN "LiteLLM_BudgetTable"' in statement
            assert "b.max_budget AS budget_max" in statement
        return [row for row in self._tables.get(table, []) if row[condition[1]] in ids]


async def test_the_truth_is_read_from_the_rows_of_keys_users_teams_and_memberships() -> None:
    counts = {"team": 1, "user": 1, "member": 1}
    keys = make_population(counts, {}, seed=1, model=MOCK_MODEL)
    member = next(key for key in keys if key.scope == "member")
    both = {"user_id": member.user_id, "team_id": member.team_id}
    limits = {"spend": 0.0, "max_budget": None, "blocked": False, "expires": None}
    connection = Connection(
        VerificationToken=[{"token": key.token, **limits} for key in keys],
        UserTable=[{"user_id": key.user_id, **limits} for key in keys if key.user_id],
        TeamTable=[{"team_id": key.team_id, **limits} for key in keys if key.team_id],
        TeamMembership=[{**both, "spend": 5.0, "budget_max": 5.0}],
    )
    found = await DATABASE.truth(
        cast("asyncpg.Connection", connection), keys, planted_null_user=False
    )
    assert {key.scope: found[key.index].status for key in keys} == {
        "team": 200,
        "user": 200,
        "member": 429,
    }
    assert found[member.index].digests == {
        "key": digest("key", {"token": member.token}),
        "user": digest("user", {"user_id": member.user_id}),
        "team": digest("team", {"team_id": member.team_id}),
        "membership": digest("membership", {**both, "budget_max": 5.0}),
    }
    planted = await DATABASE.truth(
        cast("asyncpg.Connection", connection), keys, planted_null_user=True
    )
    assert [key.scope for key in keys if planted[key.index] != found[key.index]] == ["team"]


@pytest.mark.parametrize(("year", "status"), [(2000, 401), (9000, 200)])
async def test_what_has_expired_is_decided_by_the_present_moment(year: int, status: int) -> None:
    (key,) = make_population({"user": 1}, {}, seed=1, model=MOCK_MODEL)
    row = {
        "token": key.token,
        "spend": 0.0,
        "max_budget": None,
        "blocked": False,
        "expires": datetime(year, 1, 1),  # noqa: DTZ001 - as Postgres gives it
    }
    connection = Connection(VerificationToken=[row])
    found = await DATABASE.truth(
        cast("asyncpg.Connection", connection), [key], planted_null_user=False
    )
    assert found[0].status == status
