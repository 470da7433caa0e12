"""The stack's own Valkey servers, one per fleet."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from harness.process.processes import Command, Process, Processes
from harness.process.sockets import LOOPBACK
from harness.stack.embedded.readiness import Started, on_free_port
from harness.stack.redis import server_version

MAX_MEMORY = "256mb"
_START_TIMEOUT_S = 30.0

_SETTINGS = f"""\
bind {LOOPBACK}
protected-mode yes
save ""
appendonly no
loglevel notice
maxmemory {MAX_MEMORY}
# A full server must answer with errors, which are counted: evictions would look like misses
# of the cache.
maxmemory-policy noeviction
"""


def group(fleet: str) -> str:
    """The group of a fleet's server, for resource use."""
    return f"redis:{fleet}"


@dataclass(slots=True)
class ValkeyServer:
    """A running server."""

    address: str
    version: str
    port: int
    process: Process
    folder: Path
    """What ``SAVE`` writes is here, and is read when the server starts again."""
    start: Callable[[int | None], Awaitable[Started]]

    async def start_again(self) -> None:
        """Start it anew on the same port, with the same password. Raises SetupError."""
        self.process = (await self.start(self.port)).process


async def start_valkey(
    processes: Processes, binary: Path, folder: Path, log_file: Path, fleet: str
) -> ValkeyServer:
    """Start a server and wait until it answers.

    The settings go through stdin, because a command line is visible to every user of the machine
    and the settings hold the password.

    Raises:
        SetupError: It does not come up.
    """
    folder.mkdir()  # noqa: ASYNC240  one system call
    password = secrets.token_hex(16)

    def address(port: int) -> str:
        return f"redis://:{password}@{LOOPBACK}:{port}/0"

    def spawn(port: int) -> Process:
        settings = f"{_SETTINGS}port {port}\nrequirepass {password}\n"
        return processes.spawn(
            Command(
                name=f"Valkey server of {fleet}",
                group=group(fleet),
                argv=[binary, "-"],
                log_file=log_file,
                env={"LC_ALL": "C"},
                stdin=settings.encode(),
                cwd=folder,
            )
        )

    async def start(port: int | None) -> Started:
        return await on_free_port(
            "Valkey",
            spawn,
            lambda port: server_version(address(port)),
            retry=(RedisError, OSError),
            timeout_s=_START_TIMEOUT_S,
            instead="REDIS_URL",
            port=port,
        )

    started = await start(None)
    return ValkeyServer(
        address(started.port), started.version, started.port, started.process, folder, start
    )
