"""Prepares a fleet's database from inside a cluster: role, database, schema, population.

`harness up` and a run do this from outside. In Kubernetes a Job does it, which may be started again
at any point; so every step checks whether it is already done.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import asyncpg

from harness.domain.population import VirtualKey
from harness.errors import SetupError, UsageError
from harness.process.waiting import wait_until
from harness.stack.dsn import check_url, replaced, shown, without_secrets
from harness.targets.base import Target

_POLL_S = 0.5
_ROLE = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_REFUSED = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


async def prepare_database(
    admin_dsn: str,
    role: str,
    password: str,
    target: Target,
    keys: Sequence[VirtualKey],
    *,
    patience_s: float = 120.0,
) -> bool:
    """Create what is missing.

    Args:
        admin_dsn: may create roles and databases.
        role: of the fleet; its database has the same name.
        password: of the role.
        target: creates the schema.
        keys: the population.
        patience_s: how long to wait for the server to answer at all.

    Returns:
        Whether the population had to be written.

    Raises:
        UsageError: the role's name would have to be quoted.
        SetupError: the server does not answer, or refuses.
    """
    check_url("POSTGRES_DSN", admin_dsn)
    if not _ROLE.fullmatch(role):
        raise UsageError(f"The role [{role}] is no plain name. Use letters, digits and _ alone.")
    dsn = replaced(admin_dsn, database=role, user=role, password=password)
    try:
        await _create(admin_dsn, role, password, patience_s)
        connection = await asyncpg.connect(dsn)
        try:
            if await target.database.seeded(connection):
                return False
            await target.prepare_database(dsn)
            await target.database.seed(connection, keys)
        finally:
            await connection.close()
    except _REFUSED as error:
        text = without_secrets(without_secrets(str(error), admin_dsn), dsn)
        raise SetupError(
            f"The database [{role}] on [{shown(admin_dsn)}] cannot be prepared: "
            f"{type(error).__name__}: {text}. Drop it if it was left half-done, then try again."
        ) from None
    return True


async def _create(admin_dsn: str, role: str, password: str, patience_s: float) -> None:
    connection = await _connect(admin_dsn, patience_s)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
            statement = await connection.fetchval(
                "SELECT format('CREATE ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)",
                role,
                password,
            )
            await connection.execute(statement)
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", role):
            await connection.execute(f'CREATE DATABASE "{role}" OWNER "{role}" TEMPLATE template0')
            await connection.execute(f'REVOKE CONNECT ON DATABASE "{role}" FROM PUBLIC')
    finally:
        await connection.close()
    inside = await asyncpg.connect(replaced(admin_dsn, database=role))
    try:
        await inside.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    finally:
        await inside.close()


async def _connect(dsn: str, patience_s: float) -> asyncpg.Connection:
    return await wait_until(
        lambda: asyncpg.connect(dsn, timeout=10), patience_s, poll_s=_POLL_S, retry=_REFUSED
    )
