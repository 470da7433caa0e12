from __future__ import annotations

import pytest

from harness.authcache.variants import load_variants
from harness.errors import ScenarioError, UsageError
from harness.scenario.loader import Changes, load_scenario, scenario_names
from harness.scenario.sizing import check_sizing, population, sizing

KNOWN = sorted(scenario_names())


@pytest.mark.parametrize("name", KNOWN)
def test_every_builtin_is_sound(name: str) -> None:
    scenario = load_scenario(name)
    variants = load_variants()
    assert set(scenario.variants) <= set(variants)
    assert {e.variant for e in scenario.expect} <= set(variants)
    rows = sizing(scenario, population(scenario), scenario.ttl_s * scenario.time_scale)
    check_sizing(scenario, rows)
    assert scenario.name == name


def test_the_default_scenario_asks_often_enough() -> None:
    scenario = load_scenario("issue-27874")
    assert 400 <= scenario.load.rate_per_s <= 600
    rows = sizing(scenario, population(scenario), 2.0)
    assert all(row.requests_per_object >= 20 for row in rows)
    assert [(row.scope, row.keys, row.objects) for row in rows] == [
        ("team", 3, 9),
        ("user", 3, 6),
        ("shared_id", 3, 12),
        ("member", 3, 12),
    ]


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
