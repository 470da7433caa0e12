"""Keeps fleets up for somebody else's load, and says what to type."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import ServerDiedError
from harness.experiment.plan import Arm, make_plan
from harness.experiment.run import Servers, make_run_dir
from harness.experiment.seed import seed_population
from harness.experiment.stop import Stop
from harness.load.keys import write_keys
from harness.observe.snapshots import watch
from harness.scenario.schema import Scenario
from harness.stack.base import Fleet
from harness.stack.embedded import EmbeddedStack


async def keep_up(
    scenario: Scenario,
    arms: Sequence[Arm],
    *,
    runs_dir: Path,
    servers: Servers,
    base_port: int | None,
    say: Callable[[str], None],
    stop: Stop,
) -> None:
    """Start one fleet for each arm and hold them until somebody asks.

    Args:
        scenario: gives population, premises, TTL and mock model; its load is not driven.
        arms: variants with their targets.
        runs_dir: where logs and the keys file go.
        servers: whose Postgres and Redis.
        base_port: the first replica's port, the others count up from it; None takes free ones.
        say: prints a line.
        stop: asked by whoever wants it to end.

    Raises:
        SetupError: something could not be started; nothing is left running.
        ServerDiedError: something ended by itself.
    """
    plan = make_plan(scenario, arms, stack=EmbeddedStack.name)
    run_dir = make_run_dir(runs_dir, "fleet", datetime.now(UTC))
    keys_file = run_dir / "keys.json"
    stack = EmbeddedStack(run_dir, postgres_dsn=servers.postgres_dsn, redis_url=servers.redis_url)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await stack.open()
        write_keys(keys_file, list(plan.keys))
        for number, arm in enumerate(plan.arms):
            spec = plan.fleet(arm)
            if base_port is not None:
                spec = replace(spec, base_port=base_port + number * scenario.replicas)
            fleet = await stack.start(spec)
            async with watch(fleet) as observer:
                await seed_population(observer.postgres, plan.keys)
            _tell(fleet, keys_file, say)
        say("Fleets are up. Ctrl-C ends them.")
        died = asyncio.ensure_future(stack.died())
        await asyncio.wait({died, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if died.done():
            raise ServerDiedError(died.result())
        died.cancel()
    finally:
        stopped.cancel()
        await stack.close()
        for problem in stack.problems:
            say(problem)
        with contextlib.suppress(OSError):
            keys_file.unlink()


def _tell(fleet: Fleet, keys_file: Path, say: Callable[[str], None]) -> None:
    hosts = ",".join(fleet.replica_urls)
    say(f"\n{fleet.name}: {len(fleet.replica_urls)} replicas")
    say(f"  replicas   {' '.join(fleet.replica_urls)}")
    say(f"  metrics    {' '.join(worker.metrics_url for worker in fleet.workers)}")
    say("  web UI     type this in another terminal, then open http://127.0.0.1:8089")
    say(f"    .venv/bin/locust -f locustfile.py --hosts {hosts} --keys-file {keys_file}")
    say("  headless")
    say(
        f"    .venv/bin/locust -f locustfile.py --headless -u 40 -t 30s --hosts {hosts} "
        f"--keys-file {keys_file}"
    )
