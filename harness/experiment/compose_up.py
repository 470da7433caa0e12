"""Brings the whole picture up in Docker Compose, and takes it down again.

Fleets behind load balancers, Postgres, Redis, the exporter, Prometheus, Grafana and Locust stay up
after the command has ended, until `down`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import SetupError
from harness.experiment.plan import Arm, RunPlan, make_plan
from harness.experiment.seed import seed_population
from harness.experiment.stop import Stop
from harness.load.keys import write_keys
from harness.observe.snapshots import watch
from harness.scenario.loader import scenario_names
from harness.scenario.schema import Scenario
from harness.stack.compose.containers import projects, take_down
from harness.stack.compose.docker import Docker, check, find_docker, have_image
from harness.stack.compose.project import KEPT_PROJECT, Project, image
from harness.stack.compose.readiness import answered
from harness.stack.compose.stack import GRACE_S, RUN_PREFIX, ComposeStack
from harness.ui.presets import preset_of

PROMETHEUS_PORT = 9090
GRAFANA_PORT = 3000
LOCUST_PORT = 8089
LOCUST_MASTER_PORT = 5557
_KEYS = "keys.json"
_MOST_USERS_A_SECOND = 100
"""Above it Locust warns."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Beside:
    """What is started beside the fleets."""

    grafana: bool = True
    locust_workers: int = 2


async def up(
    scenario: Scenario, arms: Sequence[Arm], *, beside: Beside, runs_dir: Path, say: Say, stop: Stop
) -> None:
    """Start the stack, wait until everything is healthy, and say where it is.

    A stack that is up with the same fleets is scaled to the replicas that are asked for now.

    Args:
        scenario: gives population, premises, TTL and mock model; its load is not driven.
        arms: variants with their targets; one fleet each.
        beside: what is started beside the fleets.
        runs_dir: where the logs go if it does not come up.
        say: prints a line.
        stop: asked by whoever wants it to end early; what was started is then ended.

    Raises:
        SetupError: something could not be started; nothing is left running.
    """
    plan = make_plan(scenario, arms, stack=ComposeStack.name)
    run_dir = runs_dir / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-up"
    stack = ComposeStack(run_dir, project=KEPT_PROJECT, fixed_ports=True)
    await stop.cancels(_up(stack, plan, beside, say))


async def down(say: Say) -> None:
    """Remove containers, networks, volumes and generated files, abandoned runs' included.

    Raises:
        SetupError: Docker does not answer, or something is left; the message says what.
    """
    docker = find_docker({})
    await check(docker)
    problems = []
    for name in sorted(_known() | await projects(docker, KEPT_PROJECT)):
        project = Project(name, docker)
        if name != KEPT_PROJECT and not (name.startswith(RUN_PREFIX) and project.abandoned()):
            continue
        left = await take_down(docker, name, GRACE_S)
        problems += left
        if not left:
            project.remove()
            say(f"{name}: down")
    if problems:
        raise SetupError("\n".join(problems))


def _known() -> set[str]:
    folder = Project(KEPT_PROJECT, find_docker({})).folder.parent
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


async def _up(stack: ComposeStack, plan: RunPlan, beside: Beside, say: Say) -> None:
    if stack.project.folder.exists():
        await _scale(stack, plan, say)
        return
    try:
        ports = await _prepare(stack.project, stack.docker, beside)
        say("building the image, starting Postgres")
        await stack.open()
        stack.project.set(**ports)
        for arm in plan.arms:
            spec = plan.fleet(arm)
            say(f"starting {spec.name}: {spec.replicas} replicas")
            fleet = await stack.start(spec)
            async with watch(fleet) as observer:
                await seed_population(observer.postgres, plan.keys)
        say("starting what watches and loads them")
        await _start_beside(stack, plan, beside)
        await stack.detach({"fleets": _fingerprint(plan)})
    except BaseException:
        await stack.close()
        for problem in stack.problems:
            say(problem)
        raise
    _tell(stack, say)


async def _prepare(project: Project, docker: Docker, beside: Beside) -> dict[str, str]:
    """What can be refused before anything is started: Docker, images, ports."""
    await check(docker)
    await have_image(docker, "PROMETHEUS_IMAGE", image("PROMETHEUS_IMAGE"))
    if beside.grafana:
        await have_image(
            docker,
            "GRAFANA_IMAGE",
            image("GRAFANA_IMAGE"),
            " Or leave it out: GRAFANA=off.",
        )
    defaults = {
        "PROMETHEUS_PORT": PROMETHEUS_PORT,
        "LOCUST_PORT": LOCUST_PORT,
        "LOCUST_MASTER_PORT": LOCUST_MASTER_PORT,
    }
    if beside.grafana:
        defaults["GRAFANA_PORT"] = GRAFANA_PORT
    return {name: str(project.port(name, default)) for name, default in defaults.items()}


