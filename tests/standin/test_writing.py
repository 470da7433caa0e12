"""``data`` as text and parameters."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any

import pytest

from standin.prisma import Base64, Json, assignments, values
from standin.prisma.assignments import new_row
from standin.prisma.complaints import Call
from standin.prisma.errors import (
    DataError,
    FieldNotFoundError,
    MissingRequiredValueError,
    UnsupportedCallError,
)
from standin.prisma.writing import (
    MAX_PARAMETERS,
    delete,
    insert,
    insert_many,
    update,
    upsert,
)
from tests.standin.sample import SCHEMA

OWNER = SCHEMA.models["Owner"]
THING = SCHEMA.models["Thing"]
MAKER = SCHEMA.models["Maker"]
COUNTER = SCHEMA.models["Counter"]
CALL = Call("owner", "create")
NOON = dt.datetime(2026, 5, 4, 12, 0, 0, 123999, tzinfo=dt.UTC)
NOON_TEXT = "2026-05-04 12:00:00.123"


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(values, "utc_now", lambda: NOON)
    monkeypatch.setattr(assignments, "utc_now", lambda: NOON)


def test_a_new_row_has_the_defaults_that_prismas_engine_makes() -> None:
    made = dict(new_row(OWNER, {"name": "n", "boss_id": None}, CALL).values)
    assert uuid.UUID(made.pop("owner_id")).version == 4
    assert made == {
        "name": "n",
        "labels": ["new", 'n"2'],
        "spend": 0.0,
        "blocked": False,
        "metadata": "{}",
        "colour": "RED",
        "created_at": NOON_TEXT,
        "updated_at": NOON_TEXT,
        "boss_id": None,
    }
    assert new_row(MAKER, {"name": "m"}, CALL).values["id"].startswith("c")


def test_a_default_that_postgres_makes_is_left_to_it() -> None:
    assert set(new_row(THING, {"owner_id": "o", "name": "n"}, CALL).values) == {
        "owner_id",
        "name",
        "note",
    }


def test_values_by_type() -> None:
    data = {
        "owner_id": "o",
        "tags": {"set": ["a"]},
        "labels": (),
        "tpm": 2**40,
        "metadata": Json({"at": NOON, "n": [None]}),
        "extra": '{"a": 1}',
        "price": "1.10",
        "picture": Base64.encode(b"\x00\xff"),
        "days": [NOON],
        "colours": ["RED", "GREEN"],
        "seen_at": NOON.astimezone(dt.timezone(dt.timedelta(hours=5))),
    }
    made = new_row(OWNER, data, CALL).values
    assert made["tags"] == ["a"]
    assert made["labels"] == []
    assert made["metadata"] == '{"at": "2026-05-04T12:00:00.123000+00:00", "n": [null]}'
    assert made["extra"] == '{"a": 1}'
    assert str(made["price"]) == "1.10"
    assert made["picture"] == b"\x00\xff"
    assert made["days"] == [NOON_TEXT]
    assert made["seen_at"] == f"{NOON_TEXT}+00:00"
    sql = insert(OWNER, new_row(OWNER, data, CALL), "create").statement.sql
    assert '::text::"Colour"' in sql
    assert '::text[]::"Colour"[]' in sql


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"nam": 1}, FieldNotFoundError),
        ({"owner_id": None}, MissingRequiredValueError),
        ({"spend": None}, MissingRequiredValueError),
        ({"metadata": {"a": 1}}, DataError),
        ({"metadata": ["a"]}, DataError),
        ({"metadata": "not json"}, DataError),
        ({"tags": "a"}, DataError),
        ({"tags": {"push": "a"}}, DataError),
        ({"things": {"create": {}}}, UnsupportedCallError),
        (None, DataError),
    ],
)
def test_data_that_cannot_be_created(data: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        new_row(OWNER, data, CALL)


def test_a_required_field_without_a_default_must_be_given() -> None:
    with pytest.raises(MissingRequiredValueError, match=r"data\.name"):
        new_row(THING, {"owner_id": "o"}, CALL)


def test_an_insert_returns_its_row() -> None:
    query = insert(MAKER, new_row(MAKER, {"id": "i", "name": "n"}, CALL), "create")
    assert query.statement.sql == (
        'INSERT INTO "Maker" ("id", "name") VALUES ($1, $2) RETURNING "id", "name"'
    )
    assert query.values == ["i", "n"]


def test_many_rows_go_in_as_few_statements_as_postgres_allows() -> None:
    rows = [new_row(MAKER, {"id": str(n), "name": "n"}, CALL) for n in range(MAX_PARAMETERS)]
    queries = list(insert_many(MAKER, rows, "create_many", skip_duplicates=True))
    assert [len(query.values) for query in queries] == [32766, 32766, 2]
    assert all(query.statement.sql.endswith(" ON CONFLICT DO NOTHING") for query in queries)
    assert [value for query in queries for value in query.values[::2]] == [
        str(n) for n in range(MAX_PARAMETERS)
    ]


def test_a_value_that_only_some_rows_have_is_the_default_in_the_others() -> None:
    rows = [
        new_row(THING, {"owner_id": "o", "name": "a"}, CALL),
        new_row(THING, {"owner_id": "o", "name": "b", "number": 7}, CALL),
    ]
    (query,) = insert_many(THING, rows, "create_many", skip_duplicates=False)
    assert query.statement.sql == (
        'INSERT INTO "Thing" ("owner_id", "name", "number", "note") '
        "VALUES ($1, $2, DEFAULT, $3), ($4, $5, $6, $7)"
    )


@pytest.mark.parametrize(
    ("data", "text", "bound"),
    [
        ({"hits": {"increment": 2}}, '"hits" = "Counter"."hits" + $1', [2]),
        ({"hits": {"decrement": 2}}, '"hits" = "Counter"."hits" - $1', [2]),
        ({"spend": {"multiply": 2}}, '"spend" = "Counter"."spend" * $1', [2.0]),
        ({"spend": {"divide": 2}}, '"spend" = "Counter"."spend" / $1', [2.0]),
        ({"hits": {"set": 2}, "kind": None}, '"hits" = $1, "kind" = $2', [2, None]),
        ({"hits": 3}, '"hits" = $1', [3]),
    ],
)
def test_changes(data: Any, text: str, bound: list[Any]) -> None:
    query = update(SCHEMA, COUNTER, {"day": "d"}, data, CALL)
    assert query is not None
    where = f'WHERE "Counter"."day" = ${len(bound) + 1}'
    assert query.statement.sql == f'UPDATE "Counter" SET {text} {where}'
    assert query.values == [*bound, "d"]


def test_a_change_sets_when_it_happened_unless_told() -> None:
    query = update(SCHEMA, OWNER, {}, {"tags": {"push": "a"}}, CALL)
    assert query is not None
    assert query.statement.sql == (
        'UPDATE "OwnerTable" SET "tags" = "OwnerTable"."tags" || $1::text[], "updated_at" = $2'
    )
    assert query.values == [["a"], NOON_TEXT]
    query = update(SCHEMA, OWNER, {}, {"updated_at": NOON + dt.timedelta(days=1)}, CALL)
    assert query is not None
    assert query.values == ["2026-05-05 12:00:00.123"]


def test_nothing_to_change_is_no_statement() -> None:
    assert update(SCHEMA, OWNER, {}, {}, CALL) is None


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"hits": {"increment": 1, "decrement": 1}}, UnsupportedCallError),
        ({"hits": {"push": 1}}, UnsupportedCallError),
        ({"kind": {"increment": "a"}}, UnsupportedCallError),
        ({"hits": {"increment": "1"}}, DataError),
        ({"hits": {"increment": None}}, DataError),
        ({"hits": None}, MissingRequiredValueError),
        ({"hit": 1}, FieldNotFoundError),
    ],
)
def test_changes_that_are_refused(data: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        update(SCHEMA, COUNTER, {}, data, CALL)


def test_an_upsert_is_one_statement() -> None:
    row = new_row(COUNTER, {"day": "d", "kind": "k", "hits": 1}, CALL)
    query = upsert(COUNTER, row, ["day", "kind"], {"hits": {"increment": 1}}, CALL)
    assert query.statement.sql == (
        'INSERT INTO "Counter" ("day", "kind", "hits", "spend", "seen") '
        "VALUES ($1, $2, $3, $4, $5) "
        'ON CONFLICT ("day", "kind") DO UPDATE SET "hits" = "Counter"."hits" + $6 '
        'RETURNING "day", "kind", "hits", "spend", "seen"'
    )
    query = upsert(COUNTER, row, ["day", "kind"], {}, CALL)
    assert 'DO UPDATE SET "day" = "Counter"."day" RETURNING' in query.statement.sql


def test_a_delete() -> None:
    query = delete(SCHEMA, COUNTER, {"day": "d"}, CALL, returning=False)
    assert query.statement.sql == 'DELETE FROM "Counter" WHERE "Counter"."day" = $1'
