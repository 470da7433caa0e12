"""Ends by a signal: of a test run, and of a run that has just begun."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from harness.process import groups
from tests.process.test_groups import entered_with
from tests.runs.support import started, tiny_scenario
from tests.stack.fakes import PATIENCE_S, eventually, runs

pytestmark = pytest.mark.integration

SUITE = """
import asyncio, os, signal, subprocess, sys, time
from pathlib import Path
import pytest

here = Path(__file__).parent
DEAF = "import signal; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; print(flush=True)"
DEAF += "; signal.pause()"

@pytest.fixture
def server():
    process = subprocess.Popen(
        [sys.executable, "-c", DEAF], start_new_session=True, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    (here / "torn-down").touch()

def tell(server):
    forgotten = subprocess.Popen(["sleep", "600"], start_new_session=True)
    (here / "pids.new").write_text(f"{server.pid} {forgotten.pid} {os.getpid()}")
    (here / "pids.new").rename(here / "pids")

def test_plain(server):
    tell(server)
    signal.pause()

async def test_asyncio(server):
    tell(server)
    try:
        await asyncio.sleep(600)
    finally:
        (here / "cleaned-up").touch()

def test_ends(server):
    tell(server)
    while not (here / "go").exists():
        time.sleep(0.01)
"""


@asynccontextmanager
async def suite(
    folder: Path, kind: str, disposition: str, workers: int
) -> AsyncIterator[subprocess.Popen[str]]:
    """A run of one test of the suite, once it has started processes.

    None of these must stay, nor the worker of pytest-xdist where there is one.
    """
    (folder / "test_suite.py").write_text(SUITE)
    pids = folder / "pids"
    command = (sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "/dev/null")
    options = ("-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-k", kind, "-n", str(workers))
    with entered_with(
        *(disposition, *command, *options, str(folder)),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as session:
        assert await eventually(lambda: pids.exists() or session.poll() is not None)
        assert session.poll() is None, session.communicate()[0]
        there = [int(pid) for pid in pids.read_text().split()]
        assert all(runs(pid) for pid in there)
        yield session
    assert await eventually(lambda: not any(runs(pid) for pid in there))


@pytest.mark.parametrize(
    ("kind", "disposition", "number", "workers"),
    [
        ("plain", "default", signal.SIGTERM, 0),
        *(("asyncio", "default", one, 0) for one in groups.ENDING),
        ("asyncio", "default", signal.SIGKILL, 0),
        ("asyncio", "ignored", signal.SIGINT, 0),
        ("asyncio", "ignored", signal.SIGTERM, 0),
        ("asyncio", "blocked", signal.SIGTERM, 0),
        ("asyncio", "default", signal.SIGHUP, 1),
        ("asyncio", "default", signal.SIGTERM, 1),
        ("asyncio", "default", signal.SIGKILL, 1),
    ],
)
async def test_a_test_run_that_is_ended_leaves_no_process(
    tmp_path: Path, kind: str, disposition: str, number: signal.Signals, workers: int
) -> None:
    async with suite(tmp_path, kind, disposition, workers) as session:
        send(session, number)
        said = session.communicate(timeout=PATIENCE_S)[0]

    if number in {signal.SIGQUIT, signal.SIGKILL}:
        assert session.returncode == -number
        return
    assert session.returncode == pytest.ExitCode.INTERRUPTED, said
    assert (tmp_path / "torn-down").exists()
    assert kind == "plain" or (tmp_path / "cleaned-up").exists()


@pytest.mark.parametrize("workers", [0, 1])
async def test_a_test_run_under_nohup_outlives_its_terminal(tmp_path: Path, workers: int) -> None:
    async with suite(tmp_path, "ends", "ignored", workers) as session:
        send(session, signal.SIGHUP)
        (tmp_path / "go").touch()
        said = session.communicate(timeout=PATIENCE_S)[0]

    assert session.returncode == pytest.ExitCode.OK, said
    assert (tmp_path / "torn-down").exists()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
@pytest.mark.parametrize("moment", ["its folder", "a line"])
def test_a_signal_to_a_run_that_has_just_begun(
    tmp_path: Path, moment: str, number: signal.Signals, code: int
) -> None:
    with started(tmp_path, "loadtest", "--scenario", str(tiny_scenario(tmp_path, 60))) as running:
        folders = running.runs_dir.glob
        begun = {"its folder": lambda: [*folders("*-tiny")], "a line": running.output}[moment]
        running.wait_for(moment, begun)
        running.children()

        running.process.send_signal(number)

        assert running.end() == code, running.output()
        assert "Traceback" not in running.output()
        assert running.leftovers() == []
        (result,) = folders("*-tiny/result.json")
        assert json.loads(result.read_text())["verdict"] == "interrupted"
        assert not [*folders("*-tiny/keys.json")], "secrets outlived the run"


def send(session: subprocess.Popen[str], number: signal.Signals) -> None:
    """A terminal sends its signals to the workers of pytest-xdist too, all others do not."""
    if number in {signal.SIGHUP, signal.SIGINT}:
        os.killpg(session.pid, number)
    else:
        session.send_signal(number)
