"""What a plan makes of a scenario's faults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.authcache.variants import load_variants
from harness.domain.faults import FAULTS
from harness.errors import ScenarioError
from harness.plan.arms import reference_arm
from harness.plan.commands import commands
from harness.plan.plan import REFUSED, WAITED_S, Arm, RunPlan, make_plan
from harness.scenario.loader import load_scenario
from harness.scenario.schema import Scenario
from tests.plan.build import DescribedTarget

HOSTS = ("http://127.0.0.1:1", "http://127.0.0.1:2")
HANG = {"what": "redis-hang", "for_s": 3.0}
BLOCK = {"action": "key-block", "scope": "user"}


class Paced(DescribedTarget):
    pace_share = 0.5


def _plan(*faults: dict[str, Any], arms: list[Arm] | None = None, **window: Any) -> RunPlan:
    raw = load_scenario("faults-smoke").model_dump(by_alias=True)
    load = window.pop("load", {})
    raw = raw | window.pop("scenario", {})
    raw |= {
        "fault": list(faults),
        "faults": raw["faults"] | window,
        "load": raw["load"] | load,
    }
    known = load_variants()
    arms = arms or [reference_arm(known[name]) for name in ("recommended", "litellm_1_94")]
    return make_plan(Scenario.model_validate(raw), arms, stack="embedded")


def test_the_windows_of_a_fault_follow_one_another_and_each_is_followed_by_recovery() -> None:
    plan = _plan(HANG, {"what": "redis-flush", "for_s": 1.0})
    assert [(s.phase, s.fault, s.variant) for s in plan.slots] == [
        (phase, number, name)
        for number in (1, 2)
        for name in ("recommended", "litellm_1_94")
        for phase in ("faults", "recovered")
    ]
    assert plan.measured_phase == "faults"
    assert len({slot.name for slot in plan.slots}) == len(plan.slots)
    whole = _plan(HANG, alone=False)
    assert [slot.phase for slot in whole.slots[-4:]] == ["faults", "recovered"] * 2
    assert {"measured", "refusals"} <= {slot.phase for slot in whole.slots}
    assert whole.measured_phase == "measured"


def test_a_window_has_room_for_lead_fault_start_and_tail() -> None:
    plan = _plan(
        HANG,
        {"what": "replica-term", "for_s": 1.0, "new_after_s": 2.0, "at_s": 5.0},
        lead_s=2.0,
        tail_s=4.0,
        start_s=7.0,
    )
    assert (plan.planned_fault(1).at_s, plan.fault_s(1)) == (2.0, 2.0 + 3.0 + 4.0)
    # What a replica needs to end and to start comes on top.
    assert plan.fault_s(2) == 5.0 + 1.0 + 2.0 + 7.0 + 4.0
    assert plan.recovered_s == 2 * plan.ttl_s
    assert plan.load_s == 2 * (plan.fault_s(1) + plan.fault_s(2) + 2 * plan.recovered_s)


@pytest.mark.parametrize("what", sorted(FAULTS))
def test_with_a_release_a_fault_lasts_until_memory_has_expired_and_25_s_longer(what: str) -> None:
    extra = {"delay_ms": 5.0} if what.endswith("-slow") else {}
    extra = {"skew_s": 5.0} if what == "replica-clock" else extra
    release = Arm("litellm==1.92.2", "", Paced())
    fault = {"what": what, "for_s": 3.0, **extra}
    plan = _plan(fault, arms=[release], load={"users": 2000})
    hides = what in ("redis-hang", "redis-blackhole", "postgres-hang")
    assert plan.planned_fault(1).for_s == (plan.ttl_s + WAITED_S if hides else 3.0)
    long = _plan(fault | {"for_s": 28.0}, arms=[release], load={"users": 2000})
    assert long.planned_fault(1).for_s == 28.0


def test_users_must_suffice_for_every_request_that_a_fault_may_hold() -> None:
    plan = _plan(HANG)
    needed = (plan.scenario.load.rate_per_s + plan.probes_per_s(1)) * (3.0 + 4.0)
    assert _plan(HANG, load={"users": int(needed)}).slots
    with pytest.raises(
        ScenarioError, match=rf"has \[{needed - 1:.0f}\] users.*hold \[{needed:.0f}\]"
    ):
        _plan(HANG, load={"users": int(needed) - 1})
    # One that happens at one moment holds a request for its time-out at most.
    flush = {"what": "redis-flush", "for_s": 3.0}
    assert _plan(flush, load={"users": int(needed) - 1}).slots


@pytest.mark.parametrize(
    ("faults", "window", "message"),
    [
        ([HANG, HANG], {}, r"\[redis-hang\] is there \[2\] times"),
        ([HANG], {"window_s": 7.9}, r"does not fit its window of \[7.9\] s.*window_s to 8,"),
        (
            [HANG],
            {"arms": [Arm("memory_only", "", DescribedTarget(uses_redis=False))]},
            r"touches none of the variants: \[memory_only\]: it uses no Redis",
        ),
    ],
)
def test_a_fault_that_cannot_be_planned_is_refused_before_anything_starts(
    faults: list[dict[str, Any]], window: dict[str, Any], message: str
) -> None:
    with pytest.raises(ScenarioError, match=message):
        _plan(*faults, **window)


def test_a_variant_that_a_fault_cannot_touch_gets_no_window_of_it() -> None:
    deaf = {"what": "redis-unsubscribe", "for_s": 1.0}
    plan = _plan(deaf, HANG)
    assert plan.spared(1) == {
        "litellm_1_94": "by its code no worker hears of a change from another"
    }
    assert [(s.number, s.fault, s.variant) for s in plan.slots if s.phase == "faults"] == [
        (1, 1, "recommended"),
        (3, 2, "recommended"),
        (5, 2, "litellm_1_94"),
    ]
    no_redis = Arm("memory_only", "", DescribedTarget(uses_redis=False))
    plan = _plan(HANG, arms=[no_redis, reference_arm(load_variants()["recommended"])])
    assert {slot.variant for slot in plan.slots} == {"recommended"}
    # Where it is not known whether it listens, the fault must show it.
    assert _plan(deaf, arms=[Arm("a", "", DescribedTarget())]).spared(1) == {}


def test_a_fault_that_just_fits_its_window_is_planned() -> None:
    assert _plan(HANG, window_s=8.0).fault_s(1) == 8.0


def test_poison_of_two_kinds_is_two_faults() -> None:
    kinds = [{"what": "redis-poison", "for_s": 1.0, "entry": e} for e in ("empty", "large")]
    assert [fault.name for fault in _plan(*kinds).faults] == [
        "redis-poison-empty",
        "redis-poison-large",
    ]


def test_each_fault_has_keys_of_its_own_that_change_in_its_middle() -> None:
    two = [BLOCK, {"action": "team-limits", "scope": "member"}]
    plan = _plan(HANG | {"replica": 1}, {"what": "redis-flush", "for_s": 1.0}, changes=two)
    first, second = plan.fault_changes(1), plan.fault_changes(2)
    assert [(c.number, c.action, c.at_s) for c in first] == [
        (1, "key-block", 3.5),
        (2, "team-limits", 3.5),
    ]
    assert [c.number for c in second] == [3, 4]
    keys = [c.key for c in (*first, *second)]
    assert tuple(keys) == plan.changing
    assert [key.index for key in plan.all_keys] == list(range(len(plan.all_keys)))
    # Not the replica that the fault works on.
    assert ({c.handler for c in first}, {c.handler for c in second}) == ({0}, {1})


def test_changes_of_faults_come_after_those_of_windows_of_changes() -> None:
    plan = _plan(HANG, alone=False, changes=[BLOCK], scenario={"change": [BLOCK, BLOCK]})
    assert [c.number for c in plan.planned_changes(1)] == [1, 2]
    (change,) = plan.fault_changes(1)
    assert change.number == 3
    assert change.key == plan.changing[-1]


def test_the_load_of_a_fault_is_the_ordinary_one_with_probes_beside_it() -> None:
    plan = _plan(HANG, balancer="probed", probe_after_s=1.5, changes=[BLOCK])
    load = commands(plan, plan.slots[0], HOSTS, Path("keys"), Path("samples"))
    command = load.window
    assert load.warmup is None
    assert command.mix == {"user": 1.0, "member": 1.0}
    assert (command.rate_per_s, command.duration_s) == (50.0, plan.fault_s(1))
    assert command.beside
    assert {plan.all_keys[index].kind for index in command.probe_keys} == {
        "change:key-block",
        *REFUSED,
    }
    assert (command.balancer, command.drop_after_s) == ("probed", 1.5)
    assert command.health_path == "/health/readiness"
    recovered = commands(plan, plan.slots[1], HOSTS, Path("keys"), Path("samples")).window
    assert (recovered.probe_keys, recovered.duration_s) == ([], plan.recovered_s)
    other = commands(plan, plan.slots[2], HOSTS, Path("keys"), Path("samples")).window
    assert other.seed == command.seed != recovered.seed, "the same arrivals in every variant"


def test_probes_add_at_most_half_of_the_load() -> None:
    plan = _plan(HANG, changes=[BLOCK], probes_per_s=100.0, load={"users": 2000})
    keys, every_s = plan.fault_probes(1)
    assert len(keys) * 2 / every_s == pytest.approx(23.8), "half of 50, and out of step"
    few, every_s = _plan(HANG, changes=[BLOCK], probes_per_s=0.5).fault_probes(1)
    assert (few, every_s) == (keys, 2.0)
