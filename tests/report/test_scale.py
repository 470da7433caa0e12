from hypothesis import given
from hypothesis import strategies as st

from harness.report.scale import LogScale, round_ticks


def test_bars_begin_at_1_or_below() -> None:
    assert LogScale.over([48.6, 2003], from_one=True).low == 0
    assert LogScale.over([0.31, 2003], from_one=True).low == -1


def test_lines_begin_at_the_decade_of_the_least() -> None:
    assert LogScale.over([48.6, 2003]).low == 1


def test_0_has_a_place_below_all_others() -> None:
    scale = LogScale.over([0, 48.6])
    assert scale.place(0) == 0 < scale.place(48.6)
    assert [label for _, label in scale.ticks()] == ["0", "10"]


def test_ticks_are_whole_decades_at_their_place() -> None:
    scale = LogScale.over([3, 2003], from_one=True)
    assert scale.ticks() == [(0, "1"), (1, "10"), (2, "100"), (3, "1,000")]
    assert [scale.place(10**n) for n in range(4)] == [0, 1, 2, 3]


@given(st.lists(st.floats(min_value=0, max_value=1e9), max_size=9))
def test_every_value_lies_on_the_scale(values: list[float]) -> None:
    scale = LogScale.over(values)
    assert scale.length >= 1
    assert all(0 <= scale.place(v) <= scale.length + 1e-9 for v in values)


@given(st.floats(min_value=1e-6, max_value=1e9))
def test_round_ticks_reach_the_top(top: float) -> None:
    ticks = round_ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] >= top * (1 - 1e-6)
    assert 2 <= len(ticks) <= 12


def test_round_ticks_of_nothing() -> None:
    assert round_ticks(0) == [0, 1]
    assert round_ticks(40.7) == [0, 10, 20, 30, 40, 50]
