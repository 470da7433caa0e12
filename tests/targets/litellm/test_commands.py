from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.errors import EXIT_INTERRUPTED, EXIT_USAGE
from harness.targets.litellm import resolve
from harness.targets.litellm.releases import Release, known_releases
from tests.targets.litellm.conftest import HASH
from tests.targets.litellm.fake_uv import FakeUv

pytestmark = pytest.mark.usefixtures("cache", "fake_uv")


def harness(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["releases", *arguments])


def test_known_releases_are_listed_with_what_they_show() -> None:
    listed = harness()

    assert listed.exit_code == 0
    for version, release in known_releases().items():
        line = next(line for line in listed.output.splitlines() if line.startswith(f"{version} "))
        assert release.title in line
        assert (release.twin or "") in line
        assert str(release.python) in line
        assert " no " in line
    assert "None is installed." in listed.output
    assert "1.107" not in listed.output


def test_installed_releases_are_listed_with_size_and_place(
    cache: Path, fake_uv: FakeUv, known: Callable[[str], Release]
) -> None:
    known("1.84.0rc1")
    fake_uv.will(resolved=f"litellm==1.86.0{HASH}")

    installed = harness("install", "1.84.0-rc1", "litellm==1.86.0")

    assert installed.exit_code == 0
    assert f"litellm==1.84.0rc1 is in {cache}" in installed.output
    lines = harness().output.splitlines()
    assert any(line.startswith("1.84.0rc1 ") and " 0 MB, Python 3." in line for line in lines)
    unknown = next(line for line in lines if line.startswith("1.86.0 "))
    assert "not characterised yet" in unknown
    assert lines[-1] == f"2 installed, 0 MB, in {cache}"


def test_an_environment_of_older_pins_is_told_apart(
    cache: Path, known: Callable[[str], Release]
) -> None:
    known("1.84.0rc1")
    harness("install", "1.84.0rc1")
    with (cache.parents[2] / "pins" / "1.84.0rc1.txt").open("a") as pins:
        pins.write(f"uvicorn==0.33.0{HASH}")

    line = next(line for line in harness().output.splitlines() if line.startswith("1.84.0rc1 "))

    assert "for another Python or other pins" in line


def test_removing_says_what_is_gone(known: Callable[[str], Release]) -> None:
    for version in ("1.84.0rc1", "1.91.0", "1.94.0"):
        known(version)
        harness("install", version)

    removed = harness("remove", "1.84.0-rc.1", "litellm==1.94.0")

    assert removed.exit_code == 0
    assert [line.split(" for ")[0] for line in removed.output.splitlines()] == [
        "removed 1.84.0rc1",
        "removed 1.94.0",
    ]
    assert "freed 0 MB" in removed.output
    assert harness("remove", "--all").output.startswith("removed 1.91.0 for Python 3.")
    assert harness("remove", "--all").output == "Nothing was installed.\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("install", "1.107.1"), "compromised"),
        (("install", "1.84.0rc1", "litellm==1.107"), "compromised"),
        (("install", "newest"), "[newest] names no release"),
        (("remove",), "or give --all"),
        (("remove", "1.91.0", "--all"), "or give --all"),
        (("remove", "1.91"), "There is no installed release [1.91.0]. Known: none."),
        (("lock", "1.86.0"), "[litellm==1.86.0] has no row in the table"),
        (("lock", "1.107.0"), "compromised"),
    ],
)
def test_what_cannot_be_done_is_said(
    arguments: tuple[str, ...], reason: str, fake_uv: FakeUv
) -> None:
    refused = harness(*arguments)

    assert refused.exit_code == EXIT_USAGE
    assert reason in refused.output
    assert fake_uv.calls() == []


def test_pins_are_made_again_and_a_difference_is_said(
    tmp_path: Path,
    fake_uv: FakeUv,
    known: Callable[[str], Release],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known("1.84.0rc1")
    monkeypatch.setattr(resolve, "PINS_FOLDER", tmp_path / "pins")
    fake_uv.will(resolved=f"litellm==1.84.0rc1{HASH}")

    assert ": 1 packages, changed" in harness("lock", "1.84.0rc1").output
    assert ": 1 packages, as before" in harness("lock", "1.84.0rc1").output

    assert (tmp_path / "pins" / "1.84.0rc1.txt").read_text() == f"litellm==1.84.0rc1{HASH}"


def test_a_resolution_of_something_else_is_not_written(
    tmp_path: Path,
    fake_uv: FakeUv,
    known: Callable[[str], Release],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known("1.84.0rc1")
    monkeypatch.setattr(resolve, "PINS_FOLDER", tmp_path / "pins")
    before = (tmp_path / "pins" / "1.84.0rc1.txt").read_text()
    fake_uv.will(resolved=f"litellm==1.84.10{HASH}")

    refused = harness("lock", "1.84.0rc1")

    assert refused.exit_code == EXIT_USAGE
    assert "hold LiteLLM [1.84.10]" in refused.output
    assert (tmp_path / "pins" / "1.84.0rc1.txt").read_text() == before


@pytest.mark.parametrize(
    "command",
    [
        ("releases", "install", "1.84.0rc1"),
        ("loadtest", "--variants", "recommended,litellm==1.84.0rc1"),
        ("history", "--releases", "1.84.0rc1"),
        ("fleet", "--variants", "litellm==1.84.0rc1"),
    ],
    ids=lambda command: command[0],
)
def test_ctrl_c_ends_an_installation_and_leaves_nothing(
    command: tuple[str, ...],
    cache: Path,
    fake_uv: FakeUv,
    known: Callable[[str], Release],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whichever command needs it."""
    monkeypatch.chdir(tmp_path)
    known("1.84.0rc1")
    fake_uv.will(hang="pip install")
    over = threading.Event()

    def press() -> None:
        while not fake_uv.pid_file.exists():
            if over.wait(0.01):
                return
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    try:
        ended = CliRunner().invoke(main, command)
    finally:
        over.set()
        pressing.join()

    assert ended.exit_code == EXIT_INTERRUPTED, ended.output
    assert not (tmp_path / "runs").exists()
    assert [path for path in cache.iterdir() if path.suffix != ".lock"] == []
