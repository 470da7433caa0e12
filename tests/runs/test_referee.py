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


def scenario(folder: Path, scope: str) -> str:
    """A scenario file of one scope, without expectations; what it returns is its path."""
    path = folder / f"{scope}.toml"
    text = tiny_scenario(folder).read_text().partition("[[expect]]")[0]
    path.write_text(text.replace("user = 1", f"{scope} = 1"))
    return str(path)


def test_a_head_that_reads_on_every_request_is_worse(tmp_path: Path) -> None:
    sides = ("--source", "litellm_1_84", "--against", "recommended")
    load = ("--scenario", scenario(tmp_path, "shared_id"))
    done = harness(tmp_path, "referee", *sides, *load, "--json", "-")
    body = json.loads(done.stdout)
    assert (done.returncode, body["verdict"]) == (1, "worse"), done.stderr
    worse = {(m["measure"], m["place"]) for m in body["measures"] if m["outcome"] == "worse"}
    assert {("cell", "shared_id"), ("source reads", "shared_id")} <= worse
    assert any(one["statement"].startswith("SELECT") for one in body["statements"])
    latest = tmp_path / "runs" / "latest"
    verdict = json.loads((latest / "verdict.json").read_text())
    assert verdict["verdict"] == "worse"
    assert all((latest / name).is_file() for name in verdict["files"])


@pytest.mark.long
@pytest.mark.alone
def test_the_repair_of_the_issue_is_better_although_its_payloads_are_larger(tmp_path: Path) -> None:
    sides = ("--source", "fix_keep_none", "--against", "litellm_1_84")
    done = harness(tmp_path, "referee", *sides, "--json", "-")
    body = json.loads(done.stdout)
    assert (done.returncode, body["verdict"]) == (0, "better"), done.stderr
    sizes = [m for m in body["measures"] if (m["measure"], m["place"]) == ("payload", "key")]
    assert [m["head"] > 1.5 * m["base"] for m in sizes] == [True]


def test_ask_says_no_and_bisects_code_for_it(tmp_path: Path) -> None:
    asked = ("ask", "--source", "litellm_1_84", "shared_id is healthy")
    done = harness(tmp_path, *asked, "--scenario", scenario(tmp_path, "shared_id"))
    assert done.returncode == 1, done.stderr
    assert "shared_id is healthy: no (cell in shared_id is broken" in done.stdout
