from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.archive.manifest import manifest
from harness.authcache.variants import load_variants
from harness.plan.arms import reference_arm
from harness.plan.plan import Arm, facts, make_plan, order
from harness.scenario.loader import Changes, load_scenario
from tests.plan.build import DescribedTarget


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
    assert plan.window_s == 10.0
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
        ("/home/somebody/my.toml", "my.toml"),
        ("scenarios/my.toml", "scenarios/my.toml"),
        ("--rounds", "--rounds"),
    ],
)
def test_a_manifest_keeps_the_command_without_absolute_paths(
    monkeypatch: pytest.MonkeyPatch, word: str, kept: str
) -> None:
    monkeypatch.setattr("sys.argv", ["/usr/bin/harness", "loadtest", word])
    assert manifest({}, 42)["command"] == ["harness", "loadtest", kept]
