"""What a person meets whose Docker is missing, old, or cannot do what is asked: one message."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.stack.compose.project import KEPT_PROJECT
from tests.stack.compose.conftest import PORTS, FakeDocker

# Whole commands, with a stand-in for Docker.
pytestmark = pytest.mark.integration

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
        ("REDIS_IMAGE", "redis:8.0", COMMANDS[0]),
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
    assert not any("build" in call for call in docker.calls)
    assert not (folder / "generated").exists()


def test_grafana_can_be_left_out(tmp_path: Path, docker: FakeDocker, folder: Path) -> None:
    docker.answers(FAKE_MISSING="grafana/grafana:12.0.2")

    with_it = invoke(tmp_path, *COMMANDS[0])
    docker.answers("no-build", FAKE_MISSING="grafana/grafana:12.0.2")
    without = invoke(tmp_path, *COMMANDS[0], "--grafana", "off")

    refused(with_it, "GRAFANA=off")
    refused(without, "could not be built")
    assert not (folder / "generated").exists()


@pytest.mark.parametrize("variable", PORTS)
def test_a_port_in_use(
    tmp_path: Path,
    docker: FakeDocker,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    docker.answers()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setenv(variable, str(port))

        refused(invoke(tmp_path, *COMMANDS[0]), f"[{port}]", f"{variable}={port + 1000}")
    nothing_was_begun(docker, folder)


@pytest.mark.parametrize("variable", ["PROXY_PORT", "STATS_PORT"])
def test_a_port_of_the_second_fleet_in_use(
    tmp_path: Path, docker: FakeDocker, folder: Path, variable: str
) -> None:
    docker.answers()
    second = int(os.environ[variable]) + 1
    with socket.create_server(("127.0.0.1", second)):
        refused(invoke(tmp_path, *COMMANDS[0]), f"[{second}]", f"[{variable}]")
    nothing_was_begun(docker, folder)


def test_a_port_that_is_asked_for_twice(
    tmp_path: Path, docker: FakeDocker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.answers()
    second = int(os.environ["PROXY_PORT"]) + 1
    monkeypatch.setenv("LOCUST_PORT", str(second))

    refused(invoke(tmp_path, *COMMANDS[0]), f"[{second}]", "twice", "LOCUST_PORT=")
    nothing_was_begun(docker, folder)


def nothing_was_begun(docker: FakeDocker, folder: Path) -> None:
    begun = [word for call in docker.calls for word in ("pull", "build", "up") if word in call]
    assert begun == []
    assert not (folder / "generated").exists()


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("PROMETHEUS_PORT", "seventy"),
        ("PROXY_PORT", "0"),
        ("PROXY_PORT", "65535"),  # the second fleet has the next
        ("EXPORTER_PORT", "70000"),
    ],
)
def test_a_port_that_is_none(
    tmp_path: Path,
    docker: FakeDocker,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    text: str,
) -> None:
    docker.answers()
    monkeypatch.setenv(variable, text)

    refused(invoke(tmp_path, *COMMANDS[0]), f"{variable} is [{text}]", "1 to 65535")
    nothing_was_begun(docker, folder)


@pytest.mark.parametrize(
    "image",
    [
        "litellm/litellm-database:1.107.2",
        "ghcr.io/berriai/litellm:main-v1.107.0-nightly",
        "localhost:5000/mirror/litellm:v1.107",
        f"litellm/litellm:1.107.1@sha256:{'0' * 64}",
        "mirror/litellm-1.107.2:latest",
    ],
)
@pytest.mark.parametrize(
    "words", [("--target", "litellm"), ("--variants", "litellm==1.84.0rc1")], ids=str
)
def test_the_compromised_release_is_not_even_looked_at(
    tmp_path: Path,
    docker: FakeDocker,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    image: str,
    words: tuple[str, str],
) -> None:
    docker.answers()
    monkeypatch.setenv("LITELLM_IMAGE", image)

    refused(invoke(tmp_path, *COMMANDS[0], *words), "1.107 is a compromised release")
    assert docker.calls == []
    assert not (folder / "generated").exists()


def test_a_release_that_is_not_the_images(
    tmp_path: Path, docker: FakeDocker, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker.answers()
    monkeypatch.setenv("LITELLM_IMAGE", "litellm/litellm-database:1.84.0-rc.1")

    other = invoke(tmp_path, *COMMANDS[0], "--variants", "litellm==1.90.0")
    several = invoke(tmp_path, *COMMANDS[0], "--variants", "litellm==1.84.0rc1,litellm==1.90.0")

    refused(other, "holds LiteLLM [1.84.0rc1], not [1.90.0]", "LITELLM_IMAGE")
    refused(several, "[1.84.0rc1, 1.90.0] would all run from the one image", "STACK=embedded")
    assert docker.calls == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: str(words[0]))
@pytest.mark.parametrize("variable", ["POSTGRES_PASSWORD", "GRAFANA_PASSWORD"])
def test_a_password_that_cannot_be_written_down(
    tmp_path: Path,
    docker: FakeDocker,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    command: tuple[str, ...],
) -> None:
    docker.answers()
    monkeypatch.setenv(variable, "geh\neim")

    result = invoke(tmp_path, *command)

    refused(result, variable, "line break", "Choose another")
    assert "geh" not in result.output
    nothing_was_begun(docker, folder)


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


def test_a_run_of_another_checkout_is_left_up(
    tmp_path: Path, docker: FakeDocker, folder: Path
) -> None:
    docker.answers(FAKE_PROJECTS="authcache-run-deadbeef\n")
    (folder / "generated" / "authcache-run-0badcafe").mkdir(parents=True)

    down = invoke(tmp_path, "down")

    assert down.exit_code == 0, down.output
    assert "authcache-run-deadbeef: left as it is" in down.output
    assert "authcache-run-0badcafe: down" in down.output, "its harness is gone"
    assert not any("deadbeef" in word for call in docker.calls for word in call)


def test_what_docker_does_not_let_go_is_reported(
    tmp_path: Path, docker: FakeDocker, folder: Path
) -> None:
    docker.answers("stuck")
    (folder / "generated" / KEPT_PROJECT).mkdir(parents=True)

    refused(invoke(tmp_path, "down"), "network has active endpoints", "make down")
    assert (folder / "generated" / KEPT_PROJECT).is_dir(), "it could not be found again"
