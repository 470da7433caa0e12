from __future__ import annotations

from benchmarks.step import Figures, in_turn, least


class Idle:
    def __init__(self, name: str, shots: int = 1) -> None:
        self.name = name
        self.shots = shots

    async def measure(self) -> Figures:
        return {}


def order(number: int, *steps: Idle) -> str:
    return "".join(step.name for step in in_turn(steps, number))


def test_every_second_round_goes_the_other_way() -> None:
    steps = [Idle("a"), Idle("b"), Idle("c")]

    assert [order(number, *steps) for number in (1, 2, 3)] == ["abc", "cba", "abc"]
    assert order(1) == ""


def test_several_shots_take_turns_there_and_back() -> None:
    steps = [Idle("a", shots=3), Idle("b", shots=3), Idle("c")]

    assert order(1, *steps) == "abcbaab"
    assert order(2, *steps) == "cbaabba"


def test_the_shot_that_took_the_least_cpu_counts_whole() -> None:
    shots = [{"cpu_us": 3.0, "other": 1.0}, {"cpu_us": 2.0, "other": 9.0}]

    assert least(shots) == {"cpu_us": 2.0, "other": 9.0}
    assert least([{"other": 5.0}]) == {"other": 5.0}
