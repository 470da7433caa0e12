"""Notices containers that exit unexpectedly."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable

from harness.errors import SetupError
from harness.process import groups
from harness.stack.compose.docker import Docker
from harness.stack.compose.project import LABEL


class Deaths:
    """Follows `docker events` of one project. Make it with `start`, end it with `close`."""

    def __init__(self, docker: Docker, project: str) -> None:
        self._docker = docker
        self._project = project
        self._process: asyncio.subprocess.Process | None = None
        self._closed = False

    async def start(self) -> None:
        """Begin to listen; what dies from now on is found. Raises SetupError."""
        asked = await self._docker("info", "--format", "{{.SystemTime}}")
        since = asked.out.strip()
        if asked.code != 0 or not since:
            raise SetupError(f"The Docker daemon does not answer: [{asked.last()}].")
        # From the daemon's own time on, so that nothing falls between asking and listening.
        self._process = await groups.start(
            self._docker.command,
            *("events", "--since", since, "--format", "{{json .}}"),
            *("--filter", "type=container", "--filter", "event=die"),
            *("--filter", f"label={LABEL}={self._project}"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, **self._docker.env},
        )

    async def next(self, planned: Callable[[str], bool]) -> str | None:
        """The id of the next container that exits unexpectedly; None if the daemon goes away.

        Args:
            planned: whether the exit of a container, given its id, was planned.
        """
        assert self._process is not None
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            ended = str(json.loads(line)["id"])
            if not planned(ended):
                return ended
        if self._closed:
            # Nothing that happens from now on is of interest.
            await asyncio.Event().wait()
        return None

    async def close(self) -> None:
        """Stop listening."""
        self._closed = True
        if self._process is None or self._process.returncode is not None:
            return
        await groups.end(self._process, 0)
