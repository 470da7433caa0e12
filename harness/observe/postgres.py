"""What Postgres itself knows: statements it ran for a role, spend, and the truth about objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote, urlsplit

import asyncpg

from harness.authcache.words import ObjectKind
from harness.domain.population import VirtualKey
from harness.observe.truth import KeyTruth, Table, Tables, key_truths
from harness.targets.litellm.statements import classify

_COUNTS = """
SELECT s.query, s.calls, s.total_exec_time, s.rows
FROM pg_stat_statements AS s
JOIN pg_roles AS r ON r.oid = s.userid
JOIN pg_database AS d ON d.oid = s.dbid
WHERE r.rolname = $1 AND d.datname = current_database() AND s.toplevel
"""

_SPEND = {
    ObjectKind.KEY: 'SELECT COALESCE(SUM(spend), 0) FROM "LiteLLM_VerificationToken"',
    ObjectKind.USER: 'SELECT COALESCE(SUM(spend), 0) FROM "LiteLLM_UserTable"',
    ObjectKind.TEAM: 'SELECT COALESCE(SUM(spend), 0) FROM "LiteLLM_TeamTable"',
    ObjectKind.MEMBERSHIP: 'SELECT COALESCE(SUM(spend), 0) FROM "LiteLLM_TeamMembership"',
}

_MEMBERSHIPS = """
SELECT m.*, b.max_budget AS budget_max
FROM "LiteLLM_TeamMembership" AS m
LEFT JOIN "LiteLLM_BudgetTable" AS b ON b.budget_id = m.budget_id
"""


@dataclass(frozen=True, slots=True)
class StatementCount:
    """Calls, time and rows of the statements that read one object."""

    calls: int = 0
    total_ms: float = 0.0
    rows: int = 0

    def since(self, earlier: StatementCount) -> StatementCount:
        """What came after ``earlier``."""
        return StatementCount(
            self.calls - earlier.calls, self.total_ms - earlier.total_ms, self.rows - earlier.rows
        )


def role_of(dsn: str) -> str:
    """The role that a DSN connects as."""
    return unquote(urlsplit(dsn).username or "")


async def statement_counts(
    connection: asyncpg.Connection, role: str
) -> dict[ObjectKind, StatementCount]:
    """``pg_stat_statements`` of one role in the connected database, by object."""
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


async def spend_micro(connection: asyncpg.Connection) -> dict[ObjectKind, int]:
    """Spend by object over all rows, in millionths of a US dollar."""
    sums = {}
    for kind, statement in _SPEND.items():
        sums[kind] = round(float(await connection.fetchval(statement)) * 1_000_000)
    return sums


async def truth(
    connection: asyncpg.Connection, keys: Sequence[VirtualKey], *, planted_null_user: bool
) -> dict[int, KeyTruth]:
    """Right digests and statuses by key index, as of now; see `harness.observe.truth`."""
    tables = Tables(
        keys=await _rows(connection, 'SELECT * FROM "LiteLLM_VerificationToken"', "token"),
        users=await _rows(connection, 'SELECT * FROM "LiteLLM_UserTable"', "user_id"),
        teams=await _rows(connection, 'SELECT * FROM "LiteLLM_TeamTable"', "team_id"),
        memberships=await _rows(connection, _MEMBERSHIPS, "user_id", "team_id"),
    )
    now = datetime.now(UTC)
    return key_truths(tables, keys, planted_null_user=planted_null_user, now=now)


async def _rows(connection: asyncpg.Connection, statement: str, *key: str) -> Table:
    found = await connection.fetch(statement)
    return {tuple(row[name] for name in key): dict(row) for row in found}
