"""Statements by verb, table and WHERE."""

from __future__ import annotations

import pytest

from harness.observe.postgres import shape

PRISMA = (
    'SELECT "public"."LiteLLM_BudgetTable"."budget_id" FROM "public"."LiteLLM_BudgetTable" '
    'WHERE ("public"."LiteLLM_BudgetTable"."budget_id" = $1 AND 1=1) LIMIT $2 OFFSET $3'
)


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (
            PRISMA,
            "SELECT LiteLLM_BudgetTable WHERE (budget_id = ? AND 1=1)",
        ),
        (
            'SELECT a, b FROM "LiteLLM_TeamTable" WHERE team_id IN ($1,$2, $3)',
            "SELECT LiteLLM_TeamTable WHERE team_id IN ?",
        ),
        (
            'UPDATE "LiteLLM_UserTable" SET spend = spend + $1\n WHERE user_id = $2 RETURNING a',
            "UPDATE LiteLLM_UserTable WHERE user_id = ?",
        ),
        ('INSERT INTO "LiteLLM_SpendLogs" (a) VALUES ($1)', "INSERT LiteLLM_SpendLogs"),
        ("SELECT v.* FROM x AS v WHERE v.token = $1", "SELECT x WHERE token = ?"),
        (
            (
                'WITH c AS (SELECT s FROM "T" WHERE NOT done LIMIT 32 FOR UPDATE SKIP LOCKED) '
                'UPDATE "T" AS t SET at = now() FROM c WHERE t.s = c.s'
            ),
            "UPDATE T WHERE NOT done",
        ),
        ('with c as (select 1) insert into "T" (a) select * from c', "INSERT T"),
        ('WITH c AS (SELECT s FROM "T" FOR UPDATE OF t) SELECT s FROM c', "WITH T"),
        ("BEGIN;", "BEGIN"),
        ("SELECT $1", "SELECT ?"),
    ],
)
def test_shape(query: str, shown: str) -> None:
    assert shape(query) == shown


def test_columns_do_not_matter() -> None:
    assert shape('SELECT a FROM "T" WHERE a = $1') == shape('SELECT a, b FROM "T" WHERE a = $1')
