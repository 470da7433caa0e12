"""Sends the load side's counts to the exporter, for the dashboards' row "Generator health".

In a run the harness does this (`harness.exporter.push`). Without a harness, as after ``make up``,
only Locust knows when a load runs and what it has counted.

Each push reads the exporter's state, puts this load into it and sends it back: the rest of the
state is kept, also if the exporter was restarted in the middle of a load.
"""

from __future__ import annotations

import heapq
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any
from urllib.parse import urljoin, urlsplit

import gevent
from gevent.event import Event
from geventhttpclient import HTTPClient

from harness.errors import UsageError
from harness.exporter.state import GeneratorCount, RunState
from harness.load.counts import LoadCounts
from harness.load.fleets import known_as
from harness.load.plan import Arrival
from harness.ui.sources import StatusError, describe

PHASE = "load"
"""The phase of loads that are started in Locust; a run has other phases."""
EVERY_S = 1.0
TIMEOUT_S = 2.0
"""For one exchange with the exporter."""
SETTLE_S = 15.0
"""After a load, how long to wait for the workers' final counts and for the exporter."""
_POLL_S = 0.1
_OK = range(200, 300)

_log = logging.getLogger("locust.authcache")


class Due:
    """How many requests of an open load have come due, by fleet.

    Workers do not report how far their plans have come, and requests waiting for a user are not
    counted anywhere, so the plan is replayed from its seed.

    Args:
        plans: of all processes, without end; none in the closed model.
        fleets: name of the fleet by replica.
    """

    def __init__(self, plans: Iterable[Iterator[Arrival]], fleets: Sequence[str]) -> None:
        self._arrivals = heapq.merge(*plans, key=_moment)
        self._fleets = fleets
        self._next = next(self._arrivals, None)
        self._counted: Counter[str] = Counter()

    def at(self, elapsed_s: float) -> Mapping[str, int]:
        """Requests due this many seconds after the start; calls must not go back in time."""
        while self._next is not None and _moment(self._next) <= elapsed_s:
            self._counted[self._fleets[self._next.replica]] += 1
            self._next = next(self._arrivals, None)
        return self._counted


@dataclass(slots=True, eq=False)
class _Load:
    """One load, from its start until the exporter has its end."""

    fleets: Sequence[str]
    due: Due
    over: Event = field(default_factory=Event)
    latest: LoadCounts = field(default_factory=LoadCounts)
    came_due: Mapping[str, int] = field(default_factory=dict)
    final: bool = False
    """Whether the counts are no longer updated."""
    number: int = 0
    """Of its window; 0 until the exporter has answered."""
    before: dict[str, GeneratorCount] = field(default_factory=dict)
    """By variant: the counts before this load."""


