"""The generated files of one fleet: for Compose, for the exporter, and for Prometheus.

Compose has no loops, so each fleet gets a file of its own, which takes its services from the
committed templates with ``extends`` and adds what differs: names, ports, settings. The files are
JSON, which is YAML; they hold ``${VARIABLE}`` in place of passwords.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from harness.errors import SetupError
from harness.process.sockets import LOOPBACK
from harness.prometheus.configuration import WORKERS_JOB, WORKERS_RELABELLED
from harness.stack.base import FleetSpec
from harness.stack.compose.project import compose_folder
from harness.stack.databases import safe_name
from harness.targets.base import ContainerContext

PROXY_PORT = 4000
STATS_PORT = 8404
METRICS_PORT = 9400
REDIS_PORT = 6379
MOST_SLOTS = 64
"""Server slots of HAProxy: as many replicas as a fleet can have."""


@dataclass(frozen=True, slots=True)
class FleetPlace:
    """Where one fleet is: names in the containers' network, ports on 127.0.0.1."""

    spec: FleetSpec
    slug: str
    role: str
    """Postgres role and database."""
    role_password: str
    redis_password: str
    proxy_port: int
    stats_port: int
    redis_port: int

    @property
    def proxy(self) -> str:
        """Service of the replicas."""
        return f"proxy-{self.slug}"

    @property
    def redis(self) -> str | None:
        """Service of the fleet's Redis."""
        return f"redis-{self.slug}" if self.spec.target.uses_redis else None

    @property
    def haproxy(self) -> str:
        """Service of the load balancer."""
        return f"haproxy-{self.slug}"

    @property
    def services(self) -> list[str]:
        """All services of the fleet."""
        return [name for name in (self.redis, self.proxy, self.haproxy) if name is not None]

    @property
    def variable(self) -> str:
        """The suffix of the names of the fleet's settings."""
        return self.slug.upper().replace("-", "_")

    @property
    def url(self) -> str:
        """Where the load balancer takes requests."""
        return f"http://{LOOPBACK}:{self.proxy_port}"

    @property
    def stats_url(self) -> str:
        """Where the load balancer shows its statistics."""
        return f"http://{LOOPBACK}:{self.stats_port}"

    def kept(self) -> dict[str, Any]:
        """What `resumed` needs besides the spec; passwords are among the project's settings."""
        return {
            "slug": self.slug,
            "role": self.role,
            "replicas": self.spec.replicas,
            "proxy_port": self.proxy_port,
            "stats_port": self.stats_port,
            "redis_port": self.redis_port,
        }

    @property
    def secrets(self) -> dict[str, str]:
        """Settings that the generated file refers to."""
        return {
            f"ROLE_PASSWORD_{self.variable}": self.role_password,
            f"REDIS_PASSWORD_{self.variable}": self.redis_password,
            f"MASTER_KEY_{self.variable}": self.spec.master_key,
        }

    def dsn(self, password: str, place: str = "postgres:5432") -> str:
        """The fleet's own role on its own database."""
        return f"postgresql://{identity(self.role, password)}@{place}/{self.role}"

    def redis_url(self, password: str, place: str | None = None) -> str | None:
        """The fleet's Redis; None where the variant has none."""
        if self.redis is None:
            return None
        return f"redis://{identity('', password)}@{place or f'{self.redis}:{REDIS_PORT}'}/0"


def resumed(spec: FleetSpec, kept: Mapping[str, Any], settings: Mapping[str, str]) -> FleetPlace:
    """A fleet that another process started, from what `kept` saved."""
    place = FleetPlace(
        spec=replace(spec, replicas=int(kept["replicas"])),
        slug=str(kept["slug"]),
        role=str(kept["role"]),
        role_password="",
        redis_password="",
        proxy_port=int(kept["proxy_port"]),
        stats_port=int(kept["stats_port"]),
        redis_port=int(kept["redis_port"]),
    )
    return replace(
        place,
        spec=replace(place.spec, master_key=settings.get(f"MASTER_KEY_{place.variable}", "")),
        role_password=settings[f"ROLE_PASSWORD_{place.variable}"],
        redis_password=settings[f"REDIS_PASSWORD_{place.variable}"],
    )


def identity(user: str, password: str) -> str:
    """User and password, quoted for an address."""
    return f"{quote(user, safe='')}:{quote(password, safe='')}"


def slug_of(fleet: str, taken: Iterable[str]) -> str:
    """A fleet's name as part of a host name: letters, digits and dashes, different from others."""
    plain = re.sub(r"[^a-z0-9]+", "-", fleet.lower()).strip("-")[:32].strip("-")
    if plain and plain not in set(taken):
        return plain
    return safe_name(fleet).replace("_", "-").strip("-")


