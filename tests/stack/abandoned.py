"""Opens a stack with one fleet, says what exists, and waits to be killed.

Usage: ``python -m tests.stack.abandoned FOLDER [FAULT ...]``; with faults it begins those, and
kills itself.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from harness.domain.faults import PlannedFault
from harness.stack.base import FleetSpec
from harness.stack.dsn import port_of
from harness.stack.embedded import EmbeddedStack
from harness.targets.reference.target import ReferenceTarget
from harness.targets.settings import RunSettings
from tests.stack.fakes import FakeTarget, descendants, spec
from tests.targets.world import VARIANTS


async def broken(*faults: str) -> None:
    stack = EmbeddedStack(Path(sys.argv[1]) / "logs", faults=True)
    await stack.open()
    target = ReferenceTarget(VARIANTS["recommended"])
    settings = RunSettings(ttl_s=60.0)
    fleet = await stack.start(FleetSpec("abandoned", target, 1, 1, settings))
    pids = descendants()
    breakers = []
    for what in faults:
        # What it kills is away for as long as the harness lives.
        fault = PlannedFault(1, what, 0.0, 600.0, delay_ms=5.0, skew_s=60.0, new_after_s=600.0)
        breakers.append(stack.breaker(fleet))  # without it the fault would end
        await breakers[-1].begin(fault)
    parts = stack._parts[fleet.name]
    urls = [*fleet.replica_urls, *(one.metrics_url for one in fleet.workers), fleet.dsn]
    about = {
        "pids": sorted(pids | descendants()),
        "folder": str(stack._folder),
        "ports": [*map(port_of, (*urls, fleet.redis_url or "")), *parts.relay.ports.values()],
    }
    sys.stdout.write(f"{json.dumps(about)}\n")
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


async def main() -> None:
    stack = EmbeddedStack(Path(sys.argv[1]) / "logs")
    await stack.open()
    await stack.start(spec("abandoned", FakeTarget("stray"), workers=2))
    assert stack._guard is not None
    about = {
        "pids": sorted(descendants()),
        "guard": stack._guard._process.pid,
        "folder": str(stack._folder),
    }
    sys.stdout.write(f"{json.dumps(about)}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


asyncio.run(broken(*sys.argv[2:]) if sys.argv[2:] else main())
