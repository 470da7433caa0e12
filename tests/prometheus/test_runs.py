"""Prometheus beside a run, and opened again on its data."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from harness.cli import main
from tests.programs import prometheus
from tests.runs.support import Running, harness, started, tiny_scenario

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    arguments = ["--scenario", str(tiny_scenario(folder)), "--runs-dir", str(folder / "runs")]
    ended = harness(folder / "runs", "loadtest", *arguments, AUTHCACHE_PROMETHEUS=str(prometheus()))
    assert (folder / "runs" / "latest" / "prometheus").is_dir(), ended.output
    return (folder / "runs" / "latest").resolve()


def _sums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _url(running: Running) -> str:
    line = running.wait_for(
        "the address",
        lambda: [row for row in running.output().splitlines() if row.startswith("For Grafana")],
    )[0]
    running.children()
    return str(line.split()[2].rstrip("."))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_is_opened_on_a_copy_and_nothing_is_left(
    run_dir: Path, tmp_path: Path, number: signal.Signals
) -> None:
    before = _sums(run_dir)
    environment = {"AUTHCACHE_PROMETHEUS": str(prometheus())}
    with started(tmp_path, "prometheus", str(run_dir), **environment) as running:
        url = _url(running)
        assert url.startswith("http://127.0.0.1:")
        expr = "sum(last_over_time(authcache_source_reads_total[10y]))"
        reply = httpx.get(f"{url}/api/v1/query", params={"query": expr}, trust_env=False)
        [row] = reply.json()["data"]["result"]
        assert float(row["value"][1]) > 0
        running.process.send_signal(number)
        code = running.end()
        assert code == {signal.SIGINT: 0, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
        assert running.leftovers() == []
    assert _sums(run_dir) == before


def test_a_run_that_was_not_recorded_cannot_be_opened(tmp_path: Path) -> None:
    run_dir = tmp_path / "runs" / "some-run"
    run_dir.mkdir(parents=True)
    words = ("prometheus", "some-run", "--runs-dir", str(tmp_path / "runs"))
    ended = CliRunner().invoke(main, words, catch_exceptions=False)
    assert ended.exit_code == 2
    assert "[some-run] was not recorded" in ended.output


def test_a_prometheus_that_does_not_start_does_not_cost_the_run(tmp_path: Path) -> None:
    broken = tmp_path / "prometheus"
    broken.write_text(
        "#!/bin/sh\n"
        "case $1 in --version) echo prometheus, version 0;; *) echo no disk; exit 9;; esac\n"
    )
    broken.chmod(0o755)
    runs = tmp_path / "runs"
    ended = harness(
        runs,
        *("loadtest", "--scenario", str(tiny_scenario(tmp_path)), "--runs-dir", str(runs)),
        AUTHCACHE_PROMETHEUS=str(broken),
    )
    assert "The run is not recorded. Prometheus does not come up" in ended.output
    assert "no disk" in ended.output
    assert any("did not come up" in note for note in ended.result["notes"])
    assert ended.result["complete"] is True
    assert ended.result["ledger"]["balanced"] is True


def test_one_that_is_insisted_on_and_not_there_is_said_before_anything_starts(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    words = ("loadtest", "--scenario", "smoke", "--runs-dir", str(runs), "--prometheus", "on")
    env = {"AUTHCACHE_PROMETHEUS": str(tmp_path / "none")}
    ended = CliRunner().invoke(main, words, env=env, catch_exceptions=False)
    assert ended.exit_code == 2
    assert "AUTHCACHE_PROMETHEUS names no prometheus that runs" in ended.output
    assert not runs.exists()


def test_a_prometheus_that_dies_does_not_cost_the_run(tmp_path: Path) -> None:
    scenario = tiny_scenario(tmp_path, window_ttls=6)
    environment = {"AUTHCACHE_PROMETHEUS": str(prometheus())}
    with started(tmp_path, "loadtest", "--scenario", str(scenario), **environment) as running:
        running.under_load()
        [process] = running.find("--storage.tsdb.path")
        process.kill()
        running.end()
        assert running.leftovers() == []
        assert "Prometheus ended before the run did, ended by signal [SIGKILL]" in running.output()
    result = json.loads((running.runs_dir / "latest" / "result.json").read_text())
    assert result["complete"] is True
    assert result["ledger"]["balanced"] is True
