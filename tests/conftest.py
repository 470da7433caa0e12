"""What all tests share: a run that leaves no process behind, and a room.

A test that is marked ``alone`` has the room for itself.
"""

from __future__ import annotations

import fcntl
import gc
import os
import secrets
import signal
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from harness.process import guard
from harness.process.groups import default_signals
from harness.process.guard_link import GuardLink

_LINK = pytest.StashKey[GuardLink]()

# Most strategies here are small. `make coverage`, and so CI, draws Hypothesis's own 100 examples by
# an option of pytest, which goes before this. No judgement by time, in which a busy machine fails.
for _name, _examples in (("quick", 20), ("thorough", 100)):
    settings.register_profile(
        _name,
        max_examples=_examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    """End by each signal as by Ctrl-C, with what fixtures tear down; the guard ends the rest.

    Everything that a test starts carries the token, unless the stack gave it one: that has a guard
    of its own. A worker of a parallel run has its own token and guard, and carries the other's.
    """
    if hasattr(config, "workerinput"):
        # Under nohup the run goes on. Only the process that controls the worker was entered so.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    hangs_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    default_signals()
    # Also where the run is a script's background job: asyncio and pytest know only this handler.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, *([signal.SIGHUP] if hangs_up else [])):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGINT))
    # A user's own servers are not the tests'; a test that wants these variables sets them.
    for variable in ("POSTGRES_DSN", "REDIS_URL"):
        os.environ.pop(variable, None)
    token = os.environ[guard.TOKEN_VARIABLE] = secrets.token_hex(16)
    config.stash[_LINK] = GuardLink(token, Path(os.devnull))


def pytest_unconfigure(config: pytest.Config) -> None:
    """What a test left behind is ended here."""
    guard.kill_strays(os.environ[guard.TOKEN_VARIABLE], ())
    if (link := config.stash.get(_LINK, None)) is not None:
        link.done()


def pytest_collection_finish() -> None:
    """Take all modules and tests out of what the collector looks through: they stay to the end."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """With `-n auto` two per core: tests of servers wait for most of their time."""
    return 2 * (os.cpu_count() or 1) if config.option.numprocesses == "auto" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """First what is alone, before it has to wait for others; what takes long not at the end.

    The files are begun in this order.
    """
    items.sort(
        key=lambda item: (
            item.get_closest_marker("alone") is None,
            item.path.parent.name != "runs",
            item.get_closest_marker("integration") is None,
        )
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test with its fixtures while no test marked ``alone`` runs, or as the only one.

    The workers of pytest-xdist are processes, so these are locks of files; without workers there is
    nothing to wait for. First, so that the wait is no part of the time that pytest-timeout gives.
    """
    if not hasattr(item.config, "workerinput"):
        return (yield)
    # What the workers of one session have in common.
    folder = Path(item.config.getoption("basetemp")).parent
    alone = item.get_closest_marker("alone") is not None
    with (folder / "gate").open("w") as gate, (folder / "room").open("w") as room:
        # Who comes later waits at the gate, so that one who wants to be alone gets its turn.
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(gate, fcntl.LOCK_UN)
        return (yield)
