"""Keeps the counts of an endless load, in each process that drives users and on the master.

A Locust worker sends its counts to the master once a second and at the end of a test. Each message
carries the number of the test, so that a late one of the previous test is not counted in this test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import time_ns
from typing import Any
from weakref import WeakKeyDictionary

import gevent
from locust.env import Environment
from locust.rpc import Message
from locust.runners import MasterRunner, WorkerRunner

from harness.load.counts import LoadCounts
from harness.load.feeds import StreamFeed
from harness.load.options import SHARE
from harness.load.session import LoadSession
from harness.load.transport import outcome_of

MESSAGE = "authcache_counts"
TEST = "load_test"
"""The option in which the master sends its workers the number of the test."""
_EVERY_S = 1.0


@dataclass(slots=True, eq=False)
class _Book:
    """What one process knows about one test."""

    session: Callable[[], LoadSession]
    own: LoadCounts = field(default_factory=LoadCounts)
    others: dict[str, LoadCounts] = field(default_factory=dict)
    """On the master: by worker."""
    finished: set[str] = field(default_factory=set)
    """On the master: workers that have sent their final counts."""
    workers: int = 0
    """On the master: how many workers take part."""
    test: int = 0
    running: bool = False


_BOOKS: WeakKeyDictionary[Environment, _Book] = WeakKeyDictionary()


def attach(environment: Environment, session: Callable[[], LoadSession]) -> None:
    """Count the requests of an environment; on a master, collect its workers' counts."""
    _BOOKS[environment] = _Book(session)
    hooks: Any = environment.events  # they have no types
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        runner.register_message(MESSAGE, _on_message)
        return
    hooks.request.add_listener(_listener(environment))


def begin(environment: Environment, rate_per_s: float) -> None:
    """Begin a test: reset all counts to 0.

    Args:
        environment: whose test.
        rate_per_s: requests per second that this process drives; 0 in the closed model.
    """
    book = _BOOKS[environment]
    book.own, book.others, book.finished = LoadCounts(rate_per_s=rate_per_s), {}, set()
    options: Any = environment.parsed_options
    if not isinstance(environment.runner, WorkerRunner):
        setattr(options, TEST, time_ns())
    book.test, book.running = getattr(options, TEST, 0), True
    if isinstance(environment.runner, MasterRunner):
        book.workers = getattr(options, SHARE, 0)
    if isinstance(environment.runner, WorkerRunner):
        gevent.spawn(_report, environment, book, book.test)


def end(environment: Environment) -> None:
    """End a test; a worker sends its final counts."""
    book = _BOOKS[environment]
    book.running = False
    if isinstance(environment.runner, WorkerRunner):
        _send(environment, book, final=True)


def counts(environment: Environment) -> LoadCounts:
    """What all processes have counted in this test."""
    book = _BOOKS[environment]
    return LoadCounts.total([book.own, *book.others.values()])


def complete(environment: Environment) -> bool:
    """Whether the counts of a test that is over are final."""
    book = _BOOKS[environment]
    return not book.running and len(book.finished) >= book.workers


def _listener(environment: Environment) -> Callable[..., None]:
    def on_request(
        *, response: Any, exception: BaseException | None, context: dict[str, Any], **_: Any
    ) -> None:
        arrival = context.get("arrival")
        if arrival is None:
            return
        book = _BOOKS[environment]
        session = book.session()
        outcome = outcome_of(response, exception)
        fleet = session.fleets[arrival.replica] if session.fleets else ""
        book.own.ended(fleet, str(arrival.scope), outcome.status, outcome.error)
        if arrival.intended_s is not None and isinstance(session.feed, StreamFeed):
            book.own.delayed(session.feed.at(context["sent"]) - arrival.intended_s)

    return on_request


def _report(environment: Environment, book: _Book, test: int) -> None:
    while book.running and book.test == test:
        _send(environment, book, final=False)
        gevent.sleep(_EVERY_S)


def _send(environment: Environment, book: _Book, *, final: bool) -> None:
    runner = environment.runner
    assert runner is not None
    runner.send_message(MESSAGE, {**book.own.message(), "test": book.test, "final": final})


def _on_message(environment: Environment, msg: Message, **_: Any) -> None:
    book = _BOOKS[environment]
    data: Any = msg.data
    if data["test"] != book.test:
        return
    book.others[msg.node_id] = LoadCounts.of(data)
    if data["final"]:
        book.finished.add(msg.node_id)
