"""Counting what became of requests."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.domain.samples import SampleWriter, read_samples
from harness.domain.window import ServedCount
from harness.errors import InvalidRunError
from harness.load.plan import Arrival
from harness.load.recorder import RequestOutcome, RequestRecorder

TEAM = Arrival(1.0, "team", 2, 1)


def recorder(samples: SampleWriter | None = None) -> RequestRecorder:
    return RequestRecorder("w", replicas=3, late_ms=250, samples=samples)


def test_answers_count_by_scope_and_status_whatever_it_is() -> None:
    counts = recorder()
    for status in (200, 200, 401, 500):
        counts.record(TEAM, 1.0, 1.1, RequestOutcome(status))
    counts.record(Arrival(1.0, "user", 0, 0), 1.0, 1.1, RequestOutcome(200))
    assert counts.statuses() == {"team": {"200": 2, "401": 1, "500": 1}, "user": {"200": 1}}
    assert counts.statuses_by_key() == {0: {"200": 1}, 2: {"200": 2, "401": 1, "500": 1}}
    assert (counts.sent, counts.answered, counts.failed) == (5, 5, 2)
    assert counts.replicas == [1, 4, 0]


def test_unanswered_requests_count_by_kind_and_have_no_status() -> None:
    counts = recorder()
    counts.record(TEAM, 1.0, 2.0, RequestOutcome(0, "timeout"))
    assert counts.unanswered == {"timeout": 1}
    assert counts.statuses() == {}
    assert (counts.sent, counts.answered, counts.failed) == (1, 0, 1)


def test_late_is_more_than_the_limit_after_the_intended_time() -> None:
    counts = recorder()
    for sent_s in (1.0, 1.25, 1.5):
        counts.record(TEAM, sent_s, 2.0, RequestOutcome(200))
    assert counts.late == 1
    assert counts.delay_s_max == pytest.approx(0.5)
    assert counts.delay_s_median == pytest.approx(0.25)
    assert recorder().delay_s_median == 0.0


def test_a_request_without_an_intended_time_is_never_late() -> None:
    counts = recorder()
    counts.record(TEAM._replace(intended_s=None), 99.0, 100.0, RequestOutcome(200))
    assert (counts.late, counts.delay_s_max) == (0, 0.0)


@pytest.mark.parametrize(
    ("status", "header", "micro"),
    [
        (200, "0.00025", 250),
        (200, "2.5e-04", 250),
        (200, "0.0000014999", 1),
        (299, "1", 1_000_000),
        (200, None, 0),
        (401, "0.00025", 0),
        (302, "0.00025", 0),
    ],
)
def test_cost_is_counted_of_2xx_replies_in_micro_units(
    status: int, header: str | None, micro: int
) -> None:
    counts = recorder()
    counts.record(TEAM, 1.0, 1.1, RequestOutcome(status, "", header))
    assert counts.cost_micro == micro


def test_served_objects_are_counted_with_their_greatest_age() -> None:
    counts = recorder()
    for served in ("key;memory;aa;15,team;redis;bb;-", "key;memory;aa;40", "key;memory;cc;1"):
        counts.record(TEAM, 1.0, 1.1, RequestOutcome(200, "", None, served))
    counts.record(TEAM, 1.0, 1.1, RequestOutcome(200, "", None, None))

    def one(kind: str, tier: str, digest: str, count: int, age: int | None) -> ServedCount:
        return ServedCount(
            scope="team",
            key_index=2,
            object=kind,
            tier=tier,
            digest=digest,
            count=count,
            age_ms_max=age,
        )

    assert counts.served() == [
        one("key", "memory", "aa", 2, 40),
        one("key", "memory", "cc", 1, 1),
        one("team", "redis", "bb", 1, None),
    ]


def test_a_key_counts_its_replies_its_cost_and_how_many_named_an_object() -> None:
    counts = recorder()
    twice = "key;memory;aa;1,team;redis;bb;-,team;memory;bb;-"
    for served in (twice, "key;source;aa;1", None):
        counts.record(TEAM, 1.0, 1.1, RequestOutcome(200, "", "0.00025", served))
    # What a refusal names is no part of it, and what has no answer is nothing at all.
    counts.record(TEAM, 1.0, 1.1, RequestOutcome(401, "", "0.00025", twice))
    counts.record(TEAM, 1.0, 1.1, RequestOutcome(0, "timeout"))
    counts.record(Arrival(1.0, "user", 0, 0), 1.0, 1.1, RequestOutcome(500))
    assert [item.model_dump() for item in counts.by_key()] == [
        {
            "scope": "user",
            "key_index": 0,
            "answered": 1,
            "admitted": 0,
            "cost_micro": 0,
            "named": {},
        },
        {
            "scope": "team",
            "key_index": 2,
            "answered": 4,
            "admitted": 3,
            "cost_micro": 750,
            "named": {"key": 2, "team": 1},
        },
    ]


def test_every_request_is_a_sample(tmp_path: Path) -> None:
    path = tmp_path / "s.csv.gz"
    with SampleWriter(path) as samples:
        counts = recorder(samples)
        counts.record(TEAM, 1.1, 1.2, RequestOutcome(200, "", "0.001", "key;memory;aa;15", "1.0"))
        counts.record(TEAM._replace(intended_s=None), 1.3, 1.4, RequestOutcome(0, "timeout"))
    first, second = read_samples(path)
    assert first == ("w", "team", 2, 1, 1.0, 1.1, 1.2, 200, "", 1000, "key;memory;aa;15", "1.0")
    assert second == ("w", "team", 2, 1, 1.3, 1.3, 1.4, 0, "timeout", 0, "", "")


def test_a_lost_request_makes_the_window_invalid() -> None:
    counts = recorder()
    counts.record(TEAM, 1.0, 1.1, RequestOutcome(200))
    counts.check(taken=1)
    with pytest.raises(InvalidRunError, match=r"took \[2\] requests and \[1\] were recorded"):
        counts.check(taken=2)


@pytest.mark.parametrize(
    "outcome",
    [
        RequestOutcome(200, "", "cheap"),
        RequestOutcome(200, "", "nan"),
        RequestOutcome(200, "", "inf"),
        RequestOutcome(200, "", None, "key;memory"),
        RequestOutcome(401, "", None, "key;memory;aa;old"),
    ],
)
def test_a_header_without_sense_makes_the_window_invalid(outcome: RequestOutcome) -> None:
    counts = recorder()
    for _ in range(5):
        counts.record(TEAM, 1.0, 1.1, outcome)
    assert counts.answered == 5
    with pytest.raises(InvalidRunError, match=r"\[5\] replies had invalid headers"):
        counts.check(taken=5)
