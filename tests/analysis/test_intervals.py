"""Intervals: against published values, and that they cover the truth as often as they say."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.analysis.intervals import (
    mean,
    never_needs,
    per_bound,
    poisson,
    proportion,
    rate,
    ratio_of_sums,
    student,
)


@pytest.mark.parametrize(
    ("events", "trials", "error", "low", "high"),
    [
        (3, 10, 0.025, 0.0667395, 0.6524529),  # Clopper and Pearson's own kind of table
        (0, 10, 0.025, 0.0, 0.3084971),
        (10, 10, 0.025, 0.6915029, 1.0),
        (0, 299, 0.05, 0.0, 0.0099691),  # the rule of three
        (700, 1440, 0.002, 0.4479747, 0.5243615),
    ],
)
def test_an_exact_interval_of_a_share(
    events: int, trials: int, error: float, low: float, high: float
) -> None:
    assert proportion(events, trials, error) == pytest.approx((low, high), abs=1e-6)


@pytest.mark.parametrize(
    ("events", "low", "high"),
    [(0, 0.0, 3.688879), (1, 0.025318, 5.571643), (10, 4.795389, 18.390356)],
)
def test_an_exact_interval_of_a_count(events: int, low: float, high: float) -> None:
    assert poisson(events, 0.025) == pytest.approx((low, high), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(
    ("degrees", "error", "value"),
    [(1, 0.025, 12.7062), (5, 0.025, 2.5706), (30, 0.025, 2.0423), (11, 0.001, 4.0247)],
)
def test_student(degrees: int, error: float, value: float) -> None:
    assert student(degrees, error) == pytest.approx(value, abs=1e-4)


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 400), st.floats(0.0005, 0.2))
def test_an_interval_holds_its_share_and_mirrors(events: int, more: int, error: float) -> None:
    trials = events + more
    low, high = proportion(events, trials, error)
    assert 0 <= low <= events / trials <= high <= 1
    assert proportion(more, trials, error) == pytest.approx((1 - high, 1 - low), abs=1e-9)


def test_a_share_is_covered_as_often_as_the_interval_says() -> None:
    draw = random.Random(10)
    n, share, error = 300, 0.01, 0.05
    missed = [0, 0]
    for _ in range(1000):
        low, high = proportion(sum(draw.random() < share for _ in range(n)), n, error)
        missed[0] += share < low
        missed[1] += share > high
    assert max(missed) <= 70, missed


def test_so_many_requests_without_an_event_show_a_share() -> None:
    needed = never_needs(0.05, 0.01)
    assert 298 < needed < 299
    assert proportion(0, 299, 0.05).high < 0.01 < proportion(0, 298, 0.05).high


def test_more_events_than_requests_are_a_count() -> None:
    low, high = rate(2000, 1000, 0.025)
    assert (low, high) == pytest.approx((1.913, 2.090), abs=0.001)
    assert rate(1000, 1000, 0.025) == proportion(1000, 1000, 0.025)


def test_equal_rounds_leave_no_doubt_and_few_rounds_no_interval() -> None:
    assert ratio_of_sums([(5, 100)] * 6, 0.025) == pytest.approx((0.05, 0.05))
    assert ratio_of_sums([(5, 100)], 0.025) is None
    assert ratio_of_sums([(5, 100), (5, 0)], 0.025) is None
    assert mean([1.0], 0.025) is None
    assert mean([1.0, 3.0], 0.025) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)


def test_a_ratio_of_sums_is_covered_over_rounds_of_unequal_size() -> None:
    draw = random.Random(3)
    missed = [0, 0]
    for _ in range(400):
        parts = []
        for _ in range(8):
            n = draw.randint(100, 300)
            parts.append((sum(draw.random() < 0.2 * draw.uniform(0.5, 1.5) for _ in range(n)), n))
        found = ratio_of_sums(parts, 0.05)
        assert found is not None
        missed[0] += found.low > 0.2
        missed[1] += found.high < 0.2
    assert max(missed) <= 36, missed


@given(st.integers(0, 200), st.integers(1, 20))
def test_5_percent_are_shared_among_bounds_and_looks(bounds: int, looks: int) -> None:
    assert per_bound(bounds, looks) * max(bounds, 1) * looks == pytest.approx(0.05)
