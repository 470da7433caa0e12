"""`harness aa` from its command line to its table."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from harness.analysis.calibration import FILE, from_json
from tests.runs.support import ROOT, command, tiny_scenario

pytestmark = [pytest.mark.integration, pytest.mark.long]


def test_one_pair_of_tiny_windows(tmp_path: Path) -> None:
    scenario, runs = tiny_scenario(tmp_path), tmp_path / "runs"
    done = subprocess.run(
        command("aa", "--scenario", str(scenario), "--pairs", "1", "--runs-dir", str(runs)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    result = json.loads((runs / "latest" / "result.json").read_text())
    assert result["verdict"] == "observed"
    assert [*result["variants"]] == [
        "recommended", "recommended_again", "recommended_shorter", "recommended_longer"
    ]  # fmt: skip
    assert any(note.startswith("calibration: ") for note in result["notes"])
    calibration = from_json((runs / "latest" / FILE).read_text())
    assert (calibration.pairs, calibration.real_pairs) == (100, 1)
    assert {"source_reads_per_1000", "latency_p50_ms"} <= calibration.metrics.keys()
    assert "least difference" in done.stdout
