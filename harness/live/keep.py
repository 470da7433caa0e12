"""Keeps fleets up for a load that the user starts, and prints the commands for it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.archive.directory import KEYS, LOGS, kept_if_used, make_run_dir
from harness.domain.population import write_keys
from harness.observe.snapshots import watch
from harness.plan.plan import Arm, RunPlan, make_plan
from harness.process.stop import Stop
from harness.process.waiting import while_alive
from harness.scenario.schema import Scenario
from harness.stack.base import Fleet, ProcessStack, Servers
from harness.stack.registry import EMBEDDED, embedded_stack


@dataclass(frozen=True, slots=True)
class HeldFleets:
    """Fleets that are up, seeded and without load."""

    plan: RunPlan
    stack: ProcessStack
    fleets: tuple[Fleet, ...]
    keys_file: Path
    run_dir: Path


@dataclass(frozen=True, slots=True)
class FleetRequest:
    """Which fleets to keep up, and until when."""

    scenario: Scenario
    """Gives population, premises, TTL and mock model; its load is not driven."""
    arms: Sequence[Arm]
    """Variants with their targets; one fleet each."""
    runs_dir: Path
    """Where logs and the keys file go, in a run directory."""
    servers: Servers
    say: Callable[[str], None]
    """Prints a line."""
    stop: Stop
    """The request to stop."""


@contextlib.asynccontextmanager
async def fleets_up(
    request: FleetRequest, purpose: str, base_port: int | None = None
) -> AsyncIterator[HeldFleets]:
    """One fleet for each arm, while the block runs.

    Args:
        request: which fleets, where.
        purpose: a word in the name of the run directory.
        base_port: the first replica's port, the others count up from it; None takes free ones.

    Raises:
        SetupError: something could not be started; nothing is left running.
    """
    scenario = request.scenario
    plan = make_plan(scenario, request.arms, stack=EMBEDDED)
    run_dir = make_run_dir(request.runs_dir, purpose, datetime.now(UTC))
    with kept_if_used(run_dir), _secrets(run_dir / KEYS, plan) as keys_file:
        stack = embedded_stack(run_dir / LOGS, request.servers)
        try:
            await stack.open()
            fleets = []
            for number, arm in enumerate(plan.arms):
                spec = plan.fleet(arm)
                if base_port is not None:
                    spec = replace(spec, base_port=base_port + number * scenario.replicas)
                fleet = await stack.start(spec)
                async with watch(fleet) as observer:
                    await arm.target.database.seed(observer.postgres, plan.keys)
                fleets.append(fleet)
            yield HeldFleets(plan, stack, tuple(fleets), keys_file, run_dir)
        finally:
            await stack.close()
            for problem in stack.problems:
                request.say(problem)


@contextlib.contextmanager
def _secrets(keys_file: Path, plan: RunPlan) -> Iterator[Path]:
    """The keys of the population in a file, while the block runs."""
    write_keys(keys_file, list(plan.keys))
    try:
        yield keys_file
    finally:
        keys_file.unlink(missing_ok=True)


async def keep_up(request: FleetRequest, base_port: int | None) -> None:
    """Start one fleet for each arm and keep them up until a stop is requested.

    Args:
        request: which fleets, where, until when.
        base_port: see `fleets_up`.

    Raises:
        SetupError: something could not be started; nothing is left running.
        ServerDiedError: a process exited by itself.
    """
    async with fleets_up(request, "fleet", base_port) as kept:
        for fleet in kept.fleets:
            _tell(fleet, kept.keys_file, request.say)
        request.say("Fleets are up. Ctrl-C ends them.")
        await while_alive(request.stop.wait(), kept.stack.died)


def hosts_option(fleets: Sequence[Fleet]) -> str:
    """The value of the locustfile's ``--hosts`` for these fleets."""
    return ";".join(f"{fleet.name}={','.join(fleet.replica_urls)}" for fleet in fleets)


def metrics_option(fleets: Sequence[Fleet]) -> str:
    """The value of the locustfile's ``--metrics`` for these fleets."""
    return ";".join(f"{fleet.name}={','.join(_by_replica(fleet))}" for fleet in fleets)


def _by_replica(fleet: Fleet) -> list[str]:
    urls: dict[int, list[str]] = {}
    for worker in fleet.workers:
        urls.setdefault(worker.replica, []).append(worker.metrics_url)
    return ["+".join(urls[replica]) for replica in sorted(urls)]


def _tell(fleet: Fleet, keys_file: Path, say: Callable[[str], None]) -> None:
    command = (
        f".venv/bin/locust -f locustfile.py --hosts '{hosts_option([fleet])}' "
        f"--keys-file {keys_file}"
    )
    say(f"\n{fleet.name}: {len(fleet.replica_urls)} replicas")
    say(f"  replicas   {' '.join(fleet.replica_urls)}")
    say(f"  metrics    {' '.join(worker.metrics_url for worker in fleet.workers)}")
    say("  web UI     type this in another terminal, then open http://127.0.0.1:8089")
    say(f"    {command} --web-host 127.0.0.1 --metrics '{metrics_option([fleet])}'")
    say("  headless")
    say(f"    {command} --headless -u 40 -t 30s")
