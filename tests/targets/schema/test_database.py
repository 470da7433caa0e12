from __future__ import annotations

from datetime import datetime
from typing import Any, cast

import asyncpg
import pytest

from harness.authcache.digest import digest
from harness.authcache.words import ObjectKind
from harness.domain.population import MOCK_MODEL, make_population
from harness.targets.reference import store
from harness.targets.schema.database import LiteLLMDatabase

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


class Connection:
    """Postgres: rows by the table that a statement reads first."""

    def __init__(self, **tables: list[dict[str, Any]]) -> None:
        self._tables = tables

    async def fetch(self, statement: str) -> list[dict[str, Any]]:
        table = statement.split('FROM "LiteLLM_')[1].split('"', maxsplit=1)[0]
        if table == "TeamMembership":
            assert 'LEFT JOIN "LiteLLM_BudgetTable"' in statement
            assert "b.max_budget AS budget_max" in statement
        return self._tables.get(table, [])


async def test_the_truth_is_read_from_the_tables_of_keys_users_teams_and_memberships() -> None:
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
