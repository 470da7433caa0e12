"""A plan's settings of Locust's web UI: environment variables that `harness.ui` documents."""

from __future__ import annotations

from harness.plan.plan import RunPlan
from harness.scenario.loader import scenario_names
from harness.ui.presets import preset_of

_MOST_USERS_A_SECOND = 100
"""Locust warns above this."""


def premises_note(plan: RunPlan) -> str:
    """What is planted, named as planted; empty if nothing is."""
    return " ".join(f"Planted: {premise}" for premise in plan.premises)


def form_settings(plan: RunPlan) -> dict[str, str]:
    """The form's first values, what is planted, and the inputs of the reference line."""
    scenario, preset = plan.scenario, preset_of(plan.scenario)
    objects = ",".join(f"{row.scope}={row.objects}" for row in plan.sizing)
    settings = {
        "AUTHCACHE_LOAD_MODEL": preset.load_model,
        "AUTHCACHE_MIX": preset.mix,
        "AUTHCACHE_ZIPF": f"{preset.zipf:g}",
        "AUTHCACHE_SEED": str(scenario.seed),
        "AUTHCACHE_REFERENCE": f"{plan.ttl_s:g};{objects}",
        "AUTHCACHE_NOTE": premises_note(plan),
        "LOCUST_USERS": str(preset.users),
        "LOCUST_SPAWN_RATE": str(min(preset.users, _MOST_USERS_A_SECOND)),
    }
    if scenario.name in scenario_names():
        settings["AUTHCACHE_PRESET"] = scenario.name
    if preset.arrival_rate is not None:
        settings["AUTHCACHE_ARRIVAL_RATE"] = f"{preset.arrival_rate:g}"
    return settings
