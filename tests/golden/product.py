"""Every name of the product that the golden records use.

A module that moves changes its line here and nothing else in this folder.
"""

from harness import errors
from harness.analysis.analyse import analyse
from harness.archive.directory import write_result
from harness.authcache.variants import load_variants, pick
from harness.authcache.words import ObjectKind
from harness.cli import main
from harness.domain.result import Result
from harness.domain.samples import read_samples
from harness.domain.window import WindowCommand, WindowResult
from harness.exporter.families import merge_all
from harness.exporter.servers import FleetServers, ServerReader
from harness.exporter.state import GeneratorCount, RunState
from harness.load.plan import Arrival, choices, open_plan, probe_plan
from harness.load.recorder import RequestOutcome, RequestRecorder
from harness.observe.counters import Counters
from harness.observe.evidence import Checkpoint, Evidence
from harness.observe.postgres import StatementCount, Statements
from harness.observe.snapshots import RedisCount, Snapshot
from harness.plan.arms import reference_arm
from harness.plan.commands import commands
from harness.plan.plan import RunPlan, make_plan
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import Scenario
from harness.targets.base import KeyPath, KeyTruth
from harness.targets.litellm.inside.instrument import Instruments
from harness.targets.litellm.inside.settings import Settings as InsideSettings
from harness.targets.metrics import Metrics
from tools.dashboards.generate import texts as dashboards

STANDALONE = "harness.load.standalone"
"""Runs under Locust, so only in a process of its own; the same for the three below."""
LOAD_FLEETS = "harness.load.fleets"
LOAD_KEYS = "harness.domain.population"
LOAD_OPTIONS = "harness.load.options"

__all__ = [
    "LOAD_FLEETS",
    "LOAD_KEYS",
    "LOAD_OPTIONS",
    "STANDALONE",
    "Arrival",
    "Changes",
    "Checkpoint",
    "Counters",
    "Evidence",
    "FleetServers",
    "GeneratorCount",
    "InsideSettings",
    "Instruments",
    "KeyPath",
    "KeyTruth",
    "Metrics",
    "ObjectKind",
    "RedisCount",
    "RequestOutcome",
    "RequestRecorder",
    "Result",
    "RunPlan",
    "RunState",
    "Scenario",
    "ServerReader",
    "Snapshot",
    "StatementCount",
    "Statements",
    "WindowCommand",
    "WindowResult",
    "analyse",
    "choices",
    "commands",
    "dashboards",
    "errors",
    "load_scenario",
    "load_variants",
    "main",
    "make_plan",
    "merge_all",
    "open_plan",
    "pick",
    "probe_plan",
    "read_samples",
    "reference_arm",
    "write_result",
]
