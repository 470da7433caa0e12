"""The phases of a rollout: who runs what, in which order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.experiment.pace import _shares
from harness.plan.plan import Arm, RolloutPlan
from harness.plan.rollout import phases, plan_rollout, steps
from harness.scenario.loader import Changes, load_scenario
from harness.targets.base import Database
from harness.targets.schema.database import LiteLLMDatabase
from tests.stack.fakes import FakeTarget

ROLLOUT = RolloutPlan("a", "b")


@dataclass
class Paced(FakeTarget):
    pace_share: float | None = 0.6

    @property
    def database(self) -> Database:
        return LiteLLMDatabase()


ARMS = [Arm("a", "A", Paced()), Arm("b", "B", Paced())]


def test_none_one_half_all_and_back() -> None:
    assert steps(8) == [
        ("old", 0),
        ("one", 1),
        ("half", 4),
        ("all", 8),
        ("back-half", 4),
        ("back-one", 1),
        ("back-old", 0),
    ]


@pytest.mark.parametrize("replicas", [2, 3])
def test_phases_that_would_be_alike_are_one(replicas: int) -> None:
    names = [name for name, _ in steps(replicas)]
    assert names == ["old", "one", "all", "back-one", "back-old"]


def test_a_rollout_of_one_replica_is_refused() -> None:
    with pytest.raises(UsageError, match="--replicas 2"):
        steps(1)


@given(replicas=st.integers(2, 64))
def test_each_phase_changes_some_replicas_and_each_replica_changes_twice(replicas: int) -> None:
    order = [arm.target.members for arm in phases(ARMS, replicas, ROLLOUT)]

    assert order[0] == order[-1] == ("a",) * replicas
    for before, after in pairwise(order):
        changed = {(old, new) for old, new in zip(before, after, strict=True) if old != new}
        assert len(changed) == 1, "replicas change in one direction at a time"
    for replica in range(replicas):
        runs = [members[replica] for members in order]
        assert sum(old != new for old, new in pairwise(runs)) == 2


def test_the_replicas_that_changed_first_change_back_first() -> None:
    order = [arm.target.members for arm in phases(ARMS, 4, ROLLOUT)]

    assert order[1] == ("b", "a", "a", "a")
    assert order[2] == ("b", "b", "a", "a")
    assert order[4] == ("a", "a", "b", "b")
    assert order[5] == ("a", "a", "a", "b")


def test_the_phases_share_one_fleet_and_have_a_window_each() -> None:
    scenario = load_scenario("rollout", Changes(replicas=4))
    plan = plan_rollout(scenario, ARMS, ROLLOUT, stack="embedded")

    assert [slot.variant for slot in plan.slots] == [name for name, _ in steps(4)]
    assert {slot.phase for slot in plan.slots} == {"measured"}
    assert {plan.fleet(arm).name for arm in plan.arms} == {"a+b"}
    assert list(plan.fleets()) == ["a+b"]
    assert plan.all_keys == plan.keys


def test_the_pace_is_found_once_for_all_phases() -> None:
    scenario = load_scenario("rollout", Changes(replicas=4))
    plan = plan_rollout(scenario, ARMS, ROLLOUT, stack="embedded")

    assert _shares(plan) == {"old": 0.6}
