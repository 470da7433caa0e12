"""A kind of target that the product does not know, from a variant's name to a verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.runs.support import EVEN, ROOT, unhurried

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
NAMES = ("toy", "toy_wrong", "recommended")
LIGHT = {"replicas": "1", "warmup_ttls": "1", "rate_per_s": "90", "mix": EVEN}


def _smoke(runs_dir: Path) -> dict[str, Any]:
    """The result of `smoke` over toys and a variant of the reference proxy, which must pass."""
    scenario = str(unhurried("smoke", runs_dir.parent, **LIGHT))
    options = ["--scenario", scenario, "--variants", ",".join(NAMES), "--prometheus", "off"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.targets.toy", "loadtest", *options, "--runs-dir", runs_dir],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads((runs_dir / "latest" / "result.json").read_text())
    return found


def test_smoke_measures_a_toy_beside_the_reference_proxy(tmp_path: Path) -> None:
    result = _smoke(tmp_path / "runs")
    assert (result["verdict"], [*result["variants"]]) == ("pass", [*NAMES])
    assert all(e["variant"] == "recommended" for e in result["expectations"])
    assert "A toy takes part." in result["notes"]

    toy, wrong = result["variants"]["toy"], result["variants"]["toy_wrong"]
    assert (toy["target"], toy["version"], toy["switches"]) == ("toy", "3", {"wrong": False})
    scopes = ("team", "user", "shared_id", "member")
    assert toy["cells"] == {scope: ["healthy"] for scope in scopes}
    # What is right and what is called for is the toy's own word, not the reference proxy's.
    assert wrong["cells"] == toy["cells"] | {"member": ["hidden"]}
    assert [*wrong["wrong_values"]["member"]] == ["user"]
    assert {scope: [*toy["requests"][scope]] for scope in scopes} == {
        "team": ["200"],
        "user": ["200"],
        "shared_id": ["403"],
        "member": ["200"],
    }
    assert set(toy["spend_drift_micro"].values()) == {0}

    # Postgres' own counts of the toy's statements, and its spend, are held against the others'.
    checked = {
        (e["name"], e["variant"]): e["status"]
        for e in result["ledger"]["equations"]
        if not e["name"].startswith("redis_")
    }
    assert {variant for _, variant in checked} == {*NAMES}
    unchecked = {name for (name, _), status in checked.items() if status != "balanced"}
    assert unchecked == {"reads_by_scope"}, "the toy keeps no log of its reads"
