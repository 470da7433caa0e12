"""The statements that Postgres ran for a role, as it counts them itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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


def role_of(dsn: str) -> str:
    """The role that a DSN connects as."""
    return unquote(urlsplit(dsn).username or "")


async def statement_counts(
    connection: asyncpg.Connection, role: str, classify: Callable[[str], ObjectKind | None]
) -> dict[ObjectKind, StatementCount]:
    """``pg_stat_statements`` of one role in the connected database, by object.

    Args:
        connection: of a role that may read the statements of others.
        role: the role that ran the statements.
        classify: returns the object that a statement reads, as the target's `Database` does.
    """
    counts = dict.fromkeys(ObjectKind, StatementCount())
    for row in await connection.fetch(_COUNTS, role):
        kind = classify(row["query"])
        if kind is not None:
            have = counts[kind]
            counts[kind] = StatementCount(
                have.calls + row["calls"],
                have.total_ms + row["total_exec_time"],
                have.rows + row["rows"],
            )
    return counts
