"""Loading and connecting rows of other tables."""

from __future__ import annotations

from typing import Any

import pytest

from standin.prisma import Prisma
from standin.prisma.errors import (
    DataError,
    FieldNotFoundError,
    ForeignKeyViolationError,
    RecordNotFoundError,
    UnsupportedCallError,
)
from tests.standin.conftest import Heard

pytestmark = pytest.mark.integration


@pytest.fixture
async def family(client: Prisma, heard: Heard) -> Prisma:
    """Two owners with things, one the other's boss."""
    await client.owner.create(data={"owner_id": "boss", "size": 9})
    await client.owner.create(data={"owner_id": "o", "boss_id": "boss"})
    await client.maker.create(data={"id": "m", "name": "Maker"})
    for name in ("b", "a", "c"):
        maker = "m" if name == "a" else None
        await client.thing.create(data={"owner_id": "o", "name": name, "maker_id": maker})
    heard.sent_.clear()
    return client


async def test_each_relation_is_one_statement_on_its_own_table(
    family: Prisma, heard: Heard
) -> None:
    rows = await family.owner.find_many(
        order={"owner_id": "asc"}, include={"things": True, "boss": True}
    )
    assert [sorted(one.name for one in row.things) for row in rows] == [[], ["a", "b", "c"]]
    assert [row.boss and row.boss.owner_id for row in rows] == [None, "boss"]
    assert heard.tables == ["OwnerTable", "Thing", "OwnerTable"]
    assert heard.verbs == ["SELECT"] * 3
    assert all(" JOIN " not in statement.sql for statement in heard.sent_)
    assert {statement.action for statement in heard.sent_} == {"find_many"}


async def test_no_key_no_statement(family: Prisma, heard: Heard) -> None:
    row = await family.owner.find_unique(where={"owner_id": "boss"}, include={"boss": True})
    assert row.boss is None
    assert heard.tables == ["OwnerTable"]
    heard.sent_.clear()
    none = await family.owner.find_unique(where={"owner_id": "x"}, include={"things": True})
    assert none is None
    assert heard.tables == ["OwnerTable"], "no row, nothing to include"


async def test_includes_take_arguments_and_further_includes(family: Prisma) -> None:
    row = await family.owner.find_unique(
        where={"owner_id": "o"},
        include={
            "things": {
                "where": {"name": {"not": "c"}},
                "order_by": {"name": "desc"},
                "take": 2,
                "include": {"maker": True},
            },
            "staff": False,
        },
    )
    assert [(one.name, one.maker and one.maker.name) for one in row.things] == [
        ("b", None),
        ("a", "Maker"),
    ]
    assert row.staff is None


