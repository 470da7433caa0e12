"""The stack in Docker Compose that stays up after the command that started it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.process.sockets import LOOPBACK
from harness.stack.base import FleetSpec
from harness.stack.compose.containers import containers
from harness.stack.compose.docker import check
from harness.stack.compose.fleet import PROXY_PORT, STATS_PORT, identity, resumed
from harness.stack.compose.project import KEPT_PROJECT
from harness.stack.compose.readiness import balanced
from harness.stack.compose.stack import ADMIN, ComposeStack

EXPORTER_PORT = 9464


@dataclass(frozen=True, slots=True)
class _Ports:
    exporter: int
    balancers: tuple[tuple[int, int], ...]


class KeptStack(ComposeStack):
    """The one stack that `harness up` starts, on ports that the user chooses.

    Its life cycle: `claim_ports`, `open`, `start` each fleet, `detach`; then, in other processes,
    `resume`, `scale`, `detach`.

    Args:
        logs: Folder of the logs, if it does not come up.
    """

    health_interval = "30s"

    def __init__(self, logs: Path) -> None:
        super().__init__(logs, project=KEPT_PROJECT)
        self._ports = _Ports(0, ())

    def claim_ports(self, fleets: int, beside: Mapping[str, int]) -> dict[str, str]:
        """Claim all ports that the user connects to, before anything is started.

        Args:
            fleets: how many there will be.
            beside: ports of the other services: variables and defaults.

        Returns:
            The ports of the other services, as settings.

        Raises:
            SetupError: one of them is not free, or requested twice.
        """
        port = self.project.port
        self._ports = _Ports(
            port("EXPORTER_PORT", EXPORTER_PORT),
            tuple(
                (port("PROXY_PORT", PROXY_PORT, number), port("STATS_PORT", STATS_PORT, number))
                for number in range(fleets)
            ),
        )
        return {variable: str(port(variable, default)) for variable, default in beside.items()}

    async def detach(self, more: Mapping[str, Any]) -> None:
        """Leave everything running, for `resume` in another process.

        Args:
            more: saved for it.
        """
        await self._deaths.close()
        places = {name: place.kept() for name, place in self.places.items()}
        self.project.save({**more, "places": places})
        self._closed = True

    async def resume(self, specs: Iterable[FleetSpec]) -> dict[str, Any]:
        """Attach to a stack that was left running.

        Args:
            specs: fleets that it may have; what it does not have is left out.

        Returns:
            What `detach` was given.

        Raises:
            SetupError: its saved state is missing or incomplete.
        """
        await check(self.docker)
        more = self.project.resume()
        settings, kept = self.project.settings, more.pop("places")
        self.places = {
            spec.name: resumed(spec, kept[spec.name], settings)
            for spec in specs
            if spec.name in kept
        }
        self._admin = identity(ADMIN, settings["POSTGRES_PASSWORD"])
        self._exporter = f"http://{LOOPBACK}:{settings['EXPORTER_PORT']}"
        return more

    async def running(self) -> Counter[str]:
        """How many containers of each service run. Raises SetupError."""
        there = await containers(self.docker, self.project.name)
        return Counter(one.service for one in there if one.running)

    async def scale(self, fleet: str, replicas: int) -> None:
        """Scale a fleet to so many replicas, and wait until its load balancer has exactly those.

        Containers of the fleet that have ended are started again: replicas, Redis, load balancer.

        Raises:
            SetupError: they do not come up, or do not stop.
        """
        place = self.places[fleet]
        self.places[fleet] = place = replace(place, spec=replace(place.spec, replicas=replicas))
        self._write(place)
        await self._run(place)
        await self._watch_from_outside()
        await balanced(place)

    def _exporter_port(self) -> int:
        return self._ports.exporter

    def _balancer_ports(self, number: int) -> tuple[int, int]:
        return self._ports.balancers[number]
