from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import pytest

from harness.errors import SetupError
from harness.process.sockets import listen
from harness.stack.compose import project

PORTS = (
    *("PROXY_PORT", "STATS_PORT", "EXPORTER_PORT", "PROMETHEUS_PORT"),
    *("LOCUST_PORT", "LOCUST_MASTER_PORT", "GRAFANA_PORT"),
)


class FakeDocker:
    """Sets the fake's mind, and tells what it was asked."""

    def __init__(self, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._calls = calls
        self._monkeypatch = monkeypatch

    def answers(self, *modes: str, **variables: str) -> None:
        self._monkeypatch.setenv("FAKE_DOCKER", ",".join(modes))
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    @property
    def calls(self) -> list[list[str]]:
        if not self._calls.exists():
            return []
        return [json.loads(line) for line in self._calls.read_text().splitlines()]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeDocker:
    """A fake `docker`, the first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    fake = folder / "docker"
    # Imported, so that it is compiled once and not for each of a test's calls.
    found_in = f"import sys; sys.path.append({str(Path(__file__).parent)!r})"
    fake.write_text(f"#!{sys.executable} -IS\n{found_in}\nimport fake_docker\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("DOCKER", raising=False)
    monkeypatch.setenv("FAKE_DOCKER_CALLS", str(tmp_path / "calls"))
    for variable in (*project.IMAGES, "HARNESS_IMAGE", "POSTGRES_PASSWORD", "GRAFANA_PASSWORD"):
        monkeypatch.delenv(variable, raising=False)
    # What runs on this machine is none of a test's business.
    for variable, port in zip(PORTS, free_ports(len(PORTS)), strict=True):
        monkeypatch.setenv(variable, str(port))
    return FakeDocker(tmp_path / "calls", monkeypatch)


def free_ports(n: int) -> list[int]:
    """So many ports that are free, and the one above each too, for a second fleet."""
    found: list[int] = []
    with contextlib.ExitStack() as opened:
        while len(found) < n:
            port = opened.enter_context(listen()).getsockname()[1]
            with contextlib.suppress(SetupError):
                opened.enter_context(listen(port + 1))
                found.append(port)
    return found


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The committed compose files, with generated ones going to a folder of the test's."""
    committed = project.compose_folder()
    copy = tmp_path / "compose"
    copy.mkdir()
    for path in committed.glob("*.yaml"):
        (copy / path.name).symlink_to(path)
    monkeypatch.setattr(project, "compose_folder", lambda: copy)
    return copy
