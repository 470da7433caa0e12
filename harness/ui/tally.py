"""What the workers have counted since the start of a test."""

from __future__ import annotations

from collections.abc import Iterator

from harness.observe.samples import Counters
from harness.ui.sources import Page, Place, Reading
from harness.ui.words import PENDING


class WorkerTally:
    """One worker: where its counters stood at the start, and where they stand.

    A worker that is replaced begins at 0 again; what its predecessor had counted is kept.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.problem = ""
        self.restarts = 0
        self._base: Counters | None = None
        self._last = Counters()
        self._carried = Counters()

    def note(self, page: Page) -> None:
        """Take one look at it in."""
        self.place = page.place
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
        """Begin at 0."""
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
        """Requests and writes that were not finished when it was last looked at."""
        return self._last.sum(PENDING)


class Tally:
    """All workers of all fleets."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._workers: dict[tuple[str, str], WorkerTally] = {}

    def note(self, reading: Reading) -> None:
        """Take one look at all workers in; one that is no longer found keeps its counts."""
        seen = set()
        for page in reading.pages:
            key = (page.place.fleet, page.place.address)
            seen.add(key)
            self._workers.setdefault(key, WorkerTally(page.place)).note(page)
        for key, worker in self._workers.items():
            if key not in seen:
                worker.problem = "is no longer found"
        addresses = [address for _, address in self._workers]
        # of a worker that is known it is said below
        self.problems = [p for p in reading.problems if not any(a in p for a in addresses)] + [
            f"{worker_name(worker.place)} {worker.problem}. Its numbers stand as last read."
            for worker in self._workers.values()
            if worker.problem
        ]

    @property
    def size(self) -> int:
        """Number of workers that were ever found."""
        return len(self._workers)

    def rebase(self) -> None:
        """Begin at 0."""
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
        """Whether nothing is pending, where anybody answers."""
        return not any(worker.pending for worker in self._workers.values() if not worker.problem)


def worker_name(place: Place) -> str:
    """A worker in words."""
    fleet = f" of {place.fleet}" if place.fleet else ""
    return f"Replica {place.replica}{fleet}, worker {place.worker} ({place.address})"
