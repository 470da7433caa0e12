"""Folders that are whole or not there: made aside and renamed, renamed aside and removed."""

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


@contextlib.asynccontextmanager
async def sole_maker(folder: Path, waiting: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the right to make a folder; wait while another process, or task, holds it.

    The system gives the right back when its holder dies.

    Args:
        folder: Its parent must exist.
        waiting: Called once where it must be waited for.
    """
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        if not _take(lock.fileno()):
            waiting()
            await wait_until(lambda: _take(lock.fileno()), poll_s=_POLL_S)
        _sweep(folder)
        yield


@contextlib.contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """A folder beside, to fill; becomes `folder` if nothing is raised, otherwise goes.

    Only for who is its sole maker.
    """
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=_PARTIAL, dir=folder.parent))
    try:
        yield partial
        # What is there already is not whole, or nobody would make it again.
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove_whole(folder: Path) -> bool:
    """Remove a folder in such a way that no half of it is ever seen under its name.

    Returns:
        False where somebody else removed it first.
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
    """Remove what a maker or remover that was killed has left."""
    for suffix in (_PARTIAL, _REMOVED):
        for left in folder.parent.glob(f".{folder.name}.*{suffix}"):
            shutil.rmtree(left, ignore_errors=True)
