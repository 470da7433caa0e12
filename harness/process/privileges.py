"""Postgres refuses to run as root, so a harness run as root gives it another user."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.errors import SetupError
from harness.process.guard import FOLDER_PREFIX

_UNPRIVILEGED = "nobody"
_TEMP_FOLDERS = ("/tmp", "/var/tmp")  # noqa: S108  only the parents of private folders
_NOT_NEEDED = shutil.ignore_patterns("include", "pgxs", "pkgconfig", "*.a", "doc", "man")


@dataclass(frozen=True, slots=True)
class Account:
    """The user that a process runs as."""

    uid: int
    gid: int

    def own(self, path: Path) -> None:
        """Give a file or folder of ours to this user."""
        os.chown(path, self.uid, self.gid)


def postgres_account() -> Account | None:
    """The user to drop to; None where the harness itself is not root. Raises SetupError."""
    if os.geteuid() != 0:
        _check_named(os.geteuid())
        return None
    try:
        entry = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError as error:
        raise SetupError(
            f"Postgres refuses to run as root, and there is no user [{_UNPRIVILEGED}] to run it "
            "as. Start the harness as an ordinary user, or give POSTGRES_DSN."
        ) from error
    return Account(entry.pw_uid, entry.pw_gid)


def _check_named(uid: int) -> None:
    """Postgres wants the name of its user, which a container's ``--user 1234`` may not have."""
    try:
        pwd.getpwuid(uid)
    except KeyError as error:
        raise SetupError(
            f"The user that runs this has no name on this machine [uid {uid}], and Postgres "
            "needs one. Run as a user of /etc/passwd, or give POSTGRES_DSN."
        ) from error


def stack_folder(account: Account | None) -> Path:
    """A new temporary folder for a stack, which `account` can reach.

    TMPDIR is used unless the account cannot enter it. Raises SetupError.
    """
    places = [tempfile.gettempdir(), *_TEMP_FOLDERS]
    for place in places:
        if account is None or _enterable(Path(place).resolve()):
            folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=place)).resolve()
            # Ours alone, but the account must be able to pass through to its own part.
            folder.chmod(0o700 if account is None else 0o711)
            return folder
    raise SetupError(
        f"The user [{_UNPRIVILEGED}], as whom Postgres runs, can enter none of the temporary "
        f"folders [{', '.join(places)}]. Set TMPDIR to one that every user can enter."
    )


def reachable_bindir(bindir: Path, account: Account | None, folder: Path) -> Path:
    """`bindir`, or a copy of its installation below `folder` where the account cannot read it.

    A virtual environment in root's home folder is closed to other users. Its permissions are left
    alone; the binaries are copied instead. The libraries next to a wheel's package are copied
    with it, because the programs find them by their relative path.
    """
    bindir = bindir.resolve()
    trees = _installation(bindir)
    if account is None or all(_readable(tree) for tree in trees):
        return bindir
    root = trees[0].parent
    for tree in trees:
        target = folder / tree.name
        shutil.copytree(tree, target, symlinks=True, ignore=_NOT_NEEDED)
        _open_to_all(target)
    return folder / bindir.relative_to(root)


def _installation(bindir: Path) -> list[Path]:
    """The folders that must stay side by side for the programs in `bindir` to run."""
    for package in bindir.parents:
        if package.parent.name in {"site-packages", "dist-packages"}:
            libraries = package.with_name(f"{package.name}.libs")
            return [package, libraries] if libraries.is_dir() else [package]
    return [bindir.parent]


def _enterable(path: Path) -> bool:
    """Whether every user can pass through `path`, from the root on."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in [path, *path.parents])


def _readable(tree: Path) -> bool:
    """Whether every user can read everything below `tree`."""
    if not _enterable(tree):
        return False
    need = {True: stat.S_IROTH | stat.S_IXOTH, False: stat.S_IROTH}
    for place, folders, files in os.walk(tree):
        for name, is_folder in [*((f, True) for f in folders), *((f, False) for f in files)]:
            path = Path(place, name)
            if path.is_symlink():
                continue
            if path.stat().st_mode & need[is_folder] != need[is_folder]:
                return False
    return True


def _open_to_all(tree: Path) -> None:
    """Let every user read our copy, whatever the permissions of the original."""
    for place, folders, files in os.walk(tree):
        Path(place).chmod(0o755)
        for name in [*folders, *files]:
            path = Path(place, name)
            if not path.is_symlink():
                path.chmod(
                    path.stat().st_mode | stat.S_IROTH | ((path.stat().st_mode & 0o100) >> 6)
                )
