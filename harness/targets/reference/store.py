"""The objects' rows in Postgres: one statement per source read, writes of spend, and changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, cast

import asyncpg
import msgspec

from harness.authcache.cache import SourceUnavailableError
from harness.authcache.objects import Key, Membership, Team, User
from harness.authcache.words import ObjectKind
from harness.domain.reads import LOG_SIZE, LoggedRead, object_id
from harness.targets.reference.readers import Readers, cut, lost

COMBINED_VIEW = """
SELECT v.token, v.key_name, v.key_alias, v.user_id, v.team_id, v.spend, v.expires, v.models,
       v.max_budget, v.tpm_limit, v.rpm_limit, v.blocked, v.metadata, v.created_at, v.updated_at,
       t.spend AS team_spend, t.team_alias, t.tpm_limit AS team_tpm_limit,
       t.rpm_limit AS team_rpm_limit, t.max_budget AS team_max_budget,
       t.soft_budget AS team_soft_budget, t.models AS team_models, t.blocked AS team_blocked,
       t.metadata AS team_metadata, tm.spend AS team_member_spend,
       b_tm.tpm_limit AS team_member_tpm_limit, b_tm.rpm_limit AS team_member_rpm_limit,
       b.soft_budget
FROM "LiteLLM_VerificationToken" AS v
LEFT JOIN "LiteLLM_TeamTable" AS t ON v.team_id = t.team_id
LEFT JOIN "LiteLLM_TeamMembership" AS tm ON v.team_id = tm.team_id AND tm.user_id = v.user_id
LEFT JOIN "LiteLLM_BudgetTable" AS b_tm ON tm.budget_id = b_tm.budget_id
LEFT JOIN "LiteLLM_BudgetTable" AS b ON v.budget_id = b.budget_id
WHERE v.token = $1
""".strip()

_USER_COLUMNS = """u.user_id, u.user_alias, u.user_email, u.user_role, u.spend, u.max_budget,
       u.tpm_limit, u.rpm_limit, u.models, u.teams, u.metadata, u.created_at, u.updated_at"""

USER = f'SELECT {_USER_COLUMNS}\nFROM "LiteLLM_UserTable" AS u\nWHERE u.user_id = $1'

PLANTED_USER = f"""
SELECT {_USER_COLUMNS}
FROM "LiteLLM_VerificationToken" AS v
LEFT JOIN "LiteLLM_UserTable" AS u ON u.user_id = v.user_id
WHERE v.key_alias = $1
""".strip()  # noqa: S608 - constants

TEAM = """
SELECT t.team_id, t.team_alias, t.spend, t.max_budget, t.soft_budget, t.tpm_limit, t.rpm_limit,
       t.models, t.blocked, t.metadata, t.members_with_roles, t.created_at, t.updated_at
FROM "LiteLLM_TeamTable" AS t
WHERE t.team_id = $1
""".strip()

MEMBERSHIP = """
SELECT m.user_id, m.team_id, m.spend, m.budget_id, b.max_budget, b.soft_budget, b.tpm_limit,
       b.rpm_limit, b.created_at
FROM "LiteLLM_TeamMembership" AS m
LEFT JOIN "LiteLLM_BudgetTable" AS b ON m.budget_id = b.budget_id
WHERE m.user_id = $1 AND m.team_id = $2
""".strip()

Connection = asyncpg.pool.PoolConnectionProxy
"""A connection of the pool, for one transaction."""
Owner = tuple[str, tuple[str, ...]]
"""Who has a spend: a kind, as in `ADD_SPEND`, and the ids of the row."""
Row = tuple[Owner, datetime | None]
"""One row of an owner, by when it was made: made anew it has spent nothing. None for a membership,
whose row does not say."""

ADD_SPEND: Mapping[str, str] = {
    "key": (
        'UPDATE "LiteLLM_VerificationToken" SET spend = spend + $1 WHERE token = $2 '
        "RETURNING token, created_at, spend"
    ),
    "user": (
        'UPDATE "LiteLLM_UserTable" SET spend = spend + $1 WHERE user_id = $2 '
        "RETURNING user_id, created_at, spend"
    ),
    "team": (
        'UPDATE "LiteLLM_TeamTable" SET spend = spend + $1 WHERE team_id = $2 '
        "RETURNING team_id, created_at, spend"
    ),
    "membership": (
        'UPDATE "LiteLLM_TeamMembership" SET spend = spend + $1 WHERE user_id = $2 AND team_id = $3'
        " RETURNING user_id, team_id, spend"
    ),
}

COUNT_FLUSH = """
INSERT INTO "Harness_SpendFlush" (writer, number) VALUES ($1, $2)
ON CONFLICT (writer) DO UPDATE SET number = $2 WHERE "Harness_SpendFlush".number < $2
RETURNING number
""".strip()
"""In the transaction of a flush: answers with no row if a flush of that number is committed."""

# What management calls send. Each answers with rows, so that none of them has to read an object:
# that would be a read that no cache asked for.
_TABLES: Mapping[str, tuple[str, str]] = {
    "key": ('"LiteLLM_VerificationToken"', "token"),
    "user": ('"LiteLLM_UserTable"', "user_id"),
    "team": ('"LiteLLM_TeamTable"', "team_id"),
    "membership": ('"LiteLLM_TeamMembership"', "user_id, team_id"),
}
NEW_KEY = """
INSERT INTO "LiteLLM_VerificationToken" (token, key_name, key_alias, user_id, team_id, models,
                                         max_budget, tpm_limit, rpm_limit, blocked)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
