"""However a run ends: the documented exit code, what was measured kept, nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import recorder
from tests.runs.support import ROOT, Ended, Running, harness, started, tiny_scenario

pytestmark = pytest.mark.integration

REPLICA = "harness.targets.reference.serve"


def _long_run(tmp_path: Path) -> tuple[str, ...]:
    return ("loadtest", "--scenario", str(tiny_scenario(tmp_path, window_ttls=60)))


def _result(running: Running) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(
        (running.runs_dir / "latest" / "result.json").read_text()
    )
    return loaded


def test_sigterm_ends_the_run_and_everything_it_started(tmp_path: Path) -> None:
    with started(tmp_path, *_long_run(tmp_path)) as running:
        running.under_load()
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 143, running.output()
        assert running.leftovers() == []
        result = _result(running)
        assert result["verdict"] == "interrupted"
        assert result["complete"] is False


def test_a_signal_while_starting_leaves_nothing(tmp_path: Path) -> None:
    with started(tmp_path, *_long_run(tmp_path)) as running:
        running.wait_for("a server", lambda: running.find("valkey") or running.find("postgres"))
        running.process.send_signal(signal.SIGTERM)
        assert running.end() == 143, running.output()
        assert running.leftovers() == []


def test_a_killed_harness_leaves_nothing(tmp_path: Path) -> None:
    recorded = recorder()
    with started(tmp_path, *_long_run(tmp_path), **recorded) as running:
        running.under_load()
        assert running.find(REPLICA)
        assert running.find("valkey")
        assert bool(running.find("--storage.tsdb.path")) == bool(recorded)
        running.process.kill()
        assert running.end() == -signal.SIGKILL
        assert running.leftovers() == []


@pytest.mark.parametrize(
    ("victim", "name"),
    [(REPLICA, "recommended"), ("valkey", "valkey"), ("postgres", "ostgres")],
    ids=["replica", "valkey", "postgres"],
)
def test_a_server_that_dies_makes_the_run_invalid(tmp_path: Path, victim: str, name: str) -> None:
    with started(tmp_path, *_long_run(tmp_path)) as running:
        running.under_load()
        # The first of them is the parent where a server has children of its own.
        min(running.find(victim), key=lambda p: p.create_time()).kill()
        assert running.end() == 4, running.output()
        assert running.leftovers() == []
        result = _result(running)
        assert result["verdict"] == "invalid"
        reasons = result["reasons"]
        assert isinstance(reasons, list)
        assert name in reasons[0]
        assert list((running.runs_dir / "latest" / "logs").iterdir())


def test_sigint_ends_the_run_and_a_window_that_was_whole_is_kept(tmp_path: Path) -> None:
    scenario = tiny_scenario(tmp_path, window_ttls=3)
    with started(tmp_path, "loadtest", "--scenario", str(scenario), "--rounds", "50") as running:
        running.wait_for(
            "two windows", lambda: len(list(running.runs_dir.glob("*/snapshots/*"))) >= 2
        )
        running.process.send_signal(signal.SIGINT)
        assert running.end() == 130, running.output()
        assert running.leftovers() == []
        result = _result(running)
        assert result["verdict"] == "interrupted"
        assert result["complete"] is False
        variants = result["variants"]
        assert isinstance(variants, dict)
        assert len(variants["recommended"]["windows"]) >= 2
        assert (running.runs_dir / "latest" / "report.html").stat().st_size > 10_000


FULL_DISK = """
import errno, os, sys
import harness.experiment.record as record
from harness.__main__ import main
def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a-window.json.gz")
record.write_window = full
main()
"""


def test_a_full_disk_ends_the_run_and_is_no_regression(tmp_path: Path) -> None:
    runs_dir, temp = tmp_path / "runs", tmp_path / "temp"
    temp.mkdir()
    temp.chmod(0o777)
    words = ("--scenario", tiny_scenario(tmp_path), "--prometheus", "off", "--runs-dir", runs_dir)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, "loadtest", *words],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temp)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith("error: [a-window.json.gz]: No space left on device.")
    assert [*temp.iterdir()] == []
    assert not [*runs_dir.glob("*/keys.json")], "secrets outlived the run"


# As a user starts it, with a master key that is known.
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


def test_a_run_passes_keeps_its_secrets_and_its_report_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs_dir = tmp_path / "runs"
    scenario = tiny_scenario(tmp_path, window_ttls=3)
    scenario.write_text(scenario.read_text() + CHANGES)
    words = ("--scenario", scenario, "--prometheus", "off", "--runs-dir", runs_dir)
    program = tmp_path / "prometheus"
    program.write_text('#!/bin/sh\n: > "$0-was-asked"\n')
    program.chmod(0o755)
    monkeypatch.setenv("AUTHCACHE_PROMETHEUS", str(program))
    done = subprocess.run(
        [sys.executable, "-c", KNOWN, "loadtest", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    first = Ended(done.returncode, done.stdout + done.stderr, runs_dir)
    assert first.code == 0, first.output
    assert first.result["ledger"]["balanced"] is True
    assert not (runs_dir / "latest" / "prometheus").exists()
    assert [path.name for path in tmp_path.glob("prometheus*")] == ["prometheus"]
    assert any("switched off" in note for note in first.result["notes"])
    manifest = json.loads((runs_dir / "latest" / "manifest.json").read_text())
    assert "switched off" in manifest["servers"]["prometheus"]
    statuses = {e["status"] for e in first.result["ledger"]["equations"]}
    assert statuses == {"balanced"}
    page = runs_dir / "latest" / "report.html"
    before = page.read_text()
    page.unlink()
    again = harness(runs_dir, "report", "--runs-dir", str(runs_dir))
    assert again.code == 0, again.output
    assert page.read_text() == before
    assert not (runs_dir / "latest" / "keys.json").exists(), "secrets outlived the run"
    kept = [path for path in runs_dir.rglob("*") if path.is_file()]
    assert any(b"key-block" in path.read_bytes() for path in kept), "the key was used"
    assert [path for path in kept if b"geheim-master" in path.read_bytes()] == []
    assert "geheim-master" not in first.output
