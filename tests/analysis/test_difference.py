"""The rule of the twin test."""

from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.difference import (
    LEAST_EVENTS,
    LIMIT_PERCENT,
    ComparisonOutcome,
    RoundedFigure,
    compare,
    difference_percent,
)

VALUES = st.just(0.0) | st.floats(1e-6, 1e9)
ROUNDS = st.lists(VALUES, min_size=0, max_size=5).map(tuple)
PER_UNIT = st.none() | st.floats(0.001, 1e6)
FIGURES = st.builds(RoundedFigure, VALUES, PER_UNIT, ROUNDS)
DECIDED = {ComparisonOutcome.SAME, ComparisonOutcome.NOISE, ComparisonOutcome.DIFFERS}


def apart(low: float, high: float) -> tuple[RoundedFigure, RoundedFigure]:
    """Two figures whose rounds do not meet, of so many events that they cannot be few."""
    return RoundedFigure(low, 1e9, (low, low)), RoundedFigure(high, 1e9, (high, high))


@given(FIGURES)
def test_a_figure_is_the_same_as_itself(figure: RoundedFigure) -> None:
    assert compare(figure, figure).outcome is ComparisonOutcome.SAME


@given(FIGURES, FIGURES)
def test_changing_sides_changes_the_sign_only(one: RoundedFigure, other: RoundedFigure) -> None:
    there, back = compare(one, other), compare(other, one)
    assert there.outcome is back.outcome
    assert there.percent is not None
    assert back.percent == -there.percent


@given(VALUES, VALUES)
def test_percent_is_bounded_and_has_the_release_s_sign(twin: float, release: float) -> None:
    percent = difference_percent(twin, release)
    assert -100 <= percent <= 100
    assert (percent > 0) == (release > twin)


@given(VALUES.filter(bool))
def test_nothing_against_something_is_all_of_it(value: float) -> None:
    assert difference_percent(0, value) == 100
    assert difference_percent(value, 0) == -100
    assert difference_percent(0, 0) == 0


@given(FIGURES, FIGURES)
def test_a_difference_counts_only_beyond_the_limit(
    one: RoundedFigure, other: RoundedFigure
) -> None:
    found = compare(one, other)
    assert found.outcome in DECIDED
    assert found.percent is not None
    assert (found.outcome is ComparisonOutcome.SAME) == (abs(found.percent) <= LIMIT_PERCENT)


@given(VALUES, st.floats(0.001, 1e6), st.floats(1, 100), st.floats(0, 0.999))
def test_few_events_never_differ(twin: float, some: float, more: float, part: float) -> None:
    release = twin + part * LEAST_EVENTS / some
    found = compare(RoundedFigure(twin, some), RoundedFigure(release, some * more))
    assert found.outcome is not ComparisonOutcome.DIFFERS
    assert (
        compare(RoundedFigure(twin, some * more), RoundedFigure(release, some)).outcome
        is found.outcome
    )


@given(st.floats(1, 1e6), st.floats(1.1, 100), st.floats(1, 1e3), st.floats(1, 100))
def test_more_requests_never_hide_a_difference(
    low: float, factor: float, some: float, more: float
) -> None:
    events = some * LEAST_EVENTS / (low * factor - low)
    for requests in (events * 1.001, events * 1.001 * more):
        twin, release = RoundedFigure(low, requests), RoundedFigure(low * factor, requests)
        assert compare(twin, release).outcome is ComparisonOutcome.DIFFERS


@given(
    st.floats(0, 1e6),
    st.floats(1.1, 100),
    st.lists(VALUES, min_size=2, max_size=5),
    st.lists(VALUES, min_size=2, max_size=5),
    st.lists(VALUES, max_size=3),
)
def test_wider_ranges_never_make_a_difference(
    low: float, factor: float, ours: list[float], theirs: list[float], outliers: list[float]
) -> None:
    ranks = (ComparisonOutcome.DIFFERS, ComparisonOutcome.NOISE, ComparisonOutcome.SAME)
    release = RoundedFigure(low * factor, 1e9, tuple(theirs))
    before = compare(RoundedFigure(low, 1e9, tuple(ours)), release).outcome
    after = compare(RoundedFigure(low, 1e9, (*ours, *outliers)), release).outcome
    assert ranks.index(after) >= ranks.index(before)


def test_the_limit_is_five_percent_of_the_larger() -> None:
    assert compare(*apart(95, 100)).outcome is ComparisonOutcome.SAME
    assert compare(*apart(94.9, 100)).outcome is ComparisonOutcome.DIFFERS
    assert compare(*apart(100, 94.9)).outcome is ComparisonOutcome.DIFFERS


def test_ten_events_are_enough() -> None:
    """1,000 requests each: a figure per 1,000 is its number of events."""
    assert compare(RoundedFigure(0, 1), RoundedFigure(9.9, 1)).outcome is ComparisonOutcome.NOISE
    assert compare(RoundedFigure(0, 1), RoundedFigure(10, 1)).outcome is ComparisonOutcome.DIFFERS
    # Half as many requests on one side halve the events behind the difference.
    assert compare(RoundedFigure(0, 1), RoundedFigure(10, 0.5)).outcome is ComparisonOutcome.NOISE


def test_ranges_that_meet_are_noise() -> None:
    twin = RoundedFigure(100, 1000, (90, 100, 120))
    assert (
        compare(twin, RoundedFigure(150, 1000, (120, 150, 160))).outcome is ComparisonOutcome.NOISE
    )
    assert (
        compare(twin, RoundedFigure(150, 1000, (121, 150, 160))).outcome
        is ComparisonOutcome.DIFFERS
    )


def test_one_round_has_no_range() -> None:
    assert (
        compare(RoundedFigure(100, 1000, (100,)), RoundedFigure(150, 1000, (100,))).outcome
        is ComparisonOutcome.DIFFERS
    )


def test_a_mean_size_has_no_noise() -> None:
    assert compare(RoundedFigure(733), RoundedFigure(760)).outcome is ComparisonOutcome.SAME
    assert compare(RoundedFigure(733), RoundedFigure(780)).outcome is ComparisonOutcome.DIFFERS


def test_words_differ_or_do_not() -> None:
    assert compare("healthy", "healthy").outcome is ComparisonOutcome.SAME
    assert compare("healthy", "broken").outcome is ComparisonOutcome.DIFFERS
    assert compare("healthy", "broken").percent is None


def test_what_one_side_has_alone_differs() -> None:
    for pair in ((None, RoundedFigure(733)), (RoundedFigure(733), None), (None, "broken")):
        assert compare(*pair).outcome is ComparisonOutcome.DIFFERS
        assert compare(*pair).percent is None
    assert compare(None, None).outcome is ComparisonOutcome.SAME
