"""What Postgres itself knows: statements it ran for a role, spend, and the truth about objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncpg

from harness.authcache.digest import digest
from harness.authcache.words import KeyScope, ObjectKind
from harness.load.keys import VirtualKey
from harness.observe.statements import classify

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


@dataclass(frozen=True, slots=True)
class KeyTruth:
    """What Postgres says about one key: digests by object, and the status it calls for."""

    digests: Mapping[str, str]
    status: int


async def truth(
    connection: asyncpg.Connection, keys: Sequence[VirtualKey], *, planted_null_user: bool
) -> dict[int, KeyTruth]:
    """Right digests and statuses by key index.

    With the planted premise the right user of a team key is an object whose ``user_id`` and
    limits are all NULL.
    """
    tokens = await _rows(connection, 'SELECT * FROM "LiteLLM_VerificationToken"', "token")
    users = await _rows(connection, 'SELECT * FROM "LiteLLM_UserTable"', "user_id")
    teams = await _rows(connection, 'SELECT * FROM "LiteLLM_TeamTable"', "team_id")
    members = await _rows(
        connection,
        'SELECT m.*, b.max_budget AS budget_max FROM "LiteLLM_TeamMembership" AS m '
        'LEFT JOIN "LiteLLM_BudgetTable" AS b ON b.budget_id = m.budget_id',
        "user_id",
        "team_id",
    )
    result: dict[int, KeyTruth] = {}
    for key in keys:
        row = tokens.get((key.token,))
        rows: dict[str, Mapping[str, Any] | None] = {"key": row}
        if key.user_id is not None:
            rows["user"] = users.get((key.user_id,))
        elif planted_null_user and key.scope == KeyScope.TEAM:
            rows["user"] = {}
        if key.team_id is not None:
            rows["team"] = teams.get((key.team_id,))
        if key.user_id is not None and key.team_id is not None:
            rows["membership"] = members.get((key.user_id, key.team_id))
        result[key.index] = KeyTruth(
            {kind: digest(kind, fields) for kind, fields in rows.items()}, _status(rows)
        )
    return result


def _status(rows: Mapping[str, Mapping[str, Any] | None]) -> int:
    key = rows["key"]
    expires = None if key is None else key["expires"]
    gone = expires is not None and expires.replace(tzinfo=UTC) < datetime.now(UTC)
    team = rows.get("team")
    if key is None or key["blocked"] or gone or (team is not None and team.get("blocked")):
        return 401
    limits = {"key": "max_budget", "user": "max_budget", "team": "max_budget"}
    limits["membership"] = "budget_max"
    for kind, limit in limits.items():
        row = rows.get(kind)
        if row and row.get(limit) is not None and (row["spend"] or 0.0) >= row[limit]:
            return 429
    return 200


async def _rows(
    connection: asyncpg.Connection, statement: str, *key: str
) -> dict[tuple[str, ...], Mapping[str, Any]]:
    found = await connection.fetch(statement)
    return {tuple(row[name] for name in key): dict(row) for row in found}
