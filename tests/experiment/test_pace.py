from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.authcache.variants import load_variants
from harness.errors import InvalidRunError, TooSlowError
from harness.experiment.pace import LEAST_PER_S, at_pace, decide, fit, sentences
from harness.plan.arms import reference_arm
from harness.plan.plan import Arm, RunPlan, make_plan
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.sizing import check_sizing
from harness.targets.litellm.environment import Environment, Record
from harness.targets.litellm.releases import parse_release
from harness.targets.litellm.target import LiteLLMTarget

SHARE = LiteLLMTarget.pace_share


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
    return Arm(release.name, release.title, target)


def _plan(*names: str) -> RunPlan:
    scenario = load_scenario("issue-27874", Changes(variants=(*names, "recommended")))
    arms = [_release_arm(name) for name in names]
    arms.append(reference_arm(load_variants()["recommended"]))
    return make_plan(scenario, arms, stack="embedded")


def test_the_slowest_release_sets_the_rate() -> None:
    plan = _plan("litellm==1.84.0rc1", "litellm==1.94.0")
    pace = decide(plan, {"litellm==1.84.0rc1": 130.0, "litellm==1.94.0": 100.0})
    assert pace.slowest == "litellm==1.94.0"
    assert pace.rate_per_s == pytest.approx(SHARE * 100)
    assert not pace.raised
    paced = at_pace(plan, pace)
    assert paced.scenario.load.rate_per_s == pace.rate_per_s
    assert paced.sizing[0].requests_per_ttl < plan.sizing[0].requests_per_ttl
    assert (paced.slots, paced.keys, paced.ttl_s) == (plan.slots, plan.keys, plan.ttl_s)
    (found,) = sentences(paced, pace)
    assert "litellm==1.94.0, sustains 100 requests/s" in found
    assert "60 requests/s" in found


def test_each_target_says_which_share_of_its_pace_is_driven(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = _plan("litellm==1.84.0rc1", "litellm==1.94.0")
    monkeypatch.setattr(plan.arms[0].target, "pace_share", 0.5)
    pace = decide(plan, {"litellm==1.84.0rc1": 110.0, "litellm==1.94.0": 100.0})
    assert (pace.slowest, pace.sustained_per_s, pace.rate_per_s) == (plan.arms[0].name, 110.0, 55.0)


def test_a_fast_machine_is_not_driven_harder_than_planned() -> None:
    plan = _plan("litellm==1.94.0")
    pace = decide(plan, {"litellm==1.94.0": 10_000.0})
    assert pace.rate_per_s == plan.scenario.load.rate_per_s


def test_too_slow_a_release_gets_a_longer_ttl_and_so_does_everything_beside_it() -> None:
    plan = _plan("litellm==1.94.0")
    pace = decide(plan, {"litellm==1.94.0": 11.5})
    # 9.3 requests/s are needed at 10 s; 6.9 are 60 % of 11.5.
    assert (pace.rate_per_s, pace.planned_ttl_s, pace.ttl_s) == (6.9, 10.0, 14.0)
    paced = at_pace(plan, pace)
    assert {paced.fleet(arm).settings.ttl_s for arm in paced.arms} == {14.0}
    assert paced.ttl_s == paced.scenario.ttl_s == paced.window_s / 3 == 14.0
    check_sizing(paced.scenario, paced.sizing)
    assert paced.load_s == pytest.approx(1.4 * plan.load_s)
    text = " ".join(sentences(plan, pace))
    assert "sustains 12 requests/s" in text
    assert "9 requests/s that this population needs at a TTL of 10 s" in text
    assert "TTL of every variant is 14 s" in text
    # Two variants: a cold fill and refusals of a TTL each, changes of 4, and two rounds of a
    # warm-up of 2 to 3 and a window of 3.
    least, most = (2 * (6 + 2 * n) * 10 / 60 for n in (5, 6))
    assert least < plan.load_s / 60 < most
    assert f"about {paced.load_s / 60:.1f} min instead of {plan.load_s / 60:.1f} min" in text
    assert sentences(paced, pace) == sentences(plan, pace)


def test_less_than_five_requests_a_second_are_refused() -> None:
    plan = _plan("litellm==1.94.0")
    words = r"\[litellm==1.94.0\] sustains \[4.9\].*at least \[5\].*fewer variants"
    with pytest.raises(InvalidRunError, match=words):
        decide(plan, {"litellm==1.94.0": 4.94})
    assert decide(plan, {"litellm==1.94.0": 5.0}).ttl_s == 32.0


def test_the_least_holds_for_every_release_whatever_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = _plan("litellm==1.84.0rc1", "litellm==1.94.0")
    half, whole = (arm.name for arm in plan.arms[:2])
    for arm, share in zip(plan.arms[:2], (0.5, 1.0), strict=True):
        monkeypatch.setattr(arm.target, "pace_share", share)
    # 4.5 requests/s of the first limit the rate, but the second sustains too little.
    with pytest.raises(TooSlowError, match=r"\[litellm==1.94.0\] sustains \[4.8\]") as refused:
        decide(plan, {half: 9.0, whole: 4.8})
    assert refused.value.slow == [whole]


@given(
    sustained=st.floats(LEAST_PER_S, 10_000),
    planned=st.floats(1, 5_000),
    needed=st.floats(0, 5_000),
    ttl_s=st.floats(0.1, 600),
)
def test_requests_per_object_and_ttl_hold_whatever_is_sustained(
    sustained: float, planned: float, needed: float, ttl_s: float
) -> None:
    rate, longer_s = fit(sustained, SHARE, planned, needed, ttl_s)
    assert 0 < rate <= planned
    assert rate <= SHARE * sustained + 1e-9
    assert longer_s >= ttl_s
    assert rate * longer_s >= needed * ttl_s * (1 - 1e-9)
    assert (longer_s == ttl_s) or rate < needed, "no longer than there is a reason for"
    assert rate * (longer_s - 1) < needed * ttl_s or longer_s == ttl_s, "and no longer than needed"


def test_a_scaled_plan_keeps_its_scale() -> None:
    plan = _plan("litellm==1.94.0")
    scaled = replace(plan, scenario=plan.scenario.model_copy(update={"time_scale": 0.5}))
    paced = at_pace(scaled, decide(scaled, {"litellm==1.94.0": 11.5}))
    assert (paced.ttl_s, paced.scenario.ttl_s) == (14.0, 28.0)


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
