from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from harness.analysis.answers import Answers
from harness.analysis.variant import measured_line
from harness.authcache.variants import load_variants
from harness.domain.changes import ChangeEvent, Outcome
from harness.domain.window import LoadProgress, WindowResult
from harness.errors import UsageError
from harness.experiment.companions import (
    Companions,
    chosen_prometheus,
    first_state,
)
from harness.plan.arms import reference_arm
from harness.plan.plan import Arm, RunPlan, make_plan
from harness.scenario.loader import load_scenario
from harness.stack.base import Fleet
from tests.observe.build import evidence
from tests.plan.build import DescribedTarget


def _plan(model: str = "open") -> RunPlan:
    scenario = load_scenario("smoke")
    if model == "closed":
        load = scenario.load.model_copy(update={"model": "closed", "rate_per_s": 0.0})
        scenario = scenario.model_copy(update={"load": load})
    arms = [reference_arm(load_variants(None)[name]) for name in scenario.variants]
    return make_plan(scenario, arms, stack="embedded")


def _fleets(plan: RunPlan) -> list[Fleet]:
    return [Fleet(plan.fleet(arm), (), (), (), "", "", None) for arm in plan.arms]


def _result(**changes: object) -> WindowResult:
    return evidence().generator.model_copy(update=changes)


@pytest.mark.parametrize("planted", [True, False])
def test_the_line_is_the_reports_where_requests_come_as_planned(planted: bool) -> None:
    plan = _plan()
    load = plan.scenario.load
    statuses = {str(scope): {"200": round(1000 * weight)} for scope, weight in load.mix.items()}
    seconds = 1000 * sum(load.mix.values()) / load.rate_per_s
    window = evidence(generator={"statuses": statuses}, duration_s=seconds)
    arm = Arm("a", "", DescribedTarget(takes_premises=planted))
    fleet = _fleets(plan)[0]
    settings = replace(fleet.spec.settings, planted_null_user=planted)
    fleet.spec = replace(fleet.spec, settings=settings)
    state = first_state(plan, [fleet])
    assert state.reference_line_per_1000[fleet.name] == pytest.approx(
        measured_line(plan, arm, [window], statuses)
    )


def test_every_stretch_is_announced() -> None:
    plan = _plan()
    state = first_state(plan, _fleets(plan))
    assert [(w.variant, w.phase, w.round) for w in state.windows] == [
        ("litellm_1_84", "cold_fill", 0),
        ("recommended", "cold_fill", 0),
        ("litellm_1_84", "warmup", 1),
        ("litellm_1_84", "measured", 1),
        ("recommended", "warmup", 1),
        ("recommended", "measured", 1),
        ("litellm_1_84", "changes", 0),
        ("recommended", "changes", 0),
        ("litellm_1_84", "refusals", 0),
        ("recommended", "refusals", 0),
    ]
    assert state.replicas_expected == {"litellm_1_84": 2, "recommended": 2}


def test_a_closed_load_has_a_line_once_its_rate_is_known() -> None:
    plan = _plan("closed")
    companions = Companions(plan, _fleets(plan))
    assert companions.state.reference_line_per_1000 == {}
    with companions.stretch("recommended", "measured", 1):
        companions.result(
            "recommended", _result(statuses={"user": {"200": 300, "401": 100}}, elapsed_s=4.0)
        )
    # One key and one user, each read once a second, by a hundred requests a second.
    assert companions.state.reference_line_per_1000["recommended"] == pytest.approx(
        {"user": 20.0, "all": 20.0}
    )


def test_changes_that_postgres_holds_and_stale_replies_are_published() -> None:
    plan = _plan()
    companions = Companions(plan, _fleets(plan))
    outcomes: list[Outcome] = ["done", "committed", "refused", "not_there"]
    for number, outcome in enumerate(outcomes, start=1):
        event = ChangeEvent(
            number, "team-block", "member", "api", 7, 0, "0.0", 1.0, 1.1, 200, outcome
        )
        companions.changed("recommended", event)
    assert companions.state.changes == {"recommended": {"team-block": 2}}
    stale = Counter({("team-block", "member"): 5, ("team-models", "member"): 2, ("", "user"): 9})
    companions.judged("recommended", Answers(stale_replies=stale))
    assert companions.state.stale_served == {"recommended": {"member": {"team": 7}}}


def test_a_stretch_ends_with_what_went_wrong_in_it() -> None:
    plan = _plan()
    companions = Companions(plan, _fleets(plan))
    progress = LoadProgress(
        window="w",
        elapsed_s=1.0,
        answered=40,
        failed=0,
        requests_per_s=40.0,
        due=50,
        late=3,
        delay_ms_max=1500.0,
        statuses={"team": {"200": 40}},
    )
    seen: list[str] = []

    def goes_wrong() -> None:
        with companions.stretch("recommended", "measured", 1):
            companions.progress("recommended", progress)
            seen.extend(w.variant for w in companions.state.windows if w.active)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        goes_wrong()
    assert seen == ["recommended"]
    assert not any(window.active for window in companions.state.windows)
    kept = companions.state.generator["recommended"]
    assert (kept.planned, kept.late, kept.max_delay_s) == (50, 3, 1.5)
    assert kept.requests == {"team": {"200": 40}}


def test_a_run_in_containers_is_not_recorded_and_says_so_where_it_must_be() -> None:
    assert chosen_prometheus("auto", "compose") is None
    assert chosen_prometheus("off", "compose") is None
    with pytest.raises(UsageError, match=r"\[compose\] are not recorded"):
        chosen_prometheus("on", "compose")
