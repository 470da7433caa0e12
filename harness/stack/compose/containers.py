"""The containers of a project: what is there, what it wrote last, what is left."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.process.groups import CompletedCommand, last_lines
from harness.stack.compose.docker import Docker
from harness.stack.compose.project import LABEL

_SERVICE = "com.docker.compose.service"
_NUMBER = "com.docker.compose.container-number"
_TAIL_LINES = "12"
_LOGS_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Container:
    """One container of a service."""

    id: str
    name: str
    service: str
    number: int
    """From 1 within its service."""
    pid: int
    """Of its first process, in the daemon's own pid namespace; 0 when it has ended."""
    running: bool
    exit_code: int


async def containers(docker: Docker, project: str) -> list[Container]:
    """All containers of a project, running or not, by service and number. Raises SetupError."""
    ids = (
        await docker.must(
            "The containers cannot be listed",
            *("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label={LABEL}={project}"),
        )
    ).split()
    if not ids:
        return []
    # One may be gone by now; the others are still listed.
    shown = await docker("container", "inspect", *ids)
    found = [_container(raw) for raw in json.loads(shown.out or "[]")]
    return sorted(found, key=lambda one: (one.service, one.number))


async def exit_report(docker: Docker, container: Container) -> str:
    """How a container ended, and what it wrote last."""
    how = "still running" if container.running else f"exit code [{container.exit_code}]"
    wrote = await docker("logs", "--tail", _TAIL_LINES, container.id)
    lines = last_lines(wrote.out + wrote.err)
    return f"{how}; it wrote last:\n{lines}" if lines else f"{how}; it wrote nothing"


async def keep_logs(docker: Docker, project: str, folder: Path) -> None:
    """Write the log of every container to ``SERVICE-NUMBER.log``."""
    turn = asyncio.Semaphore(_LOGS_AT_ONCE)

    async def keep(container: Container) -> None:
        async with turn:
            wrote = await docker("logs", container.id)
        path = folder / f"{container.service}-{container.number}.log"
        path.write_text(wrote.out + wrote.err, encoding="utf-8")

    await asyncio.gather(*(keep(one) for one in await containers(docker, project)))


async def take_down(docker: Docker, project: str, grace_s: int) -> list[str]:
    """Remove containers, networks and volumes of a project, found by their label.

    The label is enough: it works when the generated files are missing or incomplete.

    Returns:
        What is left, as messages for the user.
    """
    ours = f"label={LABEL}={project}"
    problems: list[str] = []
    running = (await docker("ps", "--quiet", "--filter", ours)).out.split()
    if running:
        timeout_s = 60.0 + grace_s
        _tell(problems, await docker("stop", "--time", str(grace_s), *running, timeout_s=timeout_s))
    for list_them, remove_them in (
        (("ps", "--all", "--quiet"), ("rm", "--force", "--volumes")),
        (("network", "ls", "--quiet"), ("network", "rm")),
        (("volume", "ls", "--quiet"), ("volume", "rm", "--force")),
    ):
        listed = await docker(*list_them, "--filter", ours)
        _tell(problems, listed)
        if there := listed.out.split():
            _tell(problems, await docker(*remove_them, *there, timeout_s=120.0))
    return problems


async def projects(docker: Docker, prefix: str) -> set[str]:
    """Names of all projects that begin with a prefix and have a container, running or not."""
    listed = await docker.must(
        "The containers cannot be listed",
        *("ps", "--all", "--filter", f"label={LABEL}", "--format", f'{{{{.Label "{LABEL}"}}}}'),
    )
    return {name for name in listed.split() if name.startswith(prefix)}


def _tell(problems: list[str], done: CompletedCommand) -> None:
    if done.code != 0 and "No such" not in done.err:
        problems.append(f"Docker could not clean up: {done.last()} Try again: make down.")


def _container(raw: dict[str, Any]) -> Container:
    labels, state = raw["Config"]["Labels"], raw["State"]
    return Container(
        id=raw["Id"],
        name=raw["Name"].lstrip("/"),
        service=labels.get(_SERVICE, ""),
        number=int(labels.get(_NUMBER, 1)),
        pid=int(state["Pid"]),
        running=bool(state["Running"]),
        exit_code=int(state["ExitCode"]),
    )
