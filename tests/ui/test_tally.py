"""What the workers have counted since the start of a test."""

from __future__ import annotations

from harness.ui.sources import Page, Place, Reading
from harness.ui.tally import Tally, WorkerTally
from tests.ui.pages import PLACE, page

REQUESTS = "http_requests_total"
LAST = "Its numbers stand as last read."


def looked(*pages: Page, problems: tuple[str, ...] = ()) -> Reading:
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
    tally = Tally()
    other = Place("a", "127.0.0.1:2", 1, 0)
    tally.note(looked(page(requests=1), page(other, requests=1)))
    tally.note(looked(page(requests=4), Page(other, None, "does not answer (timeout)")))
    tally.note(looked(page(requests=9), Page(other, None, "does not answer (timeout)")))
    assert tally.fleets()["a"].sum(REQUESTS) == 8
    assert tally.problems == [
        f"Replica 1 of a, worker 0 (127.0.0.1:2) does not answer (timeout). {LAST}"
    ]
    tally.note(looked(page(requests=9), page(other, requests=3)))
    assert tally.problems == []
    assert tally.fleets()["a"].sum(REQUESTS) == 10


def test_a_worker_that_is_gone_is_named_once() -> None:
    tally = Tally()
    tally.note(looked(page(requests=1)))
    tally.note(looked(page(requests=3)))
    tally.note(looked(problems=("a: 127.0.0.1:1: refused", "b: workers cannot be found")))
    assert tally.fleets()["a"].sum(REQUESTS) == 2
    assert tally.problems == [
        "b: workers cannot be found",
        f"Replica 0 of a, worker 0 (127.0.0.1:1) is no longer found. {LAST}",
    ]


def test_a_reset_begins_at_0() -> None:
    tally = Tally()
    for requests in (40, 45, 2, 6):
        tally.note(looked(page(requests=requests)))
    tally.rebase()
    assert tally.fleets()["a"].sum(REQUESTS) == 0
    tally.note(looked(page(requests=7)))
    assert tally.fleets()["a"].sum(REQUESTS) == 1


def test_rest_is_when_nobody_who_answers_has_anything_pending() -> None:
    tally = Tally()
    other = Place("a", "127.0.0.1:2", 1, 0)
    tally.note(looked(page(pending=1), page(other, pending=0)))
    assert not tally.at_rest()
    tally.note(looked(page(pending=0), page(other, pending=0)))
    assert tally.at_rest()
    tally.note(looked(page(pending=0), page(other, pending=2)))
    tally.note(looked(page(pending=0), Page(other, None, "does not answer")))
    assert tally.at_rest(), "a worker that is gone will never say 0"
