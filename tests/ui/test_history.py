"""The course of a test in a few hundred points."""

from __future__ import annotations

import itertools

from harness.observe.counters import Counters
from harness.ui.history import FIELDS, POINTS, History
from tests.ui.pages import text


def counted(requests: float) -> dict[str, Counters]:
    page = text(requests=requests, reads=2 * requests, deserialize_failure=3, pairs=1)
    return {"a": Counters.parse(page)}


def test_a_point_has_the_figures_of_every_fleet() -> None:
    history = History()
    history.note(1.0, counted(10))
    [point] = history.after(-1)
    assert point["t"] == 1.0
    assert dict(zip(FIELDS, point["fleets"]["a"], strict=True)) == {
        "requests": 10,
        "source_reads": 20,
        "deserialize_failures": 3,
        "log_pairs": 1,
    }


def test_only_new_points_are_given() -> None:
    history = History()
    for second in range(5):
        history.note(second, counted(second))
    assert [point["t"] for point in history.after(2)] == [3, 4]


def test_a_long_test_is_thinned_out_and_keeps_its_whole_course() -> None:
    history = History()
    for second in range(10 * POINTS):
        history.note(second, {})
    points = [point["t"] for point in history.after(-1)]
    assert history.thinned > 0
    assert POINTS / 2 <= len(points) <= POINTS
    assert points[0] == 0
    assert points[-1] > 10 * POINTS - 2 * 2**history.thinned
    gaps = {after - before for before, after in itertools.pairwise(points)}
    assert gaps == {2**history.thinned}
