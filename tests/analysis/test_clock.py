"""Clocks of workers after a change, from answers made by hand and from simulated workers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.clock import (
    Figures,
    change_cost,
    freshness,
    is_over,
    is_over_idle,
    late,
    others_ended,
    others_were_told,
    was_tested,
    was_timed,
)
from harness.authcache.words import ObjectKind
from harness.domain.changes import ChangeEvent
from harness.domain.population import MOCK_MODEL, make_population
from harness.domain.result import Freshness, WorkerClock
from harness.domain.samples import Sample, SampleWriter
from harness.domain.served import Served, format_served
from harness.observe.evidence import Evidence
from harness.observe.postgres import StatementCount, Statements
from harness.observe.snapshots import RedisCount
from harness.targets.base import KeyTruth
from tests.observe.build import evidence, page, series

KEYS = make_population({"team": 3}, {}, seed=1, model=MOCK_MODEL)
TTL_S, PROMISE_S = 2.0, 4.1
SENT_S, ANSWERED_S = 10.0, 10.2
OLD = KeyTruth({"key": "k", "team": "old"}, 200)
BLOCKED = KeyTruth({"key": "k", "team": "new"}, 401, "team_blocked")
LIMITED = replace(BLOCKED, status=200, refusal="")
EVENT = ChangeEvent(
    1, "team-block", "team", "api", 0, 0, "0.0", SENT_S, ANSWERED_S, 200, "done"
)  # fmt: skip


def changed(new: KeyTruth, *earlier: KeyTruth, at: tuple[float, float] | None = None) -> KeyTruth:
    return replace(new, since=at or (SENT_S, ANSWERED_S), earlier=earlier or (OLD,))


def answer(
    at_s: float, status: int, team: str = "", worker: str = "0.0", *, key: int = 0,
    took_s: float = 0.01, age_ms: int | None = 500,
) -> Sample:  # fmt: skip
    served = [Served("key", "memory", "k", 1), Served("team", "memory", team, age_ms)]
    text = format_served(served if team else [])
    done_s = at_s + took_s
    return Sample("w", "team", key, 0, at_s, at_s, done_s, status, "", 250, text, worker)


def old(at_s: float, worker: str = "0.0", **changes: Any) -> Sample:
    return answer(at_s, 200, "old", worker, **changes)


def new(at_s: float, worker: str = "0.0") -> Sample:
    return answer(at_s, 401, "", worker)


def window(truths: Mapping[int, KeyTruth], *events: ChangeEvent) -> Evidence:
    return replace(
        evidence(generator={"statuses_by_key": {}, "served": []}),
        phase="changes", truths=truths, changes=events, promise_s=PROMISE_S, duration_s=30.0,
    )  # fmt: skip


def measured(
    folder: Path,
    samples: Iterable[Sample],
    truth: KeyTruth | None = None,
    *events: ChangeEvent,
) -> Figures:
    one = window({0: truth or changed(BLOCKED)}, *(events or (EVENT,)))
    with SampleWriter(folder / f"{one.name}.csv.gz") as writer:
        for sample in samples:
            writer.write(sample)
    return freshness([one], KEYS, folder, ttl_s=TTL_S)


def block(figures: Figures) -> Freshness:
    return figures["team-block"]["team"]


def by_worker(figures: Figures) -> dict[str, WorkerClock]:
    return {one.worker: one for one in block(figures).workers}


def test_a_clock_lies_between_the_last_old_answer_and_the_first_new_one(tmp_path: Path) -> None:
    samples = [old(9.0), old(9.0, "1.0"), new(10.3), old(11.2, "1.0"), new(11.7, "1.0")]
    figures = measured(tmp_path, samples)
    own, other = by_worker(figures)["0.0"], by_worker(figures)["1.0"]
    assert (own.handler, own.low, own.high) == (True, 0.0, 0.1)
    assert (other.handler, other.low, other.high) == (False, 1.0, 1.5)
    one = block(figures)
    assert one.handler_s is not None
    assert one.others_s is not None
    assert (one.handler_s.high, one.others_s.high) == (0.1, 1.5)
    assert (one.old_replies, one.old_cost_micro, one.stale_replies) == (1, 250, 0)
    assert (one.outcome, one.changes, one.promise_s) == ("done", 1, PROMISE_S)
    assert [was_tested(figures, scope) for scope in ("team", "user")] == [True, False]
    assert late(figures, "team") == []


def test_a_worker_that_never_converges_is_open_and_stale_beyond_the_promise(
    tmp_path: Path,
) -> None:
    # Another one of the others did converge.
    samples = [old(9.0), new(10.3), *(old(9.0 + i, "1.0") for i in range(12))]
    samples += [old(9.0, "2.0"), new(30.0, "2.0")]
    figures = measured(tmp_path, samples)
    one = block(figures)
    assert one.others_s is not None
    assert (one.others_s.low, one.others_s.high, one.others_s.open) == (9.8, None, 1)
    assert one.ended_by == "open"
    assert one.others_s.pairs == 2
    # 15, 16 … 20: longer after 10.2 than 4.1 s; and the new answer at 30.
    assert (one.stale_replies, one.judged_replies) == (6, 7)
    assert "at least 9.8 s" in late(figures, "team")[0]


def test_a_worker_is_not_measured_without_an_old_answer_or_without_any_after_the_change(
    tmp_path: Path,
) -> None:
    """The first had no copy that could be old; the second was not asked again."""
    figures = measured(tmp_path, [new(10.5), old(9.0, "1.0"), answer(11.0, 500, worker="1.0")])
    one = block(figures)
    assert (one.handler_s, one.others_s, one.ended_by, one.workers) == (None, None, None, [])
    assert not was_tested(figures, "team")


@pytest.mark.parametrize(
    "under_way", [old(10.1, took_s=0.5), old(9.9, took_s=0.2), new(10.1)], ids=str
)
def test_an_answer_that_was_under_way_while_the_object_changed_counts_for_neither(
    tmp_path: Path, under_way: Sample
) -> None:
    assert block(measured(tmp_path, [under_way, new(10.3)])).workers == []
    with_old = block(measured(tmp_path, [old(9.0), under_way, new(10.3)]))
    assert with_old.handler_s is not None
    assert (with_old.handler_s.low, with_old.handler_s.high) == (0.0, 0.1)
    assert with_old.old_replies == 0


def test_a_worker_that_is_old_again_after_a_new_answer_has_resurrected(tmp_path: Path) -> None:
    samples = [old(9.0), new(10.3), old(11.0), new(11.5), old(15.2), new(16.0)]
    figures = measured(tmp_path, samples)
    clock = by_worker(figures)["0.0"]
    assert (clock.low, clock.high, clock.resurrected, clock.old_replies) == (5.0, 5.8, 2, 2)
    assert (block(figures).resurrected, block(figures).stale_replies) == (2, 1)
    # One that was sent before the new answer was there is no step back.
    together = [old(9.0), old(10.3, took_s=0.3), new(10.3), new(10.9)]
    assert by_worker(measured(tmp_path, together))["0.0"].resurrected == 0


@pytest.mark.parametrize(
    ("truth", "samples", "interval"),
    [
        # By digest alone: both are admitted.
        (
            changed(LIMITED),
            [old(9.0), old(10.5), answer(11.0, 200, "new"), answer(11.5, 200)],
            (0.3, 0.8),
        ),
        # What was refused is admitted: refusing it is old.
        (
            changed(replace(OLD), replace(BLOCKED, digests={"key": "k", "team": "was"})),
            [answer(9.0, 401), answer(10.7, 401), old(11.2)],
            (0.5, 1.0),
        ),
        # A status of no version says nothing.
        (changed(BLOCKED), [old(9.0), old(10.7), answer(10.8, 500), new(11.2)], (0.5, 1.0)),
    ],
)
def test_status_and_digests_tell_versions_apart(
    tmp_path: Path, truth: KeyTruth, samples: list[Sample], interval: tuple[float, float]
) -> None:
    clock = by_worker(measured(tmp_path, samples, truth))["0.0"]
    assert (clock.low, clock.high) == interval


def test_versions_with_one_digest_and_status_are_not_told_apart(tmp_path: Path) -> None:
    same = changed(replace(OLD))
    for truth in (same, OLD):
        one = block(measured(tmp_path, [old(9.0), old(11.0)], truth))
        assert (one.outcome, one.workers, one.changes) == ("not_told_apart", [], 1)


@pytest.mark.parametrize("outcome", ["not_there", "refused"])
def test_what_did_not_happen_has_no_clock(tmp_path: Path, outcome: Any) -> None:
    event = replace(EVENT, outcome=outcome, detail="no such path")
    one = block(measured(tmp_path, [old(9.0), old(11.0)], OLD, event))
    assert (one.outcome, one.changes, one.detail) == (outcome, 0, "no such path")
    assert (one.handler_s, one.others_s, one.ended_by) == (None, None, None)


def test_an_edit_by_sql_has_no_handler(tmp_path: Path) -> None:
    event = replace(EVENT, way="sql", handler=None, worker="", status=0)
    one = block(measured(tmp_path, [old(9.0), new(10.4)], None, event))
    assert one.handler_s is None
    assert one.others_s is not None


def test_a_fleet_that_does_not_name_workers_is_judged_by_replica(tmp_path: Path) -> None:
    one = block(measured(tmp_path, [old(9.0, ""), new(10.4, "")], None, replace(EVENT, worker="")))
    assert [(w.worker, w.handler) for w in one.workers] == [("0", True)]


def test_the_next_change_of_a_key_ends_the_clock_of_the_one_before(tmp_path: Path) -> None:
    truth = replace(
        LIMITED, since=(20.0, 20.1), earlier=(OLD, replace(BLOCKED, since=(10.0, 10.2)))
    )
    second = replace(EVENT, number=2, action="team-unblock", sent_s=20.0, answered_s=20.1)
    samples = [old(9.0), new(11.0), answer(19.99, 200, "new", took_s=0.1), new(20.5),
               answer(21.0, 200, "new")]  # fmt: skip
    figures = measured(tmp_path, samples, truth, EVENT, second)
    assert (block(figures).workers[0].high, block(figures).old_replies) == (0.8, 0)
    unblocked = figures["team-unblock"]["team"].workers[0]
    assert (unblocked.low, unblocked.high) == (0.4, 0.9)


def test_several_changes_of_one_pair_are_pooled(tmp_path: Path) -> None:
    """A median needs ten pairs beyond it, a 99th percentile a thousand pairs."""
    events, truths, samples = [], {}, []
    keys = [replace(KEYS[0], index=i) for i in range(30)]
    for i in range(30):
        events.append(replace(EVENT, number=i + 1, key=i))
        truths[i] = changed(BLOCKED)
        samples += [replace_key(old(9.0), i), replace_key(new(10.3 + i / 10), i)]
        samples += [replace_key(old(10.21 + i / 10 - 0.001), i)] if i else []
    one = window(truths, *events)
    with SampleWriter(tmp_path / f"{one.name}.csv.gz") as writer:
        for sample in samples:
            writer.write(sample)
    found = block(freshness([one], keys, tmp_path, ttl_s=TTL_S))
    clock = found.handler_s
    assert clock is not None
    assert (clock.pairs, clock.open, found.changes) == (30, 0, 30)
    assert clock.low == pytest.approx(2.909)
    assert clock.high == pytest.approx(3.0)
    assert clock.p50 == pytest.approx(1.409)
    assert clock.p99 is None


@pytest.mark.parametrize(
    ("asked", "event", "alone", "untimed"),
    [
        # Of the first change the handler had an old answer, of the others no worker had.
        ({0: ["0.0"]}, EVENT, False, (3, 2)),
        ({0: ["0.0", "1.0"]}, EVENT, False, (2, 2)),
        # One other worker of each is enough, and by chance another may have had no copy.
        ({0: ["0.0", "1.0"], 1: ["1.0", "2.0"], 2: ["0.0", "2.0"]}, EVENT, False, (0, 1)),
        ({0: ["0.0"], 1: ["0.0"], 2: ["0.0"]}, EVENT, True, (0, 0)),
        ({0: ["0.0"], 1: ["0.0"]}, EVENT, True, (1, 1)),
        # All workers are others.
        ({0: ["0.0"], 1: ["0.0"]}, replace(EVENT, way="sql", handler=None), True, (1, 0)),
        # What did not take place, and a key that was not in use, have no clock to miss.
        ({}, replace(EVENT, outcome="not_there"), False, (0, 0)),
        ({}, replace(EVENT, outcome="refused"), False, (0, 0)),
        ({}, replace(EVENT, idle_s=1.0), False, (0, 0)),
    ],
)  # fmt: skip
def test_changes_without_a_clock_are_counted(
    tmp_path: Path,
    asked: Mapping[int, list[str]],
    event: ChangeEvent,
    alone: bool,
    untimed: tuple[int, int],
) -> None:
    """``asked``: the workers that had an old answer, by change; all have a new one."""
    events = [replace(event, number=i + 1, key=i) for i in range(3)]
    one = window({i: changed(BLOCKED) for i in range(3)}, *events)
    with SampleWriter(tmp_path / f"{one.name}.csv.gz") as writer:
        for i in range(3):
            for worker in ("0.0", "1.0", "2.0"):
                if worker in asked.get(i, []):
                    writer.write(old(9.0, worker, key=i))
                writer.write(replace_key(new(10.3, worker), i))
    found = block(freshness([one], KEYS, tmp_path, ttl_s=TTL_S, alone=alone))
    assert (found.untimed, found.handler_untimed) == untimed
    there = event.outcome != "not_there"
    assert was_timed(found) == (not untimed[0] and (bool(asked) or not there))


def replace_key(sample: Sample, key: int) -> Sample:
    return sample._replace(key=key)


OWN = replace(EVENT, dropped=("0.0",))
OTHER = replace(EVENT, dropped=("1.0",), told=("0.0", "1.0"))


@pytest.mark.parametrize(
    ("samples", "event", "ended"),
    [
        ([old(9.9), new(10.4), new(10.9)], OWN, "evicted"),
        ([old(9.9), old(10.25), new(10.5), new(10.75)], OWN, "evicted"),
        ([old(9.9), old(11.0, age_ms=300), new(11.5)], OWN, "evicted"),
        ([old(9.4), old(9.9), new(13.0), new(13.5)], OWN, "evicted"),
        # Something was dropped; this copy was served later, and had time to expire.
        ([old(9.9), old(11.0, age_ms=1600), new(11.5)], OWN, "expiry"),
        ([old(9.9), old(11.0, age_ms=None), new(11.5)], OWN, "not_checked"),
        # Nothing was dropped at this worker.
        ([old(9.9), new(10.4), new(10.9)], OTHER, "re-read"),
        ([old(9.9), new(10.4), new(10.9)], EVENT, "re-read"),
        ([old(9.9, age_ms=1900), new(10.4), new(10.9)], EVENT, "expiry"),
        ([old(9.9, age_ms=None), new(10.4), new(10.9)], EVENT, "not_checked"),
        # Not asked soon enough to say so.
        ([old(9.4), old(9.9), new(13.0), new(13.5)], EVENT, "not_checked"),
        ([old(9.9), old(11.0, age_ms=300), new(11.5)], EVENT, "re-read"),
        ([old(9.9), old(13.0, age_ms=3900), new(13.5)], EVENT, "expiry"),
        ([old(9.9), old(12.0), old(14.0)], OWN, "open"),
    ],
)
def test_how_old_answers_end(
    tmp_path: Path, samples: list[Sample], event: ChangeEvent, ended: str
) -> None:
    """By what the worker counted, and by the age of the last copy."""
    dense = [old(5.0 + i / 4) for i in range(8)]
    figures = measured(tmp_path, [*dense, *samples], None, event)
    assert block(figures).ended_by == ended


@pytest.mark.parametrize(
    ("event", "ended"),
    [
        (OTHER, "message"),
        # It dropped a copy for another reason; or it heard and held none; or others did.
        (replace(OTHER, told=("0.0",)), "re-read"),
        (replace(OTHER, dropped=("0.0",)), "re-read"),
        (OWN, "re-read"),
    ],
)
def test_another_worker_must_have_heard_of_a_change(
    tmp_path: Path, event: ChangeEvent, ended: str
) -> None:
    samples = [*(old(9.0 + i / 4, "1.0") for i in range(4)), new(10.3, "1.0")]
    assert block(measured(tmp_path, samples, None, event)).ended_by == ended


def test_shares_of_right_answers_by_age_of_the_change(tmp_path: Path) -> None:
    samples = [old(9.0), old(10.5), new(11.0), old(11.5), old(13.0), new(14.0), new(20.0)]
    shares = block(measured(tmp_path, samples)).right_by_age
    assert {name: (one.right, one.replies) for name, one in shares.items()} == {
        "1 s": (1, 2), "2 s": (0, 1), "4.1 s": (1, 2), "later": (1, 1)
    }  # fmt: skip


STEPS = st.lists(st.floats(0.02, 1.5), min_size=3, max_size=40)


@given(
    steps=STEPS,
    converges_s=st.one_of(st.just(0.0), st.floats(0.0, 12.0), st.just(1e9)),
    workers=st.integers(1, 3),
)
def test_the_interval_holds_the_time_at_which_a_simulated_worker_forgot(
    tmp_path_factory: pytest.TempPathFactory, steps: list[float], converges_s: float, workers: int
) -> None:
    """Answers come at random; the worker gives the old one until a known moment."""
    samples, at_s = [old(8.0, f"{n}.0") for n in range(workers)], 8.5
    for number, step in enumerate(steps):
        worker = f"{number % workers}.0"
        is_old = at_s < ANSWERED_S + converges_s
        samples.append(old(at_s, worker) if is_old else new(at_s, worker))
        at_s += step
    asked = {s.worker for s in samples if s.sent_s >= ANSWERED_S}
    figures = measured(tmp_path_factory.mktemp("w"), samples)
    clocks = by_worker(figures)
    assert clocks.keys() == asked
    for clock in clocks.values():
        assert clock.low <= converges_s + 1e-4
        assert clock.high is None or clock.high >= converges_s - 1e-4
        assert clock.resurrected == 0
        if clock.high is None:
            assert clock.ended_by == "open"
    one = block(figures)
    greatest = [c for c in (one.handler_s, one.others_s) if c is not None]
    assert all(c.low <= converges_s + 1e-4 for c in greatest)


TOLD = [old(9.0), new(10.3), *(old(9.0 + n / 10, "1.0") for n in range(12)), new(10.3, "1.0")]
KEPT = [*TOLD[:-1], old(11.0, "1.0", age_ms=1900), new(11.2, "1.0")]


@pytest.mark.parametrize("by_code", [True, False, None])
@pytest.mark.parametrize(
    ("samples", "told", "ways"),
    [
        (TOLD, True, ["message"]),
        ([*TOLD[:-1], old(10.4, "1.0"), new(11.2, "1.0")], True, ["message"]),
        (KEPT, False, ["expiry"]),
        ([*TOLD, old(15.0, "2.0")], False, ["message", "open"]),
        ([*TOLD[:-1], old(10.4, "1.0", age_ms=None), new(12.0, "1.0")], None, ["not_checked"]),
        # No message is under way for so long.
        ([*TOLD[:-1], old(10.8, "1.0", age_ms=None), new(12.0, "1.0")], False, ["not_checked"]),
        # The handler alone says nothing about others.
        ([old(9.0), *(old(10.2 + n / 4, age_ms=1900) for n in range(9)), new(13.0)], None, []),
    ],
)
def test_a_run_shows_whether_others_were_told_whatever_the_code_says(
    tmp_path: Path, samples: list[Sample], told: bool | None, ways: list[str], by_code: bool | None
) -> None:
    asked: list[str] = []
    with SampleWriter(tmp_path / "w.csv.gz") as writer:
        for sample in samples:
            writer.write(sample)
    event = EVENT if told is None else OTHER
    one = replace(window({0: changed(BLOCKED)}, event), name="w")

    def broadcasts(action: str) -> bool | None:
        asked.append(action)
        return by_code

    found = freshness([one], KEYS, tmp_path, ttl_s=TTL_S, broadcasts=broadcasts)
    assert (others_were_told(block(found)), others_ended(block(found))) == (told, ways)
    assert (block(found).told_by_code, asked) == (by_code, ["team-block"])


@pytest.mark.parametrize("event", [replace(EVENT, way="sql"), replace(EVENT, handler=None)])
def test_nothing_is_said_of_others_where_no_replica_is_known_to_have_taken_the_change(
    tmp_path: Path, event: ChangeEvent
) -> None:
    one = replace(window({0: changed(BLOCKED)}, event), name="w")
    with SampleWriter(tmp_path / "w.csv.gz") as writer:
        for sample in TOLD:
            writer.write(sample)
    found = freshness([one], KEYS, tmp_path, ttl_s=TTL_S, broadcasts=lambda _: True)
    assert block(found).told_by_code is None


IDLE_S = (1.0, 2.0, 4.5)
SERVED = {True: old, False: new}


def idle(folder: Path, answers: Iterable[tuple[float, str, bool]], **changes: Any) -> Freshness:
    """Clones of one key, each with an old copy in its worker before the change.

    Args:
        folder: for the samples.
        answers: when a clone is asked for after the change, its worker, and whether it was old.
        changes: of every event.
    """
    given = list(answers)
    keys = make_population({"team": max(1, len(given))}, {}, seed=1, model=MOCK_MODEL)
    events = [
        replace(EVENT, number=n + 1, key=n, idle_s=due_s, **changes)
        for n, (due_s, _, _) in enumerate(given)
    ]
    one = window({n: changed(BLOCKED) for n in range(len(given))}, *events)
    with SampleWriter(folder / f"{one.name}.csv.gz") as writer:
        for n, (due_s, worker, is_old) in enumerate(given):
            writer.write(old(9.8, worker, key=n))
            after = SERVED[is_old](ANSWERED_S + due_s + n / 1000, worker)
            writer.write(after._replace(key=n))
    return block(freshness([one], keys, folder, ttl_s=TTL_S))


@pytest.mark.parametrize(
    ("olds", "low", "high", "open_"),
    [
        ([], 0.0, 1.0, 0),
        ([1.0], 1.0, 2.0, 0),
        ([1.0, 2.0], 2.0, 4.5, 0),
        ([1.0, 2.0, 4.5], 4.5, None, 1),
        # One clone's copy was older than those of the others.
        ([2.0], 2.0, 4.5, 0),
    ],
)
def test_an_idle_clock_lies_between_single_answers_of_clones(
    tmp_path: Path, olds: list[float], low: float, high: float | None, open_: int
) -> None:
    one = idle(tmp_path, [(s, "1.0", s in olds) for s in IDLE_S] + [(1.0, "0.0", False)])
    assert one.idle is not None
    assert one.idle.others_s is not None
    assert one.idle.others_s.low == pytest.approx(low, abs=0.01)
    assert one.idle.others_s.high == (None if high is None else pytest.approx(high, abs=0.01))
    assert (one.idle.others_s.pairs, one.idle.others_s.open) == (3, open_)
    assert one.idle.handler_s is not None
    assert (one.idle.handler_s.low, one.idle.handler_s.pairs) == (0.0, 1)
    # They are no clocks of keys in use.
    assert (one.workers, one.handler_s, one.others_s) == ([], None, None)
    assert is_over_idle(one) == (4.5 in olds)
    assert not is_over(one)
    assert one.stale_replies == (4.5 in olds)


def test_another_clone_that_was_asked_as_late_does_not_bound_an_idle_clock(tmp_path: Path) -> None:
    answers = [(1.0, "1.0", True), (1.0, "1.0", False), (2.0, "1.0", False), (4.5, "1.0", False)]
    one = idle(tmp_path, answers).idle
    assert one is not None
    assert one.others_s is not None
    assert one.others_s.high == pytest.approx(2.002)


@given(
    st.lists(
        st.tuples(st.sampled_from(IDLE_S), st.sampled_from(["0.0", "1.0", "2.0"]), st.booleans()),
        max_size=9,
    )
)
def test_an_idle_clock_holds_every_answer_of_its_side(
    tmp_path_factory: pytest.TempPathFactory, answers: list[tuple[float, str, bool]]
) -> None:
    one = idle(tmp_path_factory.mktemp("idle"), answers).idle if answers else None
    if one is None:
        return
    assert len(one.answers) == len(answers)
    for clock, mine in (
        (one.handler_s, [a for a in one.answers if a.handler]),
        (one.others_s, [a for a in one.answers if not a.handler]),
    ):
        assert (clock is None) == (not mine)
        if clock is not None:
            assert clock.low == max((a.after_s for a in mine if a.old), default=0.0)
            # Whatever was asked for when the clock was over got a new answer.
            assert clock.high is None or not any(a.old for a in mine if a.after_s >= clock.high)
            assert clock.high is None or clock.high > clock.low
            assert (clock.open == 0) == (clock.high is not None)


@pytest.mark.parametrize(
    "before",
    [[], [new(9.8, "1.0")], [old(9.8, "0.0")], [old(9.9, "1.0", took_s=0.2)]],
    ids=["none", "new", "of another worker", "under way"],
)
def test_an_idle_worker_without_an_old_copy_before_the_change_is_not_measured(
    tmp_path: Path, before: list[Sample]
) -> None:
    one = replace(window({0: changed(BLOCKED)}, replace(EVENT, idle_s=1.0)), name="w")
    with SampleWriter(tmp_path / "w.csv.gz") as writer:
        for sample in [*before, new(11.2, "1.0")]:
            writer.write(sample)
    found = block(freshness([one], KEYS, tmp_path, ttl_s=TTL_S)).idle
    assert found is not None
    assert (found.answers, found.handler_s, found.others_s) == ([], None, None)


def test_nothing_is_said_of_idle_keys_where_none_were_changed(tmp_path: Path) -> None:
    assert block(measured(tmp_path, TOLD)).idle is None


def test_what_the_windows_of_changes_cost_is_what_the_servers_counted() -> None:
    """Per request of the load driver; one window that was not counted leaves no figure."""
    one = window({}, EVENT)

    def spent(requests: int, reads: int, commands: int | None) -> Evidence:
        sizes = [
            series(f"authcache_payload_bytes_{part}", value, object="key")
            for part, value in (("sum", 1500.0), ("count", 3.0))
        ]
        calls = dict.fromkeys(ObjectKind, StatementCount())
        calls[ObjectKind.TEAM] = StatementCount(reads)
        redis = None if commands is None else RedisCount(0, {"get": commands - 1, "evalsha": 1})
        nothing = None if redis is None else RedisCount(0, {})
        none = dict.fromkeys(ObjectKind, StatementCount())
        before = replace(one.before, workers=(page(),), redis=nothing, statements=Statements(none))
        after = replace(
            one.after, workers=(page(*sizes),), redis=redis, statements=Statements(calls)
        )
        answered = one.generator.model_copy(update={"answered": requests})
        return replace(one, generator=answered, before=before, after=after)

    cost = change_cost([spent(300, 4, 500), spent(100, 2, 300), replace(one, changes=())])
    assert cost is not None
    assert (cost.requests, cost.source_reads_per_1000, cost.redis_commands_per_1000) == (
        400, 15.0, 2000.0,
    )  # fmt: skip
    assert cost.payload_bytes == {"key": 500.0}
    cost = change_cost([spent(300, 0, 500), spent(100, 0, None)])
    assert cost is not None
    assert (cost.source_reads_per_1000, cost.redis_commands_per_1000) == (0.0, None)
    assert change_cost([replace(one, changes=())]) is None


def test_changes_that_were_committed_and_answered_by_an_error_are_counted(tmp_path: Path) -> None:
    event = replace(EVENT, outcome="committed", status=500)
    found = block(measured(tmp_path, [old(9.9), new(10.4)], None, event))
    assert (found.outcome, found.changes, found.committed) == ("committed", 1, {"500": 1})
    assert found.handler_s is not None
    assert block(measured(tmp_path, [old(9.9), new(10.4)])).committed == {}
