"""The statements that Postgres ran for a role, as it counts them itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import asyncpg

from harness.authcache.words import ObjectKind

_COUNTS = """
SELECT s.query, s.calls, s.total_exec_time, s.rows
FROM pg_stat_statements AS s
JOIN pg_roles AS r ON r.oid = s.userid
JOIN pg_database AS d ON d.oid = s.dbid
WHERE r.rolname = $1 AND d.datname = current_database() AND s.toplevel
"""

_WRITES = re.compile(r"\b(?:INSERT INTO|DELETE FROM|(?<!FOR )UPDATE) ", re.IGNORECASE)
_SHOWN = 100
"""Characters of a statement that its count goes by."""


@dataclass(frozen=True, slots=True)
class StatementCount:
    """Calls, time and rows of the statements that read one object."""

    calls: int = 0
    total_ms: float = 0.0
    rows: int = 0

    def since(self, earlier: StatementCount) -> StatementCount:
        """What was counted after ``earlier``."""
        return StatementCount(
            self.calls - earlier.calls, self.total_ms - earlier.total_ms, self.rows - earlier.rows
        )


@dataclass(frozen=True, slots=True)
class Statements:
    """Every statement that Postgres ran for a role."""

    reads: Mapping[ObjectKind, StatementCount]
    """Of the objects."""
    named: Mapping[str, int] = field(default_factory=dict)
    """Calls of the others that the target knows, by its names for them."""
    unnamed: Mapping[str, int] = field(default_factory=dict)
    """Calls of all the rest, by the beginning of their text."""
    shapes: Mapping[str, int] = field(default_factory=dict)
    """Calls of every statement, by its `shape`."""

    def since(self, earlier: Statements) -> Statements:
        """What was counted after ``earlier``, without zeros."""
        return Statements(
            {kind: count.since(earlier.reads[kind]) for kind, count in self.reads.items()},
            _since(self.named, earlier.named),
            _since(self.unnamed, earlier.unnamed),
            _since(self.shapes, earlier.shapes),
        )


def _since(now: Mapping[str, int], earlier: Mapping[str, int]) -> dict[str, int]:
    # An entry that is missing now was discarded by Postgres, and counts as negative.
    names = dict.fromkeys((*now, *earlier))
    return {n: c for n in names if (c := now.get(n, 0) - earlier.get(n, 0))}


def role_of(dsn: str) -> str:
    """The role that a DSN connects as."""
    return unquote(urlsplit(dsn).username or "")


def _shown(query: str) -> str:
    text = " ".join(query.split())
    # A list of columns says less than the table that they are of.
    return re.sub(r"^(SELECT) .{40,}? (FROM) ", r"\1 … \2 ", text)[:_SHOWN]


def shape(query: str) -> str:
    """A statement by verb, table and WHERE, as ``SELECT LiteLLM_TeamTable WHERE team_id = ?``.

    Lists of columns, schemas and quotes are left out, and lists of values are one: they differ
    from release to release where the statement does not. One without a table goes by its text. The
    verb of a WITH is that of what it writes, as of one that claims rows with FOR UPDATE.
    """
    text = " ".join(query.replace('"', "").split())
    table = re.search(r"\b(?:FROM|INTO|UPDATE) (?:public\.)?(\w+)", text, re.IGNORECASE)
    if table is None:
        return re.sub(r"\$\d+", "?", text).rstrip(";")[:_SHOWN]
    verb = text.split(maxsplit=1)[0].upper()
    if verb == "WITH" and (writes := _WRITES.search(text)) is not None:
        verb = writes[0].split()[0].upper()
    _, _, where = re.sub(r"\(?\$\d+(?: ?, ?\$\d+)*\)?", "?", text).partition(" WHERE ")
    where = re.split(r" (?:ORDER BY|GROUP BY|LIMIT|OFFSET|RETURNING|FOR UPDATE)\b", where)[0]
    where = re.sub(r"\b(?:public\.)?\w+\.(?=\w)", "", where).rstrip(";")
    return f"{verb} {table[1]}{f' WHERE {where}' if where else ''}"[:_SHOWN]


async def statement_counts(
    connection: asyncpg.Connection,
    role: str,
    classify: Callable[[str], ObjectKind | None],
    name: Callable[[str], str | None] = lambda _: None,
) -> Statements:
    """``pg_stat_statements`` of one role in the connected database.

    Args:
        connection: of a role that may read the statements of others.
        role: the role that ran the statements.
        classify: returns the object that a statement reads, as the target's `Database` does.
        name: names any other statement that is known, as the target's `Database` does.
    """
    reads = dict.fromkeys(ObjectKind, StatementCount())
    named: Counter[str] = Counter()
    unnamed: Counter[str] = Counter()
    shapes: Counter[str] = Counter()
    for row in await connection.fetch(_COUNTS, role):
        query, calls = row["query"], row["calls"]
        shapes[shape(query)] += calls
        kind = classify(query)
        if kind is not None:
            have = reads[kind]
            reads[kind] = StatementCount(
                have.calls + calls, have.total_ms + row["total_exec_time"], have.rows + row["rows"]
            )
        elif (known := name(query)) is not None:
            named[known] += calls
        else:
            unnamed[_shown(query)] += calls
    return Statements(reads, dict(named), dict(unnamed), dict(shapes))
