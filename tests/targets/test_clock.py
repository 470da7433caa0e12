from __future__ import annotations

import datetime as dt
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.targets import clock

PROGRAM = """
import sys, time
import harness.targets.reference.serve
from harness.authcache import cache
for _ in sys.stdin:
    times = [time.time(), cache._now(), time.time_ns() / 1e9, time.monotonic()]
    print(*times, flush=True)
"""


def ask(process: subprocess.Popen[str]) -> list[float]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return [float(word) for word in process.stdout.readline().split()]


@pytest.mark.timeout(60)
def test_a_running_process_has_its_clock_shifted_and_set_right(tmp_path: Path) -> None:
    env = {clock.CLOCKS_VARIABLE: str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=env,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        before = ask(process)
        assert clock.shift(tmp_path, -7200.0) == 1
        shifted = ask(process)
        assert clock.shifted(tmp_path) == {str(process.pid): 3}
        assert clock.shift(tmp_path, 0.0) == 1
        after = ask(process)
        assert clock.shifted(tmp_path) == {str(process.pid): 3}
        assert process.stdin is not None
        process.stdin.close()

    # By a minute: a busy machine may take its time between two questions.
    assert all(abs(then - now - 7200) < 60 for then, now in zip(before[:3], shifted, strict=False))
    assert before[3] <= shifted[3] <= after[3] < before[3] + 60
    assert all(abs(then - now) < 60 for then, now in zip(before, after, strict=True))


def test_a_process_without_a_folder_keeps_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(clock.CLOCKS_VARIABLE, raising=False)
    real = time.time

    clock.install()

    assert time.time is real


def test_what_is_said_not_to_shift_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(clock.CLOCKS_VARIABLE, str(tmp_path))
    for name in ("time", "time_ns"):
        monkeypatch.setattr(time, name, getattr(time, name))
    before = dt.datetime.now(dt.UTC)

    clock.install()
    clock.shift(tmp_path, 86_400.0)

    assert time.time() - before.timestamp() > 80_000
    assert (dt.datetime.now(dt.UTC) - before).total_seconds() < 3_600
