"""The stack in Docker Compose."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from pathlib import Path

from harness.errors import SetupError
from harness.process import groups
from harness.process.sockets import LOOPBACK
from harness.stack.base import Breaker, Fleet, FleetSpec
from harness.stack.compose.breaker import BREAKS, ComposeBreaker
from harness.stack.compose.containers import containers, exit_report, keep_logs, take_down
from harness.stack.compose.deaths import Deaths
from harness.stack.compose.docker import check, find_docker, have_image
from harness.stack.compose.fleet import (
    FleetPlace,
    compose_file,
    exporter_file,
    identity,
    scrape_file,
    slug_of,
)
from harness.stack.compose.images import have_images
from harness.stack.compose.project import Project, image
from harness.stack.compose.readiness import first_answer, fleet_ready, while_running
from harness.stack.compose.usage import Meter, Metered, meter
from harness.stack.databases import Databases
from harness.stack.dsn import replaced
from harness.stack.redis import server_version

RUN_PREFIX = "authcache-run-"
"""Projects of runs; they end with the run."""
ADMIN = "authcache_admin"
GRACE_S = 10


class ComposeStack:
    """Postgres, one Redis and one HAProxy per fleet, replicas and the exporter, in containers.

    Everything that listens outside of the containers' network listens on 127.0.0.1.

    Args:
        logs: Folder of the logs, which stay.
        project: Name of the Compose project. None takes one of its own, which ends with the run.
    """

    name = "compose"
    breaks = BREAKS

    health_interval = "1h"
    """A run does not use Docker's own health checks, and they cost CPU: see Project.up."""

    def __init__(self, logs: Path, *, project: str | None = None) -> None:
        self.problems: list[str] = []
        """What `close` could not undo, as messages for the user."""
        token = secrets.token_hex(16)
        self.docker = find_docker({})
        self.project = Project(project or f"{RUN_PREFIX}{token[:8]}", self.docker)
        self.places: dict[str, FleetPlace] = {}
        """The fleets that are up, by name."""
        self.lines: Mapping[str, Mapping[str, float]] = {}
        """Reference line per 1,000 requests, by fleet and key scope, that the exporter begins with.

        A run sets its own.
        """
        self._token = token
        self._logs = logs
        self._facts: dict[str, str] = {"stack": self.name}
        self._deaths = Deaths(self.docker, self.project.name)
        self._planned: set[str] = set()
        self._paused: set[str] = set()
        self._metered: dict[str, Metered] = {}
        self._meter = Meter()
        self._databases: Databases | None = None
        self._admin = ""
        self._exporter = ""
        self._turn = asyncio.Lock()
        self._created = False
        self._closed = False
        self._closing = asyncio.Lock()

    async def open(self) -> None:
        """Check Docker, build the image, start Postgres. Raises SetupError."""
        versions = await check(self.docker)
        self.project.create()
        self._created = True
        try:
            await self._open()
        except BaseException:
            await self.close()
            raise
        self._facts |= {"docker": versions.engine, "docker_compose": versions.compose}

    async def start(self, spec: FleetSpec) -> Fleet:
        """Start one fleet and wait until every worker is ready. See `Stack.start`."""
        # One after the other: they share the exporter, and Compose has the same few CPUs for all.
        async with self._turn:
            if spec.name in self.places:
                raise SetupError(f"The fleet [{spec.name}] runs already. Name each variant once.")
            try:
                return await self._start(spec)
            except BaseException:
                await self.close()
                raise

    async def died(self) -> str:
        """Wait until a container exits unexpectedly; returns which, with its last log lines."""
        ended = await self._deaths.next(lambda container: container in self._planned)
        if ended is None:
            return "The Docker daemon stopped reporting events. Check whether it runs."
        for container in await containers(self.docker, self.project.name):
            if container.id == ended:
                return (
                    f"The container [{container.name}] exited unexpectedly, "
                    f"{await exit_report(self.docker, container)}\n"
                    "Read the whole log, then run again."
                )
        return f"A container exited and was removed from outside [{ended[:12]}]."

    def cpu_s(self) -> Mapping[str, float]:
        """CPU seconds by group, where this machine shows the containers' control groups."""
        return self._meter.measure(self._metered.values())

    def facts(self) -> Mapping[str, str]:
        """Versions, images and settings that a reader of the numbers needs."""
        return dict(self._facts)

    def breaker(self, fleet: Fleet) -> Breaker:
        """What breaks a fleet. See `Stack.breaker`."""
        place = self.places[fleet.name]
        return ComposeBreaker(
            self.docker,
            self.project.name,
            place,
            planned=self._planned,
            paused=self._paused,
            ready=lambda: while_running(
                self.project, place.services, fleet_ready(place, self._exporter)
            ),
        )

    async def close(self) -> None:
        """Keep the logs, remove containers, network, volumes and generated files.

        Raises only CancelledError, and by then all is done.
        """
        await groups.to_the_end(self._close())

    async def _close(self) -> None:
        async with self._closing:
            if self._closed:
                return
            await self._settle(self._deaths.close())
            if self._created:
                self._logs.mkdir(parents=True, exist_ok=True)
                for one in self._paused:
                    # While it is paused it does not end when it is asked to.
                    await self._settle(self.docker("unpause", one))
                await self._settle(keep_logs(self.docker, self.project.name, self._logs))
                await self._settle(self._take_down())
            self._closed = True

    @property
    def exporter_address(self) -> str:
        """Base URL of the exporter, for the harness and Locust."""
        return self._exporter

    @property
    def host(self) -> None:
        """None: this stack starts containers only."""

    async def _take_down(self) -> None:
        problems = await take_down(self.docker, self.project.name, GRACE_S)
        self.problems += problems
        if not problems:
            self.project.remove()

    async def _settle(self, step: Awaitable[object]) -> None:
        try:
            await step
        except Exception as error:  # noqa: BLE001  close() promises never to raise
            self.problems.append(
                f"Closing the stack: {type(error).__name__}: {error} Try again: make down."
            )

    async def _open(self) -> None:
        project = self.project
        postgres_port, exporter_port = project.free_port(), self._exporter_port()
        project.set(
            HEALTH_INTERVAL=self.health_interval,
            POSTGRES_PORT=str(postgres_port),
            EXPORTER_PORT=str(exporter_port),
        )
        for variable in ("PYTHON_IMAGE", "POSTGRES_IMAGE", "HAPROXY_IMAGE"):
            await have_image(self.docker, variable, image(variable))
        await project.build()
        await self._deaths.start()
        await project.up(["postgres"])
        self._admin = identity(ADMIN, project.settings["POSTGRES_PASSWORD"])
        place = f"{LOOPBACK}:{postgres_port}"
        admin_dsn = f"postgresql://{self._admin}@{place}/postgres?sslmode=disable"
        self._databases = Databases(admin_dsn, self._token, own_server=True)
        self._facts |= await while_running(project, ["postgres"], first_answer(self._databases))
        await self._account("postgres", "postgres")
        self._facts |= {
            "postgres_source": f"image {image('POSTGRES_IMAGE')}",
            "postgres_durability": "fsync off, synchronous_commit off, full_page_writes off",
            "load_balancer": f"image {image('HAPROXY_IMAGE')}, round robin",
            "replica_image": f"built on {image('PYTHON_IMAGE')}",
        }
        self._exporter = f"http://{LOOPBACK}:{project.settings['EXPORTER_PORT']}"

    async def _start(self, spec: FleetSpec) -> Fleet:
        fleets = [place.spec for place in self.places.values()]
        await have_images(self.docker, [*fleets, spec])
        assert self._databases is not None, "a fleet starts after open()"
        place = self._place(spec)
        database = await self._databases.create(spec.name)
        role, password = _identity(database.dsn)
        place = replace(place, role=role, role_password=password)
        await spec.target.prepare_database(database.dsn)
        self.places[spec.name] = place
        self.project.set(**place.secrets)
        self._write(place)
        await self._run(place)
        await self._watch_from_outside()
        redis_url = place.redis_url(place.redis_password, f"{LOOPBACK}:{place.redis_port}")
        workers = await while_running(
            self.project, place.services, fleet_ready(place, self._exporter)
        )
        for service, group in (
            (place.proxy, f"fleet:{spec.name}"),
            (place.redis, f"redis:{spec.name}"),
            (place.haproxy, f"haproxy:{spec.name}"),
        ):
            if service is not None:
                await self._account(service, group)
        if redis_url is not None:
            self._facts |= {
                "redis_version": await server_version(redis_url),
                "redis_source": f"image {image('REDIS_IMAGE')}",
                "redis_maxmemory": "256mb",
            }
        return Fleet(
            spec=spec,
            replica_urls=(place.url,),
            workers=workers,
            log_files=tuple(
                self._logs / f"{place.proxy}-{number}.log" for number in range(1, spec.replicas + 1)
            ),
            dsn=database.dsn,
            admin_dsn=database.admin_dsn,
            redis_url=redis_url,
            counts_statements=not database.not_counted,
            not_counted_reason={"postgres": database.not_counted} if database.not_counted else {},
        )

    def _place(self, spec: FleetSpec) -> FleetPlace:
        proxy_port, stats_port = self._balancer_ports(len(self.places))
        return FleetPlace(
            spec=spec,
            slug=slug_of(spec.name, [place.slug for place in self.places.values()]),
            role="",
            role_password="",
            redis_password=secrets.token_urlsafe(24),
            proxy_port=proxy_port,
            stats_port=stats_port,
            redis_port=self.project.free_port(),
        )

    def _exporter_port(self) -> int:
        """The port of the exporter."""
        return self.project.free_port()

    def _balancer_ports(self, number: int) -> tuple[int, int]:
        """The load balancer's ports of a fleet: for requests, and for statistics.

        Args:
            number: of the fleet, from 0, in the order in which fleets are started.
        """
        del number
        return self.project.free_port(), self.project.free_port()

    def _write(self, place: FleetPlace) -> None:
        project = self.project
        project.fleets[place.slug] = project.write(f"fleet-{place.slug}.json", compose_file(place))
        project.write(f"scrape/{place.slug}.json", scrape_file(place))
        text = exporter_file(self.places.values(), self._admin, self.lines)
        project.write("exporter.toml", text)
        project.set(EXPORTER_CONFIG=hashlib.sha256(text.encode()).hexdigest())

    async def _run(self, place: FleetPlace) -> None:
        # In two steps: within one, Compose would wait for the Redis' health check.
        if place.redis is not None:
            await self.project.up([place.redis], "--no-recreate")
        await self.project.up([place.proxy, place.haproxy], "--no-recreate")

    async def _watch_from_outside(self) -> None:
        """Start the exporter, or restart it if its configuration has changed."""
        there = await containers(self.docker, self.project.name)
        self._planned |= {one.id for one in there if one.service == "exporter"}
        await self.project.up(["exporter"])

    async def _account(self, service: str, group: str) -> None:
        for one in await containers(self.docker, self.project.name):
            if one.service == service and one.running:
                metered = meter(group, one.id, one.pid)
                if metered is not None:
                    self._metered[one.id] = metered


def _identity(dsn: str) -> tuple[str, str]:
    """Role and password of a DSN of ours, which holds nothing that needs quoting."""
    identity = replaced(dsn, database="x").partition("://")[2].rpartition("@")[0]
    role, _, password = identity.partition(":")
    return role, password
