"""Scenario presets: the load of each built-in scenario."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from harness.load.plan import CLOSED
from harness.scenario.loader import load_scenario, scenario_names
from harness.scenario.schema import Scenario

NONE = "none"
"""The choice without a preset."""


@dataclass(frozen=True, slots=True)
class Preset:
    """The part of a scenario that fills in the form."""

    load_model: str
    arrival_rate: float | None
    """None in a closed load, whose users set the pace."""
    mix: str
    zipf: float
    users: int

    def fields(self) -> dict[str, str | float]:
        """Values for the form's fields, by their names."""
        fields: dict[str, str | float] = {
            "load_model": self.load_model,
            "mix": self.mix,
            "zipf": self.zipf,
        }
        if self.arrival_rate is not None:
            fields["arrival_rate"] = self.arrival_rate
        return fields


def preset_of(scenario: Scenario) -> Preset:
    """The preset with a scenario's load."""
    load = scenario.load
    mix = ",".join(f"{scope}={weight:g}" for scope, weight in load.mix.items())
    rate = None if load.model == CLOSED else load.rate_per_s
    return Preset(load.model, rate, mix, load.zipf, load.users)


@functools.cache
def presets() -> Mapping[str, Preset]:
    """The built-in scenarios' presets by name."""
    return {name: preset_of(load_scenario(name)) for name in scenario_names()}
