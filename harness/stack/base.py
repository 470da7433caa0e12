"""The second seam: the life cycle of servers and fleets.

A stack starts fleets from specs and ends everything it started. Embedded processes are one
implementation; Docker Compose is the other. Nothing above this seam knows which one runs.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from harness.domain.faults import PlannedFault
from harness.process.processes import Command, Process
from harness.targets.base import Target
from harness.targets.settings import RunSettings


@dataclass(frozen=True, slots=True)
class FleetSpec:
    """What to start: one variant's replicas with a Redis and a Postgres role of their own."""

    name: str
    """The variant's name; unique within a stack."""
    target: Target
    replicas: int
    workers: int
    settings: RunSettings
    base_port: int | None = None
    """Replica i listens on ``base_port + i``; None takes free ports."""
    master_key: str = field(
        default_factory=lambda: f"sk-{secrets.token_hex(16)}", repr=False, compare=False
    )
    """Authenticates management calls. One per fleet; it goes to the replicas' environment and to
    the maker of the calls, never to a log, a command line or a run's directory."""


@dataclass(frozen=True, slots=True)
class WorkerAddress:
    """Where one worker process is scraped."""

    replica: int
    worker: int
    metrics_url: str


@dataclass(frozen=True, slots=True)
class Servers:
    """A user's own servers; None starts the stack's own."""

    postgres_dsn: str | None = None
    redis_url: str | None = None


@dataclass(slots=True)
class Fleet:
    """A running fleet."""

    spec: FleetSpec
    replica_urls: tuple[str, ...]
    workers: tuple[WorkerAddress, ...]
    log_files: tuple[Path, ...]
    dsn: str
    """Connects as the fleet's own role to its own database."""
    admin_dsn: str
    """Connects to the same database as a role that may read pg_stat_statements of all roles."""
    redis_url: str | None
    """None where the variant has no Redis tier."""
    redis_namespace: str = ""
    """Prefix of every Redis key, where the Redis is shared with others."""
    owns_redis: bool = True
    """False for a Redis that the user gave: its command counters include other clients."""
    counts_statements: bool = True
    """False where pg_stat_statements is not available."""
    not_counted_reason: Mapping[str, str] = field(default_factory=dict)
    """Why ``redis`` or ``postgres`` counters are not available, for the ledger."""

    @property
    def name(self) -> str:
        """The variant's name."""
        return self.spec.name


class Breaker(Protocol):
    """Breaks one fleet on purpose, one fault at a time, and mends it. A stack makes it.

    What it ends is a planned end: `Stack.died` says nothing of it. A stack that is closed while a
    fault lasts ends what the fault stopped as well.
    """

    @property
    def detail(self) -> str:
        """What was broken and counted, in a sentence; grows until `end` has returned."""

    async def begin(self, planned: PlannedFault) -> None:
        """Break it; returns once it is broken. Raises InvalidRunError where that failed."""

    async def end(self) -> int:
        """Mend it: everything is as before, and the fleet is ready; does nothing the second time.

        Returns:
            What `harness.domain.faults.Fault.proof` names, counted from `begin` on; 0 if the fault
            took no effect.

        Raises:
            InvalidRunError: it could not be mended, or what it did could not be counted.
        """


class Stack(Protocol):
    """Life cycle of servers and fleets. `close` ends everything, whatever state it is in."""

    name: str
    breaks: frozenset[str]
    """The faults of `harness.domain.faults.FAULTS` that it can do."""
    problems: list[str]
    """What `close` could not undo, as messages for the user."""

    @property
    def exporter_address(self) -> str | None:
        """Base URL of the exporter that the stack starts by itself; None where it starts none."""

    @property
    def host(self) -> ProcessStack | None:
        """The stack itself if it can run sidecars of its fleets, else None."""

    async def open(self) -> None:
        """Start what all fleets share. Raises SetupError."""

    async def start(self, spec: FleetSpec) -> Fleet:
        """Start one fleet and wait until every worker is ready. Raises SetupError."""

    def breaker(self, fleet: Fleet) -> Breaker:
        """What breaks a fleet of this stack, which was made for faults."""

    async def died(self) -> str:
        """Wait until anything exits unexpectedly; returns what did, with its last log lines."""

    def cpu_s(self) -> Mapping[str, float]:
        """CPU seconds by group (``fleet:NAME``, ``redis:NAME``, ``postgres``) of all it started."""

    def facts(self) -> Mapping[str, str]:
        """Server versions and settings that a reader of the numbers needs (for the manifest)."""

    async def close(self) -> None:
        """End all processes, remove all folders but the logs. Never raises."""


class ProcessStack(Stack, Protocol):
    """A stack whose servers and replicas are processes of this machine; it can run sidecars."""

    def spawn_sidecar(self, command: Command) -> Process:
        """Start a sidecar of the fleets; its exit does not end the run.

        It ends with the stack at the latest. Raises SetupError.
        """

    async def stop_sidecars(self, group: str) -> None:
        """End the sidecars of a group of `spawn_sidecar`."""

    async def replace_replica(
        self,
        fleet: Fleet,
        index: int,
        *,
        target: Target | None = None,
        how: Literal["kill", "term"] = "term",
        after_s: float = 0.0,
    ) -> None:
        """End one replica, as planned, and start its successor on the same ports.

        Args:
            fleet: of this stack.
            index: of the replica.
            target: what the successor runs; None for the same.
            how: ``kill`` is SIGKILL; after ``term``, SIGTERM, it may finish what is in flight.
            after_s: seconds between the end of the one and the start of the other; nothing listens
                on the ports meanwhile.

        Raises:
            SetupError: the successor does not come up. The fleet lacks a replica then.
        """

    def pids(self) -> dict[str, list[int]]:
        """Ids of the processes that still run, by the groups of `cpu_s`."""
