from __future__ import annotations

import pytest

from benchmarks.arms import CONNECTIONS, FLOOR, FULL, QUICK, Sizes, arms
from benchmarks.bars import BARS, Threshold, judge
from benchmarks.options import GROUPS
from harness.authcache.variants import load_variants

LIMITS = {
    "memory": 1.8,
    "redis": 8.0,
    "postgres": 16.0,
    "metrics": 1.10,
    "encode": 0.40,
    "decode": 0.50,
    "start": 5.0,
    "memory_held": 800.0,
}


def figures(bar: Threshold, measured: float) -> dict[str, float]:
    """A round in which a bar's figure, or its ratio, has this value."""
    return {bar.figure: measured * 7.0, bar.over: 7.0} if bar.over else {bar.figure: measured}


def test_the_limits_are_those_that_were_agreed() -> None:
    assert {bar.name: bar.limit for bar in BARS} == LIMITS
    assert {bar.group for bar in BARS} == set(GROUPS)


@pytest.mark.parametrize("bar", BARS, ids=lambda bar: bar.name)
def test_a_bar_is_held_up_to_its_limit_and_missed_above_it(bar: Threshold) -> None:
    (at,) = judge([figures(bar, bar.limit)] * 5)
    (above,) = judge([figures(bar, bar.limit * 1.001)] * 5)

    assert at.bar is bar
    assert at.state == "held"
    assert above.state == "missed"


@pytest.mark.parametrize(
    ("measured", "state"),
    [
        ((1.6, 1.6, 1.7, 1.7, 1.7), "held"),
        ((1.6, 1.6, 1.7, 1.7, 1.9), "undecided"),  # the median is within, its interval is not
        ((1.9, 1.9, 1.9, 1.9, 1.7), "undecided"),
        ((1.9, 1.9, 1.9, 2.5, 1.9), "missed"),
        ((1.6, 1.6, 1.7, 1.7, 1.7, 1.6, 1.6, 1.9), "held"),  # one of eight may stray
        ((1.6, 1.6, 1.6, 1.6), "undecided"),  # four rounds prove nothing
    ],
)
def test_the_interval_of_the_median_decides(measured: tuple[float, ...], state: str) -> None:
    (judged,) = judge([figures(BARS[0], value) for value in measured])

    assert judged.state == state


def test_what_was_not_measured_is_not_judged() -> None:
    assert judge([]) == []
    assert judge([{"memory.cpu_us": 1.0}]) == []


def test_the_distance_to_the_floor() -> None:
    start = next(bar for bar in BARS if bar.name == "start")
    encode = next(bar for bar in BARS if bar.name == "encode")

    (with_floor,) = judge([{start.figure: 3.0, start.floor_figure: 1.5}])
    (floor_missing,) = judge([{start.figure: 3.0}])
    (no_floor,) = judge([figures(encode, 0.2)])

    assert (with_floor.floor, with_floor.above_floor) == (1.5, 2.0)
    assert floor_missing.above_floor is None
    assert no_floor.above_floor is None


@pytest.mark.parametrize("bar", [bar for bar in BARS if bar.group == "requests"])
def test_every_bar_on_requests_is_measured(bar: Threshold) -> None:
    names = {f"{arm.name}.cpu_us" for arm in arms(FULL)}

    assert {bar.figure, bar.over} <= names


def test_arms_are_what_they_are_called() -> None:
    made = arms(QUICK)
    known = load_variants()

    assert len({arm.name for arm in made}) == len(made)
    assert [arm.name for arm in made if not arm.variant] == [FLOOR]
    assert all(arm.variant in known for arm in made if arm.variant)
    assert {arm.tier for arm in made} == {"", "memory", "redis", "postgres"}
    assert [arm.name for arm in made if not arm.metrics] == ["memory_uncounted"]


@pytest.mark.parametrize("sizes", [FULL, QUICK])
def test_every_connection_has_as_many_requests_as_the_next(sizes: Sizes) -> None:
    assert all(arm.requests % CONNECTIONS == 0 for arm in arms(sizes))
