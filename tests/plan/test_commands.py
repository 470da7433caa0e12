"""What docs/method.md promises of the load of a run."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.authcache.variants import load_variants
from harness.domain.window import WindowCommand
from harness.load.plan import Arrival, open_plan
from harness.plan.arms import reference_arm
from harness.plan.commands import SlotCommands, commands
from harness.plan.plan import RunPlan, Slot, make_plan
from harness.scenario.schema import Scenario

NAMES = ("litellm_1_84", "recommended")
HOSTS = ("http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3")
KEYS = Path("runs/one/keys.json")
SAMPLES = Path("runs/one/samples")


def _plan(*, seed: int = 42, rounds: int = 4, **load: Any) -> RunPlan:
    scenario = Scenario.model_validate(
        {
            "name": "made-up",
            "title": "Made up",
            "replicas": 3,
            "ttl_s": 5.0,
            "time_scale": 0.4,
            "rounds": rounds,
            "seed": seed,
            "variants": list(NAMES),
            "population": {"team": 2, "user": 1},
            "limits": {"late_ms": 125.0},
            "load": {
                "rate_per_s": 90,
                "mix": {"team": 2, "user": 1},
                "users": 7,
                "window_ttls": 3,
                "warmup_ttls": 2,
                "timeout_s": 4.0,
                "ramp_s": 0.5,
                "zipf": 0.8,
            }
            | load,
        }
    )
    return make_plan(
        scenario, [reference_arm(load_variants()[name]) for name in NAMES], stack="embedded"
    )


def test_regular_arrivals_of_a_key_are_equally_far_apart_and_begin_apart() -> None:
    plan = _plan(arrivals="regular", zipf=0.0, key_weights=[])
    for slot, load in _all(plan):
        if slot.phase != "measured":
            continue
        assert load.warmup is not None
        for command in (load.warmup, load.window):
            of_key: dict[int, list[float]] = {}
            for one in command.single_probes:
                assert 0 <= one.at_s < command.duration_s
                of_key.setdefault(one.key, []).append(one.at_s)
            assert of_key.keys() == {key.index for key in plan.keys}
            for moments in of_key.values():
                gaps = [b - a for a, b in itertools.pairwise(moments)]
                assert min(gaps) == pytest.approx(max(gaps))
                assert max(gaps) == pytest.approx(len(plan.keys) / 90)
                assert moments[0] <= command.stagger_s + max(gaps)
            begins = sorted(moments[0] for moments in of_key.values())
            apart_s = begins[-1] - begins[0]
            assert apart_s > 3 * max(gaps) if command is load.warmup else apart_s < max(gaps)
            hosts = Counter(one.replica for one in command.single_probes)
            assert max(hosts.values()) - min(hosts.values()) <= len(of_key)
        planned = plan.scenario.load.rate_per_s * load.window.duration_s
        assert len(load.window.single_probes) == pytest.approx(planned, abs=len(plan.keys))


def test_variants_of_a_round_meet_the_same_regular_arrivals_and_rounds_do_not() -> None:
    plan = _plan(arrivals="regular")
    found: dict[int, list[object]] = {}
    for slot, load in _all(plan):
        if slot.phase == "measured":
            found.setdefault(slot.round, []).append(load.window.single_probes)
    assert all(one == other for one, other in found.values())
    assert found[1] != found[2]


def _all(plan: RunPlan) -> list[tuple[Slot, SlotCommands]]:
    return [(slot, commands(plan, slot, HOSTS, KEYS, SAMPLES)) for slot in plan.slots]


def _arrivals(plan: RunPlan, command: WindowCommand) -> list[Arrival]:
    keys: dict[str, list[int]] = {}
    for key in plan.refusals if command.refusals else plan.keys:
        keys.setdefault(key.seen_scope, []).append(key.index)
    return open_plan(
        command.mix,
        keys,
        rate_per_s=command.rate_per_s,
        duration_s=command.duration_s,
        replicas=len(command.hosts),
        seed=command.seed,
        weights=command.key_weights,
        stagger_s=command.stagger_s,
    )


def test_all_variants_of_a_round_get_the_same_arrivals_and_no_other_stretch_gets_them() -> None:
    plan = _plan()
    heard: dict[tuple[str, int], list[list[Arrival]]] = {}
    for slot, load in _all(plan):
        heard.setdefault((slot.phase, slot.round), []).append(_arrivals(plan, load.window))
        if load.warmup is not None:
            heard.setdefault(("warm-up", slot.round), []).append(_arrivals(plan, load.warmup))
    assert len(heard) == 1 + 2 * 4 + 1
    for arrivals in heard.values():
        assert len(arrivals) == len(NAMES)
        assert all(one == arrivals[0] for one in arrivals)
    # Not even a part of one in another: they differ from the first ten arrivals on.
    starts = [tuple(arrivals[0][:10]) for arrivals in heard.values()]
    assert len(set(starts)) == len(starts)


def test_seeds_are_those_of_the_runs_on_record() -> None:
    """A change here would make the arrivals of every published run another."""
    seeds = [
        (slot.phase, slot.round, load.warmup and load.warmup.seed, load.window.seed)
        for slot, load in _all(_plan(rounds=2))
        if slot.variant == "recommended"
    ]
    assert seeds == [
        ("cold_fill", 0, None, 420_000),
        ("measured", 1, 420_011, 420_010),
        ("measured", 2, 420_021, 420_020),
        ("refusals", 0, None, 420_002),
    ]


def test_no_two_stretches_of_a_long_run_share_a_seed_nor_do_runs_of_neighbouring_seeds() -> None:
    seeds: list[int] = []
    for seed in (42, 43):
        plan = _plan(seed=seed, rounds=100)
        for slot, load in _all(plan):
            if slot.variant == "recommended":
                seeds += [c.seed for c in (load.warmup, load.window) if c is not None]
    assert len(set(seeds)) == len(seeds) == 2 * 202


def test_a_cold_fill_lasts_a_ttl_and_has_no_warm_up() -> None:
    for slot, load in _all(_plan()):
        if slot.phase == "cold_fill":
            assert load.window.duration_s == 2.0
            assert load.warmup is None


def test_a_window_lasts_whole_ttls_and_its_warm_up_a_part_of_one_longer() -> None:
    measured = [(slot, load) for slot, load in _all(_plan()) if slot.phase == "measured"]
    assert len(measured) == 8
    phases: dict[int, set[float]] = {}
    for slot, load in measured:
        assert load.window.duration_s == 6.0
        assert load.warmup is not None
        assert 4.0 <= load.warmup.duration_s < 6.0
        phases.setdefault(slot.round, set()).add(load.warmup.duration_s)
    assert all(len(one) == 1 for one in phases.values()), "the same for all variants of a round"
    assert len(set.union(*phases.values())) == 4, "another in each round"


def test_the_phases_of_many_rounds_cover_a_ttl_evenly() -> None:
    plan = _plan(rounds=100)
    phases = sorted(
        plan.warmup_s(slot) / plan.ttl_s - 2
        for slot in plan.slots
        if (slot.variant, slot.phase) == (NAMES[0], "measured")
    )
    assert all(abs(phase - i / 100) < 0.15 for i, phase in enumerate(phases)), phases


def test_the_keys_of_a_warm_up_begin_one_by_one() -> None:
    """Else all objects of a cold fleet would be read, and expire, together."""
    for _, load in _all(_plan()):
        assert load.window.stagger_s == 0
        assert load.warmup is None or load.warmup.stagger_s == 2.0


def test_without_warm_up_ttls_there_is_none() -> None:
    assert all(load.warmup is None for _, load in _all(_plan(warmup_ttls=0)))
    assert any(load.warmup is not None for _, load in _all(_plan(warmup_ttls=1)))


def test_a_window_and_its_warm_up_keep_their_samples() -> None:
    plan = _plan()
    slot = next(slot for slot in plan.slots if slot.phase == "measured")
    load = commands(plan, slot, HOSTS, KEYS, SAMPLES)
    assert load.warmup is not None
    assert load.window.window == slot.name == "03-measured-litellm_1_84"
    assert load.window.samples_file == f"runs/one/samples/{slot.name}.csv.gz"
    assert load.warmup.window == f"{slot.name}-warmup"
    assert load.warmup.samples_file == f"runs/one/samples/{slot.name}-warmup.csv.gz"


@pytest.mark.parametrize("phase", ["warmup", "window"])
def test_a_command_says_what_the_scenario_does(phase: str) -> None:
    plan = _plan()
    slot = next(slot for slot in plan.slots if slot.phase == "measured")
    command = getattr(commands(plan, slot, HOSTS, KEYS, SAMPLES), phase)
    common = {"window", "duration_s", "seed", "samples_file", "stagger_s"}
    assert command.model_dump(exclude=common) == {
        "command": "window",
        "hosts": list(HOSTS),
        "keys_file": "runs/one/keys.json",
        "model": "open",
        "mix": {"team": 2.0, "user": 1.0},
        "key_weights": [1.0, 4.0],
        "zipf": 0.8,
        "refusals": False,
        "users": 7,
        "rate_per_s": 90.0,
        # A ramp is a time of the scenario's, so it scales.
        "ramp_s": 0.2,
        "late_ms": 125.0,
        "timeout_s": 4.0,
        "probe_keys": [],
        "probe_every_s": 0.0,
        "single_probes": [],
        "workers": 1,
        "beside": False,
        "balancer": "blind",
        "drop_after_s": 0.0,
        "health_path": "",
    }


def test_refusals_are_driven_each_equally_often_and_long_enough() -> None:
    plan = _plan()
    found = [load for slot, load in _all(plan) if slot.phase == "refusals"]
    assert len(found) == len(NAMES)
    for load in found:
        assert load.warmup is None
        assert load.window.refusals
        assert (load.window.key_weights, load.window.zipf) == ([], 0.0), "not by popularity"
        # Keys without a row belong to no scope that a replica could see.
        assert load.window.mix == {"team": 9, "user": 8, "unknown": 2}
        assert sum(load.window.mix.values()) == len(plan.refusals)
        # 30 requests of each of 19 keys take 6.3 s at 90 a second: more than a TTL of 2 s.
        assert load.window.duration_s == 2.0
    fast = _plan(rate_per_s=570)
    assert fast.refusals_s == pytest.approx(1.0)
    assert _plan(model="closed", rate_per_s=0.0).refusals_s == 2.0


def test_a_closed_load_stays_one() -> None:
    plan = _plan(model="closed", rate_per_s=0.0)
    for _, load in _all(plan):
        assert (load.window.model, load.window.rate_per_s) == ("closed", 0.0)


def test_the_rate_is_that_of_the_plan_as_it_is_driven() -> None:
    plan = _plan()
    slower = plan.scenario.load.model_copy(update={"rate_per_s": 60.0})
    plan = replace(plan, scenario=plan.scenario.model_copy(update={"load": slower}))
    assert {load.window.rate_per_s for _, load in _all(plan)} == {60.0}


def test_a_window_of_changes_probes_what_it_changes_on_every_worker() -> None:
    plan = _plan()
    changes = [{"action": "key-block", "scope": "team"}, {"action": "key-new", "scope": "user"}]
    raw = plan.scenario.model_dump(by_alias=True)
    scenario = Scenario.model_validate(raw | {"change": changes, "workers": 2})
    plan = make_plan(scenario, plan.arms, stack="embedded")
    slots = [slot for slot in plan.slots if slot.phase == "changes"]
    found = [commands(plan, slot, HOSTS, KEYS, SAMPLES) for slot in slots]
    assert [load.warmup for load in found] == [None, None]
    one, other = (load.window for load in found)
    assert one.probe_keys == [key.index for key in plan.changing]
    # At most eight in a TTL of 2 s, of two keys on two workers of each of three replicas.
    assert one.probe_every_s == pytest.approx(2 / 7.38)
    assert (one.workers, one.rate_per_s) == (2, 44.28)
    assert one.duration_s == pytest.approx(10.0)
    same = {"window": one.window, "samples_file": one.samples_file}
    assert other.model_copy(update=same) == one, "the same for all variants"
    load = scenario.load.model_copy(update={"rate_per_s": 40.0})
    slow = replace(plan, scenario=scenario.model_copy(update={"load": load}))
    driven = commands(slow, slots[0], HOSTS, KEYS, SAMPLES).window
    assert driven.probe_every_s == pytest.approx(2 / 6.38)
    assert driven.rate_per_s == 38.28, "no more than the load's rate of 40"
    balanced = commands(plan, slots[0], HOSTS[:1], KEYS, SAMPLES).window
    assert (balanced.workers, balanced.rate_per_s) == (6, 44.28)


IDLE = {"action": "key-block", "scope": "team", "handler": 2, "at_ttls": 1.5, "idle_ttls": 2.25}


def _idle(*changes: dict[str, Any], workers: int = 1) -> WindowCommand:
    plan = _plan()
    raw = plan.scenario.model_dump(by_alias=True)
    scenario = Scenario.model_validate(raw | {"change": changes, "workers": workers})
    plan = make_plan(scenario, plan.arms, stack="embedded")
    slot = next(slot for slot in plan.slots if slot.phase == "changes")
    return commands(plan, slot, HOSTS, KEYS, SAMPLES).window


@pytest.mark.parametrize(("asks", "replica"), [("handler", 2), ("others", 0)])
def test_an_idle_key_is_asked_for_on_every_replica_before_the_change_and_once_after(
    asks: str, replica: int
) -> None:
    command = _idle(IDLE | {"idle_asks": asks}, {"action": "key-new", "scope": "user"})
    *warm, last = command.single_probes
    idle = last.key
    assert command.probe_keys != [idle]
    assert len(command.probe_keys) == 1
    assert {probe.key for probe in warm} == {idle}
    assert [probe.replica for probe in warm] == [(replica + n) % 3 for n in (1, 2, 3)]
    # The change is sent 3 s into the window; the TTL is 2 s.
    assert all(2.5 <= probe.at_s <= 2.75 for probe in warm)
    assert last.replica == replica
    assert last.at_s == pytest.approx(3.0 + 2.25 * 2)
    assert last.at_s < command.duration_s


def test_workers_that_share_an_address_are_asked_more_often_before_the_change() -> None:
    *warm, last = _idle(IDLE, workers=2).single_probes
    assert Counter(probe.replica for probe in warm) == dict.fromkeys(range(3), 6)
    assert max(probe.at_s for probe in warm) < 3.0 < last.at_s


def test_a_window_of_idle_keys_alone_has_no_regular_probe() -> None:
    command = _idle(IDLE)
    assert (command.probe_keys, command.rate_per_s) == ([], 0.0)
    assert len(command.single_probes) == 4


def test_a_worker_is_asked_for_an_idle_key_within_the_window() -> None:
    with pytest.raises(ValueError, match=r"idle_ttls is \[4\], and changes are watched for 3 TTLs"):
        _idle(IDLE | {"idle_ttls": 4.0})
