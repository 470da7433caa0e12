from __future__ import annotations

import asyncio
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from harness.errors import SetupError
from harness.process.loopback import local_http
from harness.process.processes import Process
from harness.process.sockets import free_port, listen
from harness.stack.base import Fleet, FleetSpec, Stack
from harness.stack.embedded import EmbeddedStack, postgres, readiness
from harness.stack.embedded import stack as stack_module
from harness.stack.redis import connect
from tests.stack.fakes import PATIENCE_S, FakeTarget, descendants, eventually, runs, spec
from tests.targets.world import running_stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

Pair = tuple[EmbeddedStack, Fleet, Fleet]


def processes(stack: EmbeddedStack, group: str) -> list[Process]:
    return [one for one in stack._running.started if one.command.group == group]


def port_of(url: str) -> int:
    port = httpx.URL(url).port
    assert port is not None
    return port


async def fetch(dsn: str, query: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        rows: list[asyncpg.Record] = await connection.fetch(query)
        return rows
    finally:
        await connection.close()


async def two_fleets(stack: EmbeddedStack) -> tuple[Fleet, Fleet]:
    first = await stack.start(spec("one", replicas=2, workers=2))
    second = await stack.start(spec("two", replicas=2))
    return first, second


@pytest.fixture(scope="class")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A stack and its two fleets, below a temporary folder with a space in its name."""
    with (
        tempfile.TemporaryDirectory(prefix="two words ") as place,
        pytest.MonkeyPatch.context() as m,
    ):
        Path(place).chmod(0o755)
        m.setattr(tempfile, "tempdir", place)
        with running_stack(tmp_path_factory.mktemp("pair")) as (stack, run):
            yield stack, *run(two_fleets(stack))


class TestTwoFleets:
    """On one stack: none of these starts or ends anything in it."""

    async def test_every_replica_and_every_worker_answers(self, pair: Pair) -> None:
        _, first, second = pair

        async with local_http() as client:
            for url in (*first.replica_urls, *second.replica_urls):
                assert (await client.get(f"{url}/health/readiness")).status_code == 200
            answers = [(await client.get(one.metrics_url)).text for one in first.workers]

        assert [(one.replica, one.worker) for one in first.workers] == [
            (0, 0),
            (0, 1),
            (1, 0),
            (1, 1),
        ]
        assert len({answer.splitlines()[0] for answer in answers}) == 4
        assert [path.name for path in first.log_files] == ["one-0.log", "one-1.log"]
        assert all("fake replica" in path.read_text() for path in first.log_files)

    async def test_a_fleet_cannot_enter_the_database_of_another(self, pair: Pair) -> None:
        _, first, second = pair
        foreign = httpx.URL(second.dsn).copy_with(userinfo=httpx.URL(first.dsn).userinfo)

        assert await fetch(first.dsn, "SELECT id FROM thing") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(str(foreign), "SELECT 1")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await fetch(str(httpx.URL(first.dsn).copy_with(path="/postgres")), "SELECT 1")

    async def test_another_user_of_the_machine_cannot_connect(self, pair: Pair) -> None:
        _, fleet, _ = pair
        assert fleet.redis_url is not None
        anonymous = httpx.URL(fleet.admin_dsn).copy_with(userinfo=b"authcache_admin:guess")

        with pytest.raises(asyncpg.InvalidPasswordError):
            await fetch(str(anonymous), "SELECT 1")
        port = port_of(fleet.redis_url)
        async with connect(f"redis://127.0.0.1:{port}") as client:
            with pytest.raises(RedisError, match="authenticat"):
                await client.ping()

    async def test_statements_are_counted_under_the_role_of_their_fleet(self, pair: Pair) -> None:
        _, first, second = pair
        for fleet, times in ((first, 3), (second, 5)):
            for _ in range(times):
                await fetch(fleet.dsn, "SELECT id FROM thing WHERE id = 1")

        rows = await fetch(
            first.admin_dsn,
            "SELECT rolname, calls FROM pg_stat_statements JOIN pg_roles ON pg_roles.oid = userid"
            " WHERE query LIKE 'SELECT id FROM thing WHERE%'",
        )

        calls = {row["rolname"]: row["calls"] for row in rows}
        roles = [httpx.URL(fleet.dsn).username for fleet in (first, second)]
        assert calls == {roles[0]: 3, roles[1]: 5}
        assert first.counts_statements
        assert first.not_counted_reason == {}

    async def test_each_fleet_has_a_redis_of_its_own(self, pair: Pair) -> None:
        _, first, second = pair
        assert first.redis_url is not None
        assert second.redis_url is not None

        async with Redis.from_url(first.redis_url) as one, Redis.from_url(second.redis_url) as two:
            await one.set("name", "value")
            assert await two.get("name") is None
        assert first.owns_redis
        assert first.redis_namespace == ""

    async def test_use_and_facts_cover_all_groups(self, pair: Pair) -> None:
        stack, *_ = pair

        groups = {f"{part}:{fleet}" for part in ("redis", "fleet") for fleet in ("one", "two")}
        assert set(stack.cpu_s()) == {"postgres", *groups}
        facts = stack.facts()
        assert facts["postgres_version"].startswith(("17", "18"))
        assert facts["redis_version"].startswith("valkey 9")
        assert "fsync off" in facts["postgres_durability"]
        assert not any("/" in value for value in facts.values())


async def test_is_a_stack(tmp_path: Path) -> None:
    stack: Stack = EmbeddedStack(tmp_path)
    await stack.close()


class Starter:
    """Starts fleets, each under a name of its own, on a stack that stays up."""

    def __init__(self, stack: EmbeddedStack, run: Callable[[Any], Any]) -> None:
        self.stack = stack
        self._run = run

    def start(self, *specs: FleetSpec) -> list[Fleet]:
        """All at the same time."""

        async def start() -> list[Fleet]:
            return await asyncio.gather(*map(self.stack.start, specs))

        fleets: list[Fleet] = self._run(start())
        return fleets


@pytest.fixture(scope="class")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    with running_stack(tmp_path_factory.mktemp("starter")) as (stack, run):
        yield Starter(stack, run)


class TestStart:
    """On one stack: each of these adds fleets, and ends nothing."""

    def test_fleets_start_at_the_same_time(self, starter: Starter) -> None:
        first, second = starter.start(spec("one"), spec("two"))

        assert first.dsn != second.dsn
        assert first.redis_url != second.redis_url

    async def test_a_replica_gets_a_minimal_environment(
        self, starter: Starter, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "secret of the caller")
        (fleet,) = starter.start(spec("minimal"))

        async with local_http() as client:
            names = (await client.get(fleet.replica_urls[0])).text.split()

        assert "FAKE" in names
        assert "PATH" in names
        assert "OPENAI_API_KEY" not in names

    def test_a_variant_without_redis_gets_none(self, starter: Starter) -> None:
        (fleet,) = starter.start(spec("memory_only", FakeTarget(uses_redis=False)))

        assert fleet.redis_url is None
        assert processes(starter.stack, "redis:memory_only") == []

    def test_replicas_listen_on_the_ports_asked_for(self, starter: Starter) -> None:
        port = free_port()

        (fleet,) = starter.start(spec("asked", base_port=port))

        assert fleet.replica_urls == (f"http://127.0.0.1:{port}",)

    async def test_a_release_may_be_the_name_of_a_fleet(self, starter: Starter) -> None:
        fleet, odd = starter.start(spec("litellm==1.84.0rc1"), spec("../up and away"))

        assert fleet.log_files[0].name == "litellm==1.84.0rc1-0.log"
        assert odd.log_files[0].parent == fleet.log_files[0].parent
        assert await fetch(fleet.dsn, "SELECT id FROM thing") == []

    def test_a_name_is_taken_once(self, starter: Starter) -> None:
        starter.start(spec("taken", FakeTarget(uses_redis=False)))

        with pytest.raises(SetupError, match=r"\[taken\] runs already"):
            starter.start(spec("taken"))


async def test_a_process_that_ends_unplanned_is_reported(
    stack: EmbeddedStack, tmp_path: Path
) -> None:
    await stack.start(spec("one", replicas=3))
    before = descendants()
    for group, number, how in (
        ("fleet:one", signal.SIGKILL, "[SIGKILL]"),
        ("fleet:one", signal.SIGTERM, "exit code [0]"),
        ("redis:one", signal.SIGKILL, "[SIGKILL]"),
        ("postgres", signal.SIGKILL, "[SIGKILL]"),
    ):
        victim = next(one for one in reversed(processes(stack, group)) if not one.stopping)
        watch = asyncio.create_task(stack.died())
        os.kill(victim.pid, number)
        async with asyncio.timeout(PATIENCE_S):
            message = await watch

        assert victim.command.name in message
        assert how in message
        assert f"logs/{victim.command.log_file.name}" in message
        victim.stopping = True  # so that the stack reports the next end

    await stack.close()
    assert stack.problems == []
    assert await eventually(lambda: not any(runs(pid) for pid in before))
    assert (tmp_path / "run" / "logs" / "one-0.log").exists()


async def test_close_leaves_no_process_no_folder_and_no_port(tmp_path: Path) -> None:
    before = descendants()
    stack = EmbeddedStack(tmp_path / "run" / "logs")
    await stack.open()
    fleet = await stack.start(spec("one", FakeTarget("stray"), replicas=2, workers=2))
    started = descendants() - before
    folder = stack._folder
    assert folder is not None
    assert folder.exists()
    assert len(started) > 8
    watch = asyncio.create_task(stack.died())

    await stack.close()
    await stack.close()

    with pytest.raises(TimeoutError):  # a planned end is no death
        await asyncio.wait_for(watch, 0.5)
    assert stack.problems == []
    assert not any(runs(pid) for pid in started)
    assert not folder.exists()
    for url in (*fleet.replica_urls, *(one.metrics_url for one in fleet.workers), fleet.dsn):
        listen(port_of(url)).close()
    assert sorted(path.name for path in (tmp_path / "run" / "logs").iterdir()) == [
        "one-0.log",
        "one-1.log",
        "postgres.log",
        "valkey-one.log",
    ]


async def test_a_deaf_replica_is_killed_with_its_workers(
    stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_module, "GRACE_S", 0.2)
    await stack.start(spec("one", FakeTarget("deaf"), workers=3))
    started = descendants()

    await stack.close()

    assert not any(runs(pid) for pid in started)


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (FakeTarget("exit"), ["replica", "exit code [7]", "cannot read the codec", "logs/one-"]),
        (FakeTarget("never_ready", ready_timeout_s=1.0), ["within [1 s]", "/health/readiness"]),
    ],
)
async def test_a_fleet_that_does_not_come_up_ends_everything(
    tmp_path: Path, target: FakeTarget, words: list[str]
) -> None:
    before = descendants()
    stack = EmbeddedStack(tmp_path / "logs")
    await stack.open()
    folder = stack._folder
    assert folder is not None

    with pytest.raises(SetupError) as error:
        await stack.start(spec("one", target, replicas=2))

    for word in words:
        assert word in str(error.value)
    assert descendants() <= before
    assert not folder.exists()


async def test_a_start_that_is_cancelled_ends_everything(tmp_path: Path) -> None:
    before = descendants()
    stack = EmbeddedStack(tmp_path)
    await stack.open()
    starting = asyncio.create_task(stack.start(spec("one", FakeTarget("never_ready"))))
    assert await eventually(lambda: bool(processes(stack, "fleet:one")))

    starting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await starting
    assert descendants() <= before


async def test_a_port_in_use_is_named(stack: EmbeddedStack) -> None:
    with listen() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SetupError, match=rf"Port \[{port}\].*is in use.*PORT"):
            await stack.start(spec("one", replicas=1, base_port=port))


async def test_durable_on_request(tmp_path: Path) -> None:
    stack = EmbeddedStack(tmp_path, durable=True)
    await stack.open()
    try:
        fleet = await stack.start(spec("one", FakeTarget(uses_redis=False)))
        assert (await fetch(fleet.dsn, "SHOW fsync"))[0][0] == "on"
        assert stack.facts()["postgres_durability"] == "full"
    finally:
        await stack.close()


async def test_a_server_that_finds_its_port_taken_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        clash = taken.getsockname()[1]
        ports = iter([clash, free_port(), clash, free_port()])
        monkeypatch.setattr(readiness, "free_port", ports.__next__)
        stack = EmbeddedStack(tmp_path)
        await stack.open()
        try:
            fleet = await stack.start(spec("one"))
            assert fleet.redis_url is not None
            assert taken.getsockname()[1] not in {port_of(fleet.dsn), port_of(fleet.redis_url)}
            assert len(processes(stack, "redis:one")) == 2
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(stack.died(), 0.5)
        finally:
            await stack.close()


async def test_a_valkey_that_does_not_start(
    stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack_module, "find_valkey", lambda: Path("/bin/false"))

    with pytest.raises(SetupError, match=r"Valkey did not start, exit code \[1\]"):
        await stack.start(spec("one"))


async def test_a_postgres_that_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgres._SETTINGS, "shared_preload_libraries", "no_such_library")
    before = descendants()

    with pytest.raises(SetupError, match=r"(?s)Postgres did not start.*no_such_library"):
        await EmbeddedStack(tmp_path).open()

    assert descendants() <= before
