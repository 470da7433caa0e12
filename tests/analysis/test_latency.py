from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.latency import percentiles


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
def test_at_least_ten_values_lie_at_or_beyond_what_is_told(values: list[float]) -> None:
    for told in percentiles(values).model_dump().values():
        assert told is None or sum(round(value, 3) >= told for value in values) > 10
