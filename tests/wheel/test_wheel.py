"""The built wheel in an environment of its own, outside the checkout: `make test-wheel`."""

from __future__ import annotations

import filecmp
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from harness.process.sockets import free_port
from harness.stack.compose.context import write_context
from tests.cli.test_lazy import ALL
from tests.programs import skip_loudly
from tests.stack.compose.conftest import FakeDocker
from tests.stack.compose.test_up import PROXY, WHOLE, Up

pytestmark = pytest.mark.integration

RELEASE = "litellm==1.84.0rc1"
# So few objects that a release bears the rate on a machine that is busy with something else.
ONE_SCOPE = f"""
name = "release"
title = "One replica of a release, one key scope"
replicas = 1
ttl_s = 4.0
rounds = 1
variants = ["{RELEASE}"]

[population]
shared_id = 1

[load]
rate_per_s = 20
users = 8
mix = {{ shared_id = 1 }}
cold_fill = false
warmup_ttls = 0
window_ttls = 3
"""
UV = Path(sys.executable).with_name("uv")
PATIENCE_S = 120.0
STANDIN = ("README.md", "__init__.py", "actions.py", "engine/errors.py")


@pytest.fixture(scope="module")
def built() -> Path:
    """Holds ``dist``, what was built, and ``env``, the environment that has the wheel."""
    named = os.environ.get("AUTHCACHE_WHEEL")
    if not named:
        skip_loudly("the wheel is tried by `make test-wheel`, which builds and installs it")
    return Path(named)


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """Variables of a command: nothing of the checkout, nor of the environment of its tests."""
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "uv").symlink_to(UV)
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "POSTGRES_DSN", "REDIS_URL", "AUTHCACHE_WHEEL")
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    own = str(Path(sys.executable).parent)
    path = [part for part in kept["PATH"].split(os.pathsep) if part != own]
    return kept | {
        "PATH": os.pathsep.join([str(programs), *path]),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    place = tmp_path / "elsewhere"
    place.mkdir()
    return place


class Installed:
    """Runs programs of the environment in a folder outside the checkout."""

    def __init__(self, built: Path, env: dict[str, str], cwd: Path) -> None:
        self.programs, self.env, self.cwd = built / "env" / "bin", env, cwd

    def __call__(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.programs / program, *arguments],
            cwd=self.cwd,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=560,
            check=False,
        )

    def result(self) -> dict[str, Any]:
        """``result.json`` of the newest run."""
        text = (self.cwd / "runs" / "latest" / "result.json").read_text()
        loaded: dict[str, Any] = json.loads(text)
        return loaded


@pytest.fixture
def installed(built: Path, env: dict[str, str], cwd: Path) -> Installed:
    return Installed(built, env, cwd)


