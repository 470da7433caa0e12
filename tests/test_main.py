"""A signal before a command's own work begins, and output that cannot be written: no traceback."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

pytestmark = pytest.mark.integration

ENTRY = {
    "harness": [str(Path(sys.executable).with_name("harness"))],
    "python -m harness": [sys.executable, "-m", "harness"],
}
# What the command would do after its imports fails, so that nothing is ever started.
NOTHING = ("loadtest", "--scenario", "no-such-scenario")
PATIENCE_S = 60.0


def ours(pid: int) -> bool:
    """Whether a process takes SIGTERM: Python by itself does not, so the entry point has run."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = re.search(r"^SigCgt:\s*([0-9a-f]+)", status, re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> signal.SIGTERM - 1 & 1)


@contextmanager
def started(*command: str) -> Iterator[subprocess.Popen[str]]:
    """A command that has got as far as its entry point."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + PATIENCE_S
            while not ours(process.pid) and process.poll() is None:
                assert time.monotonic() < deadline, "it never takes SIGTERM"
                time.sleep(0.001)
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize(("entry", "moments"), [("harness", 20), ("python -m harness", 4)])
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGHUP, 129), (signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_a_signal_during_imports(
    entry: str, moments: int, number: signal.Signals, code: int
) -> None:
    """They differ only in how they start."""
    ended = []
    for step in range(moments):
        with started(*ENTRY[entry], *NOTHING) as process:
            # Where it is by then differs between machines; any moment must do.
            time.sleep(step * 0.02)
            process.send_signal(number)
            _, written = process.communicate(timeout=PATIENCE_S)
        assert "Traceback" not in written
        ended.append(process.returncode)

    # One that had told its error before the signal came ends with the error's code.
    assert set(ended) <= {code, 2}
    assert ended[0] == code


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_sigint_counts_where_the_caller_had_it_ignored() -> None:
    words = [*ENTRY["harness"], *NOTHING]
    with started("sh", "-c", 'trap "" INT; exec "$@"', "sh", *words) as process:
        process.send_signal(signal.SIGINT)
        _, written = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 130
    assert "Traceback" not in written


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_under_nohup_a_command_outlives_its_terminal() -> None:
    words = [*ENTRY["harness"], *NOTHING]
    with started("sh", "-c", 'trap "" HUP; exec "$@"', "sh", *words) as process:
        process.send_signal(signal.SIGHUP)
        process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 2, "it ends with the error of its words"


def harness(*words: str, stdout: int | IO[bytes], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ENTRY["harness"], *words],
        env=os.environ | env,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="writes to /dev/full")
@pytest.mark.parametrize("word", ["--help", "variants", "compat"])
def test_output_that_cannot_be_written(word: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = harness(word, stdout=full)

    assert done.returncode == 4, done.stderr
    assert done.stderr.splitlines() == [
        "error: No space left on device. Remove the cause, then run the command again."
    ]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_that_lacks_characters(encoding: str) -> None:
    done = harness("compat", stdout=subprocess.PIPE, PYTHONIOENCODING=encoding)

    assert done.returncode == 0, done.stderr
