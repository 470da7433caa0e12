"""``where`` and ``order`` as text and parameters."""

from __future__ import annotations

import datetime as dt
import enum
from typing import Any

import pytest

from standin.prisma import Json
from standin.prisma.complaints import Call
from standin.prisma.errors import (
    DataError,
    FieldNotFoundError,
    MissingRequiredValueError,
    UnsupportedCallError,
)
from standin.prisma.filters import Filters, unique_fields
from standin.prisma.selecting import select
from standin.prisma.statements import Parameters
from tests.standin.sample import SCHEMA

OWNER = SCHEMA.models["Owner"]
THING = SCHEMA.models["Thing"]
CALL = Call("owner", "find_many")
NOON = dt.datetime(2026, 5, 4, 12, 0, 0, 123999, tzinfo=dt.UTC)


class Kind(enum.Enum):
    X = "x"


def compiled(where: Any, model: Any = OWNER) -> tuple[str, list[Any]]:
    """The condition, with the table's name left out for legibility."""
    parameters = Parameters()
    clause = Filters(SCHEMA, CALL, parameters).clause(model, where)
    return clause.replace(f'"{model.table}".', ""), parameters.values


@pytest.mark.parametrize(
    ("where", "text", "values"),
    [
        (None, "", []),
        ({}, "", []),
        ({"name": "a"}, 'WHERE "name" = $1', ["a"]),
        ({"name": Kind.X}, 'WHERE "name" = $1', ["x"]),
        ({"name": None}, 'WHERE "name" IS NULL', []),
        ({"created_at": NOON}, 'WHERE "made_at" = $1', ["2026-05-04 12:00:00.123"]),
        ({"seen_at": NOON}, 'WHERE "seen_at" = $1', ["2026-05-04 12:00:00.123+00:00"]),
        (
            {"created_at": "2026-05-04T14:00:00+02:00"},
            'WHERE "made_at" = $1',
            ["2026-05-04 12:00:00.000"],
        ),
        ({"name": "a", "size": 2}, 'WHERE ("name" = $1 AND "size" = $2)', ["a", 2]),
        ({"spend": {"gt": 1, "lte": 2.5}}, 'WHERE ("spend" > $1 AND "spend" <= $2)', [1.0, 2.5]),
        ({"size": {"gte": 1}}, 'WHERE "size" >= $1', [1]),
        ({"size": {"lt": 1}}, 'WHERE "size" < $1', [1]),
        ({"name": {"equals": None}}, 'WHERE "name" IS NULL', []),
        ({"name": {"not": None}}, 'WHERE "name" IS NOT NULL', []),
        ({"name": {"not": "a"}}, 'WHERE "name" <> $1', ["a"]),
        ({"name": {"not": {"in": ["a"]}}}, 'WHERE (NOT "name" = ANY($1))', [["a"]]),
        ({"name": {"in": ["a", "b"]}}, 'WHERE "name" = ANY($1)', [["a", "b"]]),
        ({"name": {"in": ()}}, "WHERE FALSE", []),
        ({"name": {"not_in": ["a"]}}, 'WHERE "name" <> ALL($1)', [["a"]]),
        ({"name": {"notIn": []}}, "", []),
        ({"name": {"contains": "50%"}}, 'WHERE "name"::text LIKE $1', ["%50%%"]),
        ({"name": {"startswith": "a"}}, 'WHERE "name"::text LIKE $1', ["a%"]),
        ({"name": {"endsWith": "a"}}, 'WHERE "name"::text LIKE $1', ["%a"]),
        (
            {"name": {"contains": "a", "mode": "insensitive"}},
            'WHERE "name"::text ILIKE $1',
            ["%a%"],
        ),
        ({"name": {"equals": "A", "mode": "insensitive"}}, 'WHERE "name" ILIKE $1', ["A"]),
        ({"name": {"not": "A", "mode": "insensitive"}}, 'WHERE "name" NOT ILIKE $1', ["A"]),
        ({"name": {"equals": "A", "mode": "default"}}, 'WHERE "name" = $1', ["A"]),
        ({"tags": {"has": "a"}}, 'WHERE "tags" @> $1::text[]', [["a"]]),
        ({"tags": {"hasSome": ["a", "b"]}}, 'WHERE "tags" && $1::text[]', [["a", "b"]]),
        ({"tags": {"has_every": ["a"]}}, 'WHERE "tags" @> $1::text[]', [["a"]]),
        ({"tags": {"is_empty": True}}, """WHERE "tags" = '{}'""", []),
        ({"tags": {"isEmpty": False}}, """WHERE "tags" <> '{}'""", []),
        ({"tags": ["a"]}, 'WHERE "tags" = $1::text[]', [["a"]]),
        ({"colour": "RED"}, 'WHERE "colour" = $1::text::"Colour"', ["RED"]),
        ({"colour": {"in": ["RED"]}}, 'WHERE "colour" = ANY($1::text[]::"Colour"[])', [["RED"]]),
        ({"extra": {"equals": Json({"a": [1]})}}, 'WHERE "extra" = $1', ['{"a": [1]}']),
        ({"extra": {"not": Json(None)}}, """WHERE "extra" <> 'null'::jsonb""", []),
        (
            {"OR": [{"name": None}, {"size": {"gt": 1}}], "blocked": False},
            'WHERE (("name" IS NULL OR "size" > $1) AND "blocked" = $2)',
            [1, False],
        ),
        ({"OR": []}, "WHERE FALSE", []),
        ({"AND": []}, "", []),
        ({"AND": {"name": "a"}}, 'WHERE "name" = $1', ["a"]),
        (
            {"NOT": [{"name": "a"}, {"size": 1}]},
            'WHERE ((NOT "name" = $1) AND (NOT "size" = $2))',
            ["a", 1],
        ),
        ({"NOT": {"tags": {"has": "a"}}}, 'WHERE (NOT "tags" @> $1::text[])', [["a"]]),
        (
            {"extra": {"path": ["a", "b"], "equals": Json("x")}},
            'WHERE ("extra" #> $1::text[]) = $2::jsonb',
            [["a", "b"], '"x"'],
        ),
    ],
)
def test_conditions(where: Any, text: str, values: list[Any]) -> None:
    assert compiled(where) == (text, values)


