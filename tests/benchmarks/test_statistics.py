from __future__ import annotations

from benchmarks.statistics import Summary, figure, ratio, summary

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
