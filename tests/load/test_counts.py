"""What the load side counts, and how it gets to the master."""

from __future__ import annotations

import msgpack  # type: ignore[import-untyped]  # it ships no types; Locust speaks it
from hypothesis import given
from hypothesis import strategies as st

from harness.load.counts import LATE_S, LoadCounts

_REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["team", "user"]),
        st.sampled_from([200, 401]),
        st.sampled_from(["", "", "timeout"]),
        st.floats(0, 2 * LATE_S),
    )
)


def count(requests: list[tuple[str, str, int, str, float]]) -> LoadCounts:
    counts = LoadCounts(rate_per_s=2.0 * len(requests))
    for fleet, scope, status, kind, delay_s in requests:
        counts.ended(fleet, scope, status, kind)
        counts.delayed(delay_s)
    return counts


@given(_REQUESTS)
def test_counts_arrive_as_they_were_sent(
    requests: list[tuple[str, str, int, str, float]],
) -> None:
    counts = count(requests)
    # Locust's way between processes
    assert LoadCounts.of(msgpack.loads(msgpack.dumps(counts.message()))) == counts


@given(_REQUESTS, _REQUESTS)
def test_workers_add_up_and_a_reset_takes_away(
    first: list[tuple[str, str, int, str, float]], second: list[tuple[str, str, int, str, float]]
) -> None:
    total = LoadCounts.total([count(first), count(second)])
    assert total == count(first + second)
    assert total.since(count(first)).answered == count(second).answered
    assert total.since(count(first)).late == count(second).late
