"""The stack's side of the relay that stands between a fleet and its servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import InvalidRunError
from harness.process import relay
from harness.process.processes import Command, Processes
from harness.process.sockets import listen

_PATIENCE_S = 10.0


class Relay:
    """One relay, see `harness.process.relay`; `start_relay` makes it."""

    def __init__(
        self, ports: Mapping[str, int], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.ports = ports
        """Where it listens, by link."""
        self._reader, self._writer = reader, writer
        self._turn = asyncio.Lock()

    def links(self, server: str) -> list[str]:
        """The links to a server, ``redis`` or ``postgres``."""
        return [name for name in self.ports if name.startswith(server)]

    async def turn(self, links: Sequence[str], mode: str, **how: float) -> Counts:
        """Change what is done to what passes; what was counted until then. Raises InvalidRunError.

        Args:
            links: names of `ports`.
            mode: of `harness.process.relay`.
            how: ``delay_ms`` and ``jitter_ms``.
        """
        return Counts(await self._ask({"links": list(links), "mode": mode, **how}))

    async def counts(self) -> Counts:
        """What was counted by now. Raises InvalidRunError."""
        return Counts(await self._ask({}))

    async def _ask(self, request: Mapping[str, Any]) -> Mapping[str, Mapping[str, int]]:
        async with self._turn:
            try:
                self._writer.write(json.dumps(request).encode() + b"\n")
                async with asyncio.timeout(_PATIENCE_S):
                    found: Mapping[str, Mapping[str, int]] = json.loads(
                        await self._reader.readline()
                    )
            except (OSError, ValueError, TimeoutError) as error:
                raise InvalidRunError(
                    "The relay between a fleet and its servers does not answer "
                    f"[{type(error).__name__}]. Read its log."
                ) from error
        return found

    def close(self) -> None:
        """Close the connection to it, which ends it."""
        self._writer.close()


class Counts:
    """What a relay counted, by link and count."""

    def __init__(self, by_link: Mapping[str, Mapping[str, int]]) -> None:
        self._by_link = by_link

    def since(self, earlier: Counts, links: Sequence[str], count: str) -> int:
        """How much a count of some links has grown."""
        return sum(self._by_link[one][count] - earlier._by_link[one][count] for one in links)


async def start_relay(
    processes: Processes, fleet: str, servers: Mapping[str, int], log_file: Path
) -> Relay:
    """Start a relay with a listening port for each link; it accepts at once.

    Args:
        processes: starts and keeps the processes.
        fleet: its name.
        servers: port of the server, by link. A link whose name begins with ``postgres`` is to one.
        log_file: where it writes its problems.

    Raises:
        SetupError: it cannot be started.
    """
    ours, theirs = socket.socketpair()
    with contextlib.ExitStack() as opened:
        opened.enter_context(theirs)
        sockets = {link: opened.enter_context(listen()) for link in servers}
        given = [f"{link}:{one.fileno()}:{servers[link]}" for link, one in sockets.items()]
        processes.spawn(
            Command(
                name=f"relay of {fleet}",
                group=f"relay:{fleet}",
                argv=[sys.executable, "-I", "-S", relay.__file__, str(theirs.fileno()), *given],
                log_file=log_file,
                env={},
                inherit=(theirs.fileno(), *(one.fileno() for one in sockets.values())),
            )
        )
        ports = {link: int(one.getsockname()[1]) for link, one in sockets.items()}
    reader, writer = await asyncio.open_connection(sock=ours)
    return Relay(ports, reader, writer)
