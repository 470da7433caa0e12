"""Whole benchmarks, with tiny counts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks.arms import QUICK, arms
from benchmarks.bars import BARS
from harness.authcache.codecs import codec_names


def bench_command(*options: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks", *options]


def bench(folder: Path, *options: str, timeout_s: float = 300.0) -> tuple[int, str]:
    ended = subprocess.run(
        bench_command("--quick", "--rounds", "1", *options),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.integration
@pytest.mark.timeout(600)
@pytest.mark.long
def test_a_whole_benchmark(tmp_path: Path) -> None:
    code, output = bench(tmp_path, "--json", "out.json", "--no-bars")

    assert code == 0, output
    result = json.loads((tmp_path / "out.json").read_text())
    assert [bar["name"] for bar in result["bars"]] == [bar.name for bar in BARS]
    states = {bar["state"] for bar in result["bars"]}
    assert states <= {"held", "missed", "undecided"}
    assert all(bar["median"] > 0 for bar in result["bars"])
    figures = result["figures"]
    for arm in arms(QUICK):
        assert figures[f"{arm.name}.cpu_us"]["median"] > 0
    assert figures["redis.redis_cpu_us"]["median"] > 0
    assert figures["postgres.postgres_cpu_us"]["median"] > 0
    assert 0 < figures["replicas.generator_share"]["median"] < 1
    assert figures["replicas.rss_mib"]["median"] > figures["bare.rss_mib"]["median"] > 0
    assert result["quick"]
    assert not result["interrupted"]
    for bar in BARS:
        assert bar.title.split(",")[0] in output
    assert list(tmp_path.iterdir()) == [tmp_path / "out.json"]


@pytest.mark.integration  # a whole command
def test_one_group_alone_starts_no_server(tmp_path: Path) -> None:
    code, output = bench(tmp_path, "--only", "codecs", timeout_s=60.0)

    assert code in (0, 1, 3), output
    (written,) = (tmp_path / "runs" / "bench").iterdir()
    result: dict[str, Any] = json.loads(written.read_text())
    assert {bar["name"] for bar in result["bars"]} == {"encode", "decode"}
    states = {bar["state"] for bar in result["bars"]}
    assert code == (1 if "missed" in states else 3 if "undecided" in states else 0)
    assert all(name in output for name in codec_names())


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_ctrl_c_ends_everything(tmp_path: Path) -> None:
    process = subprocess.Popen(
        bench_command("--quick", "--rounds", "100", "--only", "requests"),
        cwd=tmp_path,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        # Servers and some of the fleets are there.
        warming = (line for line in process.stdout if line.startswith("starting and warming"))
        for _ in range(3):
            next(warming)
        started = psutil.Process(process.pid).children(recursive=True)
        assert started
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60.0)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 130, output
    deadline = time.monotonic() + 30.0
    while any(one.is_running() for one in started):
        assert time.monotonic() < deadline, "something was left running"
    assert [path for path in tmp_path.iterdir() if path.name != "runs"] == []
