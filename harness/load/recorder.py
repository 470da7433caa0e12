"""Counts the requests of one window as they end."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from harness.domain.samples import Sample, SampleWriter
from harness.domain.served import COST_HEADER, SERVED_HEADER, parse_served
from harness.domain.window import KeyCount, ServedCount
from harness.errors import InvalidRunError
from harness.load.plan import Arrival

_HTTP_OK = range(200, 300)
_HTTP_ERROR = 400
_MICRO = 1_000_000
_REPORTED_PROBLEMS = 3


class RequestOutcome(NamedTuple):
    """How one request ended."""

    status: int
    """HTTP status; 0 without a complete reply."""
    error: str = ""
    """Kind of transport error; empty if answered."""
    cost: str | None = None
    """The header `harness.domain.served.COST_HEADER` as received."""
    served: str | None = None
    """The header `harness.domain.served.SERVED_HEADER` as received."""
    worker: str | None = None
    """The header `harness.domain.served.WORKER_HEADER` as received."""


@dataclass(slots=True)
class _Tally:
    count: int = 0
    age_ms_max: int | None = None

    def add(self, age_ms: int | None) -> None:
        self.count += 1
        if age_ms is not None and (self.age_ms_max is None or age_ms > self.age_ms_max):
            self.age_ms_max = age_ms


@dataclass(slots=True)
class _KeyTally:
    scope: str
    answered: int = 0
    admitted: int = 0
    cost_micro: int = 0
    named: Counter[str] = field(default_factory=Counter)


class RequestRecorder:
    """Counts requests and writes their raw samples.

    Args:
        window: the window's name, for the samples.
        replicas: number of hosts.
        late_ms: a request that starts later than this after its intended time is late.
        samples: where raw samples go; None keeps none.
    """

    def __init__(
        self, window: str, *, replicas: int, late_ms: float, samples: SampleWriter | None
    ) -> None:
        self._window = window
        self._late_s = late_ms / 1000
        self._samples = samples
        self.sent = 0
        self.answered = 0
        self.failed = 0
        """Requests without an answer, or with a status from 400 on."""
        self.late = 0
        self.delay_s_max = 0.0
        self._delays_s = array("d")
        self.cost_micro = 0
        self.unanswered: Counter[str] = Counter()
        self.replicas = [0] * replicas
        self._statuses: defaultdict[tuple[str, int], Counter[int]] = defaultdict(Counter)
        self._served: dict[tuple[str, int, str, str, str], _Tally] = {}
        self._keys: dict[int, _KeyTally] = {}
        self._problem_count = 0
        self._problems: list[str] = []

    def record(
        self, arrival: Arrival, sent_s: float, done_s: float, outcome: RequestOutcome
    ) -> None:
        """Count one request that has ended. Times are seconds since the start of the window."""
        self.sent += 1
        self.replicas[arrival.replica] += 1
        intended_s = sent_s if arrival.intended_s is None else arrival.intended_s
        delay_s = sent_s - intended_s
        self.delay_s_max = max(self.delay_s_max, delay_s)
        self._delays_s.append(delay_s)
        self.late += delay_s > self._late_s
        cost_micro = 0
        if outcome.error:
            self.unanswered[outcome.error] += 1
            self.failed += 1
        else:
            self.answered += 1
            self.failed += outcome.status >= _HTTP_ERROR
            self._statuses[arrival.scope, arrival.key][outcome.status] += 1
            cost_micro = self._add_cost(outcome)
            self._add_key(arrival, outcome, cost_micro)
        if self._samples is not None:
            self._samples.write(
                Sample(
                    self._window,
                    arrival.scope,
                    arrival.key,
                    arrival.replica,
                    intended_s,
                    sent_s,
                    done_s,
                    outcome.status,
                    outcome.error,
                    cost_micro,
                    outcome.served or "",
                    outcome.worker or "",
                )
            )

    @property
    def delay_s_median(self) -> float:
        """Median time between a request's intended and its actual start; 0 without requests."""
        return statistics.median(self._delays_s) if self._delays_s else 0.0

    def statuses(self) -> dict[str, dict[str, int]]:
        """Answered requests by scope and status."""
        sums: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for (scope, _), counts in self._statuses.items():
            sums[scope].update(counts)
        return {scope: _named(counts) for scope, counts in sorted(sums.items())}

    def statuses_by_key(self) -> dict[int, dict[str, int]]:
        """Answered requests by index of the key and status."""
        return {
            key: _named(counts)
            for (_, key), counts in sorted(self._statuses.items(), key=lambda item: item[0][1])
        }

    def served(self) -> list[ServedCount]:
        """What was served, by scope, key, object, tier and digest."""
        return [
            ServedCount(
                scope=scope,
                key_index=key,
                object=kind,
                tier=tier,
                digest=digest,
                count=tally.count,
                age_ms_max=tally.age_ms_max,
            )
            for (scope, key, kind, tier, digest), tally in sorted(
                self._served.items(), key=itemgetter(0)
            )
        ]

    def by_key(self) -> list[KeyCount]:
        """What each key's requests came to, in the order of the keys."""
        return [
            KeyCount(
                scope=tally.scope,
                key_index=key,
                answered=tally.answered,
                admitted=tally.admitted,
                cost_micro=tally.cost_micro,
                named=dict(sorted(tally.named.items())),
            )
            for key, tally in sorted(self._keys.items(), key=itemgetter(0))
        ]

    def check(self, taken: int) -> None:
        """Raise InvalidRunError if a request is not accounted for, or a reply was invalid.

        Args:
            taken: requests that the feed has yielded to the users.
        """
        if taken != self.sent:
            raise InvalidRunError(
                f"Window [{self._window}]: users took [{taken}] requests and [{self.sent}] were "
                "recorded. See the load driver's log for the error between the two."
            )
        if self._problem_count:
            raise InvalidRunError(
                f"Window [{self._window}]: [{self._problem_count}] replies had invalid headers, "
                f"e.g. {'; '.join(self._problems)}. Look at what the replicas run."
            )

    def _add_cost(self, outcome: RequestOutcome) -> int:
        if outcome.cost is None or outcome.status not in _HTTP_OK:
            return 0
        try:
            cost = round(float(outcome.cost) * _MICRO)
        except (ValueError, OverflowError):
            self._note(f"{COST_HEADER} [{outcome.cost}]")
            return 0
        self.cost_micro += cost
        return cost

    def _add_key(self, arrival: Arrival, outcome: RequestOutcome, cost_micro: int) -> None:
        named = self._add_served(arrival, outcome.served)
        tally = self._keys.get(arrival.key)
        if tally is None:
            tally = self._keys[arrival.key] = _KeyTally(arrival.scope)
        tally.answered += 1
        tally.cost_micro += cost_micro
        if outcome.status in _HTTP_OK:
            tally.admitted += 1
            tally.named.update(named)

    def _add_served(self, arrival: Arrival, header: str | None) -> set[str]:
        """Count a reply's entries; returns the objects that it names."""
        if not header:
            return set()
        try:
            entries = parse_served(header)
        except ValueError:
            self._note(f"{SERVED_HEADER} [{header}]")
            return set()
        for kind, tier, digest, age, _ in entries:
            place = (arrival.scope, arrival.key, kind, tier, digest)
            tally = self._served.get(place)
            if tally is None:
                tally = self._served[place] = _Tally()
            tally.add(age)
        return {entry.object for entry in entries}

    def _note(self, problem: str) -> None:
        self._problem_count += 1
        if self._problem_count <= _REPORTED_PROBLEMS:
            self._problems.append(problem)


def _named(counts: Counter[int]) -> dict[str, int]:
    return {str(status): n for status, n in sorted(counts.items())}