@pytest.mark.parametrize(
    ("include", "error"),
    [
        ({"nothing": True}, FieldNotFoundError),
        ({"name": True}, FieldNotFoundError),
        ({"things": {"cursor": {}}}, UnsupportedCallError),
        ({"boss": {"where": {}}}, UnsupportedCallError),
        ({"things": "yes"}, UnsupportedCallError),
        ({"things": {"where": {"nam": 1}}}, FieldNotFoundError),
    ],
)
async def test_includes_that_are_refused_send_nothing(
    family: Prisma, heard: Heard, include: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await family.owner.find_many(include=include)
    assert heard.sent_ == []


async def test_conditions_on_related_rows(family: Prisma) -> None:
    cases: dict[str, Any] = {
        "o": {"things": {"some": {"maker": {"is": {"name": "Maker"}}}}},
        "boss": {"things": {"none": {}}},
    }
    for owner_id, where in cases.items():
        assert [row.owner_id for row in await family.owner.find_many(where=where)] == [owner_id]
    every = await family.owner.find_many(where={"things": {"every": {"name": "a"}}})
    assert [row.owner_id for row in every] == ["boss"]
    without = await family.thing.count(where={"maker": None})
    assert without == 2
    assert await family.owner.count(where={"boss": {"is": {"size": {"gt": 8}}}}) == 1


async def test_connect_by_the_referenced_field_needs_no_lookup(
    family: Prisma, heard: Heard
) -> None:
    made = await family.thing.create(
        data={"name": "d", "owner": {"connect": {"owner_id": "o"}}}, include={"owner": True}
    )
    assert (made.owner_id, made.owner.owner_id) == ("o", "o")
    assert heard.verbs == ["INSERT", "SELECT"]
    with pytest.raises(ForeignKeyViolationError):
        await family.thing.create(data={"name": "e", "owner": {"connect": {"owner_id": "no"}}})


async def test_connect_by_another_key_looks_the_row_up(family: Prisma, heard: Heard) -> None:
    where = {"owner_id_name": {"owner_id": "o", "name": "b"}}
    changed = await family.thing.update(
        where=where, data={"maker": {"connect": {"name": "Maker"}}}, include={"maker": True}
    )
    assert changed.maker.id == "m"
    assert heard.verbs == ["SELECT", "UPDATE", "SELECT"]
    assert (
        await family.thing.update(where=where, data={"maker": {"connect": {"name": "Nobody"}}})
        is None
    )
    data = {"name": "x", "owner_id": "o", "maker": {"connect": {"name": "Nobody"}}}
    with pytest.raises(RecordNotFoundError):
        await family.thing.create(data=data)


async def test_disconnect_clears_the_key(family: Prisma) -> None:
    where = {"owner_id_name": {"owner_id": "o", "name": "a"}}
    await family.thing.update(where=where, data={"maker": {"disconnect": False}})
    assert (await family.thing.find_unique(where=where)).maker_id == "m"
    changed = await family.thing.update(where=where, data={"maker": {"disconnect": True}})
    assert changed.maker_id is None
    with pytest.raises(DataError):
        await family.thing.update(where=where, data={"owner": {"disconnect": True}})


async def test_create_and_connect_or_create(family: Prisma, heard: Heard) -> None:
    first = await family.thing.create(
        data={"name": "x", "owner_id": "o", "maker": {"create": {"id": "new", "name": "New"}}}
    )
    assert first.maker_id == "new"
    choice = {"where": {"name": "New"}, "create": {"id": "never", "name": "New"}}
    second = await family.thing.create(
        data={"name": "y", "owner_id": "o", "maker": {"connect_or_create": choice}}
    )
    assert second.maker_id == "new"
    assert heard.verbs == ["INSERT", "INSERT", "SELECT", "INSERT"]


async def test_what_was_made_first_goes_when_the_row_itself_fails(family: Prisma) -> None:
    data = {"name": "a", "owner_id": "o", "maker": {"create": {"id": "lost", "name": "Lost"}}}
    with pytest.raises(DataError):
        await family.thing.create(data=data)
    assert await family.maker.count(where={"id": "lost"}) == 0


async def test_an_upsert_may_connect(family: Prisma) -> None:
    where = {"owner_id_name": {"owner_id": "o", "name": "new"}}
    data = {
        "create": {"owner_id": "o", "name": "new", "maker": {"connect": {"id": "m"}}},
        "update": {"maker": {"connect": {"id": "m"}}},
    }
    assert (await family.thing.upsert(where=where, data=data)).maker_id == "m"


async def test_operations_from_the_other_side_are_refused(family: Prisma) -> None:
    with pytest.raises(UnsupportedCallError, match=r"owner.update\(data.things\)"):
        await family.owner.update(
            where={"owner_id": "o"}, data={"things": {"create": {"name": "z"}}}
        )
    where = {"owner_id_name": {"owner_id": "o", "name": "a"}}
    with pytest.raises(UnsupportedCallError, match=r"thing.update\(data.maker.delete\)"):
        await family.thing.update(where=where, data={"maker": {"delete": True}})
    with pytest.raises(UnsupportedCallError, match=r"thing.update_many\(data.maker\)"):
        await family.thing.update_many(where={}, data={"maker": {"disconnect": True}})
