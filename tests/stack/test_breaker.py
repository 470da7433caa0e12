"""Every fault on a fleet of the reference proxy: that it bites, and that all is well afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest

from harness.domain.faults import ENTRIES, FAULTS, PlannedFault
from harness.domain.population import VirtualKey
from harness.domain.series import REDIS_SENT
from harness.errors import InvalidRunError, SetupError, UsageError
from harness.observe.counters import Counters
from harness.process.loopback import local_http
from harness.process.sockets import listen
from harness.process.waiting import wait_until
from harness.stack.base import Breaker, Fleet, FleetSpec, Servers
from harness.stack.embedded import EmbeddedStack
from harness.stack.embedded.breaker import _POISONS, STEPS, EmbeddedBreaker
from harness.stack.redis import connect
from harness.stack.registry import EMBEDDED, make_stack
from harness.targets.base import ProcessSpec, ReplicaContext
from harness.targets.reference.target import ReferenceTarget
from harness.targets.settings import RunSettings
from tests.stack.fakes import PATIENCE_S, FakeTarget, descendants, eventually, runs, spec
from tests.targets.world import MODEL, VARIANTS, running_stack, seed

ROOT = Path(__file__).parents[2]
WITHOUT_MESSAGES = "litellm_1_94"
"""It deletes entries; `recommended` has messages for that."""


STOPS = ("redis-hang", "postgres-hang", "replica-hang", "replica-clock")
"""What stays stopped or off its clock, all at once, if the guard does not see to it."""


def test_every_fault_has_its_steps() -> None:
    assert STEPS.keys() == FAULTS.keys() == EmbeddedStack.breaks
    assert _POISONS.keys() == set(ENTRIES)


def test_servers_of_the_user_are_not_broken(tmp_path: Path) -> None:
    for servers in (Servers(redis_url="redis://h/0"), Servers(postgres_dsn="postgresql://h/d")):
        with pytest.raises(UsageError, match=r"faults.*of your own.*Unset both"):
            make_stack(EMBEDDED, tmp_path, servers, faults=True)


def a_fleet(variant: str, replicas: int = 2) -> FleetSpec:
    settings = RunSettings(ttl_s=60.0)
    return FleetSpec(variant, ReferenceTarget(VARIANTS[variant]), replicas, 1, settings)


def planned(what: str, **more: Any) -> PlannedFault:
    return PlannedFault(1, what, 0.0, 1.0, delay_ms=20.0, skew_s=3600.0, **more)


@dataclass
class Broken:
    """A stack whose fleets can be broken, in a loop of its own."""

    stack: EmbeddedStack
    run: Callable[[Any], Any]
    fleets: dict[str, Fleet]

    def fleet(self, variant: str) -> Fleet:
        if variant not in self.fleets:
            self.fleets[variant] = self.run(self.stack.start(a_fleet(variant)))
        return self.fleets[variant]


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    folder = tmp_path_factory.mktemp("broken")
    with running_stack(folder, faults=True) as (stack, run):
        yield Broken(stack, run, {})


async def ask(http: httpx.AsyncClient, fleet: Fleet, replica: int, key: VirtualKey) -> int:
    """The status of a chat completion; 0 where there is none within the client's time-out."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}
    url = f"{fleet.replica_urls[replica]}/v1/chat/completions"
    try:
        headers = {"authorization": f"Bearer {key.secret}"}
        return (await http.post(url, json=body, headers=headers)).status_code
    except httpx.TransportError:
        return 0


async def drive(fleet: Fleet, keys: list[VirtualKey], timeout_s: float) -> list[int]:
    """Ask for each key, one replica after the other."""
    replicas = itertools.cycle(range(fleet.spec.replicas))
    async with local_http(timeout=timeout_s) as http:
        return await asyncio.gather(*(ask(http, fleet, next(replicas), key) for key in keys))


async def change(fleet: Fleet, keys: list[VirtualKey]) -> None:
    """Change a limit of each key through one replica."""
    async with local_http(timeout=5.0) as http:
        for key in keys:
            call = fleet.spec.target.call("key-limits", key, 1)
            assert call is not None
            headers = {"authorization": f"Bearer {fleet.spec.master_key}"}
            with contextlib.suppress(httpx.TransportError):
                await http.request(
                    call.method, fleet.replica_urls[0] + call.path, json=call.body, headers=headers
                )


async def fresh(fleet: Fleet, n: int) -> list[VirtualKey]:
    return (await seed(fleet.dsn, {"team": n}))["team"]


