from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.process import privileges
from harness.process.privileges import (
    Account,
    postgres_account,
    reachable_bindir,
    stack_folder,
)
from harness.stack.embedded.binaries import find_pg_bindir

NOBODY = Account(65534, 65534)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def install(site: Path) -> Path:
    """A wheel with a program, and its libraries beside the package."""
    bindir = site / "some_postgres" / "pginstall" / "bin"
    bindir.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        (bindir / name).touch(mode=0o700)
    (bindir.parent / "share").mkdir()
    (bindir.parent / "share" / "postgres.bki").touch(mode=0o600)
    (site / "some_postgres.libs").mkdir()
    (site / "some_postgres.libs" / "libpq.so.5").touch(mode=0o600)
    (site / "unrelated").mkdir()
    return bindir


def test_root_is_given_an_account_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    account = postgres_account()
    assert account is not None
    assert account.uid > 0

    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert postgres_account() is None


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 2**30 + 7)

    with pytest.raises(SetupError, match=r"\[uid 1073741831\].*POSTGRES_DSN"):
        postgres_account()


def test_a_machine_without_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(privileges, "_UNPRIVILEGED", "no-such-user")

    with pytest.raises(SetupError, match=r"\[no-such-user\].*POSTGRES_DSN"):
        postgres_account()


def test_an_ordinary_user_runs_the_programs_where_they_are(open_folder: Path) -> None:
    site = open_folder / "site-packages"
    bindir = install(site)

    assert reachable_bindir(bindir, None, open_folder / "copy") == bindir
    assert not (open_folder / "copy").exists()


def test_programs_that_the_account_cannot_read_are_copied_with_their_libraries(
    open_folder: Path,
) -> None:
    site = open_folder / "site-packages"
    bindir = install(site)
    modes = {path: path.stat().st_mode for path in open_folder.rglob("*")}

    copied = reachable_bindir(bindir, NOBODY, open_folder / "copy")

    assert copied == open_folder / "copy" / "some_postgres" / "pginstall" / "bin"
    assert (copied / "postgres").stat().st_mode & 0o777 == 0o705
    assert (copied.parent / "share" / "postgres.bki").stat().st_mode & 0o777 == 0o604
    assert (open_folder / "copy" / "some_postgres.libs" / "libpq.so.5").exists()
    assert not (open_folder / "copy" / "unrelated").exists()
    assert {path: path.stat().st_mode for path in modes} == modes, "the user's are left alone"
    assert reachable_bindir(copied, NOBODY, open_folder / "again") == copied


def test_a_closed_parent_is_a_reason_to_copy(open_folder: Path) -> None:
    home = open_folder / "home"
    home.mkdir(mode=0o700)
    bindir = home / "pg" / "bin"
    bindir.mkdir(parents=True)
    (bindir / "postgres").touch(mode=0o755)

    assert reachable_bindir(bindir, NOBODY, open_folder / "copy").is_relative_to(
        open_folder / "copy"
    )


def test_the_folder_of_a_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(closed))

    private = stack_folder(None)
    passable = stack_folder(NOBODY)
    try:
        assert private.parent == closed
        assert private.stat().st_mode & 0o777 == 0o700
        assert passable.parent != closed
        assert passable.stat().st_mode & 0o777 == 0o711
    finally:
        passable.rmdir()


def test_no_folder_that_the_account_can_enter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(privileges, "_TEMP_FOLDERS", ())

    with pytest.raises(SetupError, match="TMPDIR"):
        stack_folder(NOBODY)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops privileges")
def test_a_copy_of_the_real_programs_runs_as_the_account(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(privileges, "_readable", lambda _: False)
    account = postgres_account()
    assert account is not None

    bindir = reachable_bindir(find_pg_bindir().bindir, account, open_folder / "copy")

    for program in ("initdb", "postgres"):
        shown = subprocess.run(
            [bindir / program, "--version"],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
        )
        assert "PostgreSQL" in shown.stdout
