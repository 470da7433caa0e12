"""Snapshots of a fleet at rest: replicas, Postgres and Redis, read at the edges of a window.

A snapshot is taken when the generator has nothing outstanding and every worker's
``authcache_pending`` is 0, so that the numbers of all parties count the same requests.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
from redis.asyncio import Redis
from redis.exceptions import RedisError

from harness.authcache.words import ObjectKind
from harness.domain.reads import LOG_PATH, LoggedRead
from harness.domain.series import LOOKUPS, PENDING, READS
from harness.errors import InvalidRunError, NotQuiescentError
from harness.observe.counters import Counters
from harness.observe.postgres import Statements, role_of, statement_counts
from harness.process.groups import to_the_end
from harness.process.loopback import local_http
from harness.process.waiting import wait_until
from harness.stack.base import Fleet

SCRAPE_TIMEOUT_S = 1.0
"""How long a worker has to answer during a fault; it may hang itself."""
LIVE = (LOOKUPS, READS)
"""The series that the progress display reads while a window runs."""


_OF_CONNECTIONS = frozenset(
    {"auth", "client", "command", "config", "hello", "info", "ping", "reset", "select"}
)
"""Commands that open, name or watch a connection, the harness's own among them."""


def calls_of_data(commandstats: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """Calls by command, without those that only manage a connection: an idle fleet shows none.

    Args:
        commandstats: the section of INFO, as redis-py parses it. A subcommand, as in
            ``cmdstat_client|setinfo``, counts with its command.
    """
    calls: dict[str, int] = {}
    for entry, row in commandstats.items():
        name = entry.removeprefix("cmdstat_").partition("|")[0]
        if name not in _OF_CONNECTIONS:
            calls[name] = calls.get(name, 0) + int(row["calls"])
    return calls


@dataclass(frozen=True, slots=True)
class RedisCount:
    """What a Redis server has counted of its clients."""

    keys_read: int
    """Keyspace hits and misses: keys asked for by GET, MGET and SET GET."""
    calls: Mapping[str, int]
    """Commands about data, by name."""

    def since(self, earlier: RedisCount) -> RedisCount:
        """What was counted after ``earlier``."""
        calls = {name: n - earlier.calls.get(name, 0) for name, n in self.calls.items()}
        return RedisCount(self.keys_read - earlier.keys_read, calls)


@dataclass(frozen=True, slots=True)
class Scrape:
    """The replicas of a fleet under load, at one moment."""

    at_s: float
    """Since the start of the window."""
    workers: tuple[Counters | None, ...]
    """None for one that did not answer within `SCRAPE_TIMEOUT_S`."""
    log_bytes: int = 0
    """What all replicas have written to their logs so far, cut parts included."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A fleet at rest."""

    workers: tuple[Counters, ...]
    statements: Statements | None
    redis: RedisCount | None
    spend: Mapping[ObjectKind, Mapping[str, int]]
    """Micro-units by object and row."""
    reads: tuple[tuple[LoggedRead, ...], ...] | None = None
    """Source reads since the snapshot before, by worker; None where no log is kept."""

    @property
    def total(self) -> Counters:
        """All workers added up."""
        return Counters.total(self.workers)


class Observer:
    """Reads one fleet from outside. Make it with `watch`."""

    def __init__(
        self,
        fleet: Fleet,
        http: httpx.AsyncClient,
        postgres: asyncpg.Connection,
        redis: Redis | None,
    ) -> None:
        self.fleet = fleet
        self.postgres = postgres
        self._http = http
        self._redis = redis
        self._role = role_of(fleet.dsn)
        self._database = fleet.spec.target.database
        self._reads_seen: dict[str, int] = {}

    async def reconnect(self, timeout_s: float = 20.0) -> None:
        """Open connections anew that a fault may have cut.

        Raises:
            InvalidRunError: Postgres or Redis did not answer.
        """
        try:
            async with asyncio.timeout(timeout_s):
                # A connection that was cut may not know it yet.
                postgres = await asyncpg.connect(self.fleet.admin_dsn)
                if self._redis is not None:
                    await self._redis.connection_pool.disconnect()
                    await self._redis.ping()
        except (asyncpg.PostgresError, asyncpg.InterfaceError, RedisError, OSError) as error:
            raise self._not_observed(error) from error
        former, self.postgres = self.postgres, postgres
        await _close_quietly(former)

    def read_anew(self, replica: int | None) -> None:
        """The workers of a replica, or all, were replaced: their read logs begin at 0."""
        for worker in self.fleet.workers:
            if replica is None or worker.replica == replica:
                self._reads_seen.pop(worker.metrics_url + LOG_PATH, None)

    async def scrape(self) -> tuple[str | None, ...]:
        """Each worker's page while a fault lasts; None for one that does not answer in time."""

        async def page(url: str) -> str | None:
            try:
                async with asyncio.timeout(SCRAPE_TIMEOUT_S):
                    return (await self._http.get(url)).raise_for_status().text
            except (httpx.HTTPError, TimeoutError):
                return None

        return tuple(
            await asyncio.gather(*(page(worker.metrics_url) for worker in self.fleet.workers))
        )

    async def at_rest(self, timeout_s: float = 20.0) -> Snapshot:
        """Wait until nothing is pending, then take a snapshot.

        Raises:
            NotQuiescentError: work was still pending after ``timeout_s``.
            InvalidRunError: a worker, Postgres or Redis did not answer.
        """
        pending = 0.0

        async def rests() -> bool:
            nonlocal pending
            pending = (await self.live((PENDING,))).sum(PENDING)
            return not pending

        if not await wait_until(rests, timeout_s):
            raise NotQuiescentError(
                f"Fleet [{self.fleet.name}] still had [{pending:.0f}] requests or writes "
                f"pending {timeout_s:.0f} s after the load ended. Check its logs."
            )
        try:
            return Snapshot(
                tuple(await self._pages(())),
                await self.statements(),
                await self._redis_count(),
                await self._database.spend_micro(self.postgres),
                await self._read_logs(),
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, RedisError, OSError) as error:
            raise self._not_observed(error) from error

    def _not_observed(self, error: Exception) -> InvalidRunError:
        return InvalidRunError(
            f"Fleet [{self.fleet.name}] cannot be observed: {type(error).__name__}: {error}. "
            "Check its logs, then run again."
        )

    async def live(self, names: tuple[str, ...] = LIVE) -> Counters:
        """Some series of all workers added up, at rest or not. Raises InvalidRunError."""
        return Counters.total(await self._pages(names))

    async def by_worker(self, names: tuple[str, ...]) -> dict[str, Counters]:
        """Some series of each worker, by its name in replies. Raises InvalidRunError."""
        pages = await self._pages(names)
        return {
            f"{worker.replica}.{worker.worker}": page
            for worker, page in zip(self.fleet.workers, pages, strict=True)
        }

    async def statements(self) -> Statements | None:
        """Statements of the fleet's role; None if Postgres does not count them."""
        if not self.fleet.counts_statements:
            return None
        return await statement_counts(
            self.postgres, self._role, self._database.classify, self._database.name_other
        )

    async def _pages(self, names: tuple[str, ...]) -> list[Counters]:
        params: Any = [("name[]", name) for name in names]
        replies = await self._ask({worker.metrics_url: params for worker in self.fleet.workers})
        return [Counters.parse(reply.text) for reply in replies]

    async def _read_logs(self) -> tuple[tuple[LoggedRead, ...], ...] | None:
        if not self.fleet.spec.target.logs_reads:
            return None
        urls = [worker.metrics_url + LOG_PATH for worker in self.fleet.workers]
        replies = await self._ask({url: {"after": self._reads_seen.get(url, 0)} for url in urls})
        logs = []
        for url, reply in zip(urls, replies, strict=True):
            page = reply.json()
            self._reads_seen[url] = page["count"]
            logs.append(tuple(LoggedRead(*read) for read in page["reads"]))
        return tuple(logs)

    async def _ask(self, pages: Mapping[str, Any]) -> list[httpx.Response]:
        """Every worker's reply, by URL and parameters. Raises InvalidRunError."""
        try:
            replies = await asyncio.gather(
                *(self._http.get(url, params=params) for url, params in pages.items())
            )
            return [reply.raise_for_status() for reply in replies]
        except httpx.HTTPError as error:
            raise InvalidRunError(
                f"A worker of fleet [{self.fleet.name}] cannot be scraped: "
                f"{type(error).__name__}: {error}. Check its logs."
            ) from error

    async def _redis_count(self) -> RedisCount | None:
        if self._redis is None or not self.fleet.owns_redis:
            return None
        stats: dict[str, Any] = await self._redis.info("stats")
        commands: dict[str, Any] = await self._redis.info("commandstats")
        return RedisCount(
            int(stats["keyspace_hits"]) + int(stats["keyspace_misses"]), calls_of_data(commands)
        )


@contextlib.asynccontextmanager
async def watch(fleet: Fleet) -> AsyncIterator[Observer]:
    """An observer with its own connections to a fleet's workers and servers."""
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(local_http(timeout=10.0))
        redis: Redis | None = None
        if fleet.redis_url is not None:
            redis = Redis.from_url(fleet.redis_url)
            stack.push_async_callback(redis.aclose)
        observer = Observer(fleet, http, await asyncpg.connect(fleet.admin_dsn), redis)
        try:
            yield observer
        finally:
            # It may be another than at the start.
            await _close_quietly(observer.postgres)


async def _close_quietly(connection: asyncpg.Connection) -> None:
    with contextlib.suppress(Exception):
        await to_the_end(connection.close(timeout=2.0))
