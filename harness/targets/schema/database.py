"""A fleet's database with LiteLLM's tables: seeding, and reads from outside.

Imports no driver: kinds import this module, also in processes that do not use Postgres.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.authcache.words import ObjectKind
from harness.domain.population import CHANGE, Limits, VirtualKey
from harness.targets.base import Database, KeyTruth
from harness.targets.schema import management
from harness.targets.schema.statements import Others, classify, name_other
from harness.targets.schema.truth import STATUSES, Table, Tables, key_truths

if TYPE_CHECKING:
    import asyncpg

_KEYS = '"LiteLLM_VerificationToken"'

# Owners that several keys share are inserted with the first of them.
_BUDGET = (
    'INSERT INTO "LiteLLM_BudgetTable" (budget_id, max_budget, created_by, updated_by) '
    "VALUES ($1, $2, 'harness', 'harness') ON CONFLICT DO NOTHING"
)
_USER = (
    'INSERT INTO "LiteLLM_UserTable" (user_id, user_alias, max_budget, tpm_limit, rpm_limit, '
    "models, spend) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING"
)
_TEAM = (
    'INSERT INTO "LiteLLM_TeamTable" (team_id, team_alias, max_budget, tpm_limit, rpm_limit, '
    "models, spend, blocked) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
)
_MEMBER = (
    'INSERT INTO "LiteLLM_TeamMembership" (user_id, team_id, budget_id, spend) '
    "VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
)
_LISTED = (
    'UPDATE "LiteLLM_TeamTable" SET members_with_roles = $2 WHERE team_id = $1',
    'UPDATE "LiteLLM_UserTable" SET teams = ARRAY[$1] WHERE user_id = $2',
)
_KEY = (
    'INSERT INTO "LiteLLM_VerificationToken" (token, key_name, key_alias, user_id, team_id, '
    "max_budget, tpm_limit, rpm_limit, models, spend, blocked, expires, metadata) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"
)


_SPEND = {
    ObjectKind.KEY: 'SELECT token AS row, spend FROM "LiteLLM_VerificationToken"',
    ObjectKind.USER: 'SELECT user_id AS row, spend FROM "LiteLLM_UserTable"',
    ObjectKind.TEAM: 'SELECT team_id AS row, spend FROM "LiteLLM_TeamTable"',
    ObjectKind.MEMBERSHIP: (
        "SELECT user_id || '/' || team_id AS row, spend FROM \"LiteLLM_TeamMembership\""
    ),
}
_TOKENS = 'SELECT * FROM "LiteLLM_VerificationToken" WHERE token = ANY($1)'
_USERS = 'SELECT * FROM "LiteLLM_UserTable" WHERE user_id = ANY($1)'
_TEAMS = 'SELECT * FROM "LiteLLM_TeamTable" WHERE team_id = ANY($1)'
_MEMBERSHIPS = """
SELECT m.*, b.max_budget AS budget_max
FROM "LiteLLM_TeamMembership" AS m
LEFT JOIN "LiteLLM_BudgetTable" AS b ON b.budget_id = m.budget_id
WHERE m.user_id = ANY($1)
"""


class LiteLLMDatabase(Database):
    """The database of both targets.

    Args:
        others: patterns of the statements that read no object, by name, as `name_other` gives it.
        statuses: the status of each refusal, as in `harness.targets.schema.truth.STATUSES`.
    """

    def __init__(self, others: Others = (), statuses: Mapping[str, int] = STATUSES) -> None:
        self._others = others
        self._statuses = statuses

    async def seed(self, connection: asyncpg.Connection, keys: Sequence[VirtualKey]) -> None:
        """Insert all rows in one transaction, then bring the planner's statistics up to date."""
        async with connection.transaction():
            for key in keys:
                await _insert(connection, key)
        await connection.execute("ANALYZE")

    async def seeded(self, connection: asyncpg.Connection) -> bool:
        """Whether a key exists."""
        if await connection.fetchval("SELECT to_regclass($1)", _KEYS) is None:
            return False
        return bool(await connection.fetchval(f"SELECT 1 FROM {_KEYS} LIMIT 1"))  # noqa: S608 - a constant

    def classify(self, statement: str) -> ObjectKind | None:
        """See `harness.targets.schema.statements`."""
        return classify(statement)

    def name_other(self, statement: str) -> str | None:
        """See `harness.targets.schema.statements`."""
        return name_other(statement, self._others)

    def rows(self, key: VirtualKey) -> dict[ObjectKind, str]:
        """Rows by token, ``user_id``, ``team_id``, and ``user_id/team_id`` of a membership."""
        rows = {ObjectKind.KEY: key.token} if key.has_row else {}
        if key.user_id is not None and key.user_limits is not None:
            rows[ObjectKind.USER] = key.user_id
        if key.team_id is not None and key.team_limits is not None:
            rows[ObjectKind.TEAM] = key.team_id
        if key.membership != "none":
            rows[ObjectKind.MEMBERSHIP] = f"{key.user_id}/{key.team_id}"
        return rows

    async def spend_micro(self, connection: asyncpg.Connection) -> dict[ObjectKind, dict[str, int]]:
        """The ``spend`` columns, rounded to micro-units."""
        return {
            kind: {
                row["row"]: round(float(row["spend"] or 0.0) * 1_000_000)
                for row in await connection.fetch(statement)
            }
            for kind, statement in _SPEND.items()
        }

    async def truth(
        self,
        connection: asyncpg.Connection,
        keys: Sequence[VirtualKey],
        *,
        planted_null_user: bool,
    ) -> dict[int, KeyTruth]:
        """See `harness.targets.schema.truth`. Reads the rows behind these keys and no others."""
        tokens = {key.token for key in keys}
        users, teams = {key.user_id for key in keys}, {key.team_id for key in keys}
        tables = Tables(
            keys=await _rows(connection, _TOKENS, tokens, "token"),
            users=await _rows(connection, _USERS, users, "user_id"),
            teams=await _rows(connection, _TEAMS, teams, "team_id"),
            memberships=await _rows(connection, _MEMBERSHIPS, users, "user_id", "team_id"),
        )
        return key_truths(
            tables,
            keys,
            planted_null_user=planted_null_user,
            now=datetime.now(UTC),
            statuses=self._statuses,
        )

    async def edit(
        self, connection: asyncpg.Connection, action: str, key: VirtualKey, number: int
    ) -> bool:
        """See `harness.targets.schema.management`."""
        return await management.edit(connection, action, key, number)


