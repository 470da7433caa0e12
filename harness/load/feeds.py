"""Where users get their next request from.

A user asks its feed for arrivals and sends each one as soon as it gets it; the feed does the
waiting. All feeds run in one gevent hub, so that nothing here needs a lock.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from time import perf_counter
from typing import Protocol

import gevent
from gevent.event import Event

from harness.load.plan import Arrival, key_chooser, shuffled_rounds


class Feed(Protocol):
    """A source of requests."""

    def arrivals(self, scope: str) -> Iterator[Arrival]:
        """The requests of one user, each yielded at the moment it is to be sent.

        Args:
            scope: key scope of the user's class; a feed with a plan follows the plan instead.
        """


class WindowFeed:
    """What the feeds of a measured window share: a clock, and a common start."""

    def __init__(self) -> None:
        self.taken = 0
        """Requests yielded so far."""
        self._begun = Event()
        self._start = 0.0

    def begin(self) -> None:
        """Start the clock and let the waiting users go."""
        self._start = perf_counter()
        self._begun.set()

    def at(self, moment: float) -> float:
        """A reading of `time.perf_counter` as seconds since the start of the window."""
        return moment - self._start

    def now(self) -> float:
        """Seconds since the start of the window."""
        return perf_counter() - self._start

    def due(self) -> int:
        """Requests that should have been started by now."""
        return self.taken

    def sleep_until(self, moment_s: float) -> None:
        """Return at this moment of the window or later, at once if it has passed."""
        while (delay := moment_s - self.now()) > 0:
            # a timer may fire a little early
            gevent.sleep(delay)

    def arrivals(self, scope: str) -> Iterator[Arrival]:
        """See `Feed`."""
        raise NotImplementedError


class PlannedFeed(WindowFeed):
    """The open model: the users are a pool that takes the arrivals of a plan in order.

    A free user takes the next arrival and sleeps until its time. When all users are busy,
    arrivals wait and start late: that is measured, not hidden.

    Args:
        plan: arrivals in the order of their intended times.
        last_start_s: no request starts later than this; the remaining arrivals are not sent.
            It bounds the window when the replicas or the generator cannot keep up.
    """

    def __init__(self, plan: Sequence[Arrival], *, last_start_s: float) -> None:
        super().__init__()
        self._plan = plan
        self._last_start_s = last_start_s

    def due(self) -> int:
        """Arrivals whose intended time has come, started or not."""
        return bisect_right(self._plan, self.now(), key=lambda arrival: arrival.intended_s or 0.0)

    def arrivals(self, scope: str) -> Iterator[Arrival]:  # noqa: ARG002  # the plan has the scopes
        """The next arrivals of the plan, whatever their scope."""
        self._begun.wait()
        while self.taken < len(self._plan) and self.now() <= self._last_start_s:
            arrival = self._plan[self.taken]
            self.taken += 1
            if arrival.intended_s is not None:
                self.sleep_until(arrival.intended_s)
            yield arrival


class ClosedFeed(WindowFeed):
    """The closed model: each user sends its next request as soon as it has the last reply.

    Args:
        choices: endless requests.
        users: how many users will ask.
        ramp_s: time over which they start, evenly spaced.
        duration_s: no request starts later than this.
    """

    def __init__(
        self, choices: Iterator[Arrival], *, users: int, ramp_s: float, duration_s: float
    ) -> None:
        super().__init__()
        self._choices = choices
        self._gap_s = ramp_s / users
        self._duration_s = duration_s
        self._joined = 0

    def arrivals(self, scope: str) -> Iterator[Arrival]:  # noqa: ARG002  # the choices have the scopes
        """The next choices, whatever their scope, from this user's place in the ramp on."""
        place = self._joined
        self._joined += 1
        self._begun.wait()
        self.sleep_until(place * self._gap_s)
        while self.now() < self._duration_s:
            self.taken += 1
            yield next(self._choices)


class StreamFeed(WindowFeed):
    """The endless open model: like `PlannedFeed`, until `end` is called.

    Args:
        source: endless arrivals, in the order of their intended times.
    """

    def __init__(self, source: Iterator[Arrival]) -> None:
        super().__init__()
        self._source = source
        self._over = Event()

    def begin_once(self) -> None:
        """`begin`, unless the clock is already running."""
        if not self._begun.is_set():
            self.begin()

    def end(self) -> None:
        """Yield no more arrivals; users that wait for the next one stop waiting."""
        self._over.set()
        self._begun.set()

    def arrivals(self, scope: str) -> Iterator[Arrival]:  # noqa: ARG002  # the plan has the scopes
        """The next arrivals, whatever their scope."""
        self._begun.wait()
        while not self._over.is_set():
            arrival = next(self._source)
            if arrival.intended_s is not None and not self._reach(arrival.intended_s):
                return
            self.taken += 1
            yield arrival

    def _reach(self, moment_s: float) -> bool:
        """Wait for a moment; False when the feed ended before it came."""
        while (delay := moment_s - self.now()) > 0:
            if self._over.wait(delay):
                return False
        # A timer that fires in the same loop turn as `end` can wake a user before `end` does.
        return not self._over.is_set()


class FreeFeed:
    """The endless closed model: random keys of the user's scope, replicas in equal shares.

    Args:
        keys: indices of the keys by scope.
        replicas: number of hosts.
        zipf: exponent of the keys' popularity within each scope; 0: all alike.
    """

    def __init__(
        self, keys: Mapping[str, Sequence[int]], *, replicas: int, zipf: float = 0.0
    ) -> None:
        rng = random.Random()
        self._choose_key = key_chooser(keys, rng, zipf=zipf)
        self._replicas = shuffled_rounds(replicas, rng)
        self._over = False

    def end(self) -> None:
        """Yield no more arrivals."""
        self._over = True

    def arrivals(self, scope: str) -> Iterator[Arrival]:
        """Requests until `end` is called; the user's wait time sets the pace."""
        while not self._over:
            yield Arrival(None, scope, self._choose_key(scope), next(self._replicas))