async def settings_of(fleet: Fleet) -> dict[str, Any]:
    """What a fault may change in the servers."""
    assert fleet.redis_url is not None
    async with connect(fleet.redis_url) as client:
        redis = {
            "config": await client.config_get("maxmemory*"),
            "role": (await client.info("replication"))["role"],
            "users": await client.acl_list(),
        }
    connection = await asyncpg.connect(fleet.admin_dsn)
    try:
        limits = await connection.fetch("SELECT rolname, rolconnlimit FROM pg_roles ORDER BY 1")
        return redis | {"limits": [tuple(row) for row in limits]}
    finally:
        await connection.close()


async def sent(fleet: Fleet) -> list[float]:
    """Commands that each worker has sent to Redis."""
    async with local_http(timeout=5.0) as http:
        pages = [(await http.get(worker.metrics_url)).text for worker in fleet.workers]
    return [Counters.parse(page).sum(REDIS_SENT) for page in pages]


async def well_again(fleet: Fleet) -> None:
    """Every replica answers for keys that no cache has, with Redis; and no process is stopped."""

    async def good() -> bool:
        keys, before = await fresh(fleet, 2 * fleet.spec.replicas), await sent(fleet)
        answered = set(await drive(fleet, keys, 5.0)) == {200}
        # A replica leaves a Redis alone for a while that did not answer.
        used = all(now > then for now, then in zip(await sent(fleet), before, strict=True))
        return answered and used

    assert await wait_until(good, PATIENCE_S, poll_s=0.2, retry=(httpx.TransportError,))
    for pid in descendants():
        assert psutil.Process(pid).status() != psutil.STATUS_STOPPED


@contextlib.asynccontextmanager
async def watched(stack: EmbeddedStack) -> AsyncIterator[None]:
    """Nothing dies unplanned meanwhile."""
    watch = asyncio.create_task(stack.died())
    try:
        yield
        # A turn of the watch.
        await asyncio.wait({watch}, timeout=0.2)
        assert not watch.done(), watch.result()
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def bite(stack: EmbeddedStack, fleet: Fleet, fault: PlannedFault) -> tuple[int, str]:
    before = await settings_of(fleet)
    known, unknown = await fresh(fleet, 20), await fresh(fleet, 40)
    assert set(await drive(fleet, known, PATIENCE_S)) == {200}
    breaker: Breaker = stack.breaker(fleet)
    async with watched(stack):
        await breaker.begin(fault)
        await drive(fleet, unknown, 2.0)
        if fault.what == "redis-no-del":
            await change(fleet, known)
        bit = await breaker.end()
        assert await breaker.end() == bit, "the second time it does nothing"
        await well_again(fleet)
    assert await settings_of(fleet) == before
    return bit, breaker.detail


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_bites_and_leaves_everything_as_it_was(broken: Broken, what: str) -> None:
    fleet = broken.fleet(WITHOUT_MESSAGES if what == "redis-no-del" else "recommended")
    addresses = (fleet.replica_urls, fleet.workers, fleet.redis_url, fleet.dsn)

    bit, detail = broken.run(bite(broken.stack, fleet, planned(what)))

    assert bit > 0
    assert f"{bit} {FAULTS[what].proof}" in detail
    assert addresses == (fleet.replica_urls, fleet.workers, fleet.redis_url, fleet.dsn)


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize("entry", ENTRIES[1:])
def test_every_kind_of_poison_is_written(broken: Broken, entry: str) -> None:
    fleet = broken.fleet("recommended")

    bit, detail = broken.run(bite(broken.stack, fleet, planned("redis-poison", entry=entry)))

    assert bit > 0
    assert entry in detail


async def unmet(stack: EmbeddedStack, fleet: Fleet, fault: PlannedFault) -> int:
    breaker = stack.breaker(fleet)
    await breaker.begin(fault)
    bit = await breaker.end()
    await well_again(fleet)
    return bit


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "what",
    ["redis-slow", "redis-oom", "redis-readonly", "redis-no-del", "replica-hang", "postgres-slow"],
)
def test_a_fault_that_nothing_met_counts_nothing(broken: Broken, what: str) -> None:
    fleet = broken.fleet(WITHOUT_MESSAGES)

    assert broken.run(unmet(broken.stack, fleet, planned(what))) == 0


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_a_fleet_without_redis_is_refused(broken: Broken) -> None:
    async def without(stack: EmbeddedStack) -> None:
        fleet = await stack.start(a_fleet("memory_only", 1))
        with pytest.raises(InvalidRunError, match=r"\[redis-flush\] of \[memory_only\].*no Redis"):
            await stack.breaker(fleet).begin(planned("redis-flush"))
        assert await stack.breaker(fleet).end() == 0

    broken.run(without(broken.stack))


