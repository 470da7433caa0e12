"""What a person meets whose Docker is missing, old, or cannot do what is asked: one message."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.stack.compose.project import KEPT_PROJECT
from tests.stack.compose.conftest import FakeDocker

COMMANDS = (
    ("up", "--scenario", "smoke"),
    ("loadtest", "--scenario", "smoke", "--stack", "compose", "--prometheus", "off"),
)


def invoke(tmp_path: Path, *arguments: str) -> Result:
    words = [*arguments] if arguments == ("down",) else [*arguments, "--runs-dir", str(tmp_path)]
    return CliRunner().invoke(main, words, catch_exceptions=False)


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.output


@pytest.mark.parametrize("command", [*COMMANDS, ("down",)], ids=lambda words: str(words[0]))
def test_no_docker(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("DOCKER", raising=False)

    refused(invoke(tmp_path, *command), "[docker]", "Install Docker", "STACK=embedded")
    assert not (folder / "generated").exists()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: str(words[0]))
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("no-daemon", ("Cannot connect to the Docker daemon", "Start it", "STACK=embedded")),
        ("no-compose", ("'compose' is not a docker command", "docker-compose-plugin")),
        ("old-compose", ("[1.29.2]", "[2.20] or later", "docker-compose-plugin")),
        ("no-build", ("image could not be built", "[exit code 17]", "disk is full")),
        ("port-taken", ("[postgres]", "port is already allocated", "docs/compose.md")),
    ],
)
def test_a_docker_that_cannot(
    tmp_path: Path,
    docker: FakeDocker,
    folder: Path,
    mode: str,
    words: tuple[str, ...],
    command: tuple[str, ...],
) -> None:
    docker.answers(mode)

    refused(invoke(tmp_path, *command), *words)
    assert not (folder / "generated").exists(), "secrets of a stack that never was"


@pytest.mark.parametrize(
    ("variable", "image", "command"),
    [
        ("POSTGRES_IMAGE", "postgres:17", COMMANDS[1]),
        ("PYTHON_IMAGE", "python:3.13-slim", COMMANDS[1]),
        ("PROMETHEUS_IMAGE", "prom/prometheus:v3.5.0", COMMANDS[0]),
        ("GRAFANA_IMAGE", "grafana/grafana:12.0.2", COMMANDS[0]),
    ],
)
def test_an_image_that_cannot_be_pulled(
    tmp_path: Path,
    docker: FakeDocker,
    folder: Path,
    variable: str,
    image: str,
    command: tuple[str, ...],
) -> None:
    docker.answers(FAKE_MISSING=image)

    refused(
        invoke(tmp_path, *command),
        f"[{image}]",
        "pull access denied",
        f"{variable}=",
        "compose/standin/README.md",
    )
    assert ["pull", "--quiet", image] in docker.calls
    assert not (folder / "generated").exists()


def test_grafana_can_be_left_out(tmp_path: Path, docker: FakeDocker, folder: Path) -> None:
    docker.answers(FAKE_MISSING="grafana/grafana:12.0.2")

    with_it = invoke(tmp_path, *COMMANDS[0])
    docker.answers("no-build", FAKE_MISSING="grafana/grafana:12.0.2")
    without = invoke(tmp_path, *COMMANDS[0], "--grafana", "off")

    refused(with_it, "GRAFANA=off")
    refused(without, "could not be built")
    assert not (folder / "generated").exists()


@pytest.mark.parametrize("variable", ["PROMETHEUS_PORT", "GRAFANA_PORT", "LOCUST_PORT"])
def test_a_port_in_use(
    tmp_path: Path,
    docker: FakeDocker,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    docker.answers()
    for name in ("PROMETHEUS_PORT", "GRAFANA_PORT", "LOCUST_PORT", "LOCUST_MASTER_PORT"):
        with socket.create_server(("127.0.0.1", 0)) as free:
            monkeypatch.setenv(name, str(free.getsockname()[1]))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv(variable, str(port))

        refused(invoke(tmp_path, *COMMANDS[0]), f"[{port}]", f"{variable}={port + 1000}")
    assert not any("up" in call for call in docker.calls)
    assert not (folder / "generated").exists()


def test_a_port_that_is_none(
    tmp_path: Path, docker: FakeDocker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.answers()
    monkeypatch.setenv("PROMETHEUS_PORT", "seventy")

    refused(invoke(tmp_path, *COMMANDS[0]), "PROMETHEUS_PORT is [seventy]", "1 to 65535")
    assert folder.is_dir()


@pytest.mark.parametrize("variable", ["POSTGRES_DSN", "REDIS_URL"])
def test_servers_of_ones_own(
    tmp_path: Path, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "postgresql://me:geheim@127.0.0.1/mine")

    result = invoke(tmp_path, *COMMANDS[1])

    refused(result, variable, "[compose]", "STACK=embedded")
    assert "geheim" not in result.output
    assert docker.calls == []


def test_a_stack_that_was_not_left_whole(tmp_path: Path, docker: FakeDocker, folder: Path) -> None:
    docker.answers()
    (folder / "generated" / KEPT_PROJECT).mkdir(parents=True)

    refused(invoke(tmp_path, *COMMANDS[0]), f"[{KEPT_PROJECT}]", "make down")
    down = invoke(tmp_path, "down")

    assert down.exit_code == 0, down.output
    assert not (folder / "generated").exists()


def test_what_docker_does_not_let_go_is_told(
    tmp_path: Path, docker: FakeDocker, folder: Path
) -> None:
    docker.answers("stuck")
    (folder / "generated" / KEPT_PROJECT).mkdir(parents=True)

    refused(invoke(tmp_path, "down"), "network has active endpoints", "make down")
    assert (folder / "generated" / KEPT_PROJECT).is_dir(), "nobody could find it again"
