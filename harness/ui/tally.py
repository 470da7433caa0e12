"""What the workers have counted since the start of a test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

from harness.domain.series import PENDING
from harness.observe.counters import Counters
from harness.ui.sources import MetricsPage, Place, Reading


class WorkerTally:
    """One worker: its counters at the start, and now.

    A worker that is replaced begins at 0 again; the counts of its predecessor are kept.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.problem = ""
        self.restarts = 0
        self._base: Counters | None = None
        self._last = Counters()
        self._carried = Counters()

    def note(self, page: MetricsPage) -> None:
        """Add one reading."""
        self.problem = page.problem
        if page.counters is None:
            return
        if self._base is None:
            self._base = page.counters
        elif page.counters.fallen(self._last):
            self._carried, self._base = self.counted, Counters()
            self.restarts += 1
        self._last = page.counters

    def rebase(self) -> None:
        """Restart the counts at 0."""
        self._carried = Counters()
        if self._base is not None:
            self._base = self._last

    @property
    def counted(self) -> Counters:
        """Since the start."""
        if self._base is None:
            return self._carried
        return Counters.total([self._carried, self._last.since(self._base)])

    @property
    def pending(self) -> float:
        """Requests and writes that were not finished at the last reading."""
        return self._last.sum(PENDING)


class FleetTally:
    """All workers of all fleets.

    A replica keeps the number under which it was first found. The exporter numbers those that
    are there, in the order of their addresses: when one goes, all after it move up.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._missed = False
        """Whether something that should have answered the last reading did not."""
        self._workers: dict[tuple[str, str], WorkerTally] = {}

    def note(self, reading: Reading) -> None:
        """Add a reading of all workers; one that is no longer found keeps its counts.

        A fleet that has no page in a reading with problems was not looked for: its workers stay
        as they were.
        """
        self._add(reading)
        self._missed = bool(reading.problems) or any(page.problem for page in reading.pages)
        seen = set()
        for page in reading.pages:
            key = (page.place.fleet, page.place.address)
            seen.add(key)
            self._workers[key].note(page)
        looked_for = {fleet for fleet, _ in seen}
        for key, worker in self._workers.items():
            if key not in seen and (key[0] in looked_for or not reading.problems):
                worker.problem = "is no longer found"
        self.problems = reading.problems + [
            f"{worker_name(worker.place)} {worker.problem}. Its numbers are those last read."
            for worker in self._workers.values()
            if worker.problem
        ]

    def _add(self, reading: Reading) -> None:
        """Add newly found workers, each with a number for its replica."""
        replicas: dict[tuple[str, int], list[Place]] = {}
        for page in reading.pages:
            replicas.setdefault((page.place.fleet, page.place.replica), []).append(page.place)
        for (fleet, number), places in replicas.items():
            known = [
                self._workers[fleet, place.address].place.replica
                for place in places
                if (fleet, place.address) in self._workers
            ]
            kept = known[0] if known else self._free(fleet, number)
            for place in places:
                worker = WorkerTally(replace(place, replica=kept))
                self._workers.setdefault((fleet, place.address), worker)

    def _free(self, fleet: str, wanted: int) -> int:
        """A number that no replica of the fleet has or had: the wanted or the next free one."""
        taken = {w.place.replica for (of, _), w in self._workers.items() if of == fleet}
        return next(number for number in count(wanted) if number not in taken)

    @property
    def size(self) -> int:
        """Number of workers that were ever found."""
        return len(self._workers)

    def rebase(self) -> None:
        """Restart the counts at 0."""
        for worker in self._workers.values():
            worker.rebase()

    def workers(self) -> Iterator[WorkerTally]:
        """In the order of fleets, replicas and workers; fleets as they were found."""
        fleets = list(dict.fromkeys(fleet for fleet, _ in self._workers))
        return iter(
            sorted(
                self._workers.values(),
                key=lambda w: (fleets.index(w.place.fleet), w.place.replica, w.place.worker),
            )
        )

    def fleets(self) -> dict[str, Counters]:
        """The workers of each fleet added up."""
        parts: dict[str, list[Counters]] = {}
        for worker in self.workers():
            parts.setdefault(worker.place.fleet, []).append(worker.counted)
        return {fleet: Counters.total(counted) for fleet, counted in parts.items()}

    def at_rest(self) -> bool:
        """Whether the last reading missed nothing, and no worker that is there has pending work."""
        there = (worker for worker in self._workers.values() if not worker.problem)
        return not self._missed and not any(worker.pending for worker in there)


def worker_name(place: Place) -> str:
    """A worker's name for messages."""
    fleet = f" of {place.fleet}" if place.fleet else ""
    return f"Replica {place.replica}{fleet}, worker {place.worker} ({place.address})"
