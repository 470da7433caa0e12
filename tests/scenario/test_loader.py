from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from harness.authcache.variants import load_variants
from harness.errors import ScenarioError, UsageError
from harness.load.plan import open_plan
from harness.scenario.loader import Changes, load_scenario, scenario_names
from harness.scenario.schema import CellExpectation
from harness.scenario.sizing import check_sizing, least_rate, off_beat, population, sizing
from harness.targets.litellm.releases import is_range

BUILTIN = files("harness.scenario").joinpath("builtin")
KNOWN = sorted(scenario_names())


@pytest.mark.parametrize("name", KNOWN)
def test_every_builtin_is_sound(name: str) -> None:
    scenario = load_scenario(name)
    variants = load_variants()
    assert set(scenario.variants) <= set(variants)
    named = {e.variant for e in scenario.expect if not is_range(e.variant)}
    assert named <= set(variants)
    rows = sizing(scenario, population(scenario), scenario.ttl_s * scenario.time_scale)
    check_sizing(scenario, rows)
    assert scenario.name == name


def test_the_default_scenario_asks_often_enough() -> None:
    scenario = load_scenario("issue-27874")
    assert 400 <= scenario.load.rate_per_s <= 600
    rows = sizing(scenario, population(scenario), 2.0)
    assert all(row.requests_per_object >= 20 for row in rows)
    assert [(row.scope, row.keys, row.objects) for row in rows] == [
        # The third key shares its team or user, but in shared_id.
        ("team", 3, 8),
        ("user", 3, 5),
        ("shared_id", 3, 12),
        ("member", 3, 11),
    ]


@pytest.mark.parametrize(
    ("cell", "sound"),
    [
        ({"is": "stale"}, True),
        ({"has": "broken"}, True),
        ({}, False),
        ({"is": "hidden", "has": "broken"}, False),
    ],
)
def test_a_cell_expectation_is_of_the_worst_or_of_one_among_them(
    cell: dict[str, str], sound: bool
) -> None:
    body = {"kind": "cell", "variant": "recommended", "scope": "team"} | cell
    if sound:
        CellExpectation.model_validate(body)
        return
    with pytest.raises(ValidationError, match="either `is` or `has`"):
        CellExpectation.model_validate(body)


def test_the_command_line_wins() -> None:
    changed = load_scenario(
        "issue-27874",
        Changes(replicas=2, variants=("recommended",), time_scale=1.0, premises=False),
    )
    assert (changed.replicas, changed.variants, changed.time_scale) == (2, ["recommended"], 1.0)
    assert changed.premises.null_user_for_team_keys is False
    assert load_scenario("issue-27874").premises.null_user_for_team_keys is True


def test_a_thin_load_is_refused() -> None:
    scenario = load_scenario("issue-27874", Changes(time_scale=0.1))
    rows = sizing(scenario, population(scenario), 0.5)
    with pytest.raises(ScenarioError, match="requests a TTL"):
        check_sizing(scenario, rows)


def test_premises_that_are_not_there_cannot_be_switched_on() -> None:
    with pytest.raises(UsageError, match="plants nothing"):
        load_scenario("pr-26202", Changes(premises=True))


@pytest.mark.parametrize("name", ["issue-27874", "pr-26202", "smoke", "no-membership"])
def test_with_a_release_a_scenario_is_slower_and_unscaled(name: str) -> None:
    scenario = load_scenario(name, Changes(variants=("litellm==1.84.0rc1", "recommended")))
    assert scenario.time_scale == 1.0
    assert scenario.load.rate_per_s <= 130
    check_sizing(scenario, sizing(scenario, population(scenario), scenario.ttl_s))


def test_a_slow_source_is_not_planted_in_a_release() -> None:
    variants = ("litellm==1.94.0", "recommended")
    with pytest.raises(UsageError, match=r"latency of \[500\] ms.*PREMISE=off"):
        load_scenario("slow-source", Changes(variants=variants))
    without = load_scenario("slow-source", Changes(variants=variants, premises=False))
    assert without.premises.source_latency_ms == 0


@pytest.mark.parametrize(
    ("line", "instead", "words"),
    [
        ("ttl_s = 2.5", "ttl_s = 2.49", r"raise ttl_s to 2\.5"),
        ('"entry_age_max_s"', '"entry_age_max_s"\nscope = "user"', "of all scopes"),
        ('"entry_age_max_s"', '"entry_age_max_s"\nobject = "key"', "of all scopes"),
    ],
)
def test_a_slow_source_needs_a_ttl_and_its_age_is_of_all(
    tmp_path: Path, line: str, instead: str, words: str
) -> None:
    text = BUILTIN.joinpath("slow-source.toml").read_text("utf-8")
    file = tmp_path / "own.toml"
    file.write_text(text.replace(line, instead))
    with pytest.raises(ScenarioError, match=words):
        load_scenario(str(file))


def test_the_command_line_wins_over_what_a_release_changes() -> None:
    variants = ("litellm==1.84.0rc1",)
    assert load_scenario("issue-27874", Changes(variants=variants)).replicas == 8
    changed = load_scenario("issue-27874", Changes(variants=variants, replicas=3, rounds=1))
    assert (changed.replicas, changed.rounds) == (3, 1)


