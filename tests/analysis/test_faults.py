"""The fault sheet's figures from planted samples: each verdict, and what must not count."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import studies
from harness.analysis.analyse import analyse
from harness.analysis.faults import (
    TIMELY_S,
    Read,
    Seen,
    hold_faults,
    line_per_s,
    logged_reads,
    longest_without,
    named_reads,
    recovery,
    seen,
    stampede,
    timeline,
    verdict,
)
from harness.authcache.words import ObjectKind
from harness.domain.faults import FaultEvent, PlannedFault
from harness.domain.reads import ObjectRead
from harness.domain.result import FaultResult, Result
from harness.domain.samples import Sample, SampleWriter
from harness.errors import UnknownNameError, UsageError
from harness.observe.evidence import Evidence
from harness.observe.snapshots import Scrape
from harness.plan.plan import Arm
from harness.scenario.schema import FaultExpectation, FaultWindow, Scenario
from harness.targets.base import KeyTruth
from tests.analysis.simulated import poisson
from tests.observe.build import DECODED, evidence, page, series
from tests.plan.build import DescribedTarget, planned

BEGUN_S, ENDED_S, END_S = 4.0, 10.0, 20.0


def _event(what: str = "redis-hang", **changes: Any) -> FaultEvent:
    planned = PlannedFault(1, what, BEGUN_S, ENDED_S - BEGUN_S, **changes)
    return FaultEvent(planned, BEGUN_S, ENDED_S, bit=7)


def _ok(due_s: float, wait_s: float = 0.01) -> Seen:
    return Seen(due_s, due_s + wait_s, "", served=True)


def _failed(due_s: float, wait_s: float = 0.01) -> Seen:
    return Seen(due_s, due_s + wait_s, "503", served=False)


def _steady(until_s: float = END_S, every_s: float = 0.05) -> list[Seen]:
    """A healthy window."""
    return [_ok(n * every_s) for n in range(int(until_s / every_s))]


def _sample(**changes: Any) -> Sample:
    whole: dict[str, Any] = {
        "window": "w",
        "scope": "team",
        "key": 0,
        "replica": 0,
        "intended_s": 5.0,
        "sent_s": 5.0,
        "done_s": 5.01,
        "status": 200,
        "error": "",
        "cost_micro": 250,
        "served": "",
    }
    return Sample(**(whole | changes))


@pytest.mark.parametrize(
    ("changes", "truth", "error", "served"),
    [
        ({}, KeyTruth({}, 200), "", True),
        ({"status": 503}, KeyTruth({}, 200), "503", False),
        ({"status": 401}, KeyTruth({}, 200), "401", False),
        ({"status": 401}, KeyTruth({}, 401, "blocked"), "", False),
        # Let through, which is judged by itself: the caller was served.
        ({}, KeyTruth({}, 401, "blocked"), "", True),
        ({"status": 0, "error": "timeout"}, KeyTruth({}, 200), "timeout", False),
        ({"status": 0}, KeyTruth({}, 200), "no answer", False),
        ({"status": 500}, None, "500", False),
        ({}, None, "", True),
    ],
)
def test_an_answer_is_an_error_unless_some_version_called_for_it(
    changes: dict[str, Any], truth: KeyTruth | None, error: str, served: bool
) -> None:
    one = seen(_sample(**changes), truth, promise_s=4.0)
    assert (one.error, one.served) == (error, served)


def test_the_refusal_of_an_older_version_is_stale_and_no_error() -> None:
    blocked = KeyTruth({}, 401, "blocked")
    unblocked = KeyTruth({}, 200, since=(0.1, 0.2), earlier=(blocked,))
    late = _sample(status=401, sent_s=9.0, done_s=9.01)
    assert seen(late, unblocked, promise_s=4.0).error == ""


def test_the_longest_stretch_of_a_healthy_window_is_one_answer() -> None:
    assert longest_without(_steady(), BEGUN_S) == pytest.approx(0.01)


def test_a_hang_that_all_requests_outlast_is_as_long_as_it_was() -> None:
    # Those that were due last are answered first.
    held = [
        Seen(one.due_s, max(one.done_s, 6.31 - one.due_s / 1000), "", served=True)
        if BEGUN_S <= one.due_s < 6.3
        else one
        for one in _steady()
    ]
    assert longest_without(held, BEGUN_S) == pytest.approx(2.3, abs=0.06)


def test_requests_that_fail_at_once_are_one_stretch_with_those_that_wait_after_them() -> None:
    away = [one for one in _steady() if not 5.0 <= one.due_s < 8.0]
    failing = [_failed(5.0 + n * 0.1, 0.0) for n in range(20)]
    waiting = [Seen(6.85, 7.8, "", served=True), Seen(7.5, 8.0, "", served=True)]
    assert longest_without([*away, *failing], BEGUN_S) == pytest.approx(1.9, abs=0.06)
    assert longest_without([*away, *failing, *waiting], BEGUN_S) == pytest.approx(2.8)


def test_a_gap_without_a_request_is_no_outage() -> None:
    thin = [_ok(5.0), _failed(5.5), _ok(8.0), _ok(12.0)]
    assert longest_without(thin, BEGUN_S) < 0.1


def test_answers_that_all_come_late_are_an_outage() -> None:
    late = [_ok(one.due_s, TIMELY_S + 0.5) for one in _steady()]
    assert longest_without(late, BEGUN_S) > 10


def test_what_went_wrong_before_the_fault_is_not_its_doing() -> None:
    early = [_failed(n * 0.05) for n in range(60)]
    after = [one for one in _steady() if one.due_s >= BEGUN_S]
    assert longest_without([*early, *after], BEGUN_S) == pytest.approx(0.01)
    assert longest_without([*early, *after], 0.0) == pytest.approx(2.96)


def test_one_slow_request_among_others_is_no_outage() -> None:
    assert longest_without([*_steady(), _ok(5.0, 9.0)], BEGUN_S) < 0.1


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ([], 0.0),
        ([_failed(9.0)], 0.0),
        ([_failed(11.5)], 1.5),
        ([_ok(11.5, 3.0)], 1.5),
        ([_failed(11.0), _failed(13.5)], 3.5),
        ([_failed(11.0), _failed(14.5)], 1.0),
        ([_failed(12.0), _failed(14.5), _failed(17.2)], None),
    ],
)
def test_recovery_begins_three_good_seconds(bad: list[Seen], expected: float | None) -> None:
    found = recovery([*_steady(), *bad], ENDED_S, END_S)
    assert found == (None if expected is None else pytest.approx(expected, abs=0.06))


def test_seconds_without_an_answer_are_not_good() -> None:
    silent = [one for one in _steady() if not ENDED_S <= one.due_s < 13.0]
    assert recovery(silent, ENDED_S, END_S) == pytest.approx(3.0, abs=0.06)
    one_alone = [*silent, _ok(10.2)]
    assert recovery(one_alone, ENDED_S, END_S) == pytest.approx(3.0, abs=0.06)
    refused = [Seen(11.0 + n * 0.1, 11.01 + n * 0.1, "", served=False) for n in range(90)]
    assert recovery(refused, ENDED_S, END_S) is None


# What a correct cache reads: the cases of docs/decisions/0037.

OBJECTS = {f"o{n}": 10.0 for n in range(40)}
TTL_S, WORKERS = 2.0, 8


def _lookups(
    *,
    shared: bool,
    leased: bool,
    read_s: float = 0.01,
    emptied_s: float | None = None,
    away: tuple[float, float] = (0.0, 0.0),
    seed: int = 1,
) -> list[Read]:
    """Source reads of caches that take a while to read, request by request.

    Args:
        shared: whether there is a Redis.
        leased: whether others wait for a read that is under way, in all workers with Redis and
            in one without.
        read_s: how long a read takes.
        emptied_s: when memory and Redis lose everything.
        away: when no worker reaches Redis.
        seed: of the load.
    """
    memory: dict[tuple[int, str], float] = {}
    redis: dict[str, float] = {}
    under_way: dict[tuple[int, str], float] = {}
    reads: list[Read] = []
    for at, worker, name in poisson(OBJECTS, WORKERS, END_S, random.Random(seed)):
        if emptied_s is not None and at >= emptied_s:
            memory, redis, emptied_s = {}, {}, None
        reached = shared and not away[0] <= at < away[1]
        if memory.get((worker, name), 0.0) - TTL_S <= at < memory.get((worker, name), 0.0):
            continue
        if reached and redis.get(name, 0.0) - TTL_S <= at < redis.get(name, 0.0):
            memory[worker, name] = redis[name]
            continue
        place = (-1 if reached else worker, name)
        if leased and under_way.get(place, 0.0) > at:
            continue
        under_way[place] = at + read_s
        reads.append(Read(at, name, f"{worker}", worker))
        # Stored when it was read: until then the entry is not there.
        memory[worker, name] = at + read_s + TTL_S
        if reached:
            redis[name] = at + read_s + TTL_S
    return reads


def _line(*, shared: bool) -> float:
    return line_per_s(OBJECTS, WORKERS, TTL_S, shared=shared)


@pytest.mark.parametrize("seed", range(5))
def test_a_correct_cache_is_no_stampede(seed: int) -> None:
    """At rest, when everything is lost at once, and without Redis."""
    emptied = _lookups(shared=True, leased=True, emptied_s=BEGUN_S, seed=seed)
    assert stampede(emptied, _line(shared=True), _event("redis-flush"), ttl_s=TTL_S) <= 1.1
    away = _lookups(shared=True, leased=True, away=(BEGUN_S, ENDED_S), seed=seed)
    assert stampede(away, _line(shared=True), _event("redis-hang"), ttl_s=TTL_S) <= 1.1
    plain = _lookups(shared=True, leased=False, seed=seed)
    assert stampede(plain, _line(shared=True), _event("redis-flush"), ttl_s=TTL_S) <= 1.5


@pytest.mark.parametrize("seed", range(5))
def test_a_stampede_shows(seed: int) -> None:
    """Without a lease, and reads of 0.3 s, every worker reads what has expired."""
    reads = _lookups(shared=True, leased=False, read_s=0.3, emptied_s=BEGUN_S, seed=seed)
    assert stampede(reads, _line(shared=True), _event("redis-flush"), ttl_s=TTL_S) > 2.0
    # No worker had to read for itself: Redis was there.
    alone = _lookups(shared=False, leased=True, seed=seed)
    assert stampede(alone, _line(shared=True), _event("redis-flush"), ttl_s=TTL_S) > 2.0
    during = [read for read in alone if read.at_s < ENDED_S]
    assert stampede(during, _line(shared=True), _event("redis-hang"), ttl_s=TTL_S) <= 1.1


def test_only_the_replica_without_redis_may_read_for_itself() -> None:
    reads = [
        Read(6.0 + replica / 100, name, f"{replica}", replica)
        for name in OBJECTS
        for replica in range(4)
    ]
    hang, hole = _event("redis-hang"), _event("redis-blackhole", replica=2)
    assert stampede(reads, 1.0, hang, ttl_s=TTL_S) == 1.0
    assert stampede(reads, 1.0, _event("redis-evict"), ttl_s=TTL_S) == 1.0
    assert stampede(reads, 1.0, hole, ttl_s=TTL_S) == pytest.approx(2.0)
    assert stampede(reads, 1.0, _event("redis-flush"), ttl_s=TTL_S) == pytest.approx(4.0)


def test_while_postgres_gives_no_answer_reads_are_no_stampede_and_afterwards_they_are() -> None:
    reads = [Read(ENDED_S - 1 + n / 100, "o", "0", 0) for n in range(130)]
    assert stampede(reads, 1.0, _event("postgres-kill"), ttl_s=TTL_S) == 30.0
    assert stampede(reads, 1.0, _event("postgres-slow"), ttl_s=TTL_S) > 90
    before = [Read(1.0, "o", f"{n}", 0) for n in range(5)]
    kill = _event("postgres-kill")
    assert stampede(before, 1.0, kill, ttl_s=TTL_S, before=True) == 5.0


def test_two_workers_that_race_for_one_object_are_no_stampede() -> None:
    race = [Read(6.0, "o", "0", 0), Read(6.001, "o", "1", 1)]
    assert stampede(race, 20.0, _event(), ttl_s=TTL_S) == pytest.approx(0.1)


def test_reads_on_both_sides_of_a_full_second_are_one_stampede() -> None:
    reads = [Read(11.9 + n / 100, "o", f"{n}", n) for n in range(20)]
    assert stampede(reads, 1.0, _event("redis-flush"), ttl_s=TTL_S) == pytest.approx(20.0)


def test_with_a_short_ttl_an_object_may_be_read_twice_in_a_second() -> None:
    reads = [Read(5.0 + n * 0.45, f"{n % 2}", "0", 0) for n in range(20)]
    often = [Read(5.0 + n * 0.11, f"{n % 2}", "0", 0) for n in range(20)]
    flush = _event("redis-flush")
    assert stampede(reads, 0.0, flush, ttl_s=1.0) == 1.0
    assert stampede(often, 0.0, flush, ttl_s=1.0) > 2.0


def test_reads_before_the_fault_are_a_figure_of_their_own() -> None:
    reads = [Read(1.0, "o", f"{n}", n) for n in range(6)]
    event = _event()
    assert stampede(reads, 1.0, event, ttl_s=TTL_S) == 0.0
    assert stampede(reads, 1.0, event, before=True, ttl_s=TTL_S) == 6.0


def test_replies_name_their_reads() -> None:
    names = {0: {ObjectKind.KEY: "key:1", ObjectKind.TEAM: "team:1"}}
    samples = [
        _sample(served="key;source;d;0,team;memory;d;5", worker="1.0", replica=1),
        _sample(served="key;shared;d;0"),
        _sample(key=9, served="key;source;d;0"),
    ]
    assert named_reads(samples, names) == [Read(5.01, "key:1", "1.0", 1)]


def test_logged_reads_are_placed_in_the_window() -> None:
    reads = (
        ObjectRead(1_005.5, 3, "team:1", "team", "members", "team"),
        ObjectRead(1_006.0, 0, "key:9", "key", "", "unknown"),
    )
    window = _window(reads=reads, epoch_s=1_000.0)
    found = logged_reads(window, ["team:1"], workers=2)
    assert found == [Read(5.5, "team:1 members", "3", 1)]
    assert logged_reads(replace(window, reads=None), ["team:1"], workers=2) is None
    skewed = replace(window, fault=_event("replica-clock", skew_s=30.0))
    assert logged_reads(skewed, ["team:1"], workers=2) is None
    failing = replace(window, fault=_event("postgres-kill-backend"))
    assert logged_reads(failing, ["team:1"], workers=2) is None


REQUESTS = st.builds(
    Seen,
    st.floats(0, 30),
    st.floats(0, 40),
    st.sampled_from(["", "503", "timeout"]),
    st.booleans(),
)


@given(st.lists(REQUESTS), st.floats(1, 25))
def test_no_request_is_lost_between_the_seconds(
    requests: Sequence[Seen], duration_s: float
) -> None:
    rows = timeline(requests, [], duration_s)
    assert [row.second for row in rows] == list(range(len(rows)))
    assert len(rows) >= duration_s
    for row in rows:
        due = [one for one in requests if int(one.due_s) == row.second]
        assert row.ok + row.late + row.errors == len(due)
    assert sum(row.ok + row.late + row.errors for row in rows) == len(requests)
    assert sum(row.errors for row in rows) == sum(bool(one.error) for one in requests)


@given(st.lists(st.floats(0, 40)))
def test_no_read_is_lost_between_the_seconds(moments: Sequence[float]) -> None:
    rows = timeline([], [Read(at, "o", "0", 0) for at in moments], 10.0)
    assert sum(row.reads for row in rows) == len(moments)


@given(st.lists(REQUESTS), st.randoms())
def test_figures_do_not_depend_on_the_order(requests: list[Seen], rng: random.Random) -> None:
    shuffled = rng.sample(requests, len(requests))
    assert timeline(shuffled, [], 20.0) == timeline(requests, [], 20.0)
    assert recovery(shuffled, ENDED_S, END_S) == recovery(requests, ENDED_S, END_S)


def _found(**changes: Any) -> FaultResult:
    whole: dict[str, Any] = {
        "verdict": "unaffected",
        "reasons": [],
        "bit": 7,
        "bit_what": "commands that waited",
        "begun_s": BEGUN_S,
        "ended_s": ENDED_S,
        "watched_s": 10.0,
        "balancer": "blind",
        "requests": 1000,
        "errors": {},
        "errors_share": 0.0,
        "errors_longest_s": 0.01,
        "latency_ms_max": 40.0,
        "stampede": 1.0,
        "stampede_before": 1.0,
        "recovery_s": 0.0,
        "log_records_per_request": 0.0,
        "log_bytes_per_request": 0.0,
        "spend_lost_micro": 0,
        "wrong": 0,
        "stale": 0,
        "let_through": 0,
        "timeline": [],
    }
    return FaultResult(**(whole | changes))


@pytest.mark.parametrize(
    ("changes", "word", "reasons"),
    [
        ({}, "unaffected", 0),
        ({"errors_share": 0.001}, "unaffected", 0),
        ({"errors_share": 0.0011}, "degraded", 1),
        ({"latency_ms_max": 1000.0}, "unaffected", 0),
        ({"latency_ms_max": 1000.1}, "degraded", 1),
        ({"stampede": 2.0}, "unaffected", 0),
        ({"stampede": 2.1}, "degraded", 1),
        ({"stampede": None}, "unaffected", 0),
        ({"errors_longest_s": 0.99}, "unaffected", 0),
        ({"errors_longest_s": 1.0}, "outage", 1),
        ({"errors_longest_s": 1.0, "errors_share": 0.5}, "outage", 2),
        ({"wrong": 1}, "wrong", 1),
        ({"stale": 1}, "wrong", 1),
        ({"let_through": 1, "errors_longest_s": 2.0}, "wrong", 2),
        ({"bit": 0, "wrong": 1}, "invalid", 1),
    ],
)
def test_each_verdict_has_its_limit(changes: dict[str, Any], word: str, reasons: int) -> None:
    found, said = verdict(_found(**changes), FaultWindow())
    assert (found, len(said)) == (word, reasons)


def _expect(**asked: Any) -> FaultExpectation:
    return FaultExpectation.model_validate({"kind": "fault", "variant": "a"} | asked)


def _held(expect: FaultExpectation, **ones: FaultResult) -> list[tuple[str, str]]:
    faults = {"a": {name.replace("_", "-"): one for name, one in ones.items()}}
    return [(e.state, e.measured) for e in hold_faults([expect], faults)]


def test_an_expectation_is_of_every_fault_and_names_those_that_broke_it() -> None:
    wrong = _found(verdict="wrong")
    expect = _expect(never=["wrong", "outage"])
    assert _held(expect, redis_hang=_found(), redis_slow=_found()) == [("holds", "kept in all 2")]
    assert _held(expect, redis_hang=_found(), redis_slow=wrong) == [("fails", "redis-slow wrong")]


def test_each_limit_is_a_result_of_its_own() -> None:
    expect = _expect(fault="redis-hang", stampede_max=2, recovery_s_max=5, spend_lost_micro_max=0)
    kept = _found(stampede=1.5, recovery_s=4.9)
    broken = _found(stampede=2.5, recovery_s=None, spend_lost_micro=250)
    assert [state for state, _ in _held(expect, redis_hang=kept)] == ["holds"] * 3
    assert _held(expect, redis_hang=broken, redis_slow=kept) == [
        ("fails", "redis-hang 2.5"),
        ("fails", "redis-hang not within 10 s"),
        ("fails", "redis-hang 250 micro-USD"),
    ]


def test_what_is_left_out_is_not_asked() -> None:
    lost = _found(spend_lost_micro=250)
    expect = {"spend_lost_micro_max": 0}
    assert _held(_expect(**expect), replica_kill=lost, redis_hang=_found())[0][0] == "fails"
    but = _expect(but=["replica-kill"], **expect)
    assert _held(but, replica_kill=lost, redis_hang=_found())[0][0] == "holds"


def test_a_window_that_ends_before_recovery_could_be_seen_decides_nothing() -> None:
    short = _found(recovery_s=None, watched_s=7.9)
    (held,) = hold_faults([_expect(recovery_s_max=5)], {"a": {"redis-hang": short}})
    assert held.state == "undecided"
    assert held.reason == "redis-hang was watched for 7.9 s after its end, not 8"
    assert _held(_expect(recovery_s_max=4.9), redis_hang=short)[0][0] == "fails"
    at_once = _found(recovery_s=0.0, watched_s=4.0)
    assert _held(_expect(recovery_s_max=5), redis_hang=at_once)[0][0] == "holds"


def test_a_fault_without_effect_decides_nothing() -> None:
    none = _found(verdict="invalid", bit=0)
    assert _held(_expect(never=["wrong"]), redis_hang=none)[0][0] == "undecided"
    assert _held(_expect(never=["wrong"]))[0][0] == "undecided"
    wrong = _found(verdict="wrong")
    assert _held(_expect(never=["wrong"]), redis_hang=none, redis_slow=wrong)[0][0] == "fails"


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"never": ["wrong"], "scope": "team"},
        {"never": ["wrong"], "fault": "redis-hang", "but": ["redis-slow"]},
        {"is": "fine"},
    ],
)
def test_an_expectation_that_asks_for_nothing_or_for_too_much_is_refused(
    asked: dict[str, Any],
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        _expect(**asked)


# A whole window, from evidence and samples.

SCENARIO: dict[str, Any] = {
    "name": "made-up",
    "title": "Made up",
    "ttl_s": 2.0,
    "replicas": 2,
    "variants": ["a"],
    "population": {"team": 1},
    "load": {"rate_per_s": 20, "mix": {"team": 1}},
    "faults": {"alone": True},
    "fault": [
        {"what": "redis-hang", "for_s": 6.0},
        {"what": "redis-slow", "for_s": 6.0, "delay_ms": 1},
    ],
}


def _window(bit: int = 7, **changes: Any) -> Evidence:
    """One with a fault, of a release: replies name its reads."""
    event = replace(_event(), bit=bit)
    logs = [series("authcache_log_records_total", n, level="error") for n in (10, 4, 90)]
    first, scraped, last = (page(one) for one in logs)
    whole = evidence(
        counted=(logs[2],),
        generator={"window": "01-faults-a", "statuses_by_key": {0: {"200": 400}}},
    )
    return replace(
        whole,
        name="01-faults-a",
        phase="faults",
        duration_s=END_S,
        before=replace(whole.before, workers=(page(logs[1]),)),
        after=replace(whole.after, workers=(last,)),
        fault=event,
        scrapes=(
            Scrape(1.0, (scraped,), 100),
            Scrape(3.0, (first,), 1_000),
            Scrape(5.0, (None,), 50_000),
            Scrape(19.0, (last,), 90_000),
        ),
        promise_s=4.1,
        **({"reads": None} | changes),
    )


def _analysed(
    tmp_path: Path,
    window: Evidence,
    samples: Sequence[Sample],
    *expect: dict[str, Any],
    others: Sequence[Evidence] = (),
) -> Result:
    scenario = Scenario.model_validate(SCENARIO | {"expect": list(expect)})
    plan = planned(scenario, Arm("a", "A", DescribedTarget(kind="reference", version="0")))
    with SampleWriter(tmp_path / f"{window.name}.csv.gz") as writer:
        for sample in samples:
            writer.write(sample)
    return analyse(
        plan,
        [window, *others],
        tmp_path,
        run_id="id",
        started_at="2026-01-01T00:00:00+00:00",
        elapsed_s=10.0,
        complete=True,
        interrupted=0,
        problem=None,
    )


def _samples(**bad: Any) -> list[Sample]:
    """20 requests a second; those that are due while the fault lasts are ``bad``."""
    return [
        _sample(
            **{
                "window": "01-faults-a",
                "intended_s": n / 20,
                "sent_s": n / 20,
                "done_s": n / 20 + 0.01,
                "served": "key;source;right;0" if n % 40 == 0 else "key;memory;right;5",
                **(bad if BEGUN_S <= n / 20 < ENDED_S else {}),
            }
        )
        for n in range(int(END_S * 20))
    ]


def test_a_window_without_harm_is_unaffected(tmp_path: Path) -> None:
    expect = {"kind": "fault", "variant": "a", "fault": "redis-hang", "is": "unaffected"}
    result = _analysed(tmp_path, _window(), _samples(), expect)
    found = result.faults["a"]["redis-hang"]
    assert (found.verdict, found.reasons) == ("unaffected", [])
    assert (found.requests, found.errors, found.recovery_s) == (320, {}, 0.0)
    assert (found.begun_s, found.ended_s, found.watched_s) == (BEGUN_S, ENDED_S, 10.0)
    assert found.bit_what == "commands that waited"
    # From the scrape before the fault on: 10 to 90 records, 1,000 to 90,000 bytes.
    assert found.log_records_per_request == 0.25
    assert found.log_bytes_per_request == pytest.approx(278.125)
    assert sum(row.ok for row in found.timeline) == 400
    assert sum(row.reads for row in found.timeline) == 10
    (held,) = result.expectations
    assert (held.name, held.state) == ("verdict under redis-hang", "holds")


def test_requests_that_fail_are_an_outage_and_fail_the_run(tmp_path: Path) -> None:
    expect = {"kind": "fault", "variant": "a", "never": ["outage"]}
    samples = _samples(status=503, served="")
    result = _analysed(tmp_path, _window(), samples, expect)
    found = result.faults["a"]["redis-hang"]
    assert found.verdict == "outage"
    assert found.errors == {"503": 120}
    assert found.errors_longest_s == pytest.approx(5.96)
    (held,) = result.expectations
    assert (held.measured, held.state) == ("redis-hang outage", "fails")


def test_answers_in_two_seconds_are_late_and_no_errors(tmp_path: Path) -> None:
    late = [
        one._replace(done_s=one.intended_s + 2) if 5 <= one.intended_s < 5.2 else one
        for one in _samples()
    ]
    found = _analysed(tmp_path, _window(), late).faults["a"]["redis-hang"]
    assert (found.verdict, found.errors_share) == ("degraded", 0.0)
    assert found.latency_ms_max == 2000.0
    assert sum(row.late for row in found.timeline) == 4


def test_data_that_were_never_right_are_wrong(tmp_path: Path) -> None:
    window = _window(truths={0: KeyTruth({"key": "other"}, 200)})
    found = _analysed(tmp_path, window, _samples()).faults["a"]["redis-hang"]
    assert (found.verdict, found.wrong) == ("wrong", 100)


def test_a_refusal_let_through_is_wrong(tmp_path: Path) -> None:
    window = _window(truths={0: KeyTruth({"key": "right"}, 401, "blocked")})
    found = _analysed(tmp_path, window, _samples()).faults["a"]["redis-hang"]
    assert (found.verdict, found.let_through) == ("wrong", 400)


def test_an_answer_that_was_right_longer_ago_than_the_promise_is_stale(tmp_path: Path) -> None:
    blocked = KeyTruth(
        {"key": "right"}, 401, "blocked", (5.0, 5.1), (KeyTruth({"key": "right"}, 200),)
    )
    found = _analysed(tmp_path, _window(truths={0: blocked}), _samples()).faults["a"]["redis-hang"]
    assert found.verdict == "wrong"
    # Those that were sent later than the promise after it: from 9.2 s on.
    assert found.stale == sum(one.sent_s > 9.2 for one in _samples())
    assert found.errors == {}


OTHER = KeyTruth({"key": "other"}, 200)
BLOCKED = KeyTruth({"key": "right"}, 401, "blocked")


def _recovered(status: int = 200, **changes: Any) -> Evidence:
    """The window after it: 100 requests."""
    whole = evidence(generator={"statuses_by_key": {0: {str(status): 100}}})
    return replace(whole, name="02-recovered-a", phase="recovered", promise_s=4.1, **changes)


@pytest.mark.parametrize(
    ("after", "seen", "cell"),
    [
        (_recovered(), ("unaffected", 0, 0, 0.0), "healthy"),
        (_recovered(truths={0: OTHER}), ("wrong", 100, 0, 0.0), "hidden"),
        (_recovered(truths={0: BLOCKED}), ("wrong", 0, 100, 0.0), "hidden"),
        (_recovered(401), ("degraded", 0, 0, 1.0), "broken"),
    ],
)
def test_what_comes_after_a_fault_is_judged_with_it_and_with_its_variant(
    tmp_path: Path, after: Evidence, seen: tuple[Any, ...], cell: str
) -> None:
    found = _analysed(tmp_path, _window(), _samples(), others=[after]).faults["a"]["redis-hang"]
    assert (found.verdict, found.wrong, found.let_through, found.errors_share_after) == seen
    measured = evidence(counted=DECODED, calls={ObjectKind.KEY: 4})
    with SampleWriter(tmp_path / f"{measured.name}.csv.gz") as writer:
        writer.write(_sample())
    result = _analysed(tmp_path, _window(), _samples(), others=[after, measured])
    assert result.variants["a"].cells["team"][0] == cell


@pytest.mark.parametrize(("changed_s", "stale"), [(5.0, 2), (END_S - 1, 1)])
def test_a_change_during_a_fault_may_be_unknown_after_it_until_the_promise_ends(
    tmp_path: Path, changed_s: float, stale: int
) -> None:
    then = replace(
        BLOCKED, since=(changed_s, changed_s), earlier=(KeyTruth({"key": "right"}, 200),)
    )
    moments = (0.1, 3.5)
    with SampleWriter(tmp_path / "02-recovered-a.csv.gz") as writer:
        for at_s in moments:
            writer.write(_sample(sent_s=at_s, done_s=at_s + 0.01, served="key;memory;right;5"))
    after = _recovered(truths={0: BLOCKED})
    window = _window(truths={0: then})
    quiet = [one for one in _samples() if one.sent_s < changed_s]
    found = _analysed(tmp_path, window, quiet, others=[after]).faults["a"]["redis-hang"]
    assert (found.stale, found.let_through) == (stale, 0)


def test_spend_that_no_row_has_is_lost(tmp_path: Path) -> None:
    window = _window()
    short = {**window.after.spend, ObjectKind.KEY: {"k0": 24_000}}
    before = {**window.before.spend, ObjectKind.KEY: {"k0": 0}}
    window = replace(
        window,
        before=replace(window.before, spend=before),
        after=replace(window.after, spend=short),
    )
    found = _analysed(tmp_path, window, _samples()).faults["a"]["redis-hang"]
    assert found.spend_lost_micro == 1_000


def test_a_fault_that_took_no_effect_is_no_finding(tmp_path: Path) -> None:
    expect = {"kind": "fault", "variant": "a", "fault": "redis-hang", "never": ["wrong"]}
    result = _analysed(tmp_path, _window(bit=0), _samples(), expect)
    assert result.faults["a"]["redis-hang"].verdict == "invalid"
    assert result.expectations[0].state == "undecided"
    assert result.verdict == "invalid"


def test_an_expectation_of_a_fault_that_is_not_planned_is_refused() -> None:
    expect = {"kind": "fault", "variant": "a", "fault": "redis-oom", "never": ["wrong"]}
    with pytest.raises(ValueError, match=r"redis-oom.*does not have; it has redis-hang"):
        Scenario.model_validate(SCENARIO | {"expect": [expect]})


def test_a_study_of_some_faults_asks_only_what_is_of_them() -> None:
    base = {"kind": "fault", "variant": "a"}
    scenario = Scenario.model_validate(
        SCENARIO
        | {
            "expect": [
                base | {"never": ["wrong"]},
                base | {"fault": "redis-hang", "is": "unaffected"},
                base | {"stampede_max": 2, "but": ["redis-slow"]},
                base | {"recovery_s_max": 2, "but": ["redis-hang"]},
            ]
        }
    )
    some = studies.faults(scenario, ["redis-slow"])
    assert [one.what for one in some.fault] == ["redis-slow"]
    kept = [e for e in some.expect if isinstance(e, FaultExpectation)]
    assert [(e.never, e.recovery_s_max, e.but) for e in kept] == [
        (["wrong"], None, []),
        ([], 2.0, []),
    ]
    assert studies.faults(scenario) == scenario
    with pytest.raises(UnknownNameError, match="redis-hang"):
        studies.faults(scenario, ["redis-kill"])
    with pytest.raises(UsageError, match="No fault is named"):
        studies.faults(scenario, [])
