"""The stand-in on the tables that a release's own migrations make."""

from __future__ import annotations

from typing import Any

import pytest

from harness.authcache.words import ObjectKind
from harness.targets.schema import statements
from standin.prisma import Prisma
from standin.prisma.schema import Field, Model, Schema
from tests.standin.conftest import Heard

pytestmark = pytest.mark.integration


async def test_every_table_can_be_read_with_all_its_columns_and_relations(
    release_client: Prisma, release_schema: Schema
) -> None:
    for model in release_schema.models.values():
        table = getattr(release_client, model.accessor)
        include = dict.fromkeys(model.relations, True)
        assert await table.find_many(take=1, include=include) == [], model.name
        assert await table.count() == 0, model.name


async def test_every_table_without_parents_takes_a_row_by_every_unique_key(
    release_client: Prisma, release_schema: Schema
) -> None:
    """An upsert names the key's columns to Postgres, which must have an index on just those."""
    alone = [model for model in release_schema.models.values() if not _has_parent(model)]
    assert len(alone) > 40
    for model in alone:
        data = {
            one.name: _value(release_schema, one) for one in model.columns if _needed(model, one)
        }
        table = getattr(release_client, model.accessor)
        for key, names in model.uniques.items():
            values = {name: data[name] for name in names}
            where = values if len(names) == 1 else {key: values}
            for _ in range(2):
                made = await table.upsert(where=where, data={"create": data, "update": {}})
            assert (await table.find_unique(where=where)) == made, model.name
        assert await table.count() == 1, model.name
        assert await table.delete_many() == 1, model.name


def _has_parent(model: Model) -> bool:
    keys = [one.join.here for one in model.relations.values() if one.join and one.join.owner]
    return any(_needed(model, model.fields[name]) for names in keys for name in names)


def _needed(model: Model, field: Field) -> bool:
    in_key = any(field.name in names for names in model.uniques.values())
    return in_key or not (
        field.is_optional or field.is_list or field.default or field.is_updated_at
    )


def _value(schema: Schema, field: Field) -> Any:
    if field.kind == "enum":
        return schema.enums[field.type][0]
    return {
        "String": f"{field.name}-value",
        "Int": 7,
        "BigInt": 7,
        "Float": 7.0,
        "Boolean": True,
        "DateTime": "2026-05-04T12:00:00+00:00",
        "Json": '{"a": 1}',
    }[field.type]


async def test_reads_are_told_apart_by_what_they_read(release_client: Prisma, heard: Heard) -> None:
    db = release_client
    await db.litellm_usertable.find_unique(
        where={"user_id": "u"}, include={"organization_memberships": True}
    )
    await db.litellm_teamtable.find_unique(where={"team_id": "t"})
    await db.litellm_teammembership.find_unique(
        where={"user_id_team_id": {"user_id": "u", "team_id": "t"}},
        include={"litellm_budget_table": True},
    )
    await db.litellm_verificationtoken.find_unique(where={"token": "k"})
    kinds = [statements.classify(statement.sql) for statement in heard.sent_]
    assert kinds == [ObjectKind.USER, ObjectKind.TEAM, ObjectKind.MEMBERSHIP, ObjectKind.KEY]
    heard.sent_.clear()
    await db.litellm_teamtable.update_many(where={"team_id": "t"}, data={"spend": {"increment": 1}})
    await db.litellm_usertable.count(where={"user_id": "u"})
    assert [statement.sql.split()[0] for statement in heard.sent_] == ["UPDATE", "SELECT"]


async def test_the_spend_writers_batch(release_client: Prisma) -> None:
    """As LiteLLM writes spend: a transaction, in it a batch of increments and upserts."""
    db = release_client
    await db.litellm_verificationtoken.create(data={"token": "k", "models": []})
    await db.litellm_teammembership.create(data={"user_id": "u", "team_id": "t"})
    daily = {
        "user_id": "u",
        "date": "2026-05-04",
        "api_key": "k",
        "model": "m",
        "custom_llm_provider": "openai",
        "mcp_namespaced_tool_name": "",
        "endpoint": "",
    }
    key = "_".join(daily)
    for _ in range(2):
        async with db.tx() as transaction, transaction.batch_() as batch:
            batch.litellm_verificationtoken.update_many(
                where={"token": "k"}, data={"spend": {"increment": 0.25}}
            )
            batch.litellm_teammembership.update_many(
                where={"team_id": "t", "user_id": "u"}, data={"spend": {"increment": 0.25}}
            )
            batch.litellm_dailyuserspend.upsert(
                where={key: daily},
                data={
                    "create": {**daily, "spend": 0.25, "api_requests": 1},
                    "update": {"spend": {"increment": 0.25}, "api_requests": {"increment": 1}},
                },
            )
    assert (await db.litellm_verificationtoken.find_unique(where={"token": "k"})).spend == 0.5
    assert (await db.litellm_teammembership.find_first()).spend == 0.5
    row = await db.litellm_dailyuserspend.find_first()
    assert (row.spend, row.api_requests) == (0.5, 2)
    for table in (
        db.litellm_verificationtoken,
        db.litellm_teammembership,
        db.litellm_dailyuserspend,
    ):
        await table.delete_many()


async def test_clearing_a_members_budget(release_client: Prisma, heard: Heard) -> None:
    db = release_client
    await db.litellm_budgettable.create(
        data={"budget_id": "b", "max_budget": 5.0, "created_by": "a", "updated_by": "a"}
    )
    key = {"user_id_team_id": {"user_id": "u", "team_id": "t"}}
    connect = {"litellm_budget_table": {"connect": {"budget_id": "b"}}}
    create = {"user_id": "u", "team_id": "t", **connect}
    made = await db.litellm_teammembership.upsert(
        where=key,
        data={"create": create, "update": connect},
        include={"litellm_budget_table": True},
    )
    assert made.litellm_budget_table.max_budget == 5.0
    heard.sent_.clear()
    cleared = await db.litellm_teammembership.update(
        where=key, data={"litellm_budget_table": {"disconnect": True}}
    )
    assert (cleared.budget_id, cleared.litellm_budget_table) == (None, None)
    assert heard.verbs == ["UPDATE"]
    await db.litellm_teammembership.delete_many()
    await db.litellm_budgettable.delete_many()