class Pusher:
    """Pushes one load after the other, each in a greenlet of its own.

    A failure of the exporter never affects the load: it is logged once, and retried.

    Args:
        snapshots: URL of the exporter's snapshots; its state is next to them.
        counts: what the users have counted in the current load, or the last one.
        elapsed_s: seconds of that load's plan that have passed.
        complete: whether the counts of a load that is over are final.
        every_s: seconds between two tries.
        timeout_s: seconds that one exchange with the exporter may take.
    """

    def __init__(
        self,
        snapshots: str,
        counts: Callable[[], LoadCounts],
        elapsed_s: Callable[[], float],
        complete: Callable[[], bool],
        *,
        every_s: float = EVERY_S,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._every_s, self._timeout_s = every_s, timeout_s
        url = urljoin(snapshots, "state")
        self._address, self._path = urlsplit(url).netloc, urlsplit(url).path
        self._client = HTTPClient.from_url(
            url, concurrency=1, connection_timeout=timeout_s, network_timeout=timeout_s
        )
        self._counts, self._elapsed_s, self._complete = counts, elapsed_s, complete
        self._load: _Load | None = None
        self._greenlet: gevent.Greenlet[..., None] | None = None
        self._noted = False

    def begin(self, fleets: Sequence[str], plans: Iterable[Iterator[Arrival]]) -> None:
        """Begin to push a new load.

        Args:
            fleets: name of the fleet by replica.
            plans: see `Due`.
        """
        if self._load is not None:
            self._load.final = True
            self._load.over.set()
        self._load = _Load(list(dict.fromkeys(fleets)), Due(plans, fleets))
        self._greenlet = gevent.spawn(self._follow, self._load, self._greenlet)

    def end(self) -> None:
        """The load is over; workers may still send their final counts."""
        if self._load is not None:
            self._look(self._load)
            self._load.over.set()

    def close(self) -> None:
        """The process exits: push the counts as they are now."""
        if self._load is not None and self._greenlet is not None:
            self.end()
            self._load.final = True
            self._greenlet.join(2 * self._timeout_s)

    def _follow(self, load: _Load, former: gevent.Greenlet[..., None] | None) -> None:
        if former is not None:
            former.join()
        while not load.over.is_set():
            self._look(load)
            self._push(load, last=False)
            load.over.wait(self._every_s)
        deadline = monotonic() + SETTLE_S
        while not (load.final or self._complete() or monotonic() > deadline):
            gevent.sleep(_POLL_S)
        self._look(load)
        while not self._push(load, last=True) and monotonic() < deadline and not load.final:
            gevent.sleep(self._every_s)

    def _look(self, load: _Load) -> None:
        if not load.final:
            load.latest = self._counts()
            load.came_due = load.due.at(self._elapsed_s())

    def _push(self, load: _Load, *, last: bool) -> bool:
        """Push a load; whether the exporter accepted it."""
        try:
            with gevent.Timeout(self._timeout_s):
                state = RunState.model_validate_json(self._ask("GET"))
                _fill(state, load, last=last)
                self._ask("PUT", state.model_dump_json())
        except UsageError as error:
            self._note(str(error))
        except (Exception, gevent.Timeout) as error:  # noqa: BLE001  # the load must go on
            self._note(f"The exporter at [{self._address}] {describe(error)}.")
        else:
            return True
        return False

    def _ask(self, method: str, body: str = "") -> bytes:
        headers = {"Content-Type": "application/json"}
        response: Any = self._client.request(method, self._path, body.encode(), headers)
        answer = bytes(response.read())
        if response.status_code not in _OK:
            raise StatusError(response.status_code)
        return answer

    def _note(self, problem: str) -> None:
        if not self._noted:
            self._noted = True
            _log.warning(
                "%s Until that changes, dashboards do not show the load. The load continues.",
                problem,
            )


def _fill(state: RunState, load: _Load, *, last: bool) -> None:
    """Put a load into the exporter's state."""
    variants = [known_as(fleet, state.replicas_expected) for fleet in load.fleets]
    if not all(variants):
        raise UsageError(
            f"The fleet under load has no name, and the exporter knows "
            f"[{', '.join(state.replicas_expected)}]. Give --hosts as NAME=URL,URL."
        )
    if not load.number:
        rounds = [window.round for window in state.windows if window.phase == PHASE]
        load.number = max(rounds, default=0) + 1
        for variant in variants:
            # a process that died in the middle of a load has left its window running
            state.ended(variant, PHASE, 0)
            load.before[variant] = state.generator.get(variant, GeneratorCount())
    # there may be any number of loads: keep the series of the latest only
    state.windows = [window for window in state.windows if window.phase != PHASE]
    for place, (fleet, variant) in enumerate(zip(load.fleets, variants, strict=True)):
        state.generator[variant] = load.before[variant]
        state.began(variant, PHASE, load.number)
        state.counted(variant, _count(load, fleet, place))
        if last:
            state.ended(variant, PHASE, load.number)


def _count(load: _Load, fleet: str, place: int) -> GeneratorCount:
    requests: dict[str, dict[str, int]] = {}
    ended = sum(n for (of, _), n in load.latest.unanswered.items() if of == fleet)
    for (of, scope, status), n in load.latest.answered.items():
        if of == fleet:
            requests.setdefault(scope, {})[str(status)] = n
            ended += n
    return GeneratorCount(
        # the clocks of several processes differ a little
        planned=max(load.came_due.get(fleet, 0), ended),
        # late starts are not counted by fleet; all fleets get the same load
        late=(load.latest.late + place) // len(load.fleets),
        max_delay_s=load.latest.delay_s_max,
        requests=requests,
    )


def _moment(arrival: Arrival) -> float:
    return arrival.intended_s or 0.0
