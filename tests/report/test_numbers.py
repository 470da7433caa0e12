import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.domain.result import Range
from harness.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\u2013"),
        (0.0, "0"),
        (0.004, "<0.01"),
        (-0.004, ">\u22120.01"),
        (0.31, "0.31"),
        (5.0, "5"),
        (9.71, "9.7"),
        (48.57, "48.6"),
        (2008.6, "2,009"),
        (-4250.0, "\u22124,250"),
    ],
)
def test_a_rate_has_about_three_digits(value: float | None, text: str) -> None:
    assert numbers.rate(value) == text


@given(st.floats(min_value=-1e12, max_value=1e12, allow_nan=False))
def test_a_rate_that_is_not_0_never_prints_as_0(value: float) -> None:
    assert (numbers.rate(value) == "0") == (value == 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "\u2013"), (0.0, "0.00"), (4.1, "4.10"), (16.64, "16.6"), (262, "262")],
)
def test_times(value: float | None, text: str) -> None:
    assert numbers.time_ms(value) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (0, 0, "\u2013"),
        (0, 10, "0 %"),
        (1, 100_000, "<0.1 %"),
        (99_999, 100_000, ">99.9 %"),
        (10, 10, "100.0 %"),
        (1, 3, "33.3 %"),
    ],
)
def test_a_share_never_rounds_to_nothing_or_all(part: int, whole: int, text: str) -> None:
    assert numbers.share(part, whole) == text


def test_counts_and_residuals() -> None:
    assert numbers.count(None) == "\u2013"
    assert numbers.count(-1234) == "\u22121,234"
    assert numbers.exact(None) == "\u2013"
    assert numbers.exact(12345.0) == "12,345"
    assert numbers.exact(0.125) == "0.125"


def test_a_single_round_has_no_range() -> None:
    assert numbers.spread(Range(median=2, min=1, max=3, rounds=1)) == ""
    assert numbers.spread(None) == ""
    assert numbers.spread(Range(median=20, min=10.5, max=30.25, rounds=3)) == "10.5\u201330.2"


def test_differences_carry_their_sign() -> None:
    assert numbers.difference(12.5) == "+12.5"
    assert numbers.difference(-12.5) == "\u221212.5"
    assert numbers.difference_text(-50.25) == "\u221250.2 %"
    assert numbers.difference_text(100.0) == "+100 %"
    assert numbers.difference_text(0.0) == "0 %"
