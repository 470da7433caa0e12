"""Runs in which something is broken on purpose: measured, mended, and nothing left behind."""

from __future__ import annotations

import gzip
import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.domain.faults import FAULTS
from tests.runs.support import Running, harness, started

pytestmark = pytest.mark.integration

REPLICA = "harness.targets.reference.serve"

SCENARIO = """
name = "mine"
title = "One fault"
replicas = 2
ttl_s = 1.0
rounds = 1
variants = ["VARIANT"]
population = { user = 1 }

[load]
rate_per_s = 25
users = 1500
timeout_s = 3.0
mix = { user = 1 }
cold_fill = false

[faults]
alone = true
lead_s = 1.0
tail_s = 3.0

[[fault]]
what = "WHAT"
for_s = FOR
"""


def _scenario(folder: Path, what: str, for_s: float, variant: str = "recommended") -> str:
    path = folder / "mine.toml"
    text = SCENARIO.replace("WHAT", what).replace("FOR", str(for_s)).replace("VARIANT", variant)
    path.write_text(text, encoding="utf-8")
    return str(path)


def _windows(runs_dir: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted((runs_dir / "latest" / "snapshots").iterdir()):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            found[path.name.removesuffix(".json.gz")] = json.load(file)
    return found


def test_what_is_broken_is_seen_to_be_broken_and_balances_again_afterwards(tmp_path: Path) -> None:
    runs_dir = tmp_path / "runs"
    ended = harness(runs_dir, "loadtest", "--scenario", "faults-smoke", "--runs-dir", str(runs_dir))
    assert ended.code != 2, ended.output
    windows = _windows(runs_dir)
    broken = [w for w in windows.values() if w["phase"] == "faults"]
    assert [w["fault"]["planned"]["what"] for w in broken] == [
        "redis-kill-empty", "redis-hang", "postgres-kill", "replica-term"
    ]  # fmt: skip
    for window in broken:
        fault = window["fault"]
        assert fault["bit"] > 0, fault
        assert fault["ended_s"] - fault["begun_s"] >= fault["planned"]["for_s"]
        # Once a second, and once more before the fault.
        assert len(window["scrapes"]) > window["duration_s"] - 2
        assert [change["outcome"] for change in window["changes"]]
    equations = ended.result["ledger"]["equations"]
    unbalanced = [e for e in equations if e["status"] == "unbalanced" and e["kind"] == "validity"]
    assert unbalanced == []
    after = {e["name"]: e["status"] for e in equations if "recovered" in e["window"]}
    assert set(after.values()) == {"balanced"}, "to the unit"
    meanwhile = {e["name"] for e in equations if e["status"] == "not_checked"}
    assert "unanswered" in meanwhile
    sheet = ended.result["faults"]["recommended"]
    assert list(sheet) == [w["fault"]["planned"]["what"] for w in broken]
    for window, one in zip(broken, sheet.values(), strict=True):
        rows = one["timeline"]
        sent = window["generator"]["sent"]
        assert sum(row["ok"] + row["late"] + row["errors"] for row in rows) == sent
        assert sum(row["reads"] for row in rows) > 0
        assert one["verdict"] not in ("invalid", "wrong"), one["reasons"]
        assert one["log_bytes_per_request"] is not None
    assert sheet["postgres-kill"]["errors"], "an outage of 2 s with a TTL of 1 s"


@pytest.mark.long
def test_a_fault_that_takes_no_effect_makes_the_run_invalid(tmp_path: Path) -> None:
    """Nothing is deleted in a run that changes nothing."""
    scenario = _scenario(tmp_path, "redis-no-del", 1.0, "litellm_1_84")
    runs_dir = tmp_path / "runs"
    ended = harness(runs_dir, "loadtest", "--scenario", scenario, "--runs-dir", str(runs_dir))
    assert ended.code == 4, ended.output
    assert any(
        f"took no effect in window 01-faults-litellm_1_84: {FAULTS['redis-no-del'].proof}: 0"
        in reason
        for reason in ended.result["reasons"]
    )


def _hanging(running: Running) -> psutil.Process:
    """The Redis that a fault has stopped."""

    def stopped() -> list[psutil.Process]:
        return [p for p in running.find("valkey") if p.status() == psutil.STATUS_STOPPED]

    found: list[psutil.Process] = running.wait_for("a Redis that hangs", stopped)
    return found[0]


def test_when_the_harness_is_ended_during_a_fault_nothing_stays_stopped(tmp_path: Path) -> None:
    scenario = _scenario(tmp_path, "redis-hang", 40.0)
    with started(tmp_path, "loadtest", "--scenario", scenario) as running:
        hanging = _hanging(running)
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 130, running.output()
        assert running.leftovers() == []
        assert not hanging.is_running() or hanging.status() == psutil.STATUS_ZOMBIE


def test_an_unplanned_death_during_a_fault_makes_the_run_invalid(tmp_path: Path) -> None:
    scenario = _scenario(tmp_path, "redis-hang", 40.0)
    with started(tmp_path, "loadtest", "--scenario", scenario) as running:
        _hanging(running)
        min(running.find(REPLICA), key=lambda p: p.create_time()).kill()
        assert running.end() == 4, running.output()
        assert running.leftovers() == []
    result = json.loads((running.runs_dir / "latest" / "result.json").read_text())
    assert "replica" in result["reasons"][0]
    assert "exited unexpectedly" in result["reasons"][0]
