"""Locust by itself: ``locust -f locustfile.py`` against any running fleets.

Its options (`harness.load.options`) also come from the environment and stand in the form of the
web interface. They are read anew at every start of a test, so that the form works. With a master
and workers, the master checks them and sends them on; each worker drives its share of the rate,
with a plan of its own, and many independent Poisson processes together are one again.
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
"""At the end of a test, requests that are on their way get this long to come back."""
_CONNECTIONS = 1000
"""To one replica; Locust can add users at any time, so that there is no better number."""
_POLL_S = 0.02

_log = logging.getLogger("locust.authcache")


@dataclass(slots=True, eq=False)
class _Driving:
    """The load that this process drives."""

    session: LoadSession
    feed: FreeFeed | StreamFeed
    rate_per_s: float
    """Open model: this process' share; else 0."""
    began: float | None = None
    """Monotonic seconds, as ``stopped``: when the clock of the plan started."""
    stopped: float | None = None


_DRIVING: WeakKeyDictionary[Environment, _Driving] = WeakKeyDictionary()


def register(events: Events) -> None:
    """Add the options, and what reads them, to Locust's events."""
    hooks: Any = events  # they have no types
    hooks.init_command_line_parser.add_listener(add_options)
    hooks.init.add_listener(_on_init)
    hooks.test_start.add_listener(_on_test_start)
    hooks.spawning_complete.add_listener(_on_spawning_complete)
    hooks.test_stopping.add_listener(_on_test_stopping)
    hooks.test_stop.add_listener(_on_test_stop)


def read_options(environment: Environment, options: Any = None) -> Drive:
    """What the options come to as they stand now, or other ones. Raises UsageError."""
    options = options or environment.parsed_options or Namespace()
    return check_options(options, environment.host, [c.scope for c in _classes(environment)])


def configure(environment: Environment) -> None:
    """Give the users their keys, hosts and weights, from the options as they stand now.

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
    """What all processes are to send, in the open model; nothing in the closed one.

    Drawn anew from the seeds: whoever wants to know what is due needs no word of the workers.

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
    """Seconds of the plan that have passed in the load that runs, or the last one.

    The clock of the open model starts when all users are there, and stops when the load is told to.
    """
    driving = _DRIVING.get(environment)
    if driving is None or driving.began is None:
        return 0.0
    return (driving.stopped or monotonic()) - driving.began


def _feed(
    environment: Environment, drive: Drive, replicas: int, rate_per_s: float
) -> FreeFeed | StreamFeed:
    if drive.model != OPEN:
        return FreeFeed(by_scope(list(drive.keys)), replicas=replicas)
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
    # the hook does not say whose users; a process has one environment with a load
    for driving in list(_DRIVING.values()):
        if isinstance(driving.feed, StreamFeed):
            driving.feed.begin_once()
            driving.began = driving.began or monotonic()


def _on_test_stopping(environment: Environment, **_: Any) -> None:
    """Let what is on its way come back: a request cut off here would count there and not here."""
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
