"""A run whose slowest fleet is slower than its population needs: the TTL is raised, or it ends.

What a release sustains depends on the machine, so it is stubbed here; all that follows is real.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.authcache.variants import load_variants
from harness.domain.result import Result
from harness.experiment import record, run
from harness.experiment.pace import Pace, decide
from harness.plan.arms import reference_arm
from harness.plan.plan import RunPlan
from harness.process.stop import Stop
from harness.report.terminal import print_result
from harness.scenario.loader import Changes, load_scenario
from harness.stack.base import Fleet, FleetSpec, Servers
from harness.stack.embedded import EmbeddedStack
from tests.runs.support import tiny_scenario
from tests.silence import Silence
from tests.stack.fakes import descendants

pytestmark = pytest.mark.integration

VARIANTS = ("litellm_1_84", "recommended")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """Name and TTL of every fleet that a stack starts, in order of the starts by name."""
    fleets: list[tuple[str, float]] = []
    start = EmbeddedStack.start

    async def noted(self: EmbeddedStack, spec: FleetSpec) -> Fleet:
        fleets.append((spec.name, spec.settings.ttl_s))
        return await start(self, spec)

    monkeypatch.setattr(EmbeddedStack, "start", noted)
    return fleets


async def driven(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sustained_per_s: float
) -> tuple[Result, Path]:
    async def find_pace(plan: RunPlan, *_: Any) -> Pace | None:
        return decide(plan, {"recommended": sustained_per_s})

    monkeypatch.setattr(record, "find_pace", find_pace)
    monkeypatch.setattr(record, "WARMING_S", 0.5)
    known, before = load_variants(), descendants()
    arms = [reference_arm(known[name]) for name in VARIANTS]
    arms[1].target.pace_share = 0.6
    result, run_dir = await run.run(
        load_scenario(str(tiny_scenario(tmp_path)), Changes(variants=VARIANTS)),
        arms,
        runs_dir=tmp_path / "runs",
        servers=Servers(),
        progress=Silence(),
        stop=Stop(),
        prometheus="off",
    )
    assert descendants() <= before
    return result, run_dir


def printed(result: Result) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_result(result, console)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


async def test_all_fleets_are_started_anew_with_the_longer_ttl(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: list[tuple[str, float]]
) -> None:
    result, run_dir = await driven(monkeypatch, tmp_path, sustained_per_s=50.0)

    # 40 requests/s are needed at 1 s; 30 are 60 % of 50.
    assert sorted(started[:2]) == [(name, 1.0) for name in VARIANTS]
    assert sorted(started[2:]) == [(name, 2.0) for name in VARIANTS]
    assert (result.complete, result.ledger.balanced) == (True, True), result.reasons
    assert result.ttl_s == 2.0
    assert set(result.variants) == set(VARIANTS)
    windows = [w for v in result.variants.values() for w in v.windows if w.phase == "measured"]
    assert {w.duration_s for w in windows} == {6.0}
    assert all(row.requests_per_object >= 20 for row in result.sizing)
    assert result.generator.planned == pytest.approx(2 * 30 * 6, rel=0.3)
    manifest = json.loads((run_dir / "manifest.json").read_text())
    assert manifest["driven"] == {"rate_per_s": 30.0, "ttl_s": 2.0, "window_s": 6.0}
    assert manifest["settings"]["ttl_s"] == 1.0, "as planned"
    text = printed(result)
    assert "the load of every variant is 30 requests/s" in text
    assert "the TTL of every variant is 2 s instead" in text


async def test_a_refused_run_says_why_and_what_to_do_and_nothing_of_the_plan(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, started: list[tuple[str, float]]
) -> None:
    result, run_dir = await driven(monkeypatch, tmp_path, sustained_per_s=4.0)

    assert sorted(started) == [(name, 1.0) for name in VARIANTS]
    assert (result.verdict, result.exit_code, result.variants) == ("invalid", 4, {})
    assert result.ledger.balanced is None
    assert not [note for note in result.notes if "requests/s" in note or "TTL" in note]
    page = (run_dir / "report.html").read_text()
    texts = [printed(result), (run_dir / "summary.md").read_text(), page[page.index("<body") :]]
    for text in texts:
        assert "sustains" in text
        assert "Use fewer variants" in text
        for word in ("requests sent", "alanced", "0 variants", "<table", "---", "Planted"):
            assert word not in text
