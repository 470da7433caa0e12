"""The database schema of a release: its own migrations, in their order."""

from __future__ import annotations

from pathlib import Path

import asyncpg

from harness.errors import SetupError


async def migrate(dsn: str, migrations: Path) -> int:
    """Run every migration in an empty database.

    Args:
        dsn: of a role that may create tables.
        migrations: the folder ``litellm_proxy_extras/migrations`` of the release's environment.

    Returns:
        How many were run.

    Raises:
        SetupError: there are none, or one of them fails.
    """
    files = _files(migrations)
    if not files:
        raise SetupError(
            f"[{migrations.parent.name}] of this release holds no migrations. "
            "Remove its environment with `harness releases remove` and install it again."
        )
    connection = await asyncpg.connect(dsn)
    try:
        for file in files:
            try:
                await connection.execute(file.read_text(encoding="utf-8"))
            except asyncpg.PostgresError as error:
                raise SetupError(
                    f"The migration [{file.parent.name}] of this release fails: {error}."
                ) from error
    finally:
        await connection.close()
    return len(files)


def _files(migrations: Path) -> list[Path]:
    return sorted(migrations.glob("*/migration.sql"))
