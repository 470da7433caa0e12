from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.targets.litellm.uv import (
    UvError,
    compile_command,
    find_uv,
    install_command,
    run_uv,
    uv_environment,
    venv_command,
)

UV = Path("/tools/uv")


def test_pins_of_the_project_hold_everywhere() -> None:
    command = compile_command(UV, Path("a.in"), Path("a.txt"), None, universal=True)

    assert " ".join(command) == (
        "/tools/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes "
        "--no-annotate --no-header --only-binary :all: --output-file a.txt a.in"
    )


def test_pins_of_one_environment_hold_here_and_take_relaxations() -> None:
    command = compile_command(UV, Path("a.in"), Path("a.txt"), Path("o.txt"), universal=False)

    assert command[3:6] == ("--quiet", "--python", sys.executable)
    assert "--universal" not in command
    assert command[command.index("--overrides") + 1] == "o.txt"


def test_installing_takes_the_pins_and_nothing_else() -> None:
    command = install_command(UV, Path("/e"), Path("/e/pins.txt"))

    assert " ".join(command) == (
        "/tools/uv pip install --quiet --no-deps --require-hashes --only-binary :all: "
        "--compile-bytecode --python /e/bin/python --requirement /e/pins.txt"
    )


def test_an_environment_is_of_the_running_python_and_can_be_renamed() -> None:
    assert venv_command(UV, Path("/e")) == (
        *("/tools/uv", "venv", "--quiet", "--no-project", "--relocatable"),
        *("--python", sys.executable, "/e"),
    )


def test_what_would_change_a_release_is_kept_from_uv() -> None:
    told = uv_environment(
        {
            "PATH": "/bin",
            "SSL_CERT_FILE": "/ca.pem",
            "HTTPS_PROXY": "http://proxy",
            "UV_DEFAULT_INDEX": "https://mirror.example/simple",
            "UV_INDEX_MIRROR_PASSWORD": "x",
            "UV_CACHE_DIR": "/cache",
            "UV_OVERRIDE": "/tmp/overrides.txt",
            "UV_CONSTRAINT": "/tmp/constraints.txt",
            "UV_EXCLUDE_NEWER": "2020-01-01",
            "UV_PYTHON": "3.9",
            "UV_PYTHON_DOWNLOADS": "automatic",
            "UV_PRERELEASE": "allow",
            "UV_NO_VERIFY_HASHES": "1",
            "VIRTUAL_ENV": "/other",
            "PYTHONPATH": "/other",
        }
    )

    assert told.keys() == {
        *("PATH", "SSL_CERT_FILE", "HTTPS_PROXY"),
        *("UV_DEFAULT_INDEX", "UV_INDEX_MIRROR_PASSWORD", "UV_CACHE_DIR"),
        *("UV_PYTHON_DOWNLOADS", "UV_COMPILE_BYTECODE_TIMEOUT"),
    }
    assert told["UV_PYTHON_DOWNLOADS"] == "never"


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any uv."""
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setitem(sys.modules, "uv", None)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    for name in ("bin", "path"):
        (tmp_path / name).mkdir()
    return tmp_path


def a_tool(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_uv_is_found_beside_python_before_the_one_on_path(tools: Path) -> None:
    on_path = a_tool(tools / "path" / "uv")
    assert find_uv() == on_path

    beside = a_tool(tools / "bin" / "uv")
    assert find_uv() == beside


def test_uv_is_found_as_an_installed_package(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Package:
        @staticmethod
        def find_uv_bin() -> str:
            return "/packaged/uv"

    monkeypatch.setitem(sys.modules, "uv", Package)
    a_tool(tools / "path" / "uv")

    assert find_uv() == Path("/packaged/uv")


@pytest.mark.usefixtures("tools")
def test_without_uv_it_says_how_to_get_one() -> None:
    with pytest.raises(SetupError, match="pip install uv"):
        find_uv()


async def test_what_uv_writes_is_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(UvError, match="why it failed"):
        await run_uv(("/bin/sh", "-c", "echo 'why it failed' >&2; exit 2"), tmp_path)
    with pytest.raises(UvError, match="exit code 3"):
        await run_uv(("/bin/sh", "-c", "exit 3"), tmp_path)


async def test_uv_runs_in_the_folder_without_anything_to_read(tmp_path: Path) -> None:
    await run_uv(("/bin/sh", "-c", "cat > read; pwd > where"), tmp_path)

    assert (tmp_path / "read").read_text() == ""
    assert Path((tmp_path / "where").read_text().strip()) == tmp_path
