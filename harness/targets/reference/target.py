"""The reference proxy as a target."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict
from importlib.resources import files
from typing import Any

import asyncpg

import harness
from harness.authcache.cache import BACKFILL_FIXED_S
from harness.authcache.variants import Variant
from harness.authcache.words import ObjectKind
from harness.domain.population import VirtualKey
from harness.errors import SetupError
from harness.targets.base import (
    Call,
    ContainerContext,
    ContainerSpec,
    ProcessSpec,
    ReplicaContext,
    Target,
)
from harness.targets.reference.auth import lookups_of, reads_again
from harness.targets.reference.settings import ProxySettings
from harness.targets.schema import management
from harness.targets.schema.database import LiteLLMDatabase
from harness.targets.schema.statements import REFERENCE_OTHERS
from harness.targets.settings import RunSettings, replica_env


class ReferenceTarget(Target):
    """Runs one variant's switches on the reference proxy."""

    kind = "reference"
    version = harness.__version__
    readiness_path = "/health/readiness"
    ready_timeout_s = 60.0
    database = LiteLLMDatabase(REFERENCE_OTHERS)
    logs_reads = True
    schema = ("the reference proxy's tables",)

    def __init__(self, variant: Variant, notes: tuple[str, ...] = ()) -> None:
        self._variant = variant
        self.notes = notes
        self.overridden = variant.overridden
        switches = variant.switches
        self.uses_redis = switches.redis == "on"
        self.reads_again = reads_again(switches)
        if switches.spend_path == "read_modify_write":
            # Where a team is cached under the user's id, the user's increment is dropped.
            self.loses_spend = frozenset({ObjectKind.USER})

    async def prepare_database(self, dsn: str, *, has: Collection[str] = ()) -> None:
        """Create the tables. Raises SetupError."""
        if set(self.schema) <= set(has):
            return
        schema = files("harness.targets.reference").joinpath("schema.sql").read_text("utf-8")
        try:
            connection = await asyncpg.connect(dsn)
            try:
                await connection.execute(schema)
            finally:
                await connection.close()
        except (asyncpg.PostgresError, OSError) as error:
            raise SetupError(f"The schema cannot be created: {error}.") from error

    def process(self, context: ReplicaContext) -> ProcessSpec:
        """One replica of the reference proxy."""
        settings = self._settings(
            context.settings,
            dsn=context.dsn,
            redis_url=context.redis_url,
            redis_namespace=context.redis_namespace,
            replica=context.replica,
            mixed=context.mixed,
        )
        argv = [sys.executable, "-m", "harness.targets.reference.serve"]
        argv += ["--listen-fd", str(context.listen_fd)]
        for fd in context.metrics_fds:
            argv += ["--metrics-fd", str(fd)]
        return ProcessSpec(tuple(argv), replica_env(settings, context.master_key))

    def container(self, context: ContainerContext) -> ContainerSpec:
        """Every replica of a fleet in containers."""
        settings = self._settings(context.settings, dsn=context.dsn, redis_url=context.redis_url)
        command = ["python", "-m", "harness.targets.reference.serve", "--host", "0.0.0.0"]
        command += ["--port", str(context.port), "--metrics-port", str(context.metrics_port)]
        command += ["--workers", str(context.workers)]
        return ContainerSpec(tuple(command), replica_env(settings, context.master_key))

    def lookups(self, key: VirtualKey, settings: RunSettings) -> Mapping[tuple[str, str], int]:
        """As the auth path says."""
        return lookups_of(self._variant.switches, key, settings)

    def call(self, action: str, key: VirtualKey, number: int) -> Call:
        """Every action, in LiteLLM's shapes."""
        return management.call(action, key, number)

    def broadcasts(self, action: str) -> bool:
        """Whether its mechanism tells other workers: of every change or of none."""
        del action
        return self._variant.switches.invalidation in ("broadcast", "tracking", "generation")

    def kept_by_code_s(
        self, ttl_s: float, *, time_scale: float = 1.0, management_ttl: bool = False
    ) -> float:
        """One TTL in Redis, and in memory that of what is taken from there."""
        del management_ttl
        if self.uses_redis and self._variant.switches.backfill_ttl == "fixed_600s":
            return ttl_s + BACKFILL_FIXED_S * time_scale
        return ttl_s * (2 if self.uses_redis else 1)

    def describe(self) -> Mapping[str, Any]:
        """The variant's switches."""
        return self._variant.switches.model_dump()

    def _settings(self, run: RunSettings, **places: Any) -> ProxySettings:
        return ProxySettings(
            **asdict(run),
            variant=self._variant.name,
            version=self.version,
            switches=self._variant.switches,
            **places,
        )