@dataclass
class Spy(FakeTarget):
    """Knows which replicas it started."""

    asked: list[int] = field(default_factory=list)

    def process(self, context: ReplicaContext) -> ProcessSpec:
        self.asked.append(context.replica)
        return FakeTarget().process(context)


@pytest.fixture(scope="class")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broken]:
    with running_stack(tmp_path_factory.mktemp("plain")) as (stack, run):
        yield Broken(stack, run, {})


@pytest.mark.integration
@pytest.mark.timeout(300)
class TestReplaced:
    """On one stack, each with a fleet of its own. The first comes before a replica ends in vain."""

    def test_a_replica_is_replaced_on_its_ports_and_is_no_death(self, plain: Broken) -> None:
        async def replace(stack: EmbeddedStack) -> None:
            fleet = await stack.start(spec("one", replicas=2, workers=2))
            before = [one.pid for one in stack._replicas["one"].running.values()]
            other = Spy()
            async with watched(stack):
                await stack.replace_replica(fleet, 0, how="kill")
                await stack.replace_replica(fleet, 1, target=other, how="term")
                async with local_http() as http:
                    for url in (*fleet.replica_urls, *(one.metrics_url for one in fleet.workers)):
                        assert (await http.get(url)).status_code == 200

            assert other.asked == [1]
            assert not any(runs(pid) for pid in before)
            assert not set(before) & {one.pid for one in stack._replicas["one"].running.values()}

        plain.run(replace(plain.stack))

    def test_a_successor_that_does_not_come_up_is_an_error(self, plain: Broken) -> None:
        async def replace(stack: EmbeddedStack) -> None:
            fleet = await stack.start(spec("two", replicas=2))
            with pytest.raises(SetupError, match=r"(?s)replica 1 of two.*exit code \[7\]"):
                await stack.replace_replica(fleet, 1, target=FakeTarget("exit"))

        plain.run(replace(plain.stack))

    def test_while_a_replica_is_away_its_ports_refuse(self, plain: Broken) -> None:
        async def refuses(port: int) -> bool:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                return True
            writer.close()
            return False

        async def replace(stack: EmbeddedStack) -> None:
            fleet = await stack.start(spec("three", replicas=1))
            ports = stack._replicas["three"].ports(0)
            assert len(ports) == 2
            replacing = asyncio.create_task(
                stack.replace_replica(fleet, 0, how="kill", after_s=600.0)
            )
            for port in ports:
                assert await wait_until(partial(refuses, port), PATIENCE_S)
                # The harness keeps it: the system gives it to no connection that goes out.
                with pytest.raises(OSError, match="in use"), socket.socket() as other:
                    other.bind(("127.0.0.1", port))
            replacing.cancel()
            await asyncio.gather(replacing, return_exceptions=True)

        plain.run(replace(plain.stack))


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_close_in_the_middle_of_a_hang_leaves_nothing(tmp_path: Path) -> None:
    async def hang(stack: EmbeddedStack) -> set[int]:
        fleet = await stack.start(a_fleet("recommended", 1))
        for what in ("redis-hang", "postgres-hang", "replica-hang"):
            await EmbeddedBreaker(stack._parts[fleet.name]).begin(planned(what))
        return descendants() - before

    before = descendants()
    with running_stack(tmp_path, faults=True) as (stack, run):
        pids = run(hang(stack))

    assert len(pids) > 8
    assert asyncio.run(eventually(lambda: not any(runs(pid) for pid in pids)))


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "faults",
    [
        STOPS,
        ("redis-late",),
        *(
            pytest.param((what,), marks=pytest.mark.long)
            for what in FAULTS
            if what not in (*STOPS, "redis-late")
        ),
    ],
    ids=" ".join,
)
def test_a_harness_that_is_killed_during_a_fault_leaves_nothing(
    tmp_path: Path, faults: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.stack.abandoned", str(tmp_path), *faults],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=False,
        env=dict(os.environ),
    )
    about = json.loads(done.stdout)

    assert done.returncode == -9
    assert asyncio.run(eventually(lambda: not any(runs(pid) for pid in about["pids"])))
    assert asyncio.run(eventually(lambda: not Path(about["folder"]).exists()))
    for port in about["ports"]:
        listen(port).close()