async def _rows(
    connection: asyncpg.Connection, statement: str, ids: Collection[str | None], *key: str
) -> Table:
    found = await connection.fetch(statement, list(ids))
    return {tuple(row[name] for name in key): dict(row) for row in found}


async def _insert(connection: asyncpg.Connection, key: VirtualKey) -> None:
    if key.budget_id is not None:
        await connection.execute(_BUDGET, key.budget_id, key.member_max_budget)
    if key.user_id is not None and key.user_limits is not None:
        limits = key.user_limits
        await connection.execute(
            _USER, key.user_id, f"user-{key.index}", *_limits(limits), _models(key, limits),
            limits.spend,
        )  # fmt: skip
    if key.team_id is not None and key.team_limits is not None:
        limits = key.team_limits
        # As in the log line, a team's alias is its id.
        await connection.execute(
            _TEAM, key.team_id, key.team_id, *_limits(limits), _models(key, limits),
            limits.spend, limits.blocked,
        )  # fmt: skip
    if key.membership != "none":
        await connection.execute(_MEMBER, key.user_id, key.team_id, key.budget_id, key.member_spend)
        if key.kind.startswith(CHANGE):
            # Management calls look a member up in these lists; no auth path does.
            members = json.dumps([{"user_id": key.user_id, "role": "user"}])
            await connection.execute(_LISTED[0], key.team_id, members)
            await connection.execute(_LISTED[1], key.team_id, key.user_id)
    if not key.has_row:
        return
    limits = key.key_limits
    await connection.execute(
        _KEY,
        key.token,
        f"{key.secret[:6]}...{key.secret[-4:]}",
        key.alias,
        key.user_id,
        key.team_id,
        *_limits(limits),
        _models(key, limits),
        limits.spend,
        # An ordinary key is neither blocked nor unblocked, as a gateway creates it.
        limits.blocked or None,
        # Postgres' timestamps have no time zone here; all are in UTC.
        limits.expires and limits.expires.astimezone(UTC).replace(tzinfo=None),
        json.dumps({"note": f"key {key.index}"}),
    )


def _limits(limits: Limits) -> tuple[float | None, int | None, int | None]:
    return limits.max_budget, limits.tpm_limit, limits.rpm_limit


def _models(key: VirtualKey, limits: Limits) -> list[str]:
    return list(key.models if limits.models is None else limits.models)
