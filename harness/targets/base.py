"""The first seam: what a replica runs.

A target turns a variant into a command line, an environment and a database schema. The
reference proxy is one implementation; real LiteLLM releases are the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.targets.settings import RunSettings


@dataclass(frozen=True, slots=True)
class ReplicaContext:
    """What a stack gives one replica. File descriptors are listening sockets to inherit."""

    fleet: str
    replica: int
    workers: int
    listen_fd: int
    metrics_fds: tuple[int, ...]
    """One per worker."""
    dsn: str
    redis_url: str | None
    redis_namespace: str
    settings: RunSettings


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to start. ``env`` is added to a minimal environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerContext:
    """What a stack gives all replicas of a fleet that run in containers.

    They share one description, because a scaled service has one: no replica knows its number.
    """

    fleet: str
    workers: int
    port: int
    """Clients; on all addresses of the container."""
    metrics_port: int
    """Of the first worker; worker i listens on ``metrics_port + i``."""
    dsn: str
    redis_url: str | None
    settings: RunSettings


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a container runs. Its image and mounts stand in ``compose/KIND.yaml``."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


class Target(Protocol):
    """What a replica runs."""

    kind: str
    """``reference`` or ``litellm``."""
    version: str
    uses_redis: bool
    readiness_path: str
    """Answers 200 as soon as the replica can serve."""
    ready_timeout_s: float
    not_checked: Mapping[str, str]
    """Equations of the ledger that it cannot be held to, by name, each with its cause."""
    findings: frozenset[str]
    """Equations that say something about the target, and nothing about the run, if they fail."""

    async def prepare_database(self, dsn: str) -> None:
        """Create the schema in an empty database. Raises SetupError."""

    def process(self, context: ReplicaContext) -> ProcessSpec:
        """The command of one replica."""

    def container(self, context: ContainerContext) -> ContainerSpec:
        """The command of every replica in a container. Raises SetupError where there is none."""

    def describe(self) -> Mapping[str, Any]:
        """Switches as they stand in ``result.json``."""
