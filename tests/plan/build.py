"""Plans made by hand, of targets that are described and never started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.plan.plan import Arm, RunPlan
from harness.scenario.schema import Scenario
from harness.scenario.sizing import population, sizing
from harness.targets.settings import RunSettings
from tests.stack.fakes import FakeTarget


@dataclass
class DescribedTarget(FakeTarget):
    switches: Mapping[str, Any] = field(default_factory=dict)
    overridden: tuple[str, ...] = ()
    hard_coded: tuple[str, ...] = ()
    takes_premises: bool = True
    kept_s: float = 0.0

    def kept_by_code_s(
        self, ttl_s: float, *, time_scale: float = 1.0, management_ttl: bool = False
    ) -> float:
        del time_scale, management_ttl
        return max(self.kept_s, super().kept_by_code_s(ttl_s))

    def describe(self) -> Mapping[str, Any]:
        return self.switches


def planned(scenario: Scenario, *arms: Arm) -> RunPlan:
    """A plan of a load that may be too thin, and without windows."""
    keys = population(scenario)
    planted = scenario.premises.null_user_for_team_keys
    settings = RunSettings(ttl_s=scenario.ttl_s, planted_null_user=planted)
    rows = tuple(sizing(scenario, keys, scenario.ttl_s))
    return RunPlan(scenario, arms, "embedded", tuple(keys), rows, (), settings)