def test_times_of_a_release_are_not_scaled() -> None:
    changes = Changes(variants=("recommended", "litellm==1.94.0"), time_scale=0.4)
    with pytest.raises(UsageError, match=r"TIME_SCALE is \[0.4\].*cannot be scaled"):
        load_scenario("issue-27874", changes)
    assert load_scenario("issue-27874", Changes(variants=("litellm==1.94.0",), time_scale=1.0))


def test_a_wrong_table_for_releases_names_the_field(tmp_path: Path) -> None:
    text = BUILTIN.joinpath("smoke.toml").read_text("utf-8")
    file = tmp_path / "own.toml"
    file.write_text(text.replace("[with_releases]", "[with_releases]\nspeed = 1"))
    with pytest.raises(ScenarioError, match="speed"):
        load_scenario(str(file), Changes(variants=("litellm==1.94.0",)))
    with pytest.raises(ScenarioError, match="speed"):
        load_scenario(str(file))


@pytest.mark.parametrize("zipf", [0.0, 0.8])
def test_the_least_rate_is_the_one_that_just_passes(zipf: float) -> None:
    scenario = load_scenario("issue-27874", Changes(variants=("litellm==1.94.0",)))
    load = scenario.load.model_copy(update={"zipf": zipf})
    scenario = scenario.model_copy(update={"load": load})
    keys = population(scenario)
    least = least_rate(scenario, keys, scenario.ttl_s)
    for rate, fits in ((least * 1.01, True), (least * 0.97, False)):
        load = scenario.load.model_copy(update={"rate_per_s": rate})
        changed = scenario.model_copy(update={"load": load})
        rows = sizing(changed, keys, scenario.ttl_s)
        assert all(row.requests_per_object >= 20 for row in rows) is fits


def test_requests_per_object_are_those_of_the_least_popular_key() -> None:
    scenario = load_scenario("issue-27874")
    load = scenario.load.model_copy(update={"zipf": 1.5})
    keys = population(scenario)
    mix: dict[str, float] = {str(scope): weight for scope, weight in load.mix.items()}
    indices = {scope: [k.index for k in keys if k.scope == scope] for scope in mix}
    plan = open_plan(
        mix,
        indices,
        rate_per_s=load.rate_per_s,
        duration_s=100,
        replicas=1,
        seed=1,
        zipf=1.5,
    )
    drawn = Counter(arrival.key for arrival in plan)
    for row in sizing(scenario.model_copy(update={"load": load}), keys, ttl_s=100.0):
        rarest = min(drawn[index] for index in indices[row.scope])
        assert row.requests_per_object == pytest.approx(rarest, rel=0.1)


def test_a_crowd_needs_more_room_than_a_release_has_and_its_twin_less() -> None:
    room = load_variants()["litellm_1_94"].switches.memory_entries
    crowd, fits = load_scenario("crowd"), load_scenario("crowd-fits")
    (many,), (few,) = (sizing(s, population(s), s.ttl_s) for s in (crowd, fits))
    assert few.objects < room < many.objects / 2
    assert crowd.load == fits.load
    assert crowd.mock == fits.mock
    # Little's law: requests that are open at once.
    assert crowd.load.rate_per_s * crowd.mock.latency_ms / 1000 > 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": "key-blok"}, r"no action \[key-blok\]. Did you mean \[key-block\]"),
        ({"action": "user-models"}, r"changes a user, and keys of scope \[team\] have none"),
        ({"scope": "everyone"}, "scope"),
        ({"at_ttls": 2.5}, "outside the window: changes are made in its first 1 TTLs"),
        ({"at_ttls": 1, "rate_per_ttl": 3}, "give one"),
        ({"handler": 2}, "replicas are numbered from 0 to 1"),
        ({"rate_per_ttl": 20}, r"batch 1 changes \[13\] keys.*at most 12.*batch = 2"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    raw = {"action": "key-block", "scope": "team", **change}
    lines = "\n".join(f"{name} = {json.dumps(value)}" for name, value in raw.items())
    builtin = files("harness.scenario").joinpath("builtin", "smoke.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(f"{builtin}\n[[change]]\n{lines}\n")
    with pytest.raises(ScenarioError, match=message):
        load_scenario(str(path))


def test_changes_alone_need_a_change(tmp_path: Path) -> None:
    builtin = files("harness.scenario").joinpath("builtin", "crowd.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(f"{builtin}\n[changes]\nalone = true\n")
    with pytest.raises(ScenarioError, match=r"add a \[\[change\]\]"):
        load_scenario(str(path))


@given(every_s=st.floats(0.01, 10.0), ttl_s=st.floats(0.05, 60.0))
def test_regular_requests_are_not_in_step_with_the_ttl(every_s: float, ttl_s: float) -> None:
    longer_s = off_beat(every_s, ttl_s)
    assert every_s <= longer_s * (1 + 1e-9) <= 2 * every_s
    if longer_s != every_s:
        for tiers in (1, 2, 3):
            number = tiers * ttl_s / longer_s
            assert abs(number - round(number)) > 0.1
    else:
        assert ttl_s < 1.4 * every_s, "too far apart to be moved farther"
