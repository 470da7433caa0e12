from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from harness.process.guard_link import GuardLink
from harness.process.processes import Command, Processes
from harness.stack.embedded.usage import UsageMeter
from tests.stack.fakes import eventually, runs

# A child that does nothing but count, below a parent that never waits for it.
BURN = """
import os, signal
pid = os.fork()
if pid == 0:
    while True:
        pass
print(pid, flush=True)
signal.pause()
"""


@pytest.mark.timeout(120)
async def test_cpu_of_descendants_counts_and_never_goes_down(tmp_path: Path) -> None:
    link = GuardLink("usage", tmp_path / "guard.log")
    processes = Processes("usage", link)
    meter = UsageMeter()

    def cpu_s() -> float:
        return meter.measure(processes.started)["test"]

    try:
        burning = Command("burner", "test", [sys.executable, "-c", BURN], tmp_path / "log", {})
        process = processes.spawn(burning)
        assert await eventually(lambda: bool(process.log_text()))
        child = int(process.log_text())
        assert await eventually(lambda: cpu_s() > 0.5)
        used = cpu_s()

        os.kill(child, signal.SIGKILL)
        assert await eventually(lambda: not runs(child))
        assert cpu_s() >= used
    finally:
        await processes.stop("", 5.0)
        link.done()
    assert cpu_s() >= used