async def _start_beside(stack: ComposeStack, plan: RunPlan, beside: Beside) -> None:
    project = stack.project
    keys_file = project.folder / _KEYS
    write_keys(keys_file, list(plan.keys))
    # Locust reads it under a user of its own; the folder lets nobody else in.
    keys_file.chmod(0o644)
    project.set(**_locust(stack, plan), LOCUST_WORKERS=str(beside.locust_workers))
    services = ["prometheus", "locust", "locust-worker"]
    project.layers += ["observability.yaml", "locust.yaml"]
    if beside.grafana:
        services.append("grafana")
        project.layers.append("grafana.yaml")
    for service in services:
        # One by one: together, Compose would wait for the health check of one after the other.
        await project.up([service])
    pages = {"Prometheus": ("PROMETHEUS_PORT", "/-/ready"), "Locust": ("LOCUST_PORT", "/")}
    if beside.grafana:
        pages["Grafana"] = ("GRAFANA_PORT", "/api/health")
    for name, (variable, path) in pages.items():
        await answered(
            project, name, services, f"http://127.0.0.1:{project.settings[variable]}{path}"
        )


def _locust(stack: ComposeStack, plan: RunPlan) -> dict[str, str]:
    """What Locust's web UI is told, as `harness.ui` documents it."""
    scenario, preset = plan.scenario, preset_of(plan.scenario)
    objects = ",".join(f"{row.scope}={row.objects}" for row in plan.sizing)
    settings = {
        "AUTHCACHE_HOSTS": ";".join(f"{n}={place.url}" for n, place in stack.places.items()),
        "AUTHCACHE_SNAPSHOTS": f"{stack.exporter_address}/snapshots",
        "AUTHCACHE_LOAD_MODEL": preset.load_model,
        "AUTHCACHE_MIX": preset.mix,
        "AUTHCACHE_SEED": str(scenario.seed),
        "AUTHCACHE_REFERENCE": f"{plan.ttl_s:g};{objects}",
        "LOCUST_USERS": str(preset.users),
        "LOCUST_SPAWN_RATE": str(min(preset.users, _MOST_USERS_A_SECOND)),
    }
    if scenario.name in scenario_names():
        settings["AUTHCACHE_PRESET"] = scenario.name
    if preset.arrival_rate is not None:
        settings["AUTHCACHE_ARRIVAL_RATE"] = f"{preset.arrival_rate:g}"
    return settings


async def _scale(stack: ComposeStack, plan: RunPlan, say: Say) -> None:
    kept = await stack.resume(plan.fleet(arm) for arm in plan.arms)
    if kept.get("fleets") != _fingerprint(plan):
        raise SetupError(
            f"A stack [{KEPT_PROJECT}] is up with other variants, workers or settings. "
            "End it: make down. Then start this one."
        )
    for arm in plan.arms:
        wanted = plan.fleet(arm).replicas
        if stack.places[arm.name].spec.replicas != wanted:
            say(f"scaling {arm.name} from {stack.places[arm.name].spec.replicas} to {wanted}")
            await stack.scale(arm.name, wanted)
    await stack.detach({"fleets": kept["fleets"]})
    _tell(stack, say)


def _fingerprint(plan: RunPlan) -> str:
    """What two stacks have in common that differ in nothing but their replicas."""
    specs = [plan.fleet(arm) for arm in plan.arms]
    rows = [
        [spec.name, spec.target.version, spec.target.describe(), spec.workers, spec.settings]
        for spec in specs
    ]
    text = repr([rows, [key.token for key in plan.keys]])
    return hashlib.sha256(text.encode()).hexdigest()


def _tell(stack: ComposeStack, say: Say) -> None:
    settings = stack.project.settings
    for name, place in stack.places.items():
        say(f"\n{name}: {place.spec.replicas} replicas")
        say(f"  requests      {place.url}")
        say(f"  HAProxy       {place.stats_url}")
    say("")
    say(f"Locust          http://127.0.0.1:{settings['LOCUST_PORT']}")
    if "grafana.yaml" in stack.project.layers:
        say(f"Grafana         http://127.0.0.1:{settings['GRAFANA_PORT']}   user admin, password")
        say(f"                GRAFANA_PASSWORD in {_shown(stack.project.folder / '.env')}")
    say(f"Prometheus      http://127.0.0.1:{settings['PROMETHEUS_PORT']}")
    say(f"Exporter        http://127.0.0.1:{settings['EXPORTER_PORT']}/metrics")
    say("\nEverything is healthy. `make down` ends and removes it.")


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name
