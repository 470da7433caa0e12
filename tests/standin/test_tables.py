"""The table actions on a real Postgres."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import Any

import pytest

from standin.prisma import Base64, Json, Prisma
from standin.prisma.errors import (
    DataError,
    ForeignKeyViolationError,
    RecordNotFoundError,
    TableNotFoundError,
    UniqueViolationError,
    UnsupportedCallError,
)
from tests.standin.conftest import Heard

pytestmark = pytest.mark.integration


async def _counters(client: Prisma, **hits: int) -> None:
    for kind, number in hits.items():
        await client.counter.create(data={"day": "d", "kind": kind, "hits": number})


async def test_every_type_goes_in_and_comes_out(client: Prisma) -> None:
    noon = dt.datetime(2026, 5, 4, 12, 0, 0, 123999, tzinfo=dt.UTC)
    there = dt.datetime(2026, 5, 4, 12, 0, tzinfo=dt.timezone(dt.timedelta(hours=-7)))
    made = await client.owner.create(
        data={
            "owner_id": "o",
            "name": "Ünïcode ' \" $1",
            "tags": ["a", "b,c", '"', ""],
            "spend": 0.1,
            "tpm": 2**40,
            "size": -3,
            "blocked": True,
            "metadata": Json({"a": [1, 2.5, None, {"b": "ü"}]}),
            "extra": "[1]",
            "colour": "GREEN",
            "colours": ["RED", "GREEN"],
            "price": decimal.Decimal("12.340"),
            "picture": Base64.encode(b"\x00\xff"),
            "seen_at": there,
            "days": [noon],
            "created_at": noon,
        }
    )
    row = await client.owner.find_unique(where={"owner_id": "o"})
    assert row == made
    cut = noon.replace(microsecond=123000)
    assert row.name == "Ünïcode ' \" $1"
    assert row.tags == ["a", "b,c", '"', ""]
    assert (row.spend, row.tpm, row.size, row.blocked) == (0.1, 2**40, -3, True)
    assert row.metadata == {"a": [1, 2.5, None, {"b": "ü"}]}
    assert row.extra == [1]
    assert (row.colour, row.colours) == ("GREEN", ["RED", "GREEN"])
    assert row.price == decimal.Decimal("12.34")
    assert row.picture.decode() == b"\x00\xff"
    assert row.created_at == cut
    assert row.created_at.utcoffset() == dt.timedelta(0)
    assert row.seen_at == there
    assert row.seen_at.utcoffset() == dt.timedelta(0)
    assert row.days == [cut]


async def test_a_row_is_a_model_with_all_fields_of_the_schema(client: Prisma) -> None:
    await client.owner.create(data={"owner_id": "o"})
    row = await client.owner.find_first()
    assert row.labels == ["new", 'n"2']
    assert row.tags == [], "a NULL list is the empty list, as Prisma's engine gives it"
    assert row.metadata == {}
    assert row.extra is None
    assert row.boss is None
    assert row.things is None, "not included is not the same as empty"
    assert row.updated_at - row.created_at < dt.timedelta(minutes=1)
    assert dict(row)["owner_id"] == "o"
    assert row.model_dump() == dict(row)
    assert '"owner_id":"o"' in row.model_dump_json()
    assert "things" not in row.model_dump(exclude_unset=True)
    with pytest.raises(AttributeError):
        row.nothing  # noqa: B018 - the access is the test
    row.name = "changed here only"
    assert (await client.owner.find_first()).name is None


async def test_find_many_with_order_take_skip_and_distinct(client: Prisma) -> None:
    await _counters(client, a=1, b=2, c=3, d=3)
    newest = await client.counter.find_many(order={"hits": "desc"}, take=2, skip=1)
    assert [row.hits for row in newest] == [3, 2]
    each = await client.counter.find_many(order={"kind": "asc"}, distinct=["hits"], skip=1, take=2)
    assert [row.kind for row in each] == ["b", "c"]
    assert await client.counter.find_many(where={"day": "other"}) == []
    assert await client.counter.find_first(where={"day": "other"}) is None


@pytest.mark.parametrize(
    ("where", "kinds"),
    [
        ({"hits": {"gt": 1, "lt": 3}}, "b"),
        ({"kind": {"in": ["a", "c"]}}, "ac"),
        ({"kind": {"not_in": ["a"]}}, "bc"),
        ({"kind": {"not": "a"}}, "bc"),
        ({"OR": [{"kind": None}, {"hits": 1}]}, "a0"),
        ({"NOT": [{"hits": 1}, {"hits": 2}]}, "c0"),
        ({"kind": {"contains": "B", "mode": "insensitive"}}, "b"),
        ({"seen": {"in": [dt.datetime(2026, 1, 2, tzinfo=dt.UTC)]}}, "a"),
        ({"seen": {"gte": "2026-01-03T00:00:00Z"}}, "bc0"),
        ({"per_day": {"day": "d", "kind": "b"}}, "b"),
    ],
)
async def test_conditions_as_postgres_understands_them(
    client: Prisma, where: Any, kinds: str
) -> None:
    for number, kind in enumerate(["a", "b", "c", None], start=1):
        seen = dt.datetime(2026, 1, 1 + number, tzinfo=dt.UTC)
        data = {"day": "d", "kind": kind, "hits": number, "seen": seen}
        await client.counter.create(data=data)
    rows = await client.counter.find_many(where=where, order={"hits": "asc"})
    assert "".join(row.kind or "0" for row in rows) == kinds


async def test_lists_json_and_enums_in_conditions(client: Prisma) -> None:
    owners = client.owner
    extra = Json({"a": {"b": "text"}, "l": [1, 2]})
    await owners.create(data={"owner_id": "x", "tags": ["a", "b"], "colour": "RED", "extra": extra})
    await owners.create(data={"owner_id": "y", "tags": [], "colour": "GREEN", "colours": ["RED"]})
    found: dict[str, Any] = {
        "has": {"tags": {"has": "a"}},
        "some": {"tags": {"hasSome": ["z", "b"]}},
        "every": {"tags": {"hasEvery": ["a", "b"]}},
        "full": {"tags": {"isEmpty": False}},
        "colour": {"colour": {"in": ["RED"]}},
        "below": {"extra": {"path": ["a", "b"], "equals": Json("text")}},
        "text": {"extra": {"path": ["a", "b"], "string_contains": "ex"}},
        "array": {"extra": {"path": ["l"], "array_contains": Json([2])}},
        "json": {"extra": {"equals": extra}},
    }
    for name, where in found.items():
        assert [row.owner_id for row in await owners.find_many(where=where)] == ["x"], name
    other = await owners.find_many(where={"colours": {"has": "RED"}, "tags": {"isEmpty": True}})
    assert [row.owner_id for row in other] == ["y"]


async def test_update_changes_one_row_or_says_none(client: Prisma, heard: Heard) -> None:
    made = await client.owner.create(data={"owner_id": "o", "tags": ["a"], "updated_at": _LONG_AGO})
    changed = await client.owner.update(
        where={"owner_id": "o"}, data={"spend": {"increment": 1.5}, "tags": {"push": ["b"]}}
    )
    assert (changed.spend, changed.tags) == (1.5, ["a", "b"])
    assert changed.updated_at > made.updated_at
    assert await client.owner.update(where={"owner_id": "none"}, data={"spend": 1}) is None
    heard.sent_.clear()
    same = await client.owner.update(where={"owner_id": "o"}, data={})
    assert same == changed
    assert heard.verbs == ["SELECT"], "nothing to write"


_LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


async def test_a_list_that_is_null_can_be_pushed_to(client: Prisma) -> None:
    await client.owner.create(data={"owner_id": "o"})
    changed = await client.owner.update(where={"owner_id": "o"}, data={"tags": {"push": "a"}})
    assert changed.tags == ["a"]


async def test_update_many_and_delete_many_count(client: Prisma) -> None:
    await _counters(client, a=1, b=2, c=3)
    changed = await client.counter.update_many(
        where={"hits": {"gt": 1}}, data={"hits": {"increment": 10}}
    )
    assert changed == 2
    assert await client.counter.update_many(where={"day": "no"}, data={"hits": 0}) == 0
    assert await client.counter.delete_many(where={"hits": 1}) == 1
    assert await client.counter.delete_many() == 2


async def test_upsert_inserts_then_changes_in_one_statement(client: Prisma, heard: Heard) -> None:
    async def once() -> Any:
        return await client.counter.upsert(
            where={"per_day": {"day": "d", "kind": "k"}},
            data={
                "create": {"day": "d", "kind": "k", "hits": 1},
                "update": {"hits": {"increment": 1}},
            },
        )

    assert (await once()).hits == 1
    assert (await once()).hits == 2
    assert heard.verbs == ["INSERT", "INSERT"]


async def test_an_upsert_whose_row_has_another_key_still_finds_its_row(
    client: Prisma, heard: Heard
) -> None:
    await client.maker.create(data={"id": "i", "name": "before"})
    heard.sent_.clear()
    data = {"create": {"name": "created"}, "update": {"name": "updated"}}
    assert (await client.maker.upsert(where={"id": "i"}, data=data)).name == "updated"
    assert (await client.maker.upsert(where={"id": "j"}, data=data)).name == "created"
    assert heard.verbs == ["UPDATE", "UPDATE", "INSERT"]
    assert await client.maker.count() == 2


async def test_an_upsert_with_nothing_to_change_returns_the_row(client: Prisma) -> None:
    await client.maker.create(data={"id": "i", "name": "n"})
    data = {"create": {"id": "i", "name": "other"}, "update": {}}
    assert (await client.maker.upsert(where={"id": "i"}, data=data)).name == "n"


async def test_create_many_can_leave_duplicates_out(client: Prisma) -> None:
    rows = [{"id": str(number), "name": str(number)} for number in range(5)]
    assert await client.maker.create_many(data=rows[:3]) == 3
    assert await client.maker.create_many(data=rows, skip_duplicates=True) == 2
    with pytest.raises(UniqueViolationError):
        await client.maker.create_many(data=rows)
    assert await client.maker.create_many(data=[]) == 0
    assert await client.maker.count() == 5


async def test_more_rows_than_one_statement_carries_are_all_or_nothing(client: Prisma) -> None:
    rows = [{"id": str(number), "name": str(number)} for number in range(20_000)]
    with pytest.raises(UniqueViolationError):
        await client.maker.create_many(data=[*rows, rows[0]])
    assert await client.maker.count() == 0
    assert await client.maker.create_many(data=rows) == 20_000


async def test_delete_returns_the_row_with_what_belonged_to_it(client: Prisma) -> None:
    await client.owner.create(data={"owner_id": "o"})
    await client.thing.create(data={"owner_id": "o", "name": "n"})
    gone = await client.owner.delete(where={"owner_id": "o"}, include={"things": True})
    assert [one.name for one in gone.things] == ["n"]
    assert await client.owner.delete(where={"owner_id": "o"}) is None
    assert await client.thing.count() == 0


async def test_count_and_group_by(client: Prisma) -> None:
    await _counters(client, a=1, b=3, c=3)
    await client.counter.create(data={"day": "e", "hits": 5, "spend": 0.5, "seen": _LONG_AGO})
    assert await client.counter.count(where={"day": "d"}) == 3
    assert await client.counter.count(take=2) == 2
    assert await client.counter.count(select={"_all": True, "kind": True}) == {"_all": 4, "kind": 3}
    groups = await client.counter.group_by(
        ["day"],
        sum={"hits": True, "spend": True},
        max={"hits": True},
        min={"seen": True},
        avg={"hits": True},
        count=True,
        order={"day": "desc"},
        take=1,
    )
    assert groups == [
        {
            "day": "e",
            "_sum": {"hits": 5.0, "spend": 0.5},
            "_max": {"hits": 5},
            "_min": {"seen": "2020-01-01T00:00:00+00:00"},
            "_avg": {"hits": 5.0},
            "_count": {"_all": 1},
        }
    ]


async def test_or_raise(client: Prisma) -> None:
    with pytest.raises(RecordNotFoundError):
        await client.owner.find_unique_or_raise(where={"owner_id": "x"})
    with pytest.raises(RecordNotFoundError):
        await client.owner.find_first_or_raise(where={"name": "x"})
    await client.owner.create(data={"owner_id": "x", "name": "x"})
    assert (await client.owner.find_first_or_raise(where={"name": "x"})).owner_id == "x"


async def test_what_postgres_refuses_has_prismas_class_code_and_meta(
    client: Prisma, heard: Heard
) -> None:
    await client.owner.create(data={"owner_id": "o", "email": "e"})
    with pytest.raises(UniqueViolationError) as unique:
        await client.owner.create(data={"owner_id": "p", "email": "e"})
    assert str(unique.value) == "Unique constraint failed on the fields: (`email`)"
    assert (unique.value.code, unique.value.meta) == ("P2002", {"target": ["email"]})
    with pytest.raises(ForeignKeyViolationError) as foreign:
        await client.thing.create(data={"owner_id": "nobody", "name": "n"})
    assert foreign.value.code == "P2003"
    with pytest.raises(TableNotFoundError) as table:
        await client.nowhere.find_many()
    assert table.value.table == "Nowhere"
    with pytest.raises(DataError):
        await client.owner.create(data={"owner_id": "big", "size": 2**40})
    assert [type(error).__name__ for _, error in heard.failed_] == [
        "UniqueViolationError",
        "ForeignKeyViolationError",
        "UndefinedTableError",
        "DataError",
    ]


async def test_an_argument_that_prismas_client_does_not_take_is_a_type_error(
    client: Prisma, heard: Heard
) -> None:
    with pytest.raises(TypeError, match="select"):
        await client.owner.find_first(where={}, select={"name": True})
    with pytest.raises(UnsupportedCallError, match=r"owner.find_many\(cursor\)"):
        await client.owner.find_many(cursor={"owner_id": "x"})
    with pytest.raises(TypeError, match="order"):
        await client.counter.group_by(["day"], take=1)
    assert heard.sent_ == []


async def test_an_unknown_table_is_an_attribute_error(client: Prisma) -> None:
    assert not hasattr(client, "litellm_nosuchtable")
    assert not hasattr(client.batch_(), "litellm_nosuchtable")
