"""`harness clock`, and from outside on a fleet of our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from harness.analysis.studies import clock
from harness.authcache.variants import load_variants
from harness.cli import main
from harness.cli.commands import studies
from harness.live.attach import MOST_PER_S, NAME, Attached, attach
from harness.live.keep import FleetRequest, fleets_up
from harness.plan.arms import make_arms
from harness.process.stop import Stop
from harness.report.progress import progress_for
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import Scenario
from harness.stack.base import Servers

pytestmark = pytest.mark.integration


def worst(found: dict[str, Any], action: str) -> dict[str, Any]:
    (one,) = found[action].values()
    clocks: list[dict[str, Any]] = [one["handler_s"], one["others_s"]]
    return max(clocks, key=lambda clock: clock["low"])


def unhurried(name: str, changes: Changes) -> Scenario:
    """As it is, but that no request counts as late: other tests run at the same time."""
    given = load_scenario(name, changes)
    limits = given.limits.model_copy(update={"late_ms": 10_000.0, "late_median_ms": 10_000.0})
    return given.model_copy(update={"limits": limits})


def test_what_keeps_entries_alive_is_over_its_promise_and_what_tells_all_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "load_scenario", unhurried)
    runs_dir = tmp_path / "runs"
    arguments = (
        *("clock", "--variants", "litellm_1_84,recommended", "--runs-dir", str(runs_dir)),
        *("--only", "key-block,team-block,key-new", "--ttl-s", "1", "--strict"),
    )
    ended = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert ended.exit_code == 1, ended.output
    result = json.loads((runs_dir / "latest" / "result.json").read_text())
    assert result["verdict"] == "observed"
    assert result["variants"] == {}
    release, fixed = (result["freshness"][n] for n in ("litellm_1_84", "recommended"))
    for action in ("key-block", "team-block"):
        assert worst(release, action)["high"] is None
        assert worst(release, action)["low"] > release[action].popitem()[1]["promise_s"]
    for action in fixed:
        assert worst(fixed, action)["low"] < 1
    files = {path.name for path in (runs_dir / "latest").iterdir()}
    assert {"clock.md", "clock.svg", "report.html", "issue-key-block.md"} <= files
    assert "issue-key-new.md" not in files


async def test_a_fleet_of_our_own_is_timed_from_outside(tmp_path: Path) -> None:
    given = load_scenario("clock", Changes(replicas=2, ttl_s=2.0, variants=("recommended",)))
    arms = await make_arms([load_variants()["recommended"]], progress_for(Console()))
    held = load_scenario("smoke", Changes(replicas=2, variants=("recommended",)))
    request = FleetRequest(held, arms, tmp_path, Servers(None, None), print, Stop())
    load = given.load.model_copy(update={"rate_per_s": MOST_PER_S})
    only = ["key-block", "key-new", "key-delete"]
    asked = clock(given.model_copy(update={"load": load}), only=only)
    async with fleets_up(request, "fleet") as kept:
        (fleet,) = kept.fleets
        attached = Attached(fleet.replica_urls, fleet.spec.master_key, "mock-model")
        result, _ = await attach(attached, asked, tmp_path, print)
    found = {action: next(iter(by.values())) for action, by in result.freshness[NAME].items()}
    assert {action: one.outcome for action, one in found.items()} == dict.fromkeys(only, "done")
    for one in found.values():
        assert [clock.low < 1 for clock in one.workers] == [True, True]
