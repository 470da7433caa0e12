"""Eight replicas: how long they take to start, what they hold, and who uses the CPU under load."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import cpu_times, memory_bytes, used_s
from benchmarks.population import copy_population, team_keys
from benchmarks.step import Figures
from harness.archive.directory import KEYS, LOGS
from harness.domain.population import write_keys
from harness.domain.window import WindowCommand
from harness.load.client import LoadDriver
from harness.stack.base import Fleet, FleetSpec, ProcessStack, Servers
from harness.stack.registry import embedded_stack
from harness.targets.base import (
    ContainerContext,
    ContainerSpec,
    Database,
    ProcessSpec,
    ReplicaContext,
    Target,
)
from harness.targets.settings import RunSettings

REPLICAS = 8
RATE_PER_S = 200.0
_USERS = 32
_KEYS = 12
_TTL_S = 2.0
"""As in the default scenario."""
_MIB = 1024 * 1024


class StartStep:
    """Starts eight replicas on servers that are already up, and stops them again.

    Args:
        name: of the step.
        target: what the replicas run.
        host: the fleet whose servers they use.
        servers: process ids of those servers.
        folder: for logs and keys; one subfolder a round.
        load_s: seconds of load by Locust; 0 for none.
    """

    shots = 1

    def __init__(
        self,
        name: str,
        target: Target,
        host: Fleet,
        servers: Sequence[int],
        folder: Path,
        *,
        load_s: float,
    ) -> None:
        self.name = name
        self._target = target
        self._host = host
        self._servers = servers
        self._folder = folder
        self._load_s = load_s
        self._round = 0

    async def measure(self) -> Figures:
        """One round. Raises SetupError, InvalidRunError."""
        self._round += 1
        folder = self._folder / f"{self.name}-{self._round}"
        servers = Servers(self._host.admin_dsn, self._host.redis_url)
        stack = embedded_stack(folder / LOGS, servers)
        timed = _TimedTarget(self._target)
        spec = FleetSpec(
            self.name,
            timed,
            replicas=REPLICAS,
            workers=1,
            settings=RunSettings(ttl_s=_TTL_S, served_header=False),
        )
        try:
            await stack.open()
            fleet = await stack.start(spec)
            ready_s = time.monotonic() - timed.first_s
            shares: dict[str, float] = {}
            if self._load_s:
                shares = await self._drive(stack, fleet, folder)
            rss, pss = memory_bytes(stack.pids()[f"fleet:{self.name}"])
        finally:
            await stack.close()
        figures = {"start_s": ready_s, "rss_mib": rss / _MIB} | shares
        return figures if pss is None else figures | {"pss_mib": pss / _MIB}

    async def _drive(self, stack: ProcessStack, fleet: Fleet, folder: Path) -> dict[str, float]:
        keys = team_keys(_KEYS)
        await copy_population(fleet.dsn, keys)
        keys_file = folder / KEYS
        write_keys(keys_file, keys)
        driver = LoadDriver(folder / LOGS / "load-driver.log")
        try:
            await driver.start()
            command = WindowCommand(
                window=self.name,
                hosts=list(fleet.replica_urls),
                keys_file=str(keys_file),
                model="open",
                duration_s=self._load_s,
                mix={"team": 1.0},
                users=_USERS,
                rate_per_s=RATE_PER_S,
                seed=self._round,
            )
            replicas = stack.pids()[f"fleet:{self.name}"]
            before = (cpu_times(replicas), cpu_times(self._servers))
            result = await driver.window(command)
            after = (cpu_times(replicas), cpu_times(self._servers))
        finally:
            await driver.close()
        fleet_s, servers_s = (used_s(b, a) for b, a in zip(before, after, strict=True))
        return {
            "generator_share": result.cpu_s / (result.cpu_s + fleet_s + servers_s),
            "replica_cpu_us": fleet_s * 1_000_000 / result.answered,
            "generator_cpu_us": result.cpu_s * 1_000_000 / result.answered,
        }


class _TimedTarget(Target):
    """A target that notes when its first replica is started."""

    def __init__(self, target: Target) -> None:
        self.first_s = 0.0
        self.kind = target.kind
        self.version = target.version
        self.uses_redis = target.uses_redis
        self.readiness_path = target.readiness_path
        self.ready_timeout_s = target.ready_timeout_s
        self.not_checked = target.not_checked
        self.findings = target.findings
        self._target = target

    @property
    def database(self) -> Database:
        return self._target.database

    async def prepare_database(self, dsn: str, *, has: Collection[str] = ()) -> None:
        await self._target.prepare_database(dsn, has=has)

    def process(self, context: ReplicaContext) -> ProcessSpec:
        # Servers, role and database are there by now; the first replica comes next.
        self.first_s = self.first_s or time.monotonic()
        return self._target.process(context)

    def container(self, context: ContainerContext) -> ContainerSpec:
        return self._target.container(context)

    def describe(self) -> Mapping[str, Any]:
        return self._target.describe()
