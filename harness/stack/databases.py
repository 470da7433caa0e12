"""One Postgres role and one database per fleet, on a server of ours or of the user's."""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
from dataclasses import dataclass

import asyncpg

from harness.errors import SetupError
from harness.stack.dsn import replaced, shown, without_secrets

_CONNECT_TIMEOUT_S = 15.0
_COMMAND_TIMEOUT_S = 60.0
_SLUG_LENGTH = 24
_HASH_LENGTH = 6

_REFUSED = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


def safe_name(name: str) -> str:
    """A fleet's name as part of an identifier: lower-case letters, digits and ``_``.

    Different names stay different, because a hash of the whole name is part of it.
    """
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:_SLUG_LENGTH]
    digest = hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]
    return f"{slug}_{digest}"


@dataclass(frozen=True, slots=True)
class FleetDatabase:
    """Where a fleet's data are."""

    dsn: str
    admin_dsn: str
    not_counted: str
    """Why statements cannot be counted; empty where they can."""


class Databases:
    """Creates roles and databases, and drops them again where the server stays up."""

    def __init__(self, admin_dsn: str, token: str, *, own_server: bool) -> None:
        self._admin_dsn = admin_dsn
        self._prefix = f"authcache_{token[:8]}"
        self._own_server = own_server
        self._created: list[str] = []
        # One at a time: both statements lock catalogue rows that all fleets share.
        self._turn = asyncio.Lock()

    async def check(self) -> dict[str, str]:
        """Connect once; returns what answered. Raises SetupError."""
        connection = await self._connect(self._admin_dsn)
        try:
            version: str = await connection.fetchval("SHOW server_version")
            if self._own_server:
                for database in ("postgres", "template1"):
                    await connection.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
        finally:
            await connection.close()
        return {"postgres_version": version, "postgres_source": "given by the user"}

    async def create(self, fleet: str) -> FleetDatabase:
        """Create a role, and a database that it owns and only it may enter. Raises SetupError."""
        name = f"{self._prefix}_{safe_name(fleet)}"
        password = secrets.token_urlsafe(24)
        async with self._turn:
            connection = await self._connect(self._admin_dsn)
            try:
                await self._create(connection, name, password)
            except _REFUSED as error:
                raise SetupError(
                    f"Role and database [{name}] could not be created on "
                    f"[{shown(self._admin_dsn)}]: {self._clean(error)}. The user of POSTGRES_DSN "
                    "needs CREATEROLE and CREATEDB; or leave POSTGRES_DSN out."
                ) from None
            finally:
                await connection.close()
        admin_dsn = replaced(self._admin_dsn, database=name)
        return FleetDatabase(
            dsn=replaced(self._admin_dsn, database=name, user=name, password=password),
            admin_dsn=admin_dsn,
            not_counted=await self._why_not_counted(admin_dsn),
        )

    async def drop_all(self) -> list[str]:
        """Drop what was created on a server that stays up; returns what could not be dropped."""
        if self._own_server or not self._created:
            return []
        try:
            connection = await self._connect(self._admin_dsn)
        except SetupError as error:
            return [f"Databases and roles [{', '.join(self._created)}] remain: {error}"]
        problems = []
        try:
            for name in self._created:
                try:
                    await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                    # IF EXISTS would complain of missing rights before it finds nothing to drop.
                    if await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", name):
                        await connection.execute(f'DROP ROLE "{name}"')
                except _REFUSED as error:
                    problems.append(
                        f"Database or role [{name}] remains on [{shown(self._admin_dsn)}]: "
                        f"{self._clean(error)}. Drop it by hand."
                    )
        finally:
            await connection.close()
        self._created.clear()
        return problems

    async def _create(
        self, connection: asyncpg.Connection[asyncpg.Record], name: str, password: str
    ) -> None:
        # `name` and `password` hold nothing that would need quoting: see safe_name, token_urlsafe.
        self._created.append(name)
        await connection.execute(f"CREATE ROLE \"{name}\" LOGIN PASSWORD '{password}'")
        if not await connection.fetchval("SELECT current_setting('is_superuser') = 'on'"):
            # To give a database to a role, its creator must be a member of it.
            await connection.execute(f'GRANT "{name}" TO CURRENT_USER')
        await connection.execute(f'CREATE DATABASE "{name}" OWNER "{name}" TEMPLATE template0')
        await connection.execute(f'REVOKE CONNECT ON DATABASE "{name}" FROM PUBLIC')

    async def _why_not_counted(self, admin_dsn: str) -> str:
        """Try pg_stat_statements in the fleet's own database, as its reader will."""
        connection = await self._connect(admin_dsn)
        try:
            try:
                await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
                await connection.fetchval("SELECT count(*) FROM pg_stat_statements")
                track = await connection.fetchval("SHOW pg_stat_statements.track")
            except _REFUSED as error:
                return f"pg_stat_statements is not available: {self._clean(error)}"
            if track == "none":
                return "pg_stat_statements is loaded, but pg_stat_statements.track is none"
            may_read = await connection.fetchval(
                "SELECT current_setting('is_superuser') = 'on'"
                " OR pg_has_role('pg_read_all_stats', 'USAGE')"
            )
            return "" if may_read else "the user of POSTGRES_DSN lacks the role pg_read_all_stats"
        finally:
            await connection.close()

    async def _connect(self, dsn: str) -> asyncpg.Connection[asyncpg.Record]:
        try:
            return await asyncpg.connect(
                dsn, timeout=_CONNECT_TIMEOUT_S, command_timeout=_COMMAND_TIMEOUT_S
            )
        except (*_REFUSED, ValueError) as error:
            raise SetupError(
                f"Postgres at [{shown(dsn)}] refuses: {self._clean(error)}. "
                "Check POSTGRES_DSN and that the server runs."
            ) from None

    def _clean(self, error: BaseException) -> str:
        text = without_secrets(str(error) or type(error).__name__, self._admin_dsn)
        return text.strip().rstrip(".")
