"""The stack's own Postgres server."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

from harness.process.guard import remove_shared_memory
from harness.process.privileges import Account, reachable_bindir
from harness.process.processes import Command, Process, Processes
from harness.process.sockets import LOOPBACK
from harness.stack.embedded.binaries import PgBinaries, find_pg_bindir
from harness.stack.embedded.readiness import Started, on_free_port

GROUP = "postgres"
MAX_CONNECTIONS = 300
_ADMIN = "authcache_admin"
_INITDB_TIMEOUT_S = 120.0
_START_TIMEOUT_S = 60.0

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": str(MAX_CONNECTIONS),
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    "pg_stat_statements.max": "10000",
    "pg_stat_statements.save": "off",
    "compute_query_id": "on",
    "track_io_timing": "on",
    # Shared memory as files in the data folder, so that a killed server leaves none behind.
    "dynamic_shared_memory_type": "mmap",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
}

_FAST_AND_LOOSE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
"""The data live as long as the run; every report says that these are off."""


@dataclass(slots=True)
class PostgresServer:
    """A running server, with an administrator's address for its database ``postgres``."""

    admin_dsn: str
    binaries: PgBinaries
    port: int
    process: Process
    data: Path
    log_file: Path
    durable: bool
    start: Callable[[int | None], Awaitable[Started]]

    async def start_again(self) -> None:
        """Start it anew on the same port, with the same data. Raises SetupError."""
        self.process = (await self.start(self.port)).process

    def facts(self) -> dict[str, str]:
        """What a reader of the numbers should know; no path, no address."""
        return {
            "postgres_version": self.binaries.version,
            "postgres_source": self.binaries.source,
            "postgres_max_connections": str(MAX_CONNECTIONS),
            "postgres_durability": "full"
            if self.durable
            else ", ".join(f"{name} {value}" for name, value in _FAST_AND_LOOSE.items()),
        }

    def forget(self) -> None:
        """Free what a killed server leaves in the system. Call it after its end."""
        remove_shared_memory(self.data)


async def find_postgres(folder: Path, account: Account | None) -> PgBinaries:
    """Binaries that `account` can run; copies of them below `folder` where it cannot reach them.

    Raises:
        SetupError: there are none.
    """
    binaries = find_pg_bindir()
    reachable = await asyncio.to_thread(
        reachable_bindir, binaries.bindir, account, folder / "binaries"
    )
    return replace(binaries, bindir=reachable)


async def start_postgres(
    processes: Processes,
    binaries: PgBinaries,
    folder: Path,
    logs: Path,
    account: Account | None,
    *,
    durable: bool,
    name: str = "postgres",
) -> PostgresServer:
    """Create a cluster below `folder`, start its server and wait until it answers.

    Args:
        processes: Starts and keeps the processes.
        binaries: Of `find_postgres`.
        folder: The stack's temporary folder.
        logs: The server logs to a file in it.
        account: The user to run as, where the harness is root.
        durable: Whether a commit waits for the disk.
        name: Of the log and of the server's folder, for one of several.

    Raises:
        SetupError: The server does not come up.
    """
    home = folder / name
    home.mkdir(mode=0o700)
    if account:
        account.own(home)
    launcher = _Launcher(
        processes=processes,
        bindir=binaries.bindir,
        home=home,
        log_file=logs / f"{name}.log",
        account=account,
    )
    password = secrets.token_urlsafe(24)
    await launcher.initdb(password)
    settings = _SETTINGS | ({} if durable else _FAST_AND_LOOSE)

    def dsn(port: int) -> str:
        return f"postgresql://{_ADMIN}:{password}@{LOOPBACK}:{port}/postgres?sslmode=disable"

    async def start(port: int | None) -> Started:
        return await on_free_port(
            "Postgres",
            lambda port: launcher.start(settings | {"port": str(port)}),
            lambda port: _version(dsn(port)),
            # A foreign server on our port refuses the password; ours ends because the port is
            # taken.
            retry=(OSError, asyncpg.PostgresError, asyncpg.InterfaceError),
            timeout_s=_START_TIMEOUT_S,
            instead="POSTGRES_DSN",
            port=port,
        )

    started = await start(None)
    return PostgresServer(
        admin_dsn=dsn(started.port),
        binaries=binaries,
        port=started.port,
        process=started.process,
        data=launcher.data,
        log_file=launcher.log_file,
        durable=durable,
        start=start,
    )


@dataclass(frozen=True, slots=True)
class _Launcher:
    processes: Processes
    bindir: Path
    home: Path
    log_file: Path
    account: Account | None

    @property
    def data(self) -> Path:
        return self.home / "data"

    async def initdb(self, password: str) -> None:
        """Create the cluster; the password reaches initdb in a file that is deleted after it."""
        password_file = self.home / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(password)
        if self.account:
            self.account.own(password_file)
        argv: list[str | Path] = [
            *(self.bindir / "initdb", "--pgdata", self.data, "--username", _ADMIN),
            *("--pwfile", password_file, "--auth", "scram-sha-256"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
        ]
        await self.processes.run(self._command("initdb", argv), _INITDB_TIMEOUT_S)
        password_file.unlink()

    def start(self, settings: dict[str, str]) -> Process:
        argv: list[str | Path] = [self.bindir / "postgres", "-D", self.data]
        for name, value in settings.items():
            argv += ["-c", f"{name}={value}"]
        return self.processes.spawn(self._command("Postgres server", argv, ending="postgres"))

    def _command(self, name: str, argv: list[str | Path], ending: str = "group") -> Command:
        return Command(
            name=name,
            group=GROUP,
            argv=argv,
            log_file=self.log_file,
            # Messages in English, because a port clash is recognised by its message.
            env={"LANG": "C", "LC_ALL": "C", "TZ": "UTC"},
            cwd=self.home.parent,
            account=self.account,
            # The immediate shutdown: the data are thrown away, so there is nothing to write.
            end_signal=signal.SIGQUIT,
            ending=ending,
        )


async def _version(dsn: str) -> str:
    connection = await asyncpg.connect(dsn, timeout=5)
    await connection.close()
    return str(connection.get_server_version().major)
