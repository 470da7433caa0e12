"""A rollout as a plan: phases of one fleet, from one variant to another and back.

Each phase is an arm of the run, so that it has a window, a ledger and figures like any variant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.errors import UsageError
from harness.plan.plan import Arm, RolloutPlan, RunPlan, Slot, make_plan
from harness.scenario.schema import Scenario
from harness.targets.mixed import MixedTarget

_TWO = 2


def steps(replicas: int) -> list[tuple[str, int]]:
    """The phases of a rollout, each with the number of replicas that run the new variant.

    None, one, half, all, and back again. Phases that would be alike are one. Raises UsageError for
    a single replica, which never shares a Redis with another.
    """
    if replicas < _TWO:
        raise UsageError(
            f"A rollout of [{replicas}] replica has no moment at which two variants share a Redis. "
            "Give --replicas 2 or more."
        )
    forth = {0: "old", 1: "one", replicas // 2: "half", replicas: "all"}
    if replicas // 2 == 1:
        forth[1] = "one"
    up = sorted(forth)
    back = [(f"back-{forth[n]}", n) for n in reversed(up[:-1])]
    return [*((forth[n], n) for n in up), *back]


def phases(arms: Sequence[Arm], replicas: int, rollout: RolloutPlan) -> list[Arm]:
    """The phases as arms. Replicas change from the first to the last, and back in that order.

    Raises UsageError: see `steps` and `MixedTarget`.
    """
    names, targets = [arm.name for arm in arms], [arm.target for arm in arms]
    found = []
    for name, new in steps(replicas):
        first = 0 if not name.startswith("back-") else replicas - new
        # On the way back the replicas that changed first are the first to change again.
        order = tuple(int(first <= replica < first + new) for replica in range(replicas))
        title = f"{new} of {replicas} replicas run {rollout.new}, the others {rollout.old}"
        target = MixedTarget(names, targets, order, schema=rollout.schema)
        found.append(Arm(name, title, target))
    return found


def plan_rollout(
    scenario: Scenario, arms: Sequence[Arm], rollout: RolloutPlan, *, stack: str
) -> RunPlan:
    """Plan a rollout: one measured window for each phase, in order of time.

    Args:
        scenario: its population and load; changes, refusals and rounds are left out.
        arms: the old variant and the new one.
        rollout: which is which.
        stack: name of the stack.

    Raises:
        UsageError: a rollout of one replica, or of variants whose tables exclude each other.
        ScenarioError: the load is too thin for the population.
    """
    made = phases(arms, scenario.replicas, rollout)
    plan = make_plan(scenario, made, stack=stack)
    slots = (Slot(i, arm.name, "measured", 1) for i, arm in enumerate(made, start=1))
    return replace(plan, slots=tuple(slots), refusals=(), changing=(), rollout=rollout)
