"""Reads Postgres and Redis of one fleet at every scrape."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from harness.authcache.words import ObjectKind
from harness.domain import series
from harness.exporter.families import Samples, counter, gauge
from harness.observe.postgres import StatementCount, statement_counts
from harness.observe.snapshots import calls_of_data
from harness.targets.registry import KINDS, kind_of

BUDGET_S = 0.6
"""For one read of both servers, connecting included. The scrape timeout is 1 s
(harness/prometheus/configuration.py, compose/prometheus/prometheus.yml): a server that hangs must
cost only its own numbers and not the page, which reports it as down."""
_CLOSE_S = 0.1
"""For closing a connection to Redis, within a scrape."""


@dataclass(frozen=True, slots=True)
class FleetServers:
    """The servers of one fleet, as the exporter reaches them."""

    variant: str
    postgres_dsn: str | None
    """Connects to the fleet's database as a role that may read pg_stat_statements of all roles.
    None if statements are not counted."""
    postgres_role: str
    """The fleet's own role, whose statements are counted."""
    redis_url: str | None
    """None if the fleet has no Redis, which shows as 0."""
    counts_redis: bool = True
    """False for a Redis that others use too: its counters are then left out."""
    target: str | None = None
    """Name of the kind of target; None where the variant's name tells it."""


class ServerReader:
    """Reads the servers of one fleet. It owns its connections and opens them when needed.

    Args:
        servers: of the fleet.
        budget_s: seconds for one read of both.
    """

    def __init__(self, servers: FleetServers, budget_s: float = BUDGET_S) -> None:
        self._servers = servers
        self._budget_s = budget_s
        kind = KINDS[servers.target] if servers.target else kind_of(servers.variant)
        self._classify = kind.database.classify
        self._postgres: asyncpg.Connection | None = None
        self._redis: Redis | None = None
        self._look: asyncio.Task[list[Samples]] | None = None
        if servers.redis_url is not None and servers.counts_redis:
            self._redis = Redis.from_url(
                servers.redis_url,
                socket_timeout=budget_s,
                socket_connect_timeout=budget_s,
                retry=Retry(NoBackoff(), 0),
            )

    async def read(self) -> list[Samples]:
        """What both servers count now. A server that does not answer is down, not an error.

        Concurrent calls share one read (single flight): one after the other would take too long.
        """
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._read_both())
        return await asyncio.shield(self._look)

    async def close(self) -> None:
        """Close the connections."""
        if self._look is not None:
            await asyncio.wait([self._look])
        self._drop_postgres()
        await self._drop_redis()

    async def _read_both(self) -> list[Samples]:
        deadline = asyncio.get_running_loop().time() + self._budget_s
        postgres, redis = await asyncio.gather(
            self._read_postgres(deadline), self._read_redis(deadline)
        )
        return [*postgres, *redis]

    async def _read_postgres(self, deadline: float) -> list[Samples]:
        if self._servers.postgres_dsn is None:
            return []
        try:
            async with asyncio.timeout_at(deadline):
                if self._postgres is None:
                    self._postgres = await asyncpg.connect(self._servers.postgres_dsn)
                statements = await statement_counts(
                    self._postgres, self._servers.postgres_role, self._classify
                )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            # TimeoutError is an OSError. The next scrape begins with a new connection.
            self._drop_postgres()
            return [self._up("postgres", answered=False)]
        return [self._up("postgres", answered=True), *self._statements(statements.reads)]

    def _statements(self, counts: Mapping[ObjectKind, StatementCount]) -> list[Samples]:
        variant = self._servers.variant
        return [
            counter(
                series.STATEMENT_CALLS,
                "Statements that Postgres ran for an object, as pg_stat_statements counts them.",
                {(kind.value, variant): count.calls for kind, count in counts.items()},
                "object",
            ),
            counter(
                series.STATEMENT_SECONDS,
                "Execution time of these statements.",
                {(kind.value, variant): count.total_ms / 1000 for kind, count in counts.items()},
                "object",
            ),
        ]

    async def _read_redis(self, deadline: float) -> list[Samples]:
        if self._servers.redis_url is None:
            return self._redis_samples({}, {}, {})
        if self._redis is None:
            return []
        try:
            async with asyncio.timeout_at(deadline):
                stats: dict[str, Any] = await self._redis.info("stats")
                memory: dict[str, Any] = await self._redis.info("memory")
                commands: dict[str, Any] = await self._redis.info("commandstats")
        except (RedisError, OSError):
            # A late answer may still arrive: the connection cannot be used again.
            await self._drop_redis()
            return [self._up("redis", answered=False)]
        return [self._up("redis", answered=True), *self._redis_samples(stats, memory, commands)]

    def _redis_samples(
        self, stats: dict[str, Any], memory: dict[str, Any], commands: dict[str, Any]
    ) -> list[Samples]:
        variant = self._servers.variant
        calls = sum(calls_of_data(commands).values())
        return [
            counter(
                series.REDIS_KEYSPACE,
                "Keys that were looked up in the fleet's Redis.",
                {
                    ("hit", variant): int(stats.get("keyspace_hits", 0)),
                    ("miss", variant): int(stats.get("keyspace_misses", 0)),
                },
                "outcome",
            ),
            counter(
                series.REDIS_COMMANDS,
                "Commands that the fleet's Redis ran, without those that only manage a connection.",
                {(variant,): calls},
            ),
            gauge(
                series.REDIS_MEMORY,
                "Memory that the fleet's Redis uses.",
                {(variant,): int(memory.get("used_memory", 0))},
            ),
        ]

    def _up(self, server: str, *, answered: bool) -> Samples:
        return gauge(
            series.SERVER_UP,
            "Whether a server of the fleet answered this scrape.",
            {(server, self._servers.variant): float(answered)},
            "server",
        )

    def _drop_postgres(self) -> None:
        connection, self._postgres = self._postgres, None
        if connection is not None:
            # A graceful close would wait for the server.
            connection.terminate()

    async def _drop_redis(self) -> None:
        if self._redis is not None:
            with contextlib.suppress(RedisError, OSError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._redis.aclose()
