"""Locust by itself: ``locust -f locustfile.py`` against any running fleets.

Its options (`harness.load.options`) also come from the environment and from the form of the web
interface. They are read again at every start of a test, so that the form takes effect. With a
master and workers, the master checks them and sends them on. Each worker drives its share of the
rate with its own plan: independent Poisson processes add up to one Poisson process.
"""

from __future__ import annotations

import logging
import sys
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from locust import constant, poisson
from locust.env import Environment
from locust.event import Events
from locust.exception import StopTest
from locust.runners import MasterRunner, WorkerRunner

from harness.domain.population import by_scope
from harness.errors import EXIT_USAGE, UsageError
from harness.load import reporting
from harness.load.feeds import FreeFeed, StreamFeed
from harness.load.fleets import even_hosts
from harness.load.options import SHARE, Drive, add_options, check_options
from harness.load.plan import OPEN, Arrival, open_stream
from harness.load.session import LoadSession, attach, detach, make_session
from harness.load.users import KeyUser

TIMEOUT_S = 60.0
DRAIN_S = 10.0
"""At the end of a test, outstanding requests get this long to finish."""
_CONNECTIONS = 1000
"""Per replica. Locust can add users at any time, so their number gives no limit."""
_POLL_S = 0.02

_log = logging.getLogger("locust.authcache")


@dataclass(slots=True, eq=False)
class _Driving:
    """The load that this process drives."""

    session: LoadSession
    feed: FreeFeed | StreamFeed
    rate_per_s: float
    """Open model: this process's share; else 0."""
    began: float | None = None
    """When the clock of the plan started, in monotonic seconds like ``stopped``."""
    stopped: float | None = None


_DRIVING: WeakKeyDictionary[Environment, _Driving] = WeakKeyDictionary()


def register(events: Events) -> None:
    """Register the options and the load with Locust's events."""
    hooks: Any = events  # they have no types
    hooks.init_command_line_parser.add_listener(add_options)
    hooks.init.add_listener(_on_init)
    hooks.test_start.add_listener(_on_test_start)
    hooks.spawning_complete.add_listener(_on_spawning_complete)
    hooks.test_stopping.add_listener(_on_test_stopping)
    hooks.test_stop.add_listener(_on_test_stop)


def read_options(environment: Environment, options: Any = None) -> Drive:
    """Check the given options, by default the environment's. Raises UsageError."""
    options = options or environment.parsed_options or Namespace()
    return check_options(options, environment.host, [c.scope for c in _classes(environment)])


def configure(environment: Environment) -> None:
    """Give the users their keys, hosts and weights, from the current options.

    Raises:
        UsageError: if hosts or keys are missing, or the mix cannot be driven with them.
    """
    drive = read_options(environment)
    for user_class in _classes(environment):
        # in the open model any user takes any arrival
        user_class.weight = drive.mix.get(user_class.scope, 0) if drive.model != OPEN else 1
    hosts = even_hosts(drive.fleets)
    options: Any = environment.parsed_options
    share = drive.arrival_rate / max(1, getattr(options, SHARE, 1)) if drive.model == OPEN else 0.0
    feed = _feed(environment, drive, len(hosts), share)
    session = make_session(
        feed,
        hosts=[host for _, host in hosts],
        keys=drive.keys,
        pause=constant(0) if drive.model == OPEN else poisson(drive.rate),
        connections=_CONNECTIONS,
        timeout_s=TIMEOUT_S,
        fleets=[name for name, _ in hosts if name],
    )
    attach(environment, session)
    _DRIVING[environment] = _Driving(session, feed, share)


def plans(environment: Environment) -> list[Iterator[Arrival]]:
    """The arrivals that each process sends in the open model; empty in the closed model.

    Drawn again from the seeds: the master can compute what is due without asking the workers.

    Raises:
        UsageError: see `configure`.
    """
    drive = read_options(environment)
    if drive.model != OPEN:
        return []
    processes = max(1, getattr(environment.parsed_options, SHARE, 1))
    replicas = len(even_hosts(drive.fleets))
    return [
        _plan(drive, replicas, drive.arrival_rate / processes, index) for index in range(processes)
    ]


def elapsed_s(environment: Environment) -> float:
    """Seconds of the plan that have passed in the current load, or the last one.

    The clock of the open model starts when all users have started, and stops when the load is
    stopped.
    """
    driving = _DRIVING.get(environment)
    if driving is None or driving.began is None:
        return 0.0
    return (driving.stopped or monotonic()) - driving.began


def _feed(
    environment: Environment, drive: Drive, replicas: int, rate_per_s: float
) -> FreeFeed | StreamFeed:
    if drive.model != OPEN:
        return FreeFeed(by_scope(list(drive.keys)), replicas=replicas, zipf=drive.zipf)
    runner: Any = environment.runner
    index = runner.worker_index if isinstance(runner, WorkerRunner) else 0
    return StreamFeed(_plan(drive, replicas, rate_per_s, index))


def _plan(drive: Drive, replicas: int, rate_per_s: float, index: int) -> Iterator[Arrival]:
    return open_stream(
        drive.mix,
        by_scope(list(drive.keys)),
        rate_per_s=rate_per_s,
        replicas=replicas,
        # workers must not all send the same requests at the same moments
        seed=drive.seed + index,
        zipf=drive.zipf,
    )


def _classes(environment: Environment) -> list[type[KeyUser]]:
    return [c for c in environment.user_classes if issubclass(c, KeyUser)]


def _on_init(environment: Environment, **_: Any) -> None:
    reporting.attach(environment, lambda: _DRIVING[environment].session)
    if isinstance(environment.runner, WorkerRunner):
        # its options come from the master, with the first start
        return
    try:
        configure(environment)
    except UsageError as error:
        options: Any = environment.parsed_options
        if options.headless or options.autostart:
            sys.stderr.write(f"{error}\n")
            sys.exit(EXIT_USAGE)
        _log.warning("%s Or fill in the form of the web interface.", error)


def _on_test_start(environment: Environment, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        clients = runner.clients
        active = len(clients.ready) + len(clients.spawning) + len(clients.running)
        setattr(environment.parsed_options, SHARE, active)
    try:
        configure(environment)
    except UsageError as error:
        raise StopTest(str(error)) from error
    # a master drives nothing itself
    drives = not isinstance(runner, MasterRunner)
    reporting.begin(environment, _DRIVING[environment].rate_per_s if drives else 0.0)


def _on_spawning_complete(**_: Any) -> None:
    # the hook does not name the environment; a process has only one with a load
    for driving in list(_DRIVING.values()):
        if isinstance(driving.feed, StreamFeed):
            driving.feed.begin_once()
            driving.began = driving.began or monotonic()


def _on_test_stopping(environment: Environment, **_: Any) -> None:
    """Wait for outstanding requests: one that is cut off would count only on the replica."""
    driving = _DRIVING.get(environment)
    if driving is None:
        return
    driving.feed.end()
    driving.stopped = monotonic()
    deadline = monotonic() + DRAIN_S
    while driving.session.in_flight.count and monotonic() < deadline:
        gevent.sleep(_POLL_S)


def _on_test_stop(environment: Environment, **_: Any) -> None:
    reporting.end(environment)
    if not isinstance(environment.runner, MasterRunner):
        detach(environment)
