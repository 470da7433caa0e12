from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.archive.manifest import manifest
from harness.authcache.variants import load_variants
from harness.plan.arms import reference_arm
from harness.plan.plan import Arm, RunPlan, facts, make_plan, order
from harness.report.html import report_html
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import Scenario
from tests.plan.build import DescribedTarget
from tests.report.sample import issue_27874


def test_rounds_turn_round() -> None:
    slots = order(["a", "b", "c"], 3, cold_fill=True)
    assert [s.variant for s in slots if s.phase == "cold_fill"] == ["a", "b", "c"]
    assert "".join(s.variant for s in slots if s.phase == "measured") == "abccbaabc"
    assert [s.name for s in slots] == sorted(s.name for s in slots)


@given(st.integers(1, 8), st.integers(1, 9), st.booleans())
def test_every_variant_gets_every_round(count: int, rounds: int, cold: bool) -> None:
    names = [chr(97 + i) for i in range(count)]
    slots = order(names, rounds, cold_fill=cold)
    measured = [(s.variant, s.round) for s in slots if s.phase == "measured"]
    assert sorted(measured) == sorted((n, r) for n in names for r in range(1, rounds + 1))
    assert sum(s.phase == "cold_fill" for s in slots) == (count if cold else 0)


def test_a_window_is_a_whole_number_of_ttls() -> None:
    scenario = load_scenario("issue-27874")
    arms = [reference_arm(load_variants()["recommended"])]
    plan = make_plan(scenario, arms, stack="embedded")
    assert plan.ttl_s == 2.0
    assert plan.window_s == 14.0
    assert plan.settings.planted_null_user
    assert "No LiteLLM release does this" in plan.premises[0]


def test_a_slow_source_is_named_as_planted_and_scales_with_time() -> None:
    scenario = load_scenario("slow-source", Changes(time_scale=2.0))
    arms = [reference_arm(load_variants()["recommended"])]
    plan = make_plan(scenario, arms, stack="embedded")
    assert plan.fleet(plan.arms[0]).settings.source_latency_ms == 1000
    assert [premise.split(":")[0] for premise in plan.premises] == [
        "Every read of an object from Postgres takes 1000 ms longer"
    ]
    without = replace(plan, arms=(Arm("r", "", DescribedTarget(takes_premises=False)),))
    assert without.fleet(without.arms[0]).settings.source_latency_ms == 0
    assert without.premises == []


@pytest.mark.parametrize("told", [False, True])
def test_a_scenario_says_whether_releases_get_their_variable_for_the_ttl(*, told: bool) -> None:
    scenario = load_scenario("smoke", Changes(variants=("litellm==1.84.0rc1",)))
    table = scenario.with_releases.model_copy(update={"management_ttl": told})
    scenario = scenario.model_copy(update={"with_releases": table})
    plan = make_plan(scenario, [Arm("litellm==1.84.0rc1", "", DescribedTarget())], stack="embedded")
    assert plan.fleet(plan.arms[0]).settings.management_ttl is told
    assert facts(plan)["scenario"]["with_releases"]["management_ttl"] is told