def test_a_compound_key_names_each_of_its_fields() -> None:
    where = {"owner_id_name": {"owner_id": "o", "name": "n"}}
    assert compiled(where, THING) == ('WHERE ("owner_id" = $1 AND "name" = $2)', ["o", "n"])


def test_relations_ask_whether_a_row_exists() -> None:
    clause, values = compiled(
        {"things": {"some": {"name": {"in": ["n"]}}}, "boss": {"is": {"size": 1}}}
    )
    assert clause == (
        'WHERE (EXISTS (SELECT 1 FROM "Thing" AS "t1" WHERE ("t1"."owner_id" = "owner_id" '
        'AND "t1"."name" = ANY($1))) AND EXISTS (SELECT 1 FROM "OwnerTable" AS "t2" '
        'WHERE ("t2"."owner_id" = "boss_id" AND "t2"."size" = $2)))'
    )
    assert values == [["n"], 1]


@pytest.mark.parametrize(
    ("where", "path"),
    [
        ({"name": {"foo": 1}}, "where.name.foo"),
        ({"name": {"in": ["a"], "mode": "insensitive"}}, "where.name.in"),
        ({"size": {"equals": 1, "mode": "insensitive"}}, "where.size.mode=insensitive"),
        ({"tags": {"gt": "a"}}, "where.tags.gt"),
        ({"OR": [{"AND": {"size": {"contains": "1"}}}]}, "where.OR.AND.size.contains"),
        ({"things": {"foo": {}}}, "where.things.foo"),
        ({"things": {"is": {}}}, "where.things.is"),
        ({"extra": {"path": ["a"], "gt": 1}}, "where.extra.gt"),
        ({"extra": {"path": ["a"]}}, "where.extra.path"),
    ],
)
def test_what_is_not_carried_out_is_refused_by_name(
    where: Any, path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    message = f"prisma stand-in: owner.find_many({path}) is not supported"
    for _ in range(2):
        with pytest.raises(UnsupportedCallError) as caught:
            compiled(where)
        assert str(caught.value) == message
    assert capsys.readouterr().err == f"{message}\n", "said once"


@pytest.mark.parametrize("where", [{"nam": 1}, {"AND": [{"things": {"some": {"nam": 1}}}]}])
def test_an_unknown_field_is_an_error(where: Any) -> None:
    with pytest.raises(FieldNotFoundError, match="nam"):
        compiled(where)


@pytest.mark.parametrize(
    "where",
    [
        {"name": 1},
        {"size": "1"},
        {"size": True},
        {"size": 1.5},
        {"blocked": 1},
        {"spend": "1.0"},
        {"created_at": "2026-05-04"},
        {"created_at": "2026-05-04T12:00:00"},
        {"created_at": 5},
        {"name": {"in": "ab"}},
        {"name": {"in": [None]}},
        {"extra": {"equals": {"a": 1}}},
        {"extra": "{not json"},
        {"picture": b"raw"},
        {"colour": 3},
        {"tags": {"is_empty": 1}},
        {"size": {"gt": None}},
        {"OR": "name"},
        {"owner_id": "x", "AND": [5]},
    ],
)
def test_a_value_of_the_wrong_type_is_an_error(where: Any) -> None:
    """Prisma's engine refuses all of these."""
    with pytest.raises(DataError):
        compiled(where)


def test_a_unique_key_is_found() -> None:
    assert unique_fields(OWNER, {"email": "e", "size": 1}, CALL) == {"email": "e"}
    key = {"owner_id_name": {"owner_id": "o", "name": "n"}}
    assert unique_fields(THING, key, CALL) == {"owner_id": "o", "name": "n"}


@pytest.mark.parametrize("where", [{"name": "a"}, {"email": None}, {}])
def test_what_names_no_single_row_is_an_error(where: Any) -> None:
    with pytest.raises(MissingRequiredValueError):
        unique_fields(OWNER, where, CALL)


def test_a_select_names_its_columns_and_one_table() -> None:
    query = select(
        SCHEMA,
        SCHEMA.models["Maker"],
        CALL,
        where={"name": "x"},
        order=[{"name": "asc"}, {"id": {"sort": "desc", "nulls": "last"}}],
        take=5,
        skip=10,
    )
    assert query.statement.sql == (
        'SELECT "id", "name" FROM "Maker" WHERE "Maker"."name" = $1 '
        'ORDER BY "name" ASC, "id" DESC NULLS LAST LIMIT $2 OFFSET $3'
    )
    assert query.values == ["x", 5, 10]
    assert (query.statement.table, query.statement.action) == ("Maker", "find_many")


@pytest.mark.parametrize(
    "how", [{"take": -1}, {"skip": -1}, {"order": {"name": "up"}}, {"order": {"things": "asc"}}]
)
def test_orders_and_limits_that_are_refused(how: Any) -> None:
    with pytest.raises(UnsupportedCallError):
        select(SCHEMA, OWNER, CALL, **how)
