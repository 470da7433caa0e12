"""A real Valkey for the tests of this folder."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from harness.process.sockets import free_port
from harness.stack.embedded.binaries import find_valkey

PATIENCE_S = 30.0


class Valkey:
    """A server on a free port."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        options = {"bind": "127.0.0.1", "port": self.port, "save": "", "dir": folder}
        self._argv = [str(part) for name, value in options.items() for part in (f"--{name}", value)]
        self.start()

    def start(self) -> None:
        """Start, and after `close` start again, empty and on the same port."""
        self.process = subprocess.Popen([find_valkey(), *self._argv], stdout=subprocess.DEVNULL)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


async def keys_read(valkey: Any) -> int:
    """Keys that commands have asked for, as the server has counted them."""
    stats = await valkey.info("stats")
    return int(stats["keyspace_hits"]) + int(stats["keyspace_misses"])


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not await condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.005)
