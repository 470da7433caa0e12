"""Reads the replicas while a test runs, in a greenlet of its own.

Only the process that serves the web UI does it: Locust alone, or the master. The users' counts come
from `harness.load.reporting`, which collects those of this process or of the workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic, time

import gevent
from locust.env import Environment

from harness.load import reporting
from harness.load.counts import LoadCounts
from harness.load.options import Drive
from harness.load.standalone import read_options
from harness.ui.history import History
from harness.ui.sources import Source
from harness.ui.tally import FleetTally

EVERY_S = 1.0
_WORKERS_A_SECOND = 20
"""A page costs some 5 ms of CPU; more workers are read less often, to spare the load."""
REST_EVERY_S = 2.0
"""After a test: a replica may still be lost, and changes be made."""
SETTLE_S = 15.0
"""After a test, how long to wait for pending writes, the workers' final counts and a reading
without problems."""


@dataclass(slots=True)
class Watch:
    """One test as the tab shows it."""

    drive: Drive
    tally: FleetTally
    history: History
    began: float
    """Monotonic seconds."""
    number: int
    """Wall clock of the start in seconds; it changes with every test and reset."""
    before: LoadCounts
    """The load side's counts at the last reset, to subtract."""
    ended: float | None = None
    at_rest: bool = False
    cut: bool = False
    """Whether it was reset under load: requests outstanding then are counted on one side only."""

    @property
    def elapsed_s(self) -> float:
        """Since the start, until the end."""
        return (monotonic() if self.ended is None else self.ended) - self.began


class Watcher:
    """Watches one test after the other.

    Args:
        environment: whose tests to watch.
        source: reads the replicas' counters; None watches the load side alone.
    """

    def __init__(self, environment: Environment, source: Source | None) -> None:
        self.watch: Watch | None = None
        """The current test, or the last one; None before the first."""
        self._environment = environment
        self._source = source

    def begin(self) -> None:
        """Begin to watch a test: everything counts from here."""
        tally = FleetTally()
        if self._source is not None:
            tally.note(self._source.read())
        self.watch = Watch(
            drive=read_options(self._environment),
            tally=tally,
            history=History(),
            began=monotonic(),
            number=round(time()),
            before=LoadCounts(),
        )
        self._mark(self.watch)
        gevent.spawn(self._follow, self.watch)

    def end(self) -> None:
        """The users have stopped; pending work is still watched."""
        if self.watch is not None and self.watch.ended is None:
            self.watch.ended = monotonic()

    def reset(self) -> None:
        """Locust's statistics were reset: everything counts from now."""
        watch = self.watch
        if watch is None:
            return
        if self._source is not None:
            watch.tally.note(self._source.read())
        watch.tally.rebase()
        watch.before = reporting.counts(self._environment)
        watch.history = History()
        watch.number += 1
        if watch.ended is None:
            watch.began = monotonic()
            watch.cut = True
        self._mark(watch)

    def load_counts(self) -> LoadCounts:
        """What the users have counted in the test that is watched."""
        if self.watch is None:
            return LoadCounts()
        return reporting.counts(self._environment).since(self.watch.before)

    def _follow(self, watch: Watch) -> None:
        while self.watch is watch:
            started = monotonic()
            ended = watch.ended
            if self._source is not None:
                watch.tally.note(self._source.read())
            self._mark(watch)
            if ended is not None and not watch.at_rest:
                # only a reading after the end can be final
                late = monotonic() - ended > SETTLE_S
                watch.at_rest = late or (
                    watch.tally.at_rest() and reporting.complete(self._environment)
                )
            least_s = REST_EVERY_S if watch.at_rest else EVERY_S
            every_s = max(least_s, watch.tally.size / _WORKERS_A_SECOND)
            gevent.sleep(max(0.05, every_s - (monotonic() - started)))

    def _mark(self, watch: Watch) -> None:
        watch.history.note(watch.elapsed_s, watch.tally.fleets())