def test_a_manifest_names_no_host_and_no_folder() -> None:
    scenario = load_scenario("smoke")
    plan = make_plan(scenario, [reference_arm(load_variants()["recommended"])], stack="embedded")
    text = json.dumps(manifest(facts(plan), 42))
    assert socket.gethostname() not in text
    assert str(Path(__file__).resolve().parent.parent.parent) not in text
    assert '"recommended"' in text


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("/home/user/my.toml", "my.toml"),
        ("scenarios/my.toml", "scenarios/my.toml"),
        ("--rounds", "--rounds"),
        ("--runs-dir=/home/user/runs", "--runs-dir=runs"),
        ("head=litellm@/home/user/litellm", "head=litellm@litellm"),
        ("litellm@ /home/user/litellm#fix/codec", "litellm@ litellm#fix/codec"),
        ("a=litellm@/home/user/one,b=litellm@/srv/two", "a=litellm@one,b=litellm@two"),
        (r"--variants=litellm@/home/a\,b/one,recommended", "--variants=litellm@one,recommended"),
        ("recommended:codec=keep_none", "recommended:codec=keep_none"),
    ],
)
def test_a_manifest_keeps_the_command_without_absolute_paths(
    monkeypatch: pytest.MonkeyPatch, word: str, kept: str
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/harness", "loadtest", word])
    assert manifest({}, 42)["command"] == ["harness", "loadtest", kept]


@pytest.mark.parametrize(
    "words",
    [
        ("--postgres-dsn", "postgresql://admin:S3CRET@db.corp/postgres"),
        ("--postgres-dsn=postgresql://admin:S3CRET@db.corp/postgres",),
        ("--redis-url", "rediss://:S3CRET@cache.corp:6380/0"),
        ("--redis-url=rediss://:S3CRET@cache.corp:6380/0",),
        # No address, so the run will be refused; but what stands there may be a password.
        ("--postgres-dsn", "host=db.corp password=S3CRET"),
    ],
)
def test_neither_manifest_nor_report_names_a_server_or_its_password(
    monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    folder = "--runs-dir=/home/user/runs"
    monkeypatch.setattr("sys.argv", ["harness", "loadtest", *words, folder, "--seed", "7"])
    made = manifest({}, 7)
    assert made["command"] == ["harness", "loadtest", "--runs-dir=runs", "--seed", "7"]
    for text in (json.dumps(made), report_html(issue_27874(), manifest=made)):
        assert "--runs-dir=runs --seed 7" in text.replace('", "', " ")
        assert not [part for part in ("S3CRET", ".corp", "/home/") if part in text]


def _changing(*changes: dict[str, Any], **window: Any) -> RunPlan:
    scenario = load_scenario("smoke")
    raw = scenario.model_dump(by_alias=True) | {"change": list(changes), "changes": window}
    arms = [reference_arm(load_variants()[name]) for name in ("litellm_1_84", "recommended")]
    return make_plan(Scenario.model_validate(raw), arms, stack="embedded")


def test_each_batch_of_changes_has_a_window_for_every_variant_before_the_refusals() -> None:
    one = {"action": "key-block", "scope": "team"}
    plan = _changing({**one, "batch": 3}, one, one)
    last = [(slot.phase, slot.batch, slot.variant) for slot in plan.slots[-6:]]
    variants = ["litellm_1_84", "recommended"]
    assert last == [
        *(("changes", 1, name) for name in variants),
        *(("changes", 3, name) for name in variants),
        *(("refusals", 0, name) for name in variants),
    ]
    assert len({slot.name for slot in plan.slots}) == len(plan.slots)
    first, second = plan.planned_changes(1), plan.planned_changes(3)
    assert [change.number for change in first] == [1, 2]
    assert [change.number for change in second] == [3], "no limit is set twice"
    everyone = [key.index for key in plan.all_keys]
    assert everyone == list(range(len(everyone)))
    assert {c.key for c in first + second} == set(plan.changing)
    # Lead, spread and tail of a TTL each, and the promise of two tiers.
    assert plan.changes_s == pytest.approx(5 * plan.ttl_s)
    assert plan.load_s - _changing().load_s == pytest.approx(4 * plan.changes_s)


def test_changes_are_spread_and_one_with_a_moment_has_it() -> None:
    actions = [{"action": "key-limits", "scope": "user"}] * 5
    at = {"action": "key-block", "scope": "team", "at_ttls": 1.75, "handler": 1}
    rate = {"action": "key-new", "scope": "member", "rate_per_ttl": 2}
    plan = _changing(*actions, at, rate, lead_ttls=1.5, spread_ttls=2)
    changes = plan.planned_changes(1)
    assert [c.at_s for c in changes] == sorted(c.at_s for c in changes)
    given = [c for c in changes if c.action == "key-block"]
    assert [(c.at_s, c.handler) for c in given] == [(1.75 * plan.ttl_s, 1)]
    assert sum(c.action == "key-new" for c in changes) == 4
    # One in each of nine equal parts of the spread.
    drawn = [(c.at_s / plan.ttl_s - 1.5) / 2 * 9 for c in changes if c.action != "key-block"]
    assert [int(moment) for moment in drawn] == list(range(9))
    assert {c.handler for c in changes} == {0, 1}
    assert changes == plan.planned_changes(1)


def test_a_plan_without_changes_has_no_window_of_them() -> None:
    plan = _changing()
    assert "changes" not in {slot.phase for slot in plan.slots}
    assert (plan.changing, plan.planned_changes(1)) == ((), ())


def test_changes_alone_are_driven_without_any_other_window() -> None:
    slots = order(["a", "b"], 3, cold_fill=True, batches=[1, 2], only_batches=True)
    assert [(s.number, s.variant, s.phase, s.batch) for s in slots] == [
        (1, "a", "changes", 1),
        (2, "b", "changes", 1),
        (3, "a", "changes", 2),
        (4, "b", "changes", 2),
    ]
