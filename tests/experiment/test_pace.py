from __future__ import annotations

from pathlib import Path

import pytest

from harness.authcache.variants import load_variants
from harness.errors import InvalidRunError
from harness.experiment.arms import reference_arm
from harness.experiment.pace import SHARE, at_rate, decide
from harness.experiment.plan import Arm, RunPlan, make_plan
from harness.scenario.loader import Changes, load_scenario
from harness.targets.litellm.environment import Environment, Record
from harness.targets.litellm.releases import parse_release
from harness.targets.litellm.target import LiteLLMTarget
from tests.experiment.silence import Silence


def _release_arm(name: str) -> Arm:
    release = parse_release(name)
    record = Record(
        version=release.version,
        python="3.11.0",
        recorded_pins=True,
        packages={},
        installed_bytes=0,
        seconds=0.0,
    )
    target = LiteLLMTarget(release, Environment(Path("nowhere"), record))
    return Arm(release.name, release.title, target, takes_premises=False)


def _plan(*names: str) -> RunPlan:
    scenario = load_scenario("issue-27874", Changes(variants=(*names, "recommended")))
    arms = [_release_arm(name) for name in names]
    arms.append(reference_arm(load_variants()["recommended"]))
    return make_plan(scenario, arms, stack="embedded")


def test_the_slowest_release_sets_the_rate() -> None:
    plan = _plan("litellm==1.84.0rc1", "litellm==1.94.0")
    progress = Silence()
    paced = decide(plan, {"litellm==1.84.0rc1": 130.0, "litellm==1.94.0": 100.0}, progress)
    assert paced.scenario.load.rate_per_s == pytest.approx(SHARE * 100)
    assert paced.sizing[0].requests_per_ttl < plan.sizing[0].requests_per_ttl
    assert "litellm==1.94.0, bears 100" in progress.notes[0]


def test_a_fast_machine_is_not_driven_harder_than_planned() -> None:
    plan = _plan("litellm==1.94.0")
    paced = decide(plan, {"litellm==1.94.0": 10_000.0}, Silence())
    assert paced.scenario.load.rate_per_s == plan.scenario.load.rate_per_s


def test_a_machine_that_bears_too_little_is_told_so() -> None:
    plan = _plan("litellm==1.94.0")
    with pytest.raises(InvalidRunError, match=r"\[litellm==1.94.0\] bears \[20\]"):
        decide(plan, {"litellm==1.94.0": 20.0}, Silence())


def test_nothing_is_planted_in_a_release() -> None:
    plan = _plan("litellm==1.94.0")
    release, reference = plan.arms
    assert plan.settings.planted_null_user
    assert not plan.fleet(release).settings.planted_null_user
    assert plan.fleet(reference).settings.planted_null_user
    assert plan.premises


def test_a_run_of_releases_alone_has_no_premise() -> None:
    scenario = load_scenario("issue-27874", Changes(variants=("litellm==1.94.0",)))
    plan = make_plan(scenario, [_release_arm("litellm==1.94.0")], stack="embedded")
    assert plan.premises == []


def test_another_rate_leaves_the_rest_as_it_was() -> None:
    plan = _plan("litellm==1.94.0")
    changed = at_rate(plan, 77.0)
    assert changed.scenario.load.rate_per_s == 77.0
    assert changed.slots == plan.slots
    assert changed.keys == plan.keys
