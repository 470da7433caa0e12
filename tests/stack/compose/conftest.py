from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from harness.stack.compose import project


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
    script = Path(__file__).with_name("fake_docker.py").read_text()
    fake = folder / "docker"
    fake.write_text(f"#!{sys.executable}\n{script}")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    monkeypatch.delenv("DOCKER", raising=False)
    monkeypatch.setenv("FAKE_DOCKER_CALLS", str(tmp_path / "calls"))
    for variable in (*project.IMAGES, "HARNESS_IMAGE"):
        monkeypatch.delenv(variable, raising=False)
    return FakeDocker(tmp_path / "calls", monkeypatch)


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
