"""A target whose replicas are `fake_replica.py`, and ways to look at processes."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil

from harness.process import guard
from harness.process.waiting import wait_until
from harness.stack.base import FleetSpec
from harness.targets.base import (
    ContainerContext,
    ContainerSpec,
    Database,
    ProcessSpec,
    ReplicaContext,
    Target,
)
from harness.targets.settings import RunSettings

PATIENCE_S = 60.0


@dataclass
class FakeTarget(Target):
    mode: str = "healthy"
    uses_redis: bool = True
    ready_timeout_s: float = PATIENCE_S
    kind: str = "fake"
    version: str = "1"
    readiness_path: str = "/health/readiness"

    @property
    def database(self) -> Database:
        raise AssertionError("a fake keeps no objects")

    async def prepare_database(self, dsn: str, *, has: Collection[str] = ()) -> None:
        assert not has
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE TABLE thing (id integer)")
        await connection.close()

    def process(self, context: ReplicaContext) -> ProcessSpec:
        script = Path(__file__).with_name("fake_replica.py")
        fds = [str(fd) for fd in (context.listen_fd, *context.metrics_fds)]
        return ProcessSpec((sys.executable, str(script), self.mode, *fds), {"FAKE": "1"})

    def container(self, context: ContainerContext) -> ContainerSpec:
        return ContainerSpec(("fake", str(context.port)), {"FAKE": context.dsn})

    def describe(self) -> Mapping[str, Any]:
        return {}


def spec(
    name: str,
    target: FakeTarget | None = None,
    *,
    replicas: int = 1,
    workers: int = 1,
    base_port: int | None = None,
) -> FleetSpec:
    settings = RunSettings(ttl_s=1.0)
    return FleetSpec(name, target or FakeTarget(), replicas, workers, settings, base_port)


def runs(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def descendants() -> set[int]:
    """Every process below this one that runs, without the guard of the test run itself."""
    token = os.environ[guard.TOKEN_VARIABLE]
    found = set()
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if runs(child.pid) and token not in child.cmdline():
                found.add(child.pid)
    return found


async def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true in time."""
    return await wait_until(condition, PATIENCE_S)
