"""One Valkey server a fleet, of the stack's own."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from harness.errors import SetupError
from harness.process.processes import Command, Process, Processes
from harness.process.sockets import LOOPBACK, free_port

MAX_MEMORY = "256mb"
_PORT_TRIES = 5
_START_TIMEOUT_S = 30.0
_CLIENT_TIMEOUT_S = 10.0
_POLL_S = 0.01
_PORT_CLASH = "Address already in use"

_SETTINGS = f"""\
bind {LOOPBACK}
protected-mode yes
save ""
appendonly no
loglevel notice
maxmemory {MAX_MEMORY}
# A full server answers with errors that everyone counts; one that evicts would pass for a
# cache that misses.
maxmemory-policy noeviction
"""


def group(fleet: str) -> str:
    """The name under which a fleet's server is accounted."""
    return f"redis:{fleet}"


async def start_valkey(
    processes: Processes, binary: Path, folder: Path, log_file: Path, fleet: str
) -> tuple[str, str]:
    """Start a server and wait until it answers; its address and its version.

    The settings go through stdin, because a command line is open to every user of the machine
    and the settings hold the password.

    Raises:
        SetupError: It does not come up.
    """
    folder.mkdir()  # noqa: ASYNC240  one system call
    password = secrets.token_hex(16)
    for _ in range(_PORT_TRIES):
        port = free_port()
        settings = f"{_SETTINGS}port {port}\nrequirepass {password}\ndir {folder}\n"
        process = processes.spawn(
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
        address = f"redis://:{password}@{LOOPBACK}:{port}/0"
        version = await _answers(process, address)
        if version:
            return address, version
    raise SetupError(
        f"Valkey found its port taken [{_PORT_TRIES}] times in a row. "
        "Try again, or give a server of your own as REDIS_URL."
    )


def connect(address: str) -> Redis:
    """A client that fails at once and leaves trying again to its caller."""
    return Redis.from_url(
        address,
        socket_timeout=_CLIENT_TIMEOUT_S,
        socket_connect_timeout=_CLIENT_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


async def server_version(address: str) -> str:
    """Name and version of a server, as ``valkey 9.1.2``. Raises RedisError or OSError."""
    async with connect(address) as client:
        info = await client.info("server")
    name = info.get("server_name", "redis")
    return f"{name} {info.get(f'{name}_version', info['redis_version'])}"


async def _answers(process: Process, address: str) -> str:
    """Wait until the server answers; empty if its port was taken. Raises SetupError."""
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            while not process.ended():
                try:
                    return await server_version(address)
                except (RedisError, OSError):
                    await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise SetupError(
            f"Valkey did not answer within [{_START_TIMEOUT_S:g} s], {process.epitaph()}"
        ) from error
    process.stopping = True
    if _PORT_CLASH in process.log_text():
        return ""
    raise SetupError(f"Valkey did not start, {process.epitaph()}")
