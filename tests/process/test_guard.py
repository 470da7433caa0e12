from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.process import guard
from harness.process.guard_link import GuardLink
from tests.stack.fakes import eventually, runs

pytestmark = pytest.mark.timeout(120)

ROOT = Path(__file__).parents[2]
SLEEP = [sys.executable, "-c", "import signal; signal.pause()"]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEP, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_birth_identifies_a_process(sleeper: subprocess.Popen[bytes]) -> None:
    born = guard.birth(sleeper.pid)

    assert born is not None
    assert guard.birth(sleeper.pid) == born
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert guard.birth(sleeper.pid) is None, "a zombie has ended"


def test_the_birth_from_ps_identifies_a_process_too(sleeper: subprocess.Popen[bytes]) -> None:
    assert guard._birth_from_ps(sleeper.pid) == guard._birth_from_ps(sleeper.pid)
    assert guard._birth_from_ps(sleeper.pid)
    assert guard._birth_from_ps(2**22 + 1) is None


def test_a_stranger_with_the_same_number_is_spared(sleeper: subprocess.Popen[bytes]) -> None:
    guard.kill_group(sleeper.pid, "another birth")
    assert runs(sleeper.pid)

    guard.kill_group(sleeper.pid, guard.birth(sleeper.pid) or "")
    assert sleeper.wait() == -signal.SIGKILL


def test_strays_are_known_by_token_or_as_backends(tmp_path: Path) -> None:
    elsewhere = tmp_path / "authcache-elsewhere"
    folder = tmp_path / "authcache-here"
    for one in (elsewhere, folder):
        one.mkdir()

    def start(token: str, cwd: Path, title: str = "sleep") -> subprocess.Popen[bytes]:
        env = {guard.TOKEN_VARIABLE: token}
        return subprocess.Popen(
            [title, "600"], executable="/bin/sleep", env=env, cwd=cwd, start_new_session=True
        )

    ours = [start("t1", elsewhere), start("", folder, "postgres: io worker")]
    others = [
        start("t11", elsewhere),
        start("", folder, "a shell that looks around"),
        start("", elsewhere, "postgres: of another stack"),
    ]
    try:
        guard.kill_strays("t1", [str(folder)])

        assert [process.wait() for process in ours] == [-signal.SIGKILL] * 2
        assert all(runs(process.pid) for process in others)
    finally:
        for process in (*ours, *others):
            process.kill()
            process.wait()


def test_only_folders_of_a_stack_are_removed(tmp_path: Path) -> None:
    mine, other = tmp_path / "authcache-x", tmp_path / "home"
    for folder in (mine, other):
        folder.mkdir()
        (folder / "file").touch()

    guard.remove_folder(str(mine))
    guard.remove_folder(str(other))

    assert not mine.exists()
    assert (other / "file").exists()


@pytest.mark.parametrize("clean", [True, False])
async def test_end_of_file_without_done_ends_what_exists(
    clean: bool, tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    folder = tmp_path / "authcache-y"
    folder.mkdir()
    log = tmp_path / "guard.log"
    link = GuardLink("token", log)
    link.folder(folder)
    link.process(sleeper.pid, guard.birth(sleeper.pid) or "", "group")

    if clean:
        link.done()
        assert link._process.returncode == 0
        assert folder.exists()
        assert runs(sleeper.pid)
        assert not log.exists()
    else:
        link._pipe.close()
        assert sleeper.wait() == -signal.SIGKILL
        assert link._process.wait() == 0
        assert not folder.exists()
        assert "Ended [1] processes" in log.read_text()


def test_the_log_of_a_relative_path_is_where_the_harness_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    logs = Path("runs", "run", "logs")
    logs.mkdir(parents=True)
    link = GuardLink("token", logs / "guard.log")

    link._pipe.close()

    assert link._process.wait() == 0
    assert "ended without closing" in (tmp_path / logs / "guard.log").read_text()


def test_the_inventory_ends_everything(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    folder = tmp_path / "authcache-z"
    folder.mkdir()
    inventory = guard.Inventory("some token")
    born = guard.birth(sleeper.pid)
    for message in (
        {"say": "folder", "path": str(folder)},
        {"say": "process", "pid": sleeper.pid, "born": born, "ending": "postgres"},
        {"say": "process", "pid": os.getpid(), "born": "long ago", "ending": "group"},
    ):
        inventory.hear(message)

    inventory.end()

    assert sleeper.wait() == -signal.SIGQUIT, "asked as Postgres is asked"
    assert not folder.exists()


def test_a_guard_that_is_gone_stops_no_process(tmp_path: Path) -> None:
    link = GuardLink("token", tmp_path / "guard.log")
    link._process.kill()
    link._process.wait()

    link.folder(tmp_path)
    link.done()


@pytest.mark.integration
async def test_a_killed_harness_leaves_nothing(tmp_path: Path) -> None:
    harness = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.stack.abandoned", str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert harness.stdout is not None
    about = json.loads(await harness.stdout.readline())
    assert len(about["pids"]) > 8
    assert all(runs(pid) for pid in about["pids"])
    # What a terminal sends to everyone must not end the guard before its work.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(about["guard"], number)

    harness.kill()
    await harness.wait()

    assert await eventually(lambda: not any(runs(pid) for pid in about["pids"]))
    assert await eventually(lambda: not Path(about["folder"]).exists())
    assert await eventually((tmp_path / "logs" / "guard.log").exists)
    assert "ended without closing" in (tmp_path / "logs" / "guard.log").read_text()


def test_the_inventory_wakes_what_is_stopped_before_it_asks_it_to_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guard, "POSTGRES_GRACE_S", 60.0)
    env = {guard.TOKEN_VARIABLE: "a token of this test"}
    with subprocess.Popen(SLEEP, start_new_session=True, env=env) as stopped:
        stopped.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, stopped.pid, os.WSTOPPED | os.WNOWAIT)
        inventory = guard.Inventory("a token of this test")
        inventory.hear(
            {
                "say": "process",
                "pid": stopped.pid,
                "born": guard.birth(stopped.pid),
                "ending": "postgres",
            }
        )

        inventory.end()

        assert stopped.wait() == -signal.SIGQUIT, "it ended by itself, as Postgres should"
