"""Which migrations a database gets, and in which order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asyncpg
import pytest

from harness.errors import SetupError
from harness.targets.litellm.migrations import migrate, migration_files

OLD = ("20250101_base", "20250301_more")
NEW = ("20250201_between", *OLD, "20250401_last")


class Connection:
    """Keeps what it is asked to run."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.closed = False

    async def execute(self, text: str) -> None:
        if "fails" in text:
            raise asyncpg.PostgresError("no")
        self.ran.append(text)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    made = Connection()

    async def connect(_: str) -> Connection:
        return made

    monkeypatch.setattr(asyncpg, "connect", connect)
    return made


def folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "migration.sql").write_text(name)
    return tmp_path


async def test_an_empty_database_gets_all_by_name(tmp_path: Path, connection: Connection) -> None:
    assert await migrate("dsn", folder(tmp_path, *NEW)) == 4
    assert connection.ran == sorted(NEW)
    assert connection.closed


async def test_what_a_database_lacks_is_run_though_it_sorts_before_what_it_has(
    tmp_path: Path, connection: Connection
) -> None:
    assert await migrate("dsn", folder(tmp_path, *NEW), has=OLD) == 2
    assert connection.ran == ["20250201_between", "20250401_last"]


async def test_a_database_that_lacks_nothing_is_left_alone(
    tmp_path: Path, connection: Connection
) -> None:
    assert await migrate("dsn", folder(tmp_path, *OLD), has=NEW) == 0
    assert connection.ran == []


async def test_one_that_fails_is_named(tmp_path: Path, connection: Connection) -> None:
    with pytest.raises(SetupError, match=r"\[20250401_fails\] of this release fails: no"):
        await migrate("dsn", folder(tmp_path, *OLD, "20250401_fails"))
    assert connection.closed


async def test_a_release_without_any_is_refused(tmp_path: Path) -> None:
    files: Any = migration_files(tmp_path)
    assert files == []
    with pytest.raises(SetupError, match="holds no migrations"):
        await migrate("dsn", tmp_path)
