"""The life of the load driver process."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from harness.domain.window import LoadProgress, WindowCommand
from harness.errors import InvalidRunError
from harness.load import client
from harness.load.client import LoadDriver
from tests.load.replica import FakeReplica, Reply

pytestmark = pytest.mark.integration
Window = Callable[..., WindowCommand]


def impostor(tmp_path: Path, body: str) -> str:
    """A program to be started in place of Python."""
    program = tmp_path / "impostor"
    program.write_text(f"#!{sys.executable}\nimport sys\n{textwrap.dedent(body)}")
    program.chmod(0o755)
    return str(program)


async def test_the_harness_process_is_not_patched_for_gevent() -> None:
    check = (
        "import sys; from harness.domain import population, samples, window; "
        "from harness.load import client, mix, plan, recorder; sys.exit('gevent' in sys.modules)"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", check)
    assert await process.wait() == 0


async def test_a_driver_runs_in_a_session_of_its_own_and_ends_when_closed(tmp_path: Path) -> None:
    driver = LoadDriver(tmp_path / "driver.log")
    await driver.close()
    await driver.start()
    process = psutil.Process(driver.pid)
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    assert driver.cpu_s() > 0
    await driver.close()
    assert not process.is_running()
    await driver.close()
    for use in (driver.cpu_s, lambda: driver.pid):
        with pytest.raises(InvalidRunError, match=r"exited with code \[0\]"):
            use()


def test_a_driver_that_was_never_started_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidRunError, match="never started"):
        _ = LoadDriver(tmp_path / "driver.log").pid


async def test_a_killed_driver_makes_the_window_invalid(tmp_path: Path, window: Window) -> None:
    driver = LoadDriver(tmp_path / "driver.log")
    await driver.start()

    def kill(_: LoadProgress) -> None:
        os.kill(driver.pid, signal.SIGKILL)

    async with FakeReplica() as replica:
        with pytest.raises(InvalidRunError, match=r"exited with code \[-9\]"):
            await driver.window(window([replica.url], duration_s=60), kill)
        with pytest.raises(InvalidRunError, match="exited with code"):
            await driver.window(window([replica.url]))
    await driver.close()


async def test_the_last_words_of_a_driver_are_in_the_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "[print(f'line {n}', file=sys.stderr) for n in range(30)]; sys.exit(3)"
    monkeypatch.setattr(sys, "executable", impostor(tmp_path, words))
    log = tmp_path / "driver.log"
    driver = LoadDriver(log)
    with pytest.raises(InvalidRunError, match=r"code \[3\][\s\S]*\n    line 18\n") as caught:
        await driver.start()
    assert "line 29" in str(caught.value)
    assert "line 17" not in str(caught.value)
    assert log.read_text().splitlines()[0] == "line 0"
    await driver.close()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("print('hello', flush=True); sys.stdin.read()", "hello.*no event"),
        ('print(\'{"event": "failed", "message": "no"}\', flush=True)', "out of turn"),
        ("sys.stdin.read()", r"sent nothing for \[0.5\] s"),
    ],
)
async def test_a_driver_that_breaks_the_protocol_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    monkeypatch.setattr(sys, "executable", impostor(tmp_path, body))
    monkeypatch.setattr(client, "START_TIMEOUT_S", 0.5 if "nothing" in message else 60)
    driver = LoadDriver(tmp_path / "driver.log")
    with pytest.raises(InvalidRunError, match=message):
        await driver.start()
    with pytest.raises(InvalidRunError, match="exited with code"):
        _ = driver.pid


@pytest.mark.parametrize("outstanding", [False, True])
async def test_cancellation_ends_the_load_and_the_process(
    tmp_path: Path, window: Window, outstanding: bool
) -> None:
    driver = LoadDriver(tmp_path / "driver.log")
    await driver.start()
    process = psutil.Process(driver.pid)
    running = asyncio.Event()
    reply = Reply(delay_s=30) if outstanding else Reply()
    async with FakeReplica(lambda *_: reply) as replica:
        command = window([replica.url], duration_s=60)
        load = asyncio.create_task(driver.window(command, lambda _: running.set()))
        await running.wait()
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load
        assert not process.is_running()
        assert replica.requests > 0
    await driver.close()


async def test_a_driver_closed_in_a_window_ends_both(tmp_path: Path, window: Window) -> None:
    driver = LoadDriver(tmp_path / "driver.log")
    await driver.start()
    running = asyncio.Event()
    async with FakeReplica() as replica:
        command = window([replica.url], duration_s=60)
        load = asyncio.create_task(driver.window(command, lambda _: running.set()))
        await running.wait()
        await driver.close()
        with pytest.raises(InvalidRunError, match="exited with code"):
            await load


async def test_a_window_that_is_reported_to_someone_who_fails_is_ended(
    tmp_path: Path, window: Window
) -> None:
    driver = LoadDriver(tmp_path / "driver.log")
    await driver.start()
    process = psutil.Process(driver.pid)

    def fail(_: LoadProgress) -> None:
        raise RuntimeError("no more room on the screen")

    async with FakeReplica() as replica:
        with pytest.raises(RuntimeError, match="no more room"):
            await driver.window(window([replica.url], duration_s=60), fail)
    assert not process.is_running()


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_is_not_lost_to_what_the_driver_says(
    tmp_path: Path, turns: int
) -> None:
    said = asyncio.StreamReader()
    driver = LoadDriver(tmp_path / "driver.log")
    driver._process = SimpleNamespace(stdout=said, returncode=None)  # type: ignore[assignment]
    listening = asyncio.create_task(driver._next_event(client.SILENCE_TIMEOUT_S))
    for _ in range(3):
        await asyncio.sleep(0)

    said.feed_data(b'{"event":"ready"}\n')
    for _ in range(turns):
        await asyncio.sleep(0)
    if listening.cancel():
        with pytest.raises(asyncio.CancelledError):
            await listening


async def test_the_load_does_not_outlive_a_killed_harness(tmp_path: Path, window: Window) -> None:
    script = """
        import asyncio, sys
        from pathlib import Path
        from harness.load.client import LoadDriver
        from harness.domain.window import WindowCommand

        async def main():
            driver = LoadDriver(Path(sys.argv[1]))
            await driver.start()
            command = WindowCommand.model_validate_json(sys.argv[2])
            await driver.window(command, lambda _: print(driver.pid, flush=True))

        asyncio.run(main())
    """
    async with FakeReplica() as replica:
        command = window([replica.url], duration_s=120).model_dump_json()
        harness = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            textwrap.dedent(script),
            str(tmp_path / "driver.log"),
            command,
            stdout=subprocess.PIPE,
        )
        assert harness.stdout is not None
        driver = psutil.Process(int(await harness.stdout.readline()))
        assert driver.is_running()
        harness.kill()
        await harness.wait()
        # it has no parent any more, so it may stay a zombie where init does not reap
        await asyncio.to_thread(wait_until_gone, driver)


def wait_until_gone(process: psutil.Process) -> None:
    try:
        process.wait(timeout=30)
    except psutil.TimeoutExpired:
        assert process.status() == psutil.STATUS_ZOMBIE
