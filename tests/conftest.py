"""What all tests share: a room, which one that is marked ``alone`` has for itself."""

from __future__ import annotations

import fcntl
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test with its fixtures while no test marked ``alone`` runs, or as the only one.

    The workers of pytest-xdist are processes, so these are locks of files. First, so that the wait
    is no part of the time that pytest-timeout gives a test.
    """
    folder = item.config.rootpath / ".cache"
    folder.mkdir(exist_ok=True)
    alone = item.get_closest_marker("alone") is not None
    with (folder / ".gate.lock").open("w") as gate, (folder / ".room.lock").open("w") as room:
        # Who comes later waits at the gate, so that one who wants to be alone gets its turn.
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)
