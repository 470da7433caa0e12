"""`harness referee` and `harness ask` on real servers, as a user starts them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.support import ROOT, tiny_scenario

pytestmark = pytest.mark.integration


def harness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness", *arguments, "--runs-dir", str(folder / "runs")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_head_that_reads_on_every_request_is_worse(tmp_path: Path) -> None:
    scenario = tmp_path / "shared.toml"
    text = tiny_scenario(tmp_path).read_text().replace("[[expect]]", "[ignored]").split("[ignored]")
    scenario.write_text(text[0].replace("user = 1", "shared_id = 1"))
    sides = ("--source", "litellm_1_84", "--against", "recommended")
    done = harness(tmp_path, "referee", *sides, "--scenario", str(scenario), "--json", "-")
    body = json.loads(done.stdout)
    assert (done.returncode, body["verdict"]) == (1, "worse"), done.stderr
    worse = {(m["measure"], m["place"]) for m in body["measures"] if m["outcome"] == "worse"}
    assert {("cell", "shared_id"), ("source reads", "shared_id")} <= worse
    assert any(one["statement"].startswith("SELECT") for one in body["statements"])
    latest = tmp_path / "runs" / "latest"
    verdict = json.loads((latest / "verdict.json").read_text())
    assert verdict["verdict"] == "worse"
    assert all((latest / name).is_file() for name in verdict["files"])