def test_the_wheel_has_one_package_and_its_files(built: Path) -> None:
    (wheel,) = (built / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    shipped = {name for name in names if name.startswith("harness/_shipped/")}

    assert {name.partition("/")[0].partition("-")[0] for name in names} == {
        "harness",
        "authcache_harness",
    }
    assert "harness/py.typed" in names
    assert shipped >= {f"harness/_shipped/standin/prisma/{name}" for name in STANDIN}
    assert not [name for name in names if "generated" in name.split("/")]
    assert not [name for name in shipped if name.endswith((".env", ".pyc"))]
    assert [*(built / "dist").glob("*.tar.gz")], "the wheel was built from the source package"


def test_the_environment_has_no_prisma_and_no_checkout(installed: Installed) -> None:
    missing = installed("python", "-c", "import prisma")
    assert "No module named 'prisma'" in missing.stderr

    where = installed("python", "-c", "import harness; print(harness.__file__)").stdout.strip()
    assert Path(where).is_relative_to(installed.programs.parent)


@pytest.mark.parametrize("words", ALL, ids=lambda words: " ".join(words) or "harness")
def test_every_command_has_help(installed: Installed, words: tuple[str, ...]) -> None:
    shown = installed("harness", *words, "--help")
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("Usage: harness")


def test_a_run(installed: Installed) -> None:
    ended = installed("harness", "loadtest", "--scenario", "smoke")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert installed.result()["ledger"]["balanced"] is True
    manifest = json.loads((installed.cwd / "runs" / "latest" / "manifest.json").read_text())
    assert re.fullmatch(r"[0-9a-f]{64}", manifest["lock_sha256"])
    assert manifest["git"] == {"commit": None, "clean": None}


def test_a_release_as_a_replica(installed: Installed) -> None:
    scenario = installed.cwd / "release.toml"
    scenario.write_text(ONE_SCOPE)
    ended = installed("harness", "loadtest", "--scenario", str(scenario))
    told = ended.stdout + ended.stderr
    assert (installed.cwd / "runs").exists(), told
    result = installed.result()
    assert RELEASE in result["variants"], told
    assert result["variants"][RELEASE]["cells"]["shared_id"] == ["broken"], told
    assert result["ledger"]["balanced"] is True, told


def test_the_web_ui(installed: Installed) -> None:
    port = free_port()
    words = ("ui", "--scenario", "smoke", "--replicas", "1", "--port", str(port))
    output = installed.cwd / "output.txt"
    with output.open("w") as written:
        process = subprocess.Popen(
            [installed.programs / "harness", *words],
            cwd=installed.cwd,
            env=installed.env,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    children = []
    try:
        for _ in until("the web UI"):
            assert process.poll() is None, output.read_text()
            if f"Auth cache: http://127.0.0.1:{port}" in output.read_text():
                break
        children = psutil.Process(process.pid).children(recursive=True)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
            pages = [http.get(path).raise_for_status().text for path in ("/", "/auth-cache")]
            assert all("Auth cache" in page for page in pages)
            files = {
                file for page in pages for file in re.findall(r"auth-cache/static/\w+\.\w+", page)
            }
            assert len(files) == 6, files
            for file in files:
                assert http.get(file).raise_for_status().content
            assert http.get("/auth-cache/data").raise_for_status().json()["problems"] == []
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0, output.read_text()
        _, alive = psutil.wait_procs(children, PATIENCE_S)
        assert not alive
    finally:
        process.kill()
        for child in children:
            if child.is_running():
                child.kill()


def until(what: str) -> Iterator[None]:
    """Turns of waiting for something."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)
    raise AssertionError(f"no {what} after {PATIENCE_S} s")


def test_the_build_context_is_that_of_a_checkout(installed: Installed, tmp_path: Path) -> None:
    """`.ci/compose` builds the image from the checkout's."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    write_context(ours)
    ended = installed("harness", "prepare", "--image-context", str(theirs))
    assert ended.returncode == 0, ended.stderr

    names = {
        str(path.relative_to(folder))
        for folder in (ours, theirs)
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert {"Dockerfile", "harness/_shipped/requirements/runtime.txt"} < names
    _, different, unreadable = filecmp.cmpfiles(ours, theirs, names, shallow=False)
    assert not different
    assert not unreadable


def test_up_has_all_that_it_reads(installed: Installed) -> None:
    where = (
        "from harness.installation import shipped; "
        "from harness.stack.compose.project import compose_folder, generated_folder; "
        "print(compose_folder(), generated_folder(), *shipped('dashboards').glob('*.json'))"
    )
    installed.env["XDG_CACHE_HOME"] = str(installed.cwd / "cache")
    compose, generated, *dashboards = installed("python", "-c", where).stdout.split()
    assert (Path(compose) / "core.yaml").is_file()
    assert len(dashboards) == 2
    # What a layer mounts from beside it is there too.
    for path in Path(compose).glob("*.yaml"):
        for name in re.findall(r'["\s](\.\.?/[\w./-]+):/', path.read_text()):
            assert (Path(compose) / name).exists(), f"{path.name}: {name}"
    assert Path(generated).is_relative_to(installed.cwd / "cache"), "packages stay as they are"


def layers(docker: FakeDocker) -> set[Path]:
    """The files that Compose was given, but the generated ones."""
    return {
        Path(call[place + 1])
        for call in docker.calls
        for place, word in enumerate(call)
        if word == "-f" and call[place + 1].endswith(".yaml")
    }


def test_up_builds_its_image_and_starts(
    docker: FakeDocker, installed: Installed, tmp_path: Path
) -> None:
    context = tmp_path / "context"
    installed.env |= {
        "XDG_CACHE_HOME": str(installed.cwd / "cache"),
        "FAKE_DOCKER": "port-taken",
        "FAKE_CONTEXT": str(context),
    }

    ended = installed("harness", "up", "--scenario", "smoke")

    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "port is already allocated" in ended.stderr
    assert {path.name for path in context.iterdir()} == {"Dockerfile", "harness", "probe.py"}
    assert {path.name for path in layers(docker)} == {"core.yaml"}
    assert all(path.is_relative_to(installed.programs.parent) for path in layers(docker))
    assert not [*(installed.cwd / "cache").rglob(".env")], "secrets of a stack that never was"


def test_up_scales_what_is_up(docker: FakeDocker, stack: Up, installed: Installed) -> None:
    cache = installed.cwd / "cache"
    (cache / "authcache-harness").mkdir(parents=True)
    (cache / "authcache-harness" / "compose").symlink_to(stack.folder / "generated")
    installed.env["XDG_CACHE_HOME"] = str(cache)

    ended = installed(
        *("harness", "up", "--scenario", "smoke", "--variants", "recommended"),
        *("--replicas", "4", "--grafana", "off"),
    )

    assert "Everything is healthy" in ended.stdout, ended.stdout + ended.stderr
    assert ended.returncode == 0
    assert stack.running() == WHOLE | {PROXY: 4}
    assert len(layers(docker)) == 3
    assert all(path.is_relative_to(installed.programs.parent) for path in layers(docker))
    assert all(path.is_file() for path in layers(docker))


def test_uvx_runs_the_wheel(built: Path, env: dict[str, str], cwd: Path) -> None:
    (wheel,) = (built / "dist").glob("*.whl")
    shown = subprocess.run(
        [UV, "tool", "run", "--python", sys.executable, "--from", wheel, "harness", "--help"],
        cwd=cwd,
        env=env | {"UV_PYTHON_DOWNLOADS": "never"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout.startswith("Usage: harness")
