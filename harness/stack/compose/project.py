"""One Compose project: its name, its folder of generated files, its settings and its layers."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from harness.errors import SetupError
from harness.installation import PACKAGE, checkout, shipped, user_cache
from harness.process.groups import CompletedCommand
from harness.process.sockets import free_port, listen
from harness.stack.compose.context import write_context
from harness.stack.compose.docker import Docker, explain

KEPT_PROJECT = "authcache"
"""The project of `harness up`; each run has a name of its own."""
LABEL = "com.docker.compose.project"
IMAGES: Mapping[str, str] = {
    "POSTGRES_IMAGE": "postgres:17",
    "REDIS_IMAGE": "redis:8.0",
    "HAPROXY_IMAGE": "haproxy:3.0",
    "PROMETHEUS_IMAGE": "prom/prometheus:v3.5.0",
    "GRAFANA_IMAGE": "grafana/grafana:12.0.2",
    "PYTHON_IMAGE": "python:3.13-slim",
    "LITELLM_IMAGE": "litellm/litellm-database:1.84.0-rc.1",
}
"""Every image that is not built here, by the variable that replaces it. As in compose/*.yaml."""
HARNESS_IMAGE = "authcache-harness:local"
DASHBOARDS = "dashboards"
"""The folder of generated files that Grafana reads."""
UP_TIMEOUT_S = 300.0
_STATE = "state.json"
_OWNER = "owner"
_BUILD_TIMEOUT_S = 1800.0
_LAST_PORT = 65_535
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f]|\\(?='|$)")


def compose_folder() -> Path:
    """The shipped compose files. Raises SetupError if the installation is incomplete."""
    return shipped("compose")


def generated_folder() -> Path:
    """Where projects keep their files: in the checkout, else in the user's cache."""
    return compose_folder() / "generated" if checkout() else user_cache() / "compose"


@dataclass(slots=True)
class Project:
    """Files and settings of one project. Nothing in its folder is meant to be committed.

    Args:
        name: of the Compose project.
        docker: calls Docker; gets the settings as its environment.
    """

    name: str
    docker: Docker
    layers: list[str] = field(default_factory=lambda: ["core.yaml"])
    """Committed files, by name."""
    fleets: dict[str, Path] = field(default_factory=dict)
    """Generated files, by the name of their fleet."""
    settings: dict[str, str] = field(default_factory=dict)
    ports: set[int] = field(default_factory=set)
    """Ports assigned already: two requests in a row can find the same free port."""

    @property
    def folder(self) -> Path:
        """Where the generated files are; only its owner may enter it."""
        return generated_folder() / self.name

    def create(self) -> None:
        """Make the folder. Raises SetupError where a project of this name is there already."""
        try:
            self.folder.mkdir(mode=0o700, parents=True)
        except FileExistsError:
            raise SetupError(
                f"There is a stack [{self.name}] already. End it first: make down."
            ) from None
        owner = psutil.Process()
        _write(self.folder / _OWNER, f"{owner.pid} {owner.create_time()}")
        # Mounted as folders, so they must exist before their files.
        for name in ("scrape", DASHBOARDS):
            (self.folder / name).mkdir()
        passwords = {name: _secret(name) for name in ("POSTGRES_PASSWORD", "GRAFANA_PASSWORD")}
        images = {name: image(name) for name in (*IMAGES, "HARNESS_IMAGE")}
        try:
            self.set(
                GENERATED=str(self.folder), HARNESS_PACKAGE=str(PACKAGE), **images, **passwords
            )
        except SetupError:
            self.remove()
            raise

    def resume(self) -> dict[str, Any]:
        """Read the settings of a project that is up; returns the `more` that `save` got.

        Raises:
            SetupError: its saved state is missing or incomplete.
        """
        try:
            saved = json.loads((self.folder / _STATE).read_text(encoding="utf-8"))
            self.layers, self.settings = saved["layers"], saved["settings"]
            self.fleets = {name: Path(path) for name, path in saved["fleets"].items()}
        except (OSError, ValueError, KeyError) as error:
            raise SetupError(
                f"The stack [{self.name}] has no complete saved state: {type(error).__name__}. "
                "End it: make down. Then start it again."
            ) from error
        self.docker.env |= self.settings
        return dict(saved["more"])

    def set(self, **values: str) -> None:
        """Settings for the compose files; they win over the environment of the caller.

        Raises:
            SetupError: one cannot be written to a file of settings.
        """
        lines = [_line(name, value) for name, value in sorted((self.settings | values).items())]
        self.settings |= values
        self.docker.env |= values
        # For calls of `docker compose` by hand: see docs/compose.md.
        _write(self.folder / ".env", "".join(lines))

    def port(self, variable: str, default: int, offset: int = 0) -> int:
        """A free port to publish, which nothing else of the project uses.

        Args:
            variable: of the environment, which may name another port.
            default: the port if it does not.
            offset: added to either.

        Raises:
            SetupError: there is no such port, or it is not free.
        """
        text = os.environ.get(variable) or str(default)
        number = int(text) + offset if text.isdecimal() else 0
        if not offset < number <= _LAST_PORT:
            raise SetupError(f"{variable} is [{text}], which is no port. Give one from 1 to 65535.")
        if number in self.ports:
            raise SetupError(
                f"Port [{number}] is requested twice, the second time by [{variable}]. Name "
                f"another: {variable}=…; docs/compose.md lists them all."
            )
        _check_port(variable, number)
        self.ports.add(number)
        return number

    def free_port(self) -> int:
        """A port that nothing listens on, and that was not assigned before."""
        number = free_port()
        while number in self.ports:
            number = free_port()
        self.ports.add(number)
        return number

    def save(self, more: Mapping[str, Any]) -> None:
        """Write what `resume` reads."""
        fleets = {name: str(path) for name, path in self.fleets.items()}
        saved = {"layers": self.layers, "settings": self.settings, "fleets": fleets, "more": more}
        _write(self.folder / _STATE, json.dumps(saved, indent=1))

    def abandoned(self) -> bool:
        """Whether the harness that started it is gone, or its record cannot be read."""
        try:
            pid, _, born = (self.folder / _OWNER).read_text(encoding="utf-8").partition(" ")
            return str(psutil.Process(int(pid)).create_time()) != born
        except (OSError, ValueError, psutil.NoSuchProcess):
            return True

    def write(self, name: str, text: str) -> Path:
        """Write a generated file. Containers read it under users of their own."""
        path = self.folder / name
        _write(path, text)
        path.chmod(0o644)
        return path

    def remove(self) -> None:
        """Remove the folder, and the one above it when it is empty."""
        shutil.rmtree(self.folder, ignore_errors=True)
        parent = self.folder.parent
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()

    async def compose(self, *arguments: str, timeout_s: float = UP_TIMEOUT_S) -> CompletedCommand:
        """Run `docker compose` with all layers of the project."""
        folder = compose_folder()
        files = [folder / layer for layer in self.layers] + list(self.fleets.values())
        chosen = [word for file in files for word in ("-f", str(file))]
        return await self.docker(
            *("compose", "--project-name", self.name, "--env-file", str(self.folder / ".env")),
            *("--ansi", "never", *chosen, *arguments),
            timeout_s=timeout_s,
        )

    async def up(self, services: Sequence[str], *options: str) -> None:
        """Start services; the caller waits for their answer. Raises SetupError.

        Not with ``--wait``: it needs Docker's health checks to be frequent for as long as the
        services run, and one costs 70 ms of CPU. Those of 8 replicas every 3 s take a fifth of a
        core away from what is measured.
        """
        done = await self.compose("up", "--detach", "--no-build", "--no-deps", *options, *services)
        if done.code != 0:
            raise SetupError(explain(f"Compose could not start [{', '.join(services)}]", done))

    async def build(self) -> None:
        """Build the image of replicas, exporter and Locust. Raises SetupError."""
        context = self.folder / "image"
        shutil.rmtree(context, ignore_errors=True)
        write_context(context)
        done = await self.compose("build", "exporter", timeout_s=_BUILD_TIMEOUT_S)
        if done.code != 0:
            raise SetupError(explain("The harness's own image could not be built", done))


def image(variable: str) -> str:
    """The image of a variable: the environment's, or the default."""
    return os.environ.get(variable) or IMAGES.get(variable, HARNESS_IMAGE)


def _check_port(variable: str, number: int) -> None:
    try:
        listen(number).close()
    except SetupError as error:
        raise SetupError(
            f"Port [{number}] on 127.0.0.1 is not free [{variable}]. End what listens there, or "
            f"name another: {variable}={number + 1000}."
        ) from error


def _secret(variable: str) -> str:
    return os.environ.get(variable) or secrets.token_urlsafe(24)


def _line(name: str, value: str) -> str:
    """A line of the file that Compose reads with ``--env-file``.

    Compose takes text between single quotes literally, except a quote after a backslash.
    """
    if _UNWRITABLE.search(value):
        raise SetupError(
            f"{name} holds a line break, another control character, or a backslash at its end or "
            "before a quote. Compose cannot read that back. Choose another value."
        )
    quoted = value.replace("'", r"\'")
    return f"{name}='{quoted}'\n"


def _write(path: Path, text: str) -> None:
    # Created with this mode, so that at no moment others may read it.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
