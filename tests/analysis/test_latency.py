from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.latency import latency, percentiles, with_first
from harness.domain.samples import Sample, SampleWriter


@pytest.mark.parametrize(
    ("count", "known"),
    [(0, ()), (20, ()), (21, ("p50",)), (220, ("p50", "p95")), (1100, ("p50", "p95", "p99"))],
)
def test_a_percentile_needs_ten_samples_beyond_it(count: int, known: tuple[str, ...]) -> None:
    told = percentiles([float(i) for i in range(count)]).model_dump()
    assert tuple(name for name, value in told.items() if value is not None) == known


def test_nearest_rank() -> None:
    told = percentiles([float(i) for i in range(2000, 0, -1)])
    assert (told.p50, told.p95, told.p99) == (1001.0, 1901.0, 1981.0)


@given(st.lists(st.floats(0, 1e6), max_size=300))
def test_at_least_ten_values_lie_at_or_beyond_what_is_reported(values: list[float]) -> None:
    for told in percentiles(values).model_dump().values():
        assert told is None or sum(round(value, 3) >= told for value in values) > 10


def request(sent_s: float, done_s: float, *, replica: int = 0, status: int = 200) -> Sample:
    return Sample("w", "team", 0, replica, sent_s, sent_s, done_s, status, "", 0, "")


@pytest.mark.parametrize(
    ("requests", "opened"),
    [
        # one after the other: one connection
        ([request(0, 1), request(1, 2), request(3, 4)], [True, False, False]),
        # two at once, then one, then three at once
        (
            [request(0, 2), request(1, 3), request(4, 9), request(5, 9), request(6, 9)],
            [True, True, False, False, True],
        ),
        # each replica has a pool of its own
        ([request(0, 1), request(2, 3, replica=1), request(4, 5, replica=1)], [True, True, False]),
        # a connection ends with a request that has no reply, not with a refusal
        ([request(0, 1, status=0), request(2, 3)], [True, True]),
        ([request(0, 1, status=503), request(2, 3)], [True, False]),
        # samples are in the order in which requests ended
        ([request(1, 2), request(0, 3)], [True, True]),
    ],
)
def test_a_request_opens_a_connection_when_none_is_free(
    requests: list[Sample], opened: list[bool]
) -> None:
    assert [first for _, first in with_first(requests)] == opened


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0.001, 3), st.integers(0, 2)), max_size=40))
def test_as_many_connections_as_requests_were_open_at_once(
    drawn: list[tuple[float, float, int]],
) -> None:
    requests = [request(sent, sent + took, replica=replica) for sent, took, replica in drawn]
    opened = [sample.replica for sample, first in with_first(requests) if first]
    for replica in range(3):
        at_once = max(
            (
                sum(
                    other.replica == replica and other.sent_s <= one.sent_s < other.done_s
                    for other in requests
                )
                for one in requests
                if one.replica == replica
            ),
            default=0,
        )
        assert opened.count(replica) == at_once


def test_the_first_request_of_each_connection_is_in_no_percentile(tmp_path: Path) -> None:
    """64 slow requests at once, then 600 fast ones one after the other."""
    with SampleWriter(tmp_path / "w.csv.gz") as writer:
        for _ in range(64):
            writer.write(request(0.0, 0.5))
        for n in range(600):
            writer.write(request(1 + n, 1.01 + n))
    found = latency([tmp_path / "w.csv.gz"])
    assert (found.samples, found.first_of_connection) == (600, 64)
    assert found.service.p95 == 10.0
