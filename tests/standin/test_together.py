"""Batches, transactions, raw queries, and what the observer hears of all of them."""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import re
from collections import Counter
from typing import Any, TypeAlias

import asyncpg
import pytest

from standin.prisma import Json, Prisma
from standin.prisma.errors import (
    RawQueryError,
    RecordNotFoundError,
    TransactionError,
    TransactionExpiredError,
    TransactionNotStartedError,
    UniqueViolationError,
    UnsupportedCallError,
)
from tests.standin.conftest import Heard

pytestmark = pytest.mark.integration

Admin: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def _hits(admin: Admin) -> dict[str, int]:
    rows = await admin.fetch('SELECT kind, hits FROM "Counter"')
    return {row["kind"]: row["hits"] for row in rows}


def _upsert(kind: str) -> dict[str, Any]:
    key = {"day": "d", "kind": kind}
    data = {"create": {**key, "hits": 1}, "update": {"hits": {"increment": 1}}}
    return {"where": {"per_day": key}, "data": data}


async def test_a_batch_is_sent_when_its_block_ends(
    client: Prisma, admin: Admin, heard: Heard
) -> None:
    async with client.batch_() as batch:
        data = {"day": "d", "kind": "made"}
        batch.counter.create(data=data)
        data["kind"] = "changed after the call"
        batch.counter.create_many(data=[{"day": "d", "kind": "many"}])
        for _ in range(3):
            batch.counter.upsert(**_upsert("up"))
        batch.counter.update_many(where={"kind": "made"}, data={"hits": 7})
        batch.counter.update(where={"per_day": {"day": "d", "kind": "many"}}, data={"hits": 8})
        batch.execute_raw('UPDATE "Counter" SET hits = hits + $1 WHERE kind = $2', 1, "up")
        assert heard.sent_ == []
    assert await _hits(admin) == {"made": 7, "many": 8, "up": 4}
    assert heard.verbs == ["INSERT"] * 5 + ["UPDATE"] * 3
    assert heard.tables == ["Counter"] * 7 + [None]
    async with client.batch_() as batch:
        batch.counter.delete(where={"per_day": {"day": "d", "kind": "up"}})
        batch.counter.delete_many(where={"hits": 7})
    assert await _hits(admin) == {"many": 8}


async def test_a_batch_is_all_or_nothing(client: Prisma, admin: Admin) -> None:
    batch = client.batch_()
    batch.counter.create(data={"day": "d", "kind": "a"})
    batch.counter.update(where={"per_day": {"day": "d", "kind": "none"}}, data={"hits": 1})
    with pytest.raises(RecordNotFoundError):
        await batch.commit()
    assert await _hits(admin) == {}
    await batch.commit()
    assert await _hits(admin) == {}, "a batch is committed once"


async def test_a_batch_whose_block_fails_sends_nothing(client: Prisma, heard: Heard) -> None:
    async def block() -> None:
        async with client.batch_() as batch:
            batch.counter.create(data={"day": "d"})
            batch.counter.update_many(where={}, data={"hits": {"foo": 1}})

    with pytest.raises(UnsupportedCallError):
        await block()
    assert heard.sent_ == []


async def test_a_transaction_is_kept_or_undone_as_a_whole(
    client: Prisma, admin: Admin, heard: Heard
) -> None:
    async with client.tx(timeout=dt.timedelta(seconds=60)) as tx:
        assert tx.is_transaction()
        assert not client.is_transaction()
        await tx.counter.create(data={"day": "d", "kind": "a"})
        assert await client.counter.count() == 0, "others do not see it yet"
        async with tx.batch_() as batch:
            batch.counter.upsert(**_upsert("b"))
        await tx.execute_raw('UPDATE "Counter" SET hits = 5')
    assert await _hits(admin) == {"a": 5, "b": 5}
    assert heard.verbs == ["INSERT", "SELECT", "INSERT", "UPDATE"]

    async def refused() -> None:
        async with client.tx() as tx:
            await tx.counter.update_many(where={}, data={"hits": 9})
            await tx.counter.create(data={"day": "d", "kind": "a"})

    async def given_up() -> None:
        async with client.tx() as tx:
            await tx.counter.delete_many()
            raise KeyError

    with pytest.raises(UniqueViolationError):
        await refused()
    with pytest.raises(KeyError):
        await given_up()
    assert await _hits(admin) == {"a": 5, "b": 5}


