from __future__ import annotations

from typing import Any, cast

import asyncpg

from harness.authcache.words import ObjectKind
from harness.observe.postgres import StatementCount, Statements, role_of, statement_counts
from harness.observe.snapshots import RedisCount, calls_of_data

COLUMNS = ", ".join(f'"a_long_name_of_column_{i}"' for i in range(9))


def test_role_of_a_dsn() -> None:
    assert role_of("postgresql://fleet%2Da:secret@127.0.0.1:5432/db") == "fleet-a"


class Connection:
    """pg_stat_statements: texts and calls."""

    def __init__(self, *rows: tuple[str, int]) -> None:
        self._rows = rows

    async def fetch(self, *_: str) -> list[dict[str, Any]]:
        names = ("query", "calls", "total_exec_time", "rows")
        return [dict(zip(names, (text, n, 0.5 * n, n), strict=True)) for text, n in self._rows]


async def _counts(*rows: tuple[str, int]) -> Statements:
    return await statement_counts(
        cast("asyncpg.Connection", Connection(*rows)),
        "role",
        lambda text: ObjectKind.KEY if text.startswith("SELECT key") else None,
        lambda text: "write" if text.startswith("UPDATE") else None,
    )


async def test_every_statement_is_a_read_or_has_a_name_or_goes_by_its_text() -> None:
    found = await _counts(
        *(("SELECT key a", 1), ("SELECT key b", 2), ("UPDATE a", 3), ("UPDATE b", 4)),
        ("WITH x\n  AS (SELECT 1)\nTABLE x", 5),
        (f"SELECT {COLUMNS} FROM a WHERE b FROM c", 6),
        ("SELECT 1 FROM a", 7),
    )
    assert found.reads[ObjectKind.KEY] == StatementCount(3, 1.5, 3)
    assert found.named == {"write": 7}
    assert found.unnamed == {
        "WITH x AS (SELECT 1) TABLE x": 5,
        "SELECT … FROM a WHERE b FROM c": 6,
        "SELECT 1 FROM a": 7,
    }


async def test_what_was_counted_since_has_no_zeros_and_shows_what_was_discarded() -> None:
    before = await _counts(("SELECT key", 1), ("UPDATE a", 3), ("kept", 1), ("gone", 2))
    after = await _counts(("SELECT key", 5), ("UPDATE a", 3), ("kept", 1), ("new", 4))
    since = after.since(before)
    assert since.reads[ObjectKind.KEY].calls == 4
    assert (since.named, since.unnamed) == ({}, {"new": 4, "gone": -2})


def test_commands_of_connections_are_not_about_data() -> None:
    stats = {
        name: {"calls": n}
        for n, name in enumerate(
            ("cmdstat_get", "cmdstat_client|setinfo", "cmdstat_info", "cmdstat_config|get"), start=1
        )
    }
    found = calls_of_data(stats | {"cmdstat_script|load": {"calls": 2}})
    assert found == {"get": 1, "script": 2}
    later = RedisCount(9, {"get": 5, "set": 1}).since(RedisCount(2, found))
    assert (later.keys_read, later.calls) == (7, {"get": 4, "set": 1})
