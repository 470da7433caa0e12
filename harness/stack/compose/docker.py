"""The `docker` command: finding, checking and calling it, explaining its errors."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.errors import SetupError
from harness.process import groups
from harness.process.groups import CompletedCommand

OLDEST_COMPOSE = (2, 20)
"""Tested with 2.26. Older ones differ in how ``extends`` merges, and are out of support."""
_CHECK_TIMEOUT_S = 60.0
_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of the daemon and of Compose."""

    engine: str
    compose: str


@dataclass(slots=True)
class Docker:
    """Calls `docker`. Ctrl-C in the terminal does not reach what it calls."""

    command: str
    env: dict[str, str] = field(default_factory=dict)
    """Added to the environment of every call; wins over the user's."""
    grace_s: float = _GRACE_S
    """Seconds for a call that is ended early, before it is killed."""

    async def __call__(
        self, *arguments: str, timeout_s: float = _CHECK_TIMEOUT_S, stdin: bytes | None = None
    ) -> CompletedCommand:
        """Run to the end. Raises SetupError when the time is up.

        A call that ends early is ended with its plugins: `docker compose` is a process of its own,
        which may outlive `docker`.
        """
        try:
            return await groups.run(
                self.command,
                *arguments,
                stdin=stdin,
                timeout_s=timeout_s,
                grace_s=self.grace_s,
                env={**os.environ, **self.env},
            )
        except TimeoutError:
            raise SetupError(
                f"[docker {_shown(arguments)}] did not end within [{timeout_s:g} s]. "
                "See what the daemon does: docker ps, docker info."
            ) from None

    async def must(self, what: str, *arguments: str, timeout_s: float = _CHECK_TIMEOUT_S) -> str:
        """Run; returns the output. Raises SetupError, which begins with `what`."""
        done = await self(*arguments, timeout_s=timeout_s)
        if done.code != 0:
            raise SetupError(explain(what, done))
        return done.out


def find_docker(env: Mapping[str, str]) -> Docker:
    """The `docker` command, or the one that the variable DOCKER names. Raises SetupError."""
    name = os.environ.get("DOCKER", "docker")
    path = shutil.which(name)
    if path is None:
        raise SetupError(
            f"Docker is not installed: there is no command [{name}]. Install Docker with its "
            "Compose plugin, or use the embedded stack, which needs neither (STACK=embedded)."
        )
    return Docker(path, dict(env))


async def check(docker: Docker) -> Versions:
    """Ask the daemon and the Compose plugin for their versions. Raises SetupError."""
    engine = await docker("version", "--format", "{{.Server.Version}}")
    if engine.code != 0 or not engine.out.strip():
        raise SetupError(
            f"The Docker daemon does not answer: [{engine.last()}]. Start it, check DOCKER_HOST, "
            "and that you may use it; or use the embedded stack (STACK=embedded)."
        )
    compose = await docker("compose", "version", "--short")
    if compose.code != 0:
        raise SetupError(
            f"Docker has no Compose plugin: [{compose.last()}]. Install the package "
            "docker-compose-plugin, or docker-compose of Debian 13 and later."
        )
    version = compose.out.strip().removeprefix("v")
    if _numbers(version) < OLDEST_COMPOSE:
        raise SetupError(
            f"Docker Compose is [{version}]; [{'.'.join(map(str, OLDEST_COMPOSE))}] or later is "
            "needed. Install a newer docker-compose-plugin."
        )
    return Versions(engine.out.strip(), version)


async def have_image(docker: Docker, variable: str, image: str, advice: str = "") -> None:
    """Pull an image unless it is there. Raises SetupError, which names the variable."""
    there = await docker("image", "inspect", "--format", "{{.Id}}", image)
    if there.code == 0:
        return
    pulled = await docker("pull", "--quiet", image, timeout_s=1800.0)
    if pulled.code != 0:
        raise SetupError(
            f"The image [{image}] cannot be pulled: {pulled.last()} Check the network and the "
            f"name, or name another with {variable}=….{advice} Without a registry: "
            "compose/standin/README.md."
        )


_KNOWN = {
    r"port is already allocated|address already in use": (
        "A port is in use that was free a moment ago. End what listens there, or name another: "
        "see docs/compose.md, Ports."
    ),
    r"pull access denied|manifest unknown|failed to resolve reference": (
        "An image is not available. Check its name and the network."
    ),
    r"no space left on device": (
        "The disk is full. `docker system df` shows what takes the space."
    ),
}


def explain(what: str, done: CompletedCommand) -> str:
    """A failed command as a message: what could not be done, why, and what to do."""
    advice = next((text for words, text in _KNOWN.items() if re.search(words, done.err)), "")
    return f"{what} [exit code {done.code}]. {advice}".rstrip() + f"\n{done.tail()}"


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?", version.strip())
    return tuple(int(part) for part in found.groups() if part is not None) if found else ()


def _shown(arguments: Sequence[str]) -> str:
    return " ".join(arguments[:6]) + (" …" if len(arguments) > 6 else "")  # noqa: PLR2004