async def test_statements_of_one_transaction_wait_for_each_other(client: Prisma) -> None:
    async with client.tx() as tx:
        await asyncio.gather(
            *(tx.counter.create(data={"day": "d", "kind": str(number)}) for number in range(20))
        )
    assert await client.counter.count() == 20


async def test_a_transaction_by_hand(client: Prisma, admin: Admin) -> None:
    manager = client.tx()
    with pytest.raises(TransactionNotStartedError):
        await manager.commit()
    tx = await manager.start()
    await tx.counter.create(data={"day": "d", "kind": "a"})
    await manager.rollback()
    assert await _hits(admin) == {}
    with pytest.raises(TransactionNotStartedError):
        await manager.rollback()


async def test_a_transaction_that_lives_too_long_is_undone(client: Prisma, admin: Admin) -> None:
    manager = client.tx(timeout=dt.timedelta(0))
    tx = await manager.start()
    with pytest.raises(TransactionExpiredError, match="Transaction already closed"):
        await tx.counter.create(data={"day": "d", "kind": "a"})
    with pytest.raises(TransactionExpiredError):
        await manager.commit()
    with pytest.raises(TransactionNotStartedError):
        await manager.commit()
    assert await _hits(admin) == {}
    await client.counter.count()


async def test_a_transaction_waits_for_a_connection_only_so_long(client: Prisma) -> None:
    holders = [client.tx(timeout=dt.timedelta(minutes=5)) for _ in range(4)]
    for holder in holders:
        await holder.start()
    with pytest.raises(TransactionError, match="Unable to start"):
        await client.tx(max_wait=1).start()
    for holder in holders:
        await holder.rollback()
    async with client.tx() as tx:
        await tx.counter.count()


async def test_raw_results_are_what_json_would_carry(client: Prisma) -> None:
    (row,) = await client.query_raw("""
        SELECT 1::int AS i, 2::bigint AS b, 1.5::float8 AS f, SUM(3::bigint) AS n, true AS t,
               'x'::text AS s, NULL AS z, '{"a": [1]}'::jsonb AS j, ARRAY['a', 'b'] AS l,
               NULL::text[] AS nl, '2026-05-04'::date AS d,
               '2026-05-04 12:00:00'::timestamp AS whole,
               '2026-05-04 12:00:00.120'::timestamp AS milli,
               '2026-05-04 14:00:00.123456+02'::timestamptz AS micro,
               ARRAY['2026-05-04 12:00:00'::timestamp] AS moments, '\\x00ff'::bytea AS raw,
               'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid AS u
    """)
    assert row == {
        "i": 1,
        "b": 2,
        "f": 1.5,
        "n": 3.0,
        "t": True,
        "s": "x",
        "z": None,
        "j": {"a": [1]},
        "l": ["a", "b"],
        "nl": None,
        "d": "2026-05-04",
        "whole": "2026-05-04T12:00:00+00:00",
        "milli": "2026-05-04T12:00:00.120+00:00",
        "micro": "2026-05-04T12:00:00.123456+00:00",
        "moments": ["2026-05-04T12:00:00+00:00"],
        "raw": "AP8=",
        "u": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    }
    assert type(row["n"]) is float


@pytest.mark.parametrize(
    ("expression", "value", "expected"),
    [
        (
            "$1::timestamptz",
            dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC),
            "2026-05-04T12:00:00+00:00",
        ),
        ("$1::timestamp", dt.datetime(2026, 5, 4, 12), "2026-05-04T12:00:00+00:00"),  # noqa: DTZ001 - naive counts as UTC
        ("$1::date", "2026-05-04", "2026-05-04"),
        ("$1::date", dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC), "2026-05-04"),
        ("$1::jsonb", '{"a": 1}', {"a": 1}),
        ("$1::jsonb", {"a": 1}, {"a": 1}),
        ("$1::jsonb", Json([1]), [1]),
        ("$1::text[]", ["a"], ["a"]),
        ("$1::float8", 1, 1.0),
        ("$1::numeric", decimal.Decimal("1.5"), 1.5),
        ("$1::int", None, None),
        ("'a' = ANY($1)", ["a"], True),
        ("$1 || 'x'", "a", "ax"),
        ("'2 days'::interval > $1::interval", "1 day", True),
    ],
)
async def test_raw_parameters(client: Prisma, expression: str, value: Any, expected: Any) -> None:
    row = await client.query_first(f"SELECT {expression} AS value", value)
    assert row == {"value": expected}


