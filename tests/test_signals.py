from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.process import groups
from tests.process.test_groups import entered_with
from tests.stack.fakes import PATIENCE_S, eventually, runs

pytestmark = pytest.mark.integration

SUITE = """
import asyncio, signal, subprocess, sys
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
    (here / "pids.new").write_text(f"{server.pid} {forgotten.pid}")
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
"""


@pytest.mark.parametrize(
    ("kind", "disposition", "number"),
    [
        ("plain", "default", signal.SIGTERM),
        *(("asyncio", "default", one) for one in groups.ENDING),
        ("asyncio", "default", signal.SIGKILL),
        ("asyncio", "ignored", signal.SIGINT),
        ("asyncio", "ignored", signal.SIGTERM),
        ("asyncio", "blocked", signal.SIGTERM),
    ],
)
async def test_a_test_run_that_is_ended_leaves_no_process(
    tmp_path: Path, kind: str, disposition: str, number: signal.Signals
) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    pids = tmp_path / "pids"
    command = (sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "/dev/null")
    options = ("-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "-k", kind)
    with entered_with(
        disposition, *command, *options, str(tmp_path), stderr=subprocess.STDOUT
    ) as session:
        assert await eventually(lambda: pids.exists() or session.poll() is not None)
        assert session.poll() is None, session.communicate()[0]
        started = [int(pid) for pid in pids.read_text().split()]
        assert all(runs(pid) for pid in started)

        session.send_signal(number)
        said = session.communicate(timeout=PATIENCE_S)[0]

    assert await eventually(lambda: not any(runs(pid) for pid in started))
    if number in {signal.SIGQUIT, signal.SIGKILL}:
        assert session.returncode == -number
        return
    assert session.returncode == pytest.ExitCode.INTERRUPTED, said
    assert (tmp_path / "torn-down").exists()
    assert kind == "plain" or (tmp_path / "cleaned-up").exists()
