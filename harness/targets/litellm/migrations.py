"""The database schema of a release: its own migrations, in their order."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import asyncpg

from harness.errors import SetupError


async def migrate(dsn: str, migrations: Path, *, has: Collection[str] = ()) -> int:
    """Run every migration that a database lacks, by name and in the order of names.

    A release can bring a migration whose name comes before some that an older release has run; it
    is run all the same, as Prisma does.

    Args:
        dsn: of a role that may create tables.
        migrations: the folder ``litellm_proxy_extras/migrations`` of the release's environment.
        has: names of those that were run before; none in an empty database.

    Returns:
        How many were run.

    Raises:
        SetupError: there are none, or one of them fails.
    """
    files = migration_files(migrations)
    if not files:
        raise SetupError(
            f"[{migrations.parent.name}] of this release holds no migrations. "
            "Remove its environment with `harness releases remove` and install it again."
        )
    lacking = [file for file in files if file.parent.name not in has]
    if not lacking:
        return 0
    connection = await asyncpg.connect(dsn)
    try:
        for file in lacking:
            try:
                await connection.execute(file.read_text(encoding="utf-8"))
            except asyncpg.PostgresError as error:
                raise SetupError(
                    f"The migration [{file.parent.name}] of this release fails: {error}."
                ) from error
    finally:
        await connection.close()
    return len(lacking)


def migration_files(migrations: Path) -> list[Path]:
    """The file of each migration in the order of names, which are those of their folders."""
    return sorted(migrations.glob("*/migration.sql"))