def compose_file(place: FleetPlace) -> str:
    """The generated file of a fleet. Raises SetupError where no template runs its target."""
    template = compose_folder() / f"{place.spec.target.kind}.yaml"
    if not template.is_file():
        raise SetupError(
            f"No template runs the target [{place.spec.target.kind}] in a container: there is no "
            f"[compose/{template.name}]. Use STACK=embedded."
        )
    services: dict[str, Any] = {}
    needs = {"postgres": {"condition": "service_healthy"}}
    if place.redis is not None:
        needs[place.redis] = {"condition": "service_healthy"}
        services[place.redis] = {
            **_extends("redis"),
            "environment": {"REDIS_PASSWORD": f"${{REDIS_PASSWORD_{place.variable}}}"},
            "ports": [_published(place.redis_port, REDIS_PORT)],
        }
    services[place.proxy] = _replicas(place, str(template)) | {"depends_on": needs}
    services[place.haproxy] = {
        **_extends("haproxy"),
        "environment": {"REPLICAS_HOST": place.proxy, "SLOTS": str(MOST_SLOTS)},
        "ports": [
            _published(place.proxy_port, PROXY_PORT),
            _published(place.stats_port, STATS_PORT),
        ],
        "depends_on": {place.proxy: {"condition": "service_started"}},
    }
    return json.dumps({"services": services}, indent=1) + "\n"


def exporter_file(
    places: Iterable[FleetPlace], admin: str, lines: Mapping[str, Mapping[str, float]]
) -> str:
    """The exporter's configuration, as `harness.exporter.config` documents it.

    Args:
        places: all fleets.
        admin: `identity` of a role that may read pg_stat_statements of all roles.
        lines: reference line per 1,000 requests, by fleet and key scope; a fleet may have none.
    """
    tables = []
    for place in places:
        rows: dict[str, Any] = {
            "variant": place.spec.name,
            "replicas": place.spec.replicas,
            "workers": place.spec.workers,
            "postgres_dsn": _literal(f"postgresql://{admin}@postgres:5432/{place.role}"),
            "postgres_role": place.role,
            "redis_url": _literal(place.redis_url(place.redis_password) or ""),
            "discover": place.proxy,
            "metrics_port": METRICS_PORT,
        }
        tables.append(_table("[[fleet]]", {name: row for name, row in rows.items() if row}))
        if line := lines.get(place.spec.name):
            tables.append(_table("[fleet.reference_line_per_1000]", line))
    return "\n".join(tables)


def scrape_file(place: FleetPlace) -> str:
    """Prometheus' scrape configurations of a fleet.

    Docker's resolver lists the addresses of all replicas under the service's name. A replica that
    is gone leaves the list and its series vanish: alerts count what is up against what should be.
    """
    workers = range(place.spec.workers)
    found = [
        {"names": [place.proxy], "type": "A", "port": METRICS_PORT + i, "refresh_interval": "2s"}
        for i in workers
    ]
    address = {"source_labels": ["__address__"]}
    numbers = [
        {**address, "regex": f".+:{METRICS_PORT + i}", "target_label": "worker"}
        | {"replacement": str(i)}
        for i in workers
    ]
    replicas = {
        "job_name": f"workers-{place.slug}",
        "dns_sd_configs": found,
        "relabel_configs": [
            {"target_label": "job", "replacement": WORKERS_JOB},
            {"target_label": "variant", "replacement": place.spec.name},
            {**address, "regex": r"(.+):\d+", "target_label": "replica"},
            *numbers,
        ],
        "metric_relabel_configs": WORKERS_RELABELLED,
    }
    balancer = {
        "job_name": f"haproxy-{place.slug}",
        "static_configs": [{"targets": [f"{place.haproxy}:{STATS_PORT}"]}],
        "relabel_configs": [
            {"target_label": "job", "replacement": "haproxy"},
            {"target_label": "variant", "replacement": place.spec.name},
        ],
    }
    return json.dumps({"scrape_configs": [replicas, balancer]}, indent=1) + "\n"


def _table(head: str, rows: Mapping[str, Any]) -> str:
    # A JSON string of ASCII is a TOML string, and so is a number.
    return "\n".join([head, *(f"{name} = {json.dumps(row)}" for name, row in rows.items()), ""])


def _replicas(place: FleetPlace, template: str) -> dict[str, Any]:
    spec = place.spec
    redis_url = place.redis_url(place.redis_password)
    context = ContainerContext(
        fleet=spec.name,
        workers=spec.workers,
        port=PROXY_PORT,
        metrics_port=METRICS_PORT,
        dsn=place.dsn(place.role_password),
        redis_url=redis_url,
        settings=spec.settings,
        master_key=spec.master_key,
    )
    container = spec.target.container(context)
    return {
        "extends": {"file": template, "service": "replica"},
        "command": [_literal(word) for word in container.command],
        "environment": {
            name: _with_variables(value, place) for name, value in container.env.items()
        },
        "scale": spec.replicas,
    }


def _with_variables(text: str, place: FleetPlace) -> str:
    text = _literal(text)
    for variable, secret in place.secrets.items():
        text = text.replace(secret, f"${{{variable}}}")
    return text


def _literal(text: str) -> str:
    """The text, escaped so that neither Compose nor the exporter finds a variable in it."""
    return text.replace("$", "$$")


def _extends(service: str) -> dict[str, Any]:
    return {"extends": {"file": str(compose_folder() / "fleet.yaml"), "service": service}}


def _published(port: int, inside: int) -> str:
    return f"{LOOPBACK}:{port}:{inside}"
