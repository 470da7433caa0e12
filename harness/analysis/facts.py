"""What the analysis has to know about a run beside the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.domain.population import VirtualKey
from harness.domain.result import Sizing
from harness.scenario.schema import Scenario


@dataclass(frozen=True, slots=True)
class VariantFacts:
    """What a variant is, as far as a report says it."""

    name: str
    title: str
    target: str
    version: str
    switches: Mapping[str, Any]
    overridden: tuple[str, ...] = ()
    hard_coded: tuple[str, ...] = ()
    planted: bool = True
    """Whether the scenario's premises hold in it; a release has nothing planted."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is."""

    run_id: str
    started_at: str
    scenario: Scenario
    stack: str
    ttl_s: float
    window_s: float
    premises: tuple[str, ...]
    keys: tuple[VirtualKey, ...]
    sizing: tuple[Sizing, ...]
    variants: tuple[VariantFacts, ...]
    notes: tuple[str, ...] = ()
