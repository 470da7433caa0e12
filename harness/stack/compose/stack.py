"""The stack in Docker Compose."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import SetupError
from harness.stack.base import Fleet, FleetSpec, ResourceUse
from harness.stack.compose.containers import containers, epitaph, keep_logs, take_down
from harness.stack.compose.deaths import Deaths
from harness.stack.compose.docker import check, find_docker, have_image
from harness.stack.compose.fleet import (
    PROXY_PORT,
    STATS_PORT,
    FleetPlace,
    compose_file,
    exporter_file,
    resumed,
    scrape_file,
    slug_of,
)
from harness.stack.compose.project import Project, check_port, image
from harness.stack.compose.readiness import balanced, first_answer, fleet_ready, while_running
from harness.stack.compose.usage import Meter, Metered, meter
from harness.stack.embedded.databases import Databases
from harness.stack.embedded.dsn import replaced
from harness.stack.embedded.sockets import LOOPBACK
from harness.stack.embedded.valkey import server_version

RUN_PREFIX = "authcache-run-"
"""Projects of runs; they end with the run."""
ADMIN = "authcache_admin"
GRACE_S = 10


class ComposeStack:
    """Postgres, one Redis and one HAProxy a fleet, replicas and the exporter, in containers.

    Everything that listens outside of the containers' network listens on 127.0.0.1.

    Args:
        run_dir: Logs go to ``logs/`` in it, and stay.
        project: Name of the Compose project. None takes one of its own, which ends with the run.
        fixed_ports: Whether the ports that a person uses are always the same, from 4000 and 8404
            on; else free ones are taken.
    """

    name = "compose"

    def __init__(
        self, run_dir: Path, *, project: str | None = None, fixed_ports: bool = False
    ) -> None:
        self.problems: list[str] = []
        """What `close` could not undo, in words for the user."""
        token = secrets.token_hex(16)
        self.docker = find_docker({})
        self.project = Project(project or f"{RUN_PREFIX}{token[:8]}", self.docker)
        self.places: dict[str, FleetPlace] = {}
        """The fleets that are up, by name."""
        self._token = token
        self._logs = run_dir / "logs"
        self._fixed_ports = fixed_ports
        self._facts: dict[str, str] = {"stack": self.name}
        self._deaths = Deaths(self.docker, self.project.name)
        self._planned: set[str] = set()
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
        """Wait until any container ends unplanned; say what, with its last log lines."""
        ended = await self._deaths.next(lambda container: container in self._planned)
        if ended is None:
            return "The Docker daemon stopped telling what happens. See whether it runs."
        for container in await containers(self.docker, self.project.name):
            if container.id == ended:
                return (
                    f"The container [{container.name}] ended although nobody asked it to, "
                    f"{await epitaph(self.docker, container)}\n"
                    "Read the whole log, then run again."
                )
        return f"A container ended and was removed by somebody else [{ended[:12]}]."

    def resource_use(self) -> ResourceUse:
        """CPU and memory by group, where this machine shows the containers' control groups."""
        return self._meter.measure(self._metered.values())

    def facts(self) -> Mapping[str, str]:
        """Versions, images and settings that a reader of the numbers needs."""
        return dict(self._facts)

    async def detach(self, more: Mapping[str, Any]) -> None:
        """Leave everything running, for `resume` in another process.

        Args:
            more: kept with it.
        """
        await self._deaths.close()
        places = {name: place.kept() for name, place in self.places.items()}
        self.project.save({**more, "places": places})
        self._closed = True

    async def resume(self, specs: Iterable[FleetSpec]) -> dict[str, Any]:
        """Take up a stack that was left running.

        Args:
            specs: fleets that it may have; what it does not have is left out.

        Returns:
            What `detach` was given.

        Raises:
            SetupError: it was not left whole.
        """
        await check(self.docker)
        more = self.project.resume()
        settings, kept = self.project.settings, more.pop("places")
        self.places = {
            spec.name: resumed(spec, kept[spec.name], settings)
            for spec in specs
            if spec.name in kept
        }
        self._admin = f"{ADMIN}:{settings['POSTGRES_PASSWORD']}"
        self._exporter = f"http://{LOOPBACK}:{settings['EXPORTER_PORT']}"
        return more

    async def scale(self, fleet: str, replicas: int) -> None:
        """Change how many replicas a fleet has, and wait until its load balancer agrees.

        Raises:
            SetupError: they do not come up, or do not go.
        """
        place = self.places[fleet]
        if replicas < place.spec.replicas:
            running = await containers(self.docker, self.project.name)
            ours = [one for one in running if one.service == place.proxy]
            # Compose removes those with the highest numbers, those that have ended first.
            self._planned |= {one.id for one in ours}
        self.places[fleet] = place = replace(place, spec=replace(place.spec, replicas=replicas))
        self._write(place)
        await self.project.up([place.proxy], "--no-recreate")
        await self._watch_from_outside()
        await balanced(place)
        left = await containers(self.docker, self.project.name)
        self._planned -= {one.id for one in left if one.running}

    async def kill(self, fleet: str, number: int) -> None:
        """Kill a replica, as a fault that was planned. Raises SetupError."""
        for one in await containers(self.docker, self.project.name):
            if (one.service, one.number) == (self.places[fleet].proxy, number):
                self._planned.add(one.id)
                await self.docker.must("The replica cannot be killed", "kill", one.id)

    async def close(self) -> None:
        """Keep the logs, remove containers, network, volumes and generated files. Never raises."""
        # One that is cancelled half-way can be called again.
        async with self._closing:
            if self._closed:
                return
            await self._settle(self._deaths.close())
            if self._created:
                self._logs.mkdir(parents=True, exist_ok=True)
                await self._settle(keep_logs(self.docker, self.project.name, self._logs))
                await self._settle(self._take_down())
            self._closed = True

    @property
    def exporter_address(self) -> str:
        """Where the exporter answers, as the harness and Locust reach it."""
        return self._exporter

    async def _take_down(self) -> None:
        problems = await take_down(self.docker, self.project.name, GRACE_S)
        self.problems += problems
        if not problems:
            self.project.remove()

    async def _settle(self, step: Awaitable[None]) -> None:
        try:
            await step
        except Exception as error:  # noqa: BLE001  close() promises never to raise
            self.problems.append(
                f"Closing the stack: {type(error).__name__}: {error} Try again: make down."
            )

    async def _open(self) -> None:
        project = self.project
        # Nobody looks at Docker's own health checks during a run, and they cost: see Project.up.
        project.set(HEALTH_INTERVAL="30s" if self._fixed_ports else "1h")
        # A person's own choice of ports is for the stack that stays up, of which there is one.
        pick = project.port if self._fixed_ports else lambda *_: project.free_port()
        postgres_port = project.free_port()
        exporter_port = pick("EXPORTER_PORT", 9464)
        project.set(POSTGRES_PORT=str(postgres_port), EXPORTER_PORT=str(exporter_port))
        for variable in ("PYTHON_IMAGE", "POSTGRES_IMAGE", "HAPROXY_IMAGE"):
            await have_image(self.docker, variable, image(variable))
        await project.build()
        await self._deaths.start()
        await project.up(["postgres"])
        self._admin = f"{ADMIN}:{project.settings['POSTGRES_PASSWORD']}"
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
        assert self._databases is not None, "a fleet starts after open()"
        place = self._place(spec)
        if place.redis is not None:
            await have_image(self.docker, "REDIS_IMAGE", image("REDIS_IMAGE"))
        if spec.target.kind == "litellm":
            await have_image(self.docker, "LITELLM_IMAGE", image("LITELLM_IMAGE"))
        database = await self._databases.create(spec.name)
        role, password = _identity(database.dsn)
        place = replace(place, role=role, role_password=password)
        await spec.target.prepare_database(database.dsn)
        self.places[spec.name] = place
        self.project.set(**place.secrets)
        self._write(place)
        # In two steps: within one, Compose would wait for the Redis' health check.
        if place.redis is not None:
            await self.project.up([place.redis])
        await self.project.up([place.proxy, place.haproxy])
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
        number, project = len(self.places), self.project
        if not self._fixed_ports:
            proxy_port, stats_port = project.free_port(), project.free_port()
        elif number == 0:
            proxy_port = project.port("PROXY_PORT", PROXY_PORT)
            stats_port = project.port("STATS_PORT", STATS_PORT)
        else:
            first = next(iter(self.places.values()))
            proxy_port, stats_port = first.proxy_port + number, first.stats_port + number
            check_port("PROXY_PORT", proxy_port)
            check_port("STATS_PORT", stats_port)
        return FleetPlace(
            spec=spec,
            slug=slug_of(spec.name, [place.slug for place in self.places.values()]),
            role="",
            role_password="",
            redis_password=secrets.token_urlsafe(24),
            proxy_port=proxy_port,
            stats_port=stats_port,
            redis_port=project.free_port(),
        )

    def _write(self, place: FleetPlace) -> None:
        project = self.project
        project.fleets[place.slug] = project.write(f"fleet-{place.slug}.json", compose_file(place))
        project.write(f"scrape/{place.slug}.json", scrape_file(place))
        project.write("exporter.toml", exporter_file(self.places.values(), self._admin))

    async def _watch_from_outside(self) -> None:
        """Start the exporter with what it must know by now."""
        there = await containers(self.docker, self.project.name)
        self._planned |= {one.id for one in there if one.service == "exporter"}
        await self.project.up(["exporter"], "--force-recreate")

    async def _account(self, service: str, group: str) -> None:
        for one in await containers(self.docker, self.project.name):
            if one.service == service and one.running:
                metered = meter(group, one.id, one.pid)
                if metered is not None:
                    self._metered[one.id] = metered


def _identity(dsn: str) -> tuple[str, str]:
    """Role and password of a DSN of ours, which holds nothing that would be quoted."""
    identity = replaced(dsn, database="x").partition("://")[2].rpartition("@")[0]
    role, _, password = identity.partition(":")
    return role, password
