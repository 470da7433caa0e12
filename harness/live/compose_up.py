"""Starts the whole stack in Docker Compose, and removes it again.

Fleets behind load balancers, Postgres, Redis, the exporter, Prometheus, Grafana and Locust stay up
after the command has ended, until `down`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.archive.directory import LOGS
from harness.errors import SetupError
from harness.live.compose_sidecars import (
    GRAFANA_LAYER,
    Sidecars,
    address,
    configure,
    reference_lines,
    start,
)
from harness.live.web_form import premises_note
from harness.observe.snapshots import watch
from harness.plan.plan import Arm, RunPlan, make_plan
from harness.process.groups import to_the_end
from harness.process.stop import Stop
from harness.scenario.schema import Scenario
from harness.stack.compose.containers import projects, take_down
from harness.stack.compose.docker import check, find_docker
from harness.stack.compose.images import have_images
from harness.stack.compose.kept import KeptStack
from harness.stack.compose.project import KEPT_PROJECT, Project
from harness.stack.compose.stack import GRACE_S, RUN_PREFIX
from harness.ui.presets import preset_of

Say = Callable[[str], None]


async def up(
    scenario: Scenario,
    arms: Sequence[Arm],
    *,
    sidecars: Sidecars,
    runs_dir: Path,
    say: Say,
    stop: Stop,
) -> None:
    """Start the stack, wait until everything is healthy, and print its addresses.

    A stack that is up with the same fleets is scaled to the given numbers of replicas and Locust
    workers, and services that have exited are started again.

    Args:
        scenario: gives population, premises, TTL and mock model; its load is not driven.
        arms: variants with their targets; one fleet each.
        sidecars: which sidecars run, and how many Locust workers.
        runs_dir: where the logs go if the stack does not come up.
        say: prints a line.
        stop: cancels start-up; everything started is then stopped. A stack that was up before
            stays up.

    Raises:
        SetupError: something could not be started; everything started by this call is stopped.
        UsageError: LITELLM_IMAGE is of the compromised release.
    """
    plan = make_plan(scenario, arms, stack=KeptStack.name)
    run_dir = runs_dir / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-up"
    stack = KeptStack(run_dir / LOGS)
    stack.lines = reference_lines(plan)
    work = _again if stack.project.folder.exists() else _first
    await stop.cancels(work(stack, plan, sidecars, say))


async def down(say: Say) -> None:
    """Remove containers, networks, volumes and generated files, also those of abandoned runs.

    Raises:
        SetupError: Docker does not answer, or something is left; the message names it.
    """
    docker = find_docker({})
    await check(docker)
    problems = []
    for name in sorted(_known() | await projects(docker, KEPT_PROJECT)):
        project = Project(name, docker)
        if name != KEPT_PROJECT:
            if not name.startswith(RUN_PREFIX):
                continue
            if not project.folder.is_dir():
                say(
                    f"{name}: left as it is. Its files are not here, so another checkout or user "
                    "may be running it: make down there."
                )
                continue
            if not project.abandoned():
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


async def _first(stack: KeptStack, plan: RunPlan, sidecars: Sidecars, say: Say) -> None:
    try:
        # Check all that can be checked before anything is built or started.
        await check(stack.docker)
        ports = stack.claim_ports(len(plan.arms), sidecars.ports)
        await have_images(stack.docker, [plan.fleet(arm) for arm in plan.arms])
        await sidecars.have_images(stack.docker)
        say("building the image, starting Postgres")
        await stack.open()
        stack.project.set(**ports)
        for arm in plan.arms:
            spec = plan.fleet(arm)
            say(f"starting {spec.name}: {spec.replicas} replicas")
            fleet = await stack.start(spec)
            async with watch(fleet) as observer:
                await arm.target.database.seed(observer.postgres, plan.keys)
        say("starting monitoring and Locust")
        configure(stack, plan, sidecars)
        await start(stack.project, sidecars)
        await stack.detach({"fleets": _fingerprint(plan)})
    except BaseException:
        await stack.close()
        for problem in stack.problems:
            say(problem)
        raise
    _tell(stack, plan, say)


async def _again(stack: KeptStack, plan: RunPlan, sidecars: Sidecars, say: Say) -> None:
    """Scale a running stack to the plan, and start the services that have exited."""
    kept = await stack.resume(plan.fleet(arm) for arm in plan.arms)
    _check_same(stack, plan, sidecars, kept)
    running = await stack.running()
    if not running["postgres"]:
        raise SetupError(
            f"Postgres of the stack [{KEPT_PROJECT}] has exited. Its data may be corrupt, "
            "because it writes without fsync. End the stack: make down. Then start it again."
        )
    wanted = {"locust-worker": sidecars.locust_workers}
    for arm in plan.arms:
        wanted[stack.places[arm.name].proxy] = plan.fleet(arm).replicas
    fleets = [name for place in stack.places.values() for name in place.services]
    for service in ("exporter", *fleets, *sidecars.services):
        if (have := running[service]) != (want := wanted.get(service, 1)):
            say(f"{service}: {have} running, {want} wanted")
    try:
        for arm in plan.arms:
            await stack.scale(arm.name, plan.fleet(arm).replicas)
        await start(stack.project, sidecars)
    finally:
        # Also after an interrupt: the next call continues from here.
        await to_the_end(stack.detach(kept))
    _tell(stack, plan, say)


def _check_same(
    stack: KeptStack, plan: RunPlan, sidecars: Sidecars, kept: Mapping[str, Any]
) -> None:
    """Raise SetupError if the running stack differs in what cannot be changed."""
    is_up = f"A stack [{KEPT_PROJECT}] is up"
    then = "End it: make down. Then start this one."
    if kept.get("fleets") != _fingerprint(plan):
        raise SetupError(f"{is_up} with another scenario, variants, workers or settings. {then}")
    if (GRAFANA_LAYER in stack.project.layers) != sidecars.grafana:
        there, asked = ("off", "on") if sidecars.grafana else ("on", "off")
        raise SetupError(f"{is_up} with GRAFANA=[{there}], not [{asked}]. {then}")


def _fingerprint(plan: RunPlan) -> str:
    """Equal for two stacks that differ only in their numbers of containers."""
    specs = [plan.fleet(arm) for arm in plan.arms]
    rows = [
        [spec.name, spec.target.version, spec.target.describe(), spec.workers, spec.settings]
        for spec in specs
    ]
    form = [plan.scenario.name, preset_of(plan.scenario)]
    text = repr([rows, form, [key.token for key in plan.keys]])
    return hashlib.sha256(text.encode()).hexdigest()


def _tell(stack: KeptStack, plan: RunPlan, say: Say) -> None:
    project = stack.project
    for name, place in stack.places.items():
        say(f"\n{name}: {place.spec.replicas} replicas")
        say(f"  requests      {place.url}")
        say(f"  HAProxy       {place.stats_url}")
    say("")
    if note := premises_note(plan):
        say(f"{note} PREMISE=off leaves it out.\n")
    say(f"Locust          {address(project, 'LOCUST_PORT')}")
    if GRAFANA_LAYER in project.layers:
        say(f"Grafana         {address(project, 'GRAFANA_PORT')}   user admin, password")
        say(f"                GRAFANA_PASSWORD in {_shown(project.folder / '.env')}")
    say(f"Prometheus      {address(project, 'PROMETHEUS_PORT')}")
    say(f"Exporter        {address(project, 'EXPORTER_PORT')}/metrics")
    say("\nEverything is healthy. `make down` ends and removes it.")


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name
