"""The configuration of a standalone exporter: a TOML file.

::

    [listen]                      # all of it optional
    host = "127.0.0.1"
    port = 9464

    [[fleet]]
    variant = "recommended"
    replicas = 8                  # how many there should be
    workers = 1                   # of each replica
    postgres_dsn = "postgresql://watcher:${PGPASSWORD}@postgres/recommended"
    postgres_role = "recommended" # the fleet's own role, whose statements are counted
    redis_url = "redis://:${REDIS_PASSWORD}@redis-recommended:6379/0"
    discover = "proxy-recommended"    # resolved as type A, at every request
    metrics_port = 9400               # worker i of a replica: 9400 + i
    # or, with fixed addresses: targets = ["127.0.0.1:41001", "127.0.0.1:41002"]

    [fleet.reference_line_per_1000]   # optional, until a run sends its own
    team = 48.4
    all = 48.7

``${NAME}`` in a DSN or URL is taken from the environment, so that a file needs no secret. Without
``redis_url`` the fleet has no Redis and shows 0, without ``postgres_dsn`` statements are left out.
"""

from __future__ import annotations

import os
import string
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from harness.errors import UsageError, explain
from harness.exporter.app import WatchedFleet
from harness.exporter.servers import FleetServers
from harness.exporter.serving import DEFAULT_HOST, DEFAULT_PORT
from harness.exporter.state import GeneratorCount, RunState
from harness.exporter.workers import Discovery, Listed, Resolved


def _expanded(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    try:
        return string.Template(text).substitute(os.environ)
    except KeyError as error:
        raise ValueError(f"the environment variable {error.args[0]} is not set") from error


Address = Annotated[str, BeforeValidator(_expanded)]
Port = Annotated[int, Field(ge=1, le=65_535)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(_Table):
    """Where the exporter serves."""

    host: str = DEFAULT_HOST
    port: int = Field(DEFAULT_PORT, ge=0, le=65_535)


class FleetConfig(_Table):
    """One fleet."""

    variant: str = Field(min_length=1, pattern=r"^[^/]+$")
    replicas: int = Field(ge=1)
    workers: int = Field(1, ge=1)
    postgres_dsn: Address | None = None
    postgres_role: str = ""
    redis_url: Address | None = None
    discover: str | None = None
    metrics_port: Port = 9400
    targets: list[str] = []
    reference_line_per_1000: dict[str, float] = {}

    @model_validator(mode="after")
    def _complete(self) -> FleetConfig:
        if (self.discover is None) == (not self.targets):
            raise ValueError("name either discover or targets")
        if self.postgres_dsn is not None and not self.postgres_role:
            raise ValueError("postgres_dsn needs postgres_role, the role that the replicas use")
        return self

    def watched(self) -> WatchedFleet:
        """The fleet for an exporter."""
        discovery: Discovery = Listed(self.targets, self.workers)
        if self.discover is not None:
            discovery = Resolved(self.discover, self.metrics_port, self.workers)
        servers = FleetServers(self.variant, self.postgres_dsn, self.postgres_role, self.redis_url)
        return WatchedFleet(servers, discovery)


class ExporterConfig(_Table):
    """The whole file."""

    listen: Listen = Listen()
    fleet: list[FleetConfig] = Field(min_length=1)

    @model_validator(mode="after")
    def _distinct(self) -> ExporterConfig:
        names = [fleet.variant for fleet in self.fleet]
        if len(set(names)) != len(names):
            raise ValueError(f"each variant once, not {', '.join(names)}")
        return self

    def fleets(self) -> Mapping[str, WatchedFleet]:
        """All fleets, by variant."""
        return {fleet.variant: fleet.watched() for fleet in self.fleet}

    def state(self) -> RunState:
        """The state before any run."""
        return RunState(
            replicas_expected={fleet.variant: fleet.replicas for fleet in self.fleet},
            reference_line_per_1000={
                fleet.variant: dict(fleet.reference_line_per_1000) for fleet in self.fleet
            },
            generator={fleet.variant: GeneratorCount() for fleet in self.fleet},
        )


def read_config(path: Path) -> ExporterConfig:
    """Read a file. Raises UsageError."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The exporter's file [{path}] cannot be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The exporter's file [{path}] is no TOML: {error}.") from error
    try:
        return ExporterConfig.model_validate(raw)
    except ValidationError as error:
        raise UsageError(f"The exporter's file [{path}] is not valid. {explain(error)}") from error
