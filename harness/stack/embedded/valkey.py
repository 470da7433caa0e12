"""The stack's own Valkey servers, one per fleet."""

from __future__ import annotations

import secrets
from pathlib import Path

from redis.exceptions import RedisError

from harness.process.processes import Command, Process, Processes
from harness.process.sockets import LOOPBACK
from harness.stack.embedded.readiness import on_free_port
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


async def start_valkey(
    processes: Processes, binary: Path, folder: Path, log_file: Path, fleet: str
) -> tuple[str, str]:
    """Start a server and wait until it answers; its address and its version.

    The settings go through stdin, because a command line is visible to every user of the machine
    and the settings hold the password.

    Raises:
        SetupError: It does not come up.
    """
    folder.mkdir()  # noqa: ASYNC240  one system call
    password = secrets.token_hex(16)

    def address(port: int) -> str:
        return f"redis://:{password}@{LOOPBACK}:{port}/0"

    def start(port: int) -> Process:
        settings = f"{_SETTINGS}port {port}\nrequirepass {password}\ndir {folder}\n"
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

    started = await on_free_port(
        "Valkey",
        start,
        lambda port: server_version(address(port)),
        retry=(RedisError, OSError),
        timeout_s=_START_TIMEOUT_S,
        instead="REDIS_URL",
    )
    return address(started.port), started.version