async def test_raw_statements_say_how_many_rows_they_changed(client: Prisma) -> None:
    assert await client.execute_raw('INSERT INTO "Maker" VALUES ($1, $2)', "a", "b") == 1
    assert await client.execute_raw("CREATE OR REPLACE VIEW v AS SELECT 1") == 0
    assert await client.query_first('SELECT * FROM "Maker" WHERE id = $1', "none") is None
    assert await client.maker.query_first('SELECT name FROM "Maker"') == {"name": "b"}
    assert await client.maker.query_raw("SELECT $1::int AS n", 1) == [{"n": 1}]
    with pytest.raises(UnsupportedCallError, match="model"):
        await client.query_raw("SELECT 1", model=dict)


@pytest.mark.parametrize(
    ("query", "values", "code", "words"),
    [
        ("SELECT * FROM nowhere", (), "42P01", 'relation "nowhere" does not exist'),
        ("SELECT 1 +", (), "42601", "syntax error"),
        ('INSERT INTO "Counter" VALUES ($1)', ("d",), "23502", "null value"),
        ("SELECT $1::int", ("x",), None, "invalid input"),
        ("SELECT $1::int", (), None, "argument"),
    ],
)
async def test_a_raw_query_that_fails_passes_postgres_own_words_on(
    client: Prisma, query: str, values: Any, code: str | None, words: str
) -> None:
    with pytest.raises(RawQueryError, match=words) as caught:
        await client.query_raw(query, *values)
    assert caught.value.code == "P2010"
    if code is not None:
        assert caught.value.meta["code"] == code


async def test_the_observer_hears_what_pg_stat_statements_counts(
    client: Prisma, admin: Admin, heard: Heard
) -> None:
    """Every statement passes the observer exactly once, whatever way it took, and no other runs."""
    before = await _counted(admin)
    await _a_bit_of_everything(client)
    after = await _counted(admin)
    ran = {sql: calls - before.get(sql, 0) for sql, calls in after.items()}
    told = Counter(statement.sql for statement in heard.sent_)
    told.subtract(statement.sql for statement, _ in heard.failed_)
    assert {sql: calls for sql, calls in ran.items() if calls} == {
        sql: calls for sql, calls in told.items() if calls
    }
    assert len(heard.failed_) == 1


async def _a_bit_of_everything(client: Prisma) -> None:
    await client.owner.create(data={"owner_id": "o", "colours": ["RED"]})
    await client.owner.find_many(include={"things": True, "boss": True, "staff": True})
    await client.owner.find_many(where={"colour": {"in": ["RED"]}})
    await client.owner.update(where={"owner_id": "o"}, data={"spend": 1})
    await client.owner.update(where={"owner_id": "none"}, data={"spend": 1})
    await client.thing.upsert(
        where={"number": 1},
        data={"create": {"owner_id": "o", "name": "t"}, "update": {"note": "x"}},
    )
    await client.thing.create_many(data=[{"owner_id": "o", "name": "u"}], skip_duplicates=True)
    async with client.tx() as tx, tx.batch_() as batch:
        batch.counter.upsert(**_upsert("a"))
        batch.counter.upsert(**_upsert("a"))
        batch.execute_raw('UPDATE "Counter" SET "hits" = $1', 3)
    with pytest.raises(UniqueViolationError):
        await client.owner.create(data={"owner_id": "o"})
    await client.query_raw('SELECT "name" FROM "OwnerTable" WHERE "owner_id" = $1', "o")
    await client.execute_raw('DELETE FROM "Thing" WHERE "owner_id" = $1', "o")
    await client.owner.count()
    await client.counter.group_by(["day"], count=True)
    await client.owner.delete(where={"owner_id": "o"}, include={"things": True})


_OTHERS = re.compile(r"^(BEGIN|COMMIT|ROLLBACK)|pg_stat_statements|typeinfo_tree|set_config")
"""Ends of transactions, the test's own question, and what asyncpg asks about array types."""


async def _counted(admin: Admin) -> dict[str, int]:
    """Calls by text of what clients sent to the database.

    Statements below the top level are those with which Postgres checks foreign keys.
    """
    rows = await admin.fetch(
        "SELECT query, SUM(calls)::int AS calls FROM pg_stat_statements AS s "
        "JOIN pg_database AS d ON d.oid = s.dbid "
        "WHERE d.datname = current_database() AND toplevel GROUP BY query"
    )
    found = {str(row["query"]): int(row["calls"]) for row in rows}
    return {sql: calls for sql, calls in found.items() if not _OTHERS.search(sql)}
