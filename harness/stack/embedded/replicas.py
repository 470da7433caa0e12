"""The replica processes of one fleet, each of which can be replaced on its own ports."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from harness.process.processes import Command, Process, Processes
from harness.process.sockets import ReplicaSockets, hold, listen
from harness.process.waiting import wait_until
from harness.stack.base import Fleet
from harness.stack.dsn import port_of
from harness.stack.embedded.readiness import check_origins, wait_until_ready
from harness.targets.base import ReplicaContext, Target
from harness.targets.clock import CLOCKS_VARIABLE

GRACE_S = 10.0
"""Seconds that a replica has to finish after SIGTERM."""
_KILL_GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where one replica finds its servers, and the offsets of its clocks."""

    dsn: str
    redis_url: str | None
    clocks: Path | None = None
    """Folder of `harness.targets.clock`; None where no clock is to be shifted."""


class Replicas:
    """Starts, ends and replaces the replicas of a fleet.

    Args:
        processes: starts and keeps the processes.
        fleet: whose addresses the replicas answer on.
        places: of each replica.
        folder: the stack's temporary folder: a replica's temporary files are removed with it,
            however it ends.
    """

    def __init__(
        self,
        processes: Processes,
        fleet: Fleet,
        places: Sequence[Addresses],
        folder: Path,
    ) -> None:
        self._processes = processes
        self._fleet = fleet
        self.places = places
        self._folder = folder
        self._targets = [fleet.spec.target] * fleet.spec.replicas
        self.running: dict[int, Process] = {}
        """By index; one that was ended stays until it has a successor."""

    def start(self, index: int, sockets: ReplicaSockets, target: Target | None = None) -> None:
        """Start a replica on sockets that the caller closes. Raises SetupError."""
        if target is not None:
            self._targets[index] = target
        fleet, spec, place = self._fleet, self._fleet.spec, self.places[index]
        env = {"TMPDIR": str(self._folder)}
        if place.clocks is not None:
            # Of this process alone: those before it are gone.
            shutil.rmtree(place.clocks, ignore_errors=True)
            place.clocks.mkdir(parents=True)
            env[CLOCKS_VARIABLE] = str(place.clocks)
        process = self._targets[index].process(
            ReplicaContext(
                fleet=spec.name,
                replica=index,
                workers=spec.workers,
                listen_fd=sockets.clients.fileno(),
                metrics_fds=tuple(one.fileno() for one in sockets.metrics),
                dsn=place.dsn,
                redis_url=place.redis_url,
                redis_namespace=fleet.redis_namespace,
                settings=spec.settings,
                master_key=spec.master_key,
            )
        )
        self.running[index] = self._processes.spawn(
            Command(
                name=f"replica {index} of {spec.name}",
                group=f"fleet:{spec.name}",
                argv=process.argv,
                log_file=fleet.log_files[index],
                env={**process.env, **env},
                inherit=sockets.descriptors(),
                other_python=process.other_python,
            )
        )

    async def ready(self, *indices: int) -> None:
        """Wait until every worker of these replicas answers, and runs what was planned.

        Raises:
            SetupError: one has ended, or does not answer in time.
            InvalidRunError: one runs other code.
        """
        spec = self._fleet.spec
        for target in {id(one): one for one in (self._targets[i] for i in indices)}.values():
            mine = [index for index in indices if self._targets[index] is target]
            clients = [
                (self.running[index], self._fleet.replica_urls[index] + target.readiness_path)
                for index in mine
            ]
            pages = [
                (self.running[one.replica], one.metrics_url)
                for one in self._fleet.workers
                if one.replica in mine and spec.settings.metrics
            ]
            await wait_until_ready(spec.name, clients + pages, target.ready_timeout_s)
            for index in mine if pages else ():
                origin = target.member(index).origin
                if origin is not None:
                    own = [one.metrics_url for one in self._fleet.workers if one.replica == index]
                    await check_origins(spec.name, own, origin)

    async def end(self, index: int, how: Literal["kill", "term"]) -> None:
        """End a replica and all its workers, as planned."""
        process = self.running[index]
        if how == "term":
            await self._processes.end([process], GRACE_S)
        else:
            await self._processes.end([process], _KILL_GRACE_S, signal.SIGKILL)

    async def succeed(self, index: int, after_s: float = 0.0, target: Target | None = None) -> None:
        """Start the successor of a replica that has ended, and wait until it is ready.

        Args:
            index: of the replica.
            after_s: seconds before it is started. Connections are refused meanwhile.
            target: what it runs; None for the same.

        Raises:
            SetupError: it does not come up.
        """
        ports = self.ports(index)
        with contextlib.ExitStack() as held:
            # Else the system could give a port to an outgoing connection.
            for port in ports:
                # Workers of the one before may take a moment to end.
                keep = partial(hold, port)
                held.enter_context(await wait_until(keep, _KILL_GRACE_S, retry=(OSError,)))
            await asyncio.sleep(after_s)
        with contextlib.ExitStack() as opened:
            clients, *metrics = (opened.enter_context(listen(port)) for port in ports)
            self.start(index, ReplicaSockets(clients, tuple(metrics)), target)
        await self.ready(index)

    def ports(self, index: int) -> list[int]:
        """The ports of a replica: of its clients, then of each worker's metrics."""
        pages = [one.metrics_url for one in self._fleet.workers if one.replica == index]
        return [port_of(url) for url in (self._fleet.replica_urls[index], *pages)]
