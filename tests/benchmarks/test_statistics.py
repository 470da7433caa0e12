from __future__ import annotations

import random

import pytest

from benchmarks.statistics import Summary, figure, interval_of_median, ratio, summary

ROUNDS = [{"a": 2.0, "b": 1.0}, {"a": 30.0, "b": 10.0}, {"a": 8.0, "b": 2.0}, {"b": 5.0}]


def test_a_figure_is_summed_up_over_the_rounds_that_have_it() -> None:
    assert figure(ROUNDS, "a") == Summary(median=8.0, low=2.0, high=30.0, rounds=3)
    assert figure(ROUNDS, "c") is None


def test_a_ratio_is_taken_within_a_round_and_not_of_medians() -> None:
    # The machine was ten times slower in the second round; the ratio does not see it.
    assert ratio(ROUNDS, "a", "b") == Summary(median=3.0, low=2.0, high=4.0, rounds=3)


def test_a_round_without_a_base_gives_no_ratio() -> None:
    assert ratio([{"a": 1.0, "b": 0.0}, {"a": 1.0}], "a", "b") is None


def test_nothing_has_no_summary() -> None:
    assert summary([]) is None


@pytest.mark.parametrize(("rounds", "left_out"), [(5, 0), (7, 0), (8, 1), (11, 2), (100, 41)])
def test_the_interval_leaves_out_as_many_as_it_may(rounds: int, left_out: int) -> None:
    values = [float(n) for n in range(rounds)]
    assert interval_of_median(values) == (left_out, rounds - 1 - left_out)
    assert interval_of_median(values[:4]) is None


def test_the_median_is_missed_in_5_of_100_at_most_whatever_the_distribution() -> None:
    draw = random.Random(5)
    below = above = 0
    for _ in range(2000):
        found = interval_of_median([draw.expovariate(0.6931472) for _ in range(8)])
        assert found is not None
        below += found[1] < 1.0
        above += found[0] > 1.0
    assert max(below, above) <= 0.05 * 2000