RETURNING *
""".strip()
CHANGE_BUDGET = """
UPDATE "LiteLLM_BudgetTable" SET max_budget = $3
WHERE budget_id = (
    SELECT budget_id FROM "LiteLLM_TeamMembership" WHERE user_id = $1 AND team_id = $2
)
RETURNING budget_id
""".strip()
MEMBERS_OF_BUDGET = """
UPDATE "LiteLLM_TeamMembership" SET budget_id = budget_id
WHERE (user_id, team_id) IN (
    SELECT user_id, team_id FROM "LiteLLM_TeamMembership" WHERE budget_id = $1
    ORDER BY user_id COLLATE "C", team_id COLLATE "C" FOR UPDATE
)
RETURNING user_id, team_id
""".strip()
"""Changes nothing, and locks in the order of `Store.add_spend`."""
NEW_BUDGET = (
    'INSERT INTO "LiteLLM_BudgetTable" (budget_id, max_budget) VALUES ($1, $2) RETURNING budget_id'
)
GIVE_BUDGET = """
UPDATE "LiteLLM_TeamMembership" SET budget_id = $3 WHERE user_id = $1 AND team_id = $2
RETURNING user_id, team_id
""".strip()
DROP_MEMBER = """
UPDATE "LiteLLM_TeamTable" SET updated_at = CURRENT_TIMESTAMP, members_with_roles = (
    SELECT coalesce(jsonb_agg(member), '[]') FROM jsonb_array_elements(members_with_roles) AS member
    WHERE member ->> 'user_id' IS DISTINCT FROM $2
)
WHERE team_id = $1
RETURNING *
""".strip()
LEAVE_TEAM = """
UPDATE "LiteLLM_UserTable" SET updated_at = CURRENT_TIMESTAMP, teams = array_remove(teams, $2)
WHERE user_id = $1
RETURNING user_id
""".strip()


def update_row(kind: str, columns: Iterable[str]) -> str:
    """Set columns, given as ``$2`` and on, of the row whose id is ``$1``; answers with the row."""
    table, row_id = _TABLES[kind]
    values = ", ".join(f"{column} = ${place}" for place, column in enumerate(columns, 2))
    return (
        f"UPDATE {table} SET updated_at = CURRENT_TIMESTAMP, {values} WHERE {row_id} = $1 "  # noqa: S608 - names of this module and of fields
        "RETURNING *"
    )


def delete_rows(kind: str, where: str) -> str:
    """Delete the rows that a condition names; answers with their ids.

    The rows are locked in the order in which `Store.add_spend` locks them: two transactions that
    lock the same rows in different orders would deadlock.
    """
    table, ids = _TABLES[kind]
    # Python compares texts as this collation does.
    order = ", ".join(f'{name} COLLATE "C"' for name in ids.split(", "))
    return (
        f"DELETE FROM {table} WHERE ({ids}) IN "  # noqa: S608 - conditions are constants
        f"(SELECT {ids} FROM {table} WHERE {where} ORDER BY {order} FOR UPDATE) RETURNING {ids}"
    )


_BUDGET_COLUMNS = (
    *("budget_id", "max_budget", "soft_budget", "tpm_limit", "rpm_limit"),
    "created_at",
)
# Columns of the release's schema that a run leaves empty: Prisma returns an empty list, not None,
# so they are part of every payload. As found in the payloads of 1.84.0rc1.
_KEY_EMPTY: Mapping[str, Any] = {"access_group_ids": [], "router_settings": {}}
_USER_EMPTY: Mapping[str, Any] = {"organization_memberships": []}
_TEAM_EMPTY: Mapping[str, Any] = {
    "team_member_permissions": [],
    "router_settings": {},
    "access_group_ids": [],
    "default_team_member_models": [],
}

MICRO = 1_000_000


def to_micro(dollars: float | None) -> int:
    """US dollars in micro-units. Sums of floats miss a budget by a rounding, integers do not."""
    return round((dollars or 0.0) * MICRO)


class _Connection(asyncpg.Connection):
    def get_reset_query(self) -> str:
        # Sessions keep no state here; the reset would be a second statement for every read.
        return ""


class Store:
    """A pool of connections that reads objects and adds spend.

    Args:
        pool: made by `open_pool`.
        membership: the model of a membership, by the variant's reading rule.
        latency_s: the premise of a slow source: seconds that each read of an object takes longer.
        read_s: seconds within which a read ends whatever Postgres does, waiting for a connection
            included; None: each statement has a time-out of its own.
        transaction_s: likewise for a transaction.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        membership: type[Membership],
        *,
        latency_s: float = 0.0,
        read_s: float | None = None,
        transaction_s: float | None = None,
    ) -> None:
        self._pool = pool
        self._readers = Readers(pool, read_s)
        self._transaction_s = transaction_s
        self._membership = membership
        self._latency_s = latency_s
        self._log: deque[LoggedRead] = deque(maxlen=LOG_SIZE)
        self._logged = 0

    def read_log(self, after: int) -> tuple[int, list[LoggedRead]]:
        """The number of reads ever logged, and those after the first ``after`` that are left."""
        new = min(max(0, self._logged - after), len(self._log))
        return self._logged, list(self._log)[len(self._log) - new :]

    async def key(self, token: str) -> Key | None:
        """A virtual key with its team's columns, by its hashed token."""
        row = await self._row(ObjectKind.KEY, COMBINED_VIEW, token)
        if row is None:
            return None
        fields = {name: value for name, value in row.items() if value is not None}
        fields.update(_KEY_EMPTY)
        fields["last_refreshed_at"] = time.time()
        return Key.model_validate(fields)

    async def user(self, user_id: str) -> User | None:
        """A user by id."""
        row = await self._row(ObjectKind.USER, USER, user_id)
        return None if row is None else User.model_validate({**row, **_USER_EMPTY})

    async def planted_user(self, alias: str) -> User | None:
        """The premise: the all-NULL right side of a join, built as a user without validation.

        No release does this. It is the only way to get the object that issue #27874 describes: a
        validated user with ``user_id=None`` cannot exist.
        """
        row = await self._row(ObjectKind.USER, PLANTED_USER, alias)
        return None if row is None else User.model_construct(**row)

    async def team(self, team_id: str) -> Team | None:
        """A team by id."""
        row = await self._row(ObjectKind.TEAM, TEAM, team_id)
        if row is None:
            return None
        row["models"] = row["models"] or []
        row.update(_TEAM_EMPTY)
        row["last_refreshed_at"] = time.time()
        return Team.model_validate(row)

    async def membership(self, user_id: str, team_id: str, entry: str = "") -> Membership | None:
        """A membership with its budget, by user and team.

        Args:
            user_id: of the user.
            team_id: of the team.
            entry: for the read log: which of the membership's two cache entries was missing.
        """
        row = await self._row(ObjectKind.MEMBERSHIP, MEMBERSHIP, user_id, team_id, entry=entry)
        if row is None:
            return None
        budget = None
        if row["budget_id"] is not None:
            budget = {name: row[name] for name in _BUDGET_COLUMNS} | {"allowed_models": []}
        fields = {name: row[name] for name in ("user_id", "team_id", "spend", "budget_id")}
        return self._membership(**fields, litellm_budget_table=budget)

    async def add_spend(
        self, increments: Mapping[Owner, int], flush: tuple[str, int] | None = None
    ) -> dict[Row, int]:
        """Add increments, in micro-units, in one transaction.

        Args:
            increments: by row.
            flush: the writer and the number of the flush, greater than those before. Flushed
                again under its number, what was committed already is not added again. A flush
                that is still under way on a connection that was lost holds its writer's row, so
                the next one waits for its end.

        Returns:
            What each row has spent now, in micro-units: the increments of all workers so far. Rows
            that do not exist are left out.

        Raises:
            SourceUnavailableError: nothing was written, unless Postgres went away at the COMMIT.
        """
        # One order for all replicas: two flushes that lock the same rows in different orders
        # would deadlock.
        by_kind: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        for (kind, ids), micro in sorted(increments.items()):
            by_kind.setdefault(kind, []).append((micro, ids))
        totals: dict[Row, int] = {}
        async with self.transaction() as connection:
            counted = flush is not None and await connection.fetchval(COUNT_FLUSH, *flush) is None
            for kind, amounts in by_kind.items():
                # What is counted already adds nothing, and still answers with the totals.
                rows = [(0.0 if counted else micro / MICRO, *ids) for micro, ids in amounts]
                for row in await connection.fetchmany(ADD_SPEND[kind], rows):
                    values = dict(row)
                    made, spend = values.pop("created_at", None), values.pop("spend")
                    totals[(kind, tuple(values.values())), made] = to_micro(spend)
        return totals

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """One transaction, which an exception rolls back.

        Raises:
            asyncpg.UniqueViolationError: a new row has the id of another.
            SourceUnavailableError: Postgres did not answer, or refused. Unless that was at the
                COMMIT, nothing was written.
        """
        try:
            async with asyncio.timeout(self._transaction_s):
                connection = await self._pool.acquire()
                try:
                    async with self._committed(connection):
                        yield connection
                finally:
                    await self._pool.release(connection)
        except asyncpg.UniqueViolationError:
            raise
        except _AWAY as error:
            raise SourceUnavailableError(f"{type(error).__name__}: {error}") from error

    @contextlib.asynccontextmanager
    async def _committed(self, connection: Connection) -> AsyncIterator[None]:
        """A transaction. When its time is up the connection is cut.

        To roll it back, and to return it to the pool, would take as long as Postgres is silent.
        """
        change = connection.transaction()
        try:
            await change.start()
            yield
            await change.commit()
        except BaseException as error:
            if self._transaction_s is not None and isinstance(error, _SILENT):
                cut(connection)
            elif not lost(connection) and connection.is_in_transaction():
                await change.rollback()
            raise

    async def spend(self, owner: Owner) -> int:
        """What an owner has spent, in micro-units: one read of its object. 0 where it has no row.

        Raises:
            SourceUnavailableError: Postgres did not answer.
        """
        kind, ids = owner
        reads: Mapping[str, Callable[..., Awaitable[Key | User | Team | Membership | None]]] = {
            "key": self.key,
            "user": self.user,
            "team": self.team,
            "membership": self.membership,
        }
        row = await reads[kind](*ids)
        return to_micro(None if row is None else row.spend)

    async def answers(self) -> bool:
        """Whether Postgres answers now."""
        try:
            return bool(await self._pool.fetchval("SELECT true"))
        except _AWAY:
            return False

    async def close(self) -> None:
        """Release all connections to the pool, which the caller closes."""
        await self._readers.close()

    async def _row(
        self, kind: ObjectKind, statement: str, *ids: str, entry: str = ""
    ) -> dict[str, Any] | None:
        self._logged += 1
        self._log.append(LoggedRead(time.time(), object_id(kind, *ids), entry))
        try:
            row = await self._readers.fetchrow(statement, *ids)
        except _AWAY as error:
            raise SourceUnavailableError(f"{type(error).__name__}: {error}") from error
        if self._latency_s:
            # After the statement: a slow query answers with what it found when it began.
            await asyncio.sleep(self._latency_s)
        return None if row is None else dict(row)


_SILENT = (asyncio.CancelledError, TimeoutError)
_AWAY = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)


async def open_pool(dsn: str, size: int) -> asyncpg.Pool:
    """A pool of at least two connections. Raises what asyncpg raises when Postgres refuses."""
    pool = await asyncpg.create_pool(
        dsn,
        min_size=0,  # or it opens lost connections by itself, and logs a traceback for each try
        max_size=max(2, size),
        command_timeout=5.0,
        timeout=3.0,
        connection_class=cast("Any", _Connection),
        init=_read_json,
    )
    await pool.release(await pool.acquire())
    return pool


async def _read_json(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=msgspec.json.decode, schema="pg_catalog"
    )
