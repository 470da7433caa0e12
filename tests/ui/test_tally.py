"""What the workers have counted since the start of a test."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.ui.sources import MetricsPage, Place, Reading
from harness.ui.tally import FleetTally, WorkerTally
from tests.ui.pages import PLACE, page

REQUESTS = "http_requests_total"
LAST = "Its numbers are those last read."


def looked(*pages: MetricsPage, problems: tuple[str, ...] = ()) -> Reading:
    return Reading(list(pages), list(problems))


def test_the_first_look_is_the_start() -> None:
    worker = WorkerTally(PLACE)
    worker.note(page(requests=40))
    assert worker.counted.sum(REQUESTS) == 0
    worker.note(page(requests=45))
    assert worker.counted.sum(REQUESTS) == 5


def test_what_a_replaced_worker_had_counted_is_kept() -> None:
    worker = WorkerTally(PLACE)
    for requests in (40, 45, 2, 6):
        worker.note(page(requests=requests))
    assert worker.counted.sum(REQUESTS) == 5 + 6
    assert worker.restarts == 1


def test_a_replaced_worker_that_counts_nothing_yet_is_seen() -> None:
    worker = WorkerTally(PLACE)
    for requests in (40, 45, 0):
        worker.note(page(requests=requests))
    assert worker.counted.sum(REQUESTS) == 5
    assert worker.restarts == 1


def test_a_worker_that_does_not_answer_keeps_its_numbers_and_is_named() -> None:
    tally = FleetTally()
    other = Place("a", "127.0.0.1:2", 1, 0)
    tally.note(looked(page(requests=1), page(other, requests=1)))
    tally.note(looked(page(requests=4), MetricsPage(other, None, "does not answer (timeout)")))
    tally.note(looked(page(requests=9), MetricsPage(other, None, "does not answer (timeout)")))
    assert tally.fleets()["a"].sum(REQUESTS) == 8
    assert tally.problems == [
        f"Replica 1 of a, worker 0 (127.0.0.1:2) does not answer (timeout). {LAST}"
    ]
    tally.note(looked(page(requests=9), page(other, requests=3)))
    assert tally.problems == []
    assert tally.fleets()["a"].sum(REQUESTS) == 10


def test_a_worker_that_is_gone_is_named_once() -> None:
    tally = FleetTally()
    tally.note(looked(page(requests=1)))
    tally.note(looked(page(requests=3)))
    for _ in range(2):
        tally.note(looked())
    assert tally.fleets()["a"].sum(REQUESTS) == 2
    assert tally.problems == [f"Replica 0 of a, worker 0 (127.0.0.1:1) is no longer found. {LAST}"]


def test_a_worker_that_was_not_looked_for_is_not_called_gone() -> None:
    tally = FleetTally()
    b = Place("b", "127.0.0.1:2", 0, 0)
    other = Place("b", "127.0.0.1:3", 1, 0)
    hangs = "does not answer (timeout)"
    tally.note(looked(page(), page(b), MetricsPage(other, None, hangs)))
    kept = f"Replica 1 of b, worker 0 (127.0.0.1:3) {hangs}. {LAST}"
    for pages in ([], [page()]):
        tally.note(looked(*pages, problems=("b: workers cannot be found",)))
        assert tally.problems == ["b: workers cannot be found", kept]
    tally.note(looked(page(b), problems=("a: workers cannot be found",)))
    assert tally.problems == [
        "a: workers cannot be found",
        f"Replica 1 of b, worker 0 (127.0.0.1:3) is no longer found. {LAST}",
    ]


def found(*hosts: int, workers: int = 1, requests: float = 0) -> Reading:
    """What the exporter finds: replicas are counted in the order of their addresses."""
    return looked(
        *(
            page(Place("a", f"10.0.0.{host}:{9400 + worker}", replica, worker), requests=requests)
            for replica, host in enumerate(sorted(hosts))
            for worker in range(workers)
        )
    )


def numbers(tally: FleetTally) -> dict[str, tuple[int, int]]:
    return {w.place.address: (w.place.replica, w.place.worker) for w in tally.workers()}


def test_a_replica_keeps_its_number_when_one_before_it_is_gone() -> None:
    tally = FleetTally()
    tally.note(found(3, 5, 7, workers=2))
    tally.note(found(5, 7, workers=2))
    assert numbers(tally) == {
        f"10.0.0.{host}:{9400 + worker}": (replica, worker)
        for replica, host in enumerate((3, 5, 7))
        for worker in (0, 1)
    }
    assert tally.problems == [
        f"Replica 0 of a, worker {worker} (10.0.0.3:{9400 + worker}) is no longer found. {LAST}"
        for worker in (0, 1)
    ]


def test_a_new_replica_takes_no_number_that_another_has_or_had() -> None:
    tally = FleetTally()
    tally.note(found(3, 5))
    tally.note(found(2, 5))
    tally.note(found(2, 4, 5, 6))
    assert numbers(tally) == {
        "10.0.0.3:9400": (0, 0),
        "10.0.0.5:9400": (1, 0),
        "10.0.0.2:9400": (2, 0),
        "10.0.0.4:9400": (3, 0),
        "10.0.0.6:9400": (4, 0),
    }


def test_a_second_worker_that_comes_later_belongs_to_its_replica() -> None:
    tally = FleetTally()
    tally.note(found(3, 5))
    tally.note(found(5, workers=2))
    assert numbers(tally)["10.0.0.5:9401"] == (1, 1)


@given(st.lists(st.sets(st.integers(1, 9)), max_size=6), st.integers(1, 2))
def test_no_two_workers_ever_have_the_same_numbers(looks: list[set[int]], workers: int) -> None:
    tally = FleetTally()
    before: dict[str, tuple[int, int]] = {}
    for place, hosts in enumerate(looks):
        tally.note(found(*hosts, workers=workers, requests=place))
        now = numbers(tally)
        assert before.items() <= now.items()
        assert len(set(now.values())) == len(now)
        before = now


def test_a_reset_begins_at_0() -> None:
    tally = FleetTally()
    for requests in (40, 45, 2, 6):
        tally.note(looked(page(requests=requests)))
    tally.rebase()
    assert tally.fleets()["a"].sum(REQUESTS) == 0
    tally.note(looked(page(requests=7)))
    assert tally.fleets()["a"].sum(REQUESTS) == 1


def test_rest_is_when_all_have_answered_and_none_has_anything_pending() -> None:
    tally = FleetTally()
    other = Place("a", "127.0.0.1:2", 1, 0)
    tally.note(looked(page(pending=1), page(other, pending=0)))
    assert not tally.at_rest()
    tally.note(looked(page(pending=0), page(other, pending=0)))
    assert tally.at_rest()
    tally.note(looked(page(pending=0), MetricsPage(other, None, "does not answer")))
    assert not tally.at_rest(), "what it has counted since is not known"
    tally.note(looked(problems=("The exporter does not answer.",)))
    assert not tally.at_rest()
    tally.note(looked(page(pending=0), page(other, pending=2)))
    tally.note(looked(page(pending=0)))
    assert tally.at_rest(), "a worker that is gone will never say 0"
