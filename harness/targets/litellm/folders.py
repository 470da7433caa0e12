"""Atomic folders: created and removed under a temporary name, so that none is ever incomplete."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from harness.process.waiting import wait_until

_POLL_S = 0.2
_PARTIAL = ".partial"
_REMOVED = ".removed"
ROOM = "Free some space or allow writing there, or set XDG_CACHE_HOME to another folder."
"""What to do where a folder of the cache cannot be written."""


@contextlib.asynccontextmanager
async def sole_maker(folder: Path, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """Lock a folder for its creation; wait while another process or task holds the lock.

    The system releases the lock when its holder dies.

    Args:
        folder: Its parent must exist.
        waiting: Called once if the lock is taken.
    """
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        if not _take(lock.fileno()):
            waiting()
            await wait_until(lambda: _take(lock.fileno()), poll_s=_POLL_S)
        _sweep(folder)
        yield


@contextlib.contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to fill: renamed to `folder` on success, removed on an error.

    The caller must hold `sole_maker`.
    """
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=_PARTIAL, dir=folder.parent))
    try:
        yield partial
        # A folder that exists is incomplete, or it would not be made again.
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_whole(folder: Path) -> bool:
    """Remove a folder atomically: it is never seen incomplete under its name.

    Returns:
        False if another process removed it first.
    """
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=_REMOVED, dir=folder.parent))
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return False
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return True


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove the temporary folders that killed processes left."""
    for suffix in (_PARTIAL, _REMOVED):
        for left in folder.parent.glob(f".{folder.name}.*{suffix}"):
            shutil.rmtree(left, ignore_errors=True)
