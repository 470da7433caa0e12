"""The master key of a fleet is in no file of a run, though the run has used it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.support import ROOT, environment, tiny_scenario

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

KNOWN = """
import sys, types
import harness.stack.base as base
from harness.__main__ import main
base.secrets = types.SimpleNamespace(token_hex=lambda _: "geheim-master")
sys.argv[0] = "harness"
main()
"""
CHANGES = """
[changes]
lead_ttls = 1

[[change]]
action = "key-block"
scope = "team"
"""


def test_the_master_key_is_in_no_file_of_a_run(tmp_path: Path) -> None:
    scenario = tiny_scenario(tmp_path)
    scenario.write_text(scenario.read_text() + CHANGES)
    runs = tmp_path / "runs"
    done = subprocess.run(
        [
            *(sys.executable, "-c", KNOWN, "loadtest", "--scenario", scenario),
            *("--prometheus", "off", "--runs-dir", runs),
        ],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    kept = [path for path in runs.rglob("*") if path.is_file()]
    assert any(b"key-block" in path.read_bytes() for path in kept), done.stdout + done.stderr
    assert [path for path in kept if b"geheim-master" in path.read_bytes()] == []
    assert "geheim-master" not in done.stdout + done.stderr
