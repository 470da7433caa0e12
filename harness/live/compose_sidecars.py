"""The sidecars of `harness up`: Prometheus, Grafana, and Locust with its web UI."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from harness.archive.directory import KEYS
from harness.domain.population import write_keys
from harness.installation import shipped
from harness.live.web_form import form_settings
from harness.plan.plan import RunPlan
from harness.plan.reference_line import planned_line
from harness.stack.compose.docker import Docker, have_image
from harness.stack.compose.kept import KeptStack
from harness.stack.compose.project import DASHBOARDS, Project, image
from harness.stack.compose.readiness import answered, joined
from harness.style import COLOURS, series_pattern

PROMETHEUS_PORT = 9090
GRAFANA_PORT = 3000
LOCUST_PORT = 8089
LOCUST_MASTER_PORT = 5557
GRAFANA_LAYER = "grafana.yaml"


@dataclass(frozen=True, slots=True)
class Sidecars:
    """The sidecars of the fleets."""

    grafana: bool = True
    locust_workers: int = 2

    @property
    def services(self) -> list[str]:
        """Compose's names of the sidecars, in an order in which each can start."""
        return ["prometheus", *(["grafana"] if self.grafana else []), "locust", "locust-worker"]

    @property
    def ports(self) -> dict[str, int]:
        """Variables of the sidecars' ports, with their defaults."""
        ports = {
            "PROMETHEUS_PORT": PROMETHEUS_PORT,
            "LOCUST_PORT": LOCUST_PORT,
            "LOCUST_MASTER_PORT": LOCUST_MASTER_PORT,
        }
        return ports | ({"GRAFANA_PORT": GRAFANA_PORT} if self.grafana else {})

    async def have_images(self, docker: Docker) -> None:
        """Pull missing images. Raises SetupError."""
        await have_image(docker, "PROMETHEUS_IMAGE", image("PROMETHEUS_IMAGE"))
        if self.grafana:
            advice = " Or leave it out: GRAFANA=off."
            await have_image(docker, "GRAFANA_IMAGE", image("GRAFANA_IMAGE"), advice)


def configure(stack: KeptStack, plan: RunPlan, sidecars: Sidecars) -> None:
    """Write the settings that Compose needs to start the sidecars. Raises SetupError."""
    project = stack.project
    keys_file = project.folder / KEYS
    write_keys(keys_file, list(plan.keys))
    # Locust's container reads it as another user; the folder keeps all others out.
    keys_file.chmod(0o644)
    hosts = {name: place.url for name, place in stack.places.items()}
    project.set(**locust_settings(plan, hosts, stack.exporter_address))
    project.layers += ["observability.yaml", "locust.yaml"]
    if sidecars.grafana:
        project.layers.append(GRAFANA_LAYER)
        for path in shipped("dashboards").glob("*.json"):
            text = with_colours(path.read_text(encoding="utf-8"), stack.places)
            project.write(f"{DASHBOARDS}/{path.name}", text)


async def start(project: Project, sidecars: Sidecars) -> None:
    """Start the sidecars that do not run; wait until all answer and every worker has joined.

    Raises:
        SetupError: a service does not come up.
    """
    project.set(LOCUST_WORKERS=str(sidecars.locust_workers))
    services = sidecars.services
    for service in services:
        # One by one: together, Compose would wait for the health check of one after the other.
        await project.up([service], "--no-recreate")
    pages = {
        "The exporter": ("EXPORTER_PORT", "/healthy"),
        "Prometheus": ("PROMETHEUS_PORT", "/-/ready"),
        "Locust": ("LOCUST_PORT", "/"),
    }
    if sidecars.grafana:
        pages["Grafana"] = ("GRAFANA_PORT", "/api/health")
    for name, (variable, path) in pages.items():
        await answered(project, name, ["exporter", *services], address(project, variable) + path)
    await joined(project, services, address(project, "LOCUST_PORT"), sidecars.locust_workers)


def with_colours(board: str, names: Collection[str]) -> str:
    """The JSON of a dashboard, with the colours of these variants too."""
    for number in range(len(COLOURS)):
        known, extended = series_pattern(number), series_pattern(number, names)
        board = board.replace(json.dumps(known), json.dumps(extended))
    return board


def address(project: Project, variable: str) -> str:
    """Base URL of the service on the port that a setting names."""
    return f"http://127.0.0.1:{project.settings[variable]}"


def reference_lines(plan: RunPlan) -> dict[str, dict[str, float]]:
    """The reference line of each arm, by key scope, at the rate that the form begins with.

    Empty for a closed load, whose users set the pace: it has no rate beforehand.
    """
    planted = {arm.name: plan.arm_settings(arm).planted_null_user for arm in plan.arms}
    return {name: planned_line(plan, planted=there) for name, there in planted.items()}


def locust_settings(plan: RunPlan, hosts: Mapping[str, str], exporter: str) -> dict[str, str]:
    """Environment variables of Locust's web UI, as `harness.ui` documents them.

    Args:
        plan: which load the form begins with.
        hosts: where the load goes, by fleet.
        exporter: base URL of the exporter.
    """
    return form_settings(plan) | {
        "AUTHCACHE_HOSTS": ";".join(f"{name}={url}" for name, url in hosts.items()),
        "AUTHCACHE_SNAPSHOTS": f"{exporter}/snapshots",
    }
