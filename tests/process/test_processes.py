from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.process.guard_link import GuardLink
from harness.process.processes import Command, Processes, cut_log
from tests.process.test_groups import in_cancelled_task
from tests.stack.fakes import eventually, runs

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    link = GuardLink("processes", tmp_path / "guard.log")
    started = Processes("processes", link)
    yield started
    await started.stop("", 5.0)
    link.done()


def python(code: str, tmp_path: Path) -> Command:
    return Command("helper", "test", [sys.executable, "-c", code], tmp_path / "logs.log", {})


async def test_one_that_ends_by_itself(processes: Processes, tmp_path: Path) -> None:
    await processes.run(python("print('done')", tmp_path), 60)

    assert processes.started == []
    assert (tmp_path / "logs.log").read_text() == "done\n"


@pytest.mark.parametrize("other", [False, True])
async def test_the_callers_path_reaches_our_python_and_no_other(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, other: bool
) -> None:
    """A tree on PYTHONPATH would run in place of the release that is installed."""
    (tmp_path / "litellm.py").write_text("print('another tree')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "litellm.py"))
    monkeypatch.setenv("LITELLM_LOG", "DEBUG")
    code = (
        "import os, importlib.util as u;"
        "print(u.find_spec('litellm') is not None,"
        " [n for n in sorted(os.environ) if n.startswith(('PYTHON', 'LITELLM_'))])"
    )

    await processes.run(replace(python(code, tmp_path), other_python=other), 60)

    written = (tmp_path / "logs.log").read_text().split(" ", 1)
    assert (written[0] == "True") is not other
    assert "LITELLM_LOG" not in written[1]
    assert "PYTHONSTARTUP" not in written[1]
    assert ("PYTHONPATH" in written[1]) is not other


async def test_one_that_fails(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"(?s)helper failed, exit code \[3\].*no room"):
        await processes.run(python("print('no room'); raise SystemExit(3)", tmp_path), 60)


async def test_one_that_takes_too_long(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"did not end within \[0.1 s\]: still running"):
        await processes.run(python("import signal; signal.pause()", tmp_path), 0.1)


def test_a_program_that_is_not_there(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"could not be started.*/no/such/program"):
        processes.spawn(Command("helper", "test", ["/no/such/program"], tmp_path / "log", {}))


def test_nothing_starts_while_closing(processes: Processes, tmp_path: Path) -> None:
    processes.refuse()

    with pytest.raises(SetupError, match="is closing"):
        processes.spawn(python("", tmp_path))


async def test_only_its_own_lines_are_shown(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "logs.log").write_text("of one before\n")
    many = "\n".join(f"print('line {number}')" for number in range(100))
    process = processes.spawn(python(many, tmp_path))

    assert await eventually(process.ended)

    assert "line 99" in process.exit_report()
    assert "line 50" not in process.exit_report()
    assert "of one before" not in process.log_text()


async def test_what_is_left_of_a_process_group_is_ended_too(
    processes: Processes, tmp_path: Path
) -> None:
    code = """
import os, signal
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
signal.pause()
"""
    process = processes.spawn(python(code, tmp_path))
    assert await eventually(lambda: bool(process.log_text()))
    child = int(process.log_text())

    await processes.stop("", 5.0)

    assert process.popen.returncode == -signal.SIGTERM
    assert await eventually(lambda: not runs(child))


async def test_input_and_silence(processes: Processes, tmp_path: Path) -> None:
    quiet = Command(
        *("helper", "test", [sys.executable, "-c", "import sys; sys.exit(len(sys.stdin.read()))"]),
        *(tmp_path / "log", {}),
        stdin=b"12345",
    )
    process = processes.spawn(quiet)

    assert await eventually(process.ended)

    assert "exit code [5]; it wrote nothing" in process.exit_report()


@pytest.mark.parametrize("times", [1, 2, 3])
async def test_they_are_ended_however_often_the_run_is_cancelled(
    processes: Processes, tmp_path: Path, times: int
) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    process = processes.spawn(
        python(f"{deaf}; print('deaf', flush=True); signal.pause()", tmp_path)
    )
    assert await eventually(lambda: "deaf" in process.log_text())

    await in_cancelled_task(lambda: processes.stop("", 0.2), times)

    assert process.popen.returncode == -signal.SIGKILL


def test_a_log_that_grew_too_long_loses_its_middle_and_says_so(tmp_path: Path) -> None:
    log_file = tmp_path / "replica.log"
    with log_file.open("ab", buffering=0) as writer:
        writer.write(b"a" * 1000)
        assert cut_log(log_file, limit=1000) == 0
        writer.write(b"b" * 500)
        cut = cut_log(log_file, limit=1000)
        kept = log_file.read_bytes()
        assert kept.startswith(b"a" * 500 + b"\n[1,000 bytes were cut here")
        # What the process wrote, all in all.
        assert len(kept) + cut == 1500
        # It goes on at the new end.
        writer.write(b"c")
        assert log_file.read_bytes() == kept + b"c"
    assert cut_log(tmp_path / "none.log") == 0


async def test_one_that_is_stopped_still_ends_by_its_signal(
    processes: Processes, tmp_path: Path
) -> None:
    # It handles the signal: one that does not would end though it is stopped.
    code = "signal.signal(signal.SIGTERM, lambda *_: exit(5)); print('up', flush=True)"
    process = processes.spawn(python(f"import signal; {code}; signal.pause()", tmp_path))
    assert await eventually(lambda: "up" in process.log_text())
    process.popen.send_signal(signal.SIGSTOP)

    await processes.stop("", 20.0)

    assert process.popen.returncode == 5


async def test_some_are_ended_by_a_signal_and_the_others_go_on(
    processes: Processes, tmp_path: Path
) -> None:
    one, other = (processes.spawn(python("import signal; signal.pause()", tmp_path)) for _ in "12")

    await processes.end([one], 60.0, signal.SIGKILL)

    assert one.popen.returncode == -signal.SIGKILL
    assert one.stopping
    assert runs(other.pid)
    assert not other.stopping
