from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from harness.errors import SetupError
from harness.process.sockets import free_port
from harness.stack.base import Fleet
from harness.stack.embedded import EmbeddedStack, user_redis
from tests.stack.fakes import FakeTarget, descendants, eventually, spec
from tests.targets.world import running_stack

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROLES = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'authcache_%' ORDER BY 1"
DATABASES = "SELECT datname FROM pg_database WHERE datname LIKE 'authcache_%' ORDER BY 1"


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Servers that play the user's own: those of another stack."""
    with running_stack(tmp_path_factory.mktemp("users")) as (stack, run):
        yield run(stack.start(spec("users_own")))


@pytest.fixture
async def guest(users: Fleet, tmp_path: Path) -> AsyncIterator[EmbeddedStack]:
    opened = EmbeddedStack(
        tmp_path / "guest", postgres_dsn=users.admin_dsn, redis_url=users.redis_url
    )
    try:
        await opened.open()
        yield opened
    finally:
        await opened.close()


async def column(dsn: str, query: str) -> list[str]:
    connection = await asyncpg.connect(dsn)
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def redis_of(fleet: Fleet) -> Redis:
    assert fleet.redis_url is not None
    return Redis.from_url(fleet.redis_url)


def as_user(dsn: str, name: str, password: str) -> str:
    return str(httpx.URL(dsn).copy_with(userinfo=f"{name}:{password}".encode()))


async def test_starts_no_server_of_its_own(users: Fleet, guest: EmbeddedStack) -> None:
    fleet = await guest.start(spec("one"))

    assert {one.command.group for one in guest._running.started} == {"fleet:one"}
    assert fleet.redis_url == users.redis_url
    assert not fleet.owns_redis
    assert "given by the user" in fleet.not_counted_reason["redis"]
    assert guest.facts()["postgres_source"] == "given by the user"
    assert guest.facts()["redis_source"] == "given by the user"


async def test_what_was_created_is_dropped_and_nothing_else(
    users: Fleet, guest: EmbeddedStack
) -> None:
    before = [await column(users.admin_dsn, query) for query in (ROLES, DATABASES)]
    first, second = await guest.start(spec("one")), await guest.start(spec("two"))
    assert first.redis_namespace != second.redis_namespace
    async with redis_of(users) as client:
        for number in range(2500):
            await client.set(f"{first.redis_namespace}{number}", "x")
        await client.set(f"{second.redis_namespace}x", "x")
        await client.set("authcache:of someone else", "x")
        during = [await column(users.admin_dsn, query) for query in (ROLES, DATABASES)]
        # A connection that someone forgot must not keep the database alive.
        forgotten = await asyncpg.connect(first.dsn)

        await guest.close()

        forgotten.terminate()
        assert [len(names) for names in during] == [len(names) + 2 for names in before]
        assert [await column(users.admin_dsn, query) for query in (ROLES, DATABASES)] == before
        assert await client.keys() == [b"authcache:of someone else"]
    assert guest.problems == []


async def test_a_superuser_may_count_statements(users: Fleet, guest: EmbeddedStack) -> None:
    fleet = await guest.start(spec("one"))

    assert fleet.counts_statements
    assert "pg_stat_statements" in " ".join(
        await column(fleet.admin_dsn, "SELECT extname FROM pg_extension")
    )
    assert users.counts_statements


async def test_a_user_who_may_create_but_not_count(users: Fleet, tmp_path: Path) -> None:
    await execute(users.admin_dsn, "CREATE ROLE maker LOGIN CREATEDB CREATEROLE PASSWORD 'm@ker/1'")
    dsn = as_user(users.admin_dsn, "maker", "m%40ker%2F1")
    guest = EmbeddedStack(tmp_path, postgres_dsn=dsn)
    await execute(users.admin_dsn, f"GRANT CONNECT ON DATABASE {httpx.URL(dsn).path[1:]} TO maker")
    try:
        await guest.open()
        fleet = await guest.start(spec("one", FakeTarget(uses_redis=False)))
        assert not fleet.counts_statements
        assert "pg_stat_statements is not available" in fleet.not_counted_reason["postgres"]
        assert await column(fleet.dsn, "SELECT id FROM thing") == []
    finally:
        await guest.close()
    assert guest.problems == []
    assert "one" not in " ".join(await column(users.admin_dsn, DATABASES))


async def test_a_user_who_may_not_create(users: Fleet, tmp_path: Path) -> None:
    before = descendants()
    guest = EmbeddedStack(tmp_path, postgres_dsn=users.dsn)
    await guest.open()

    with pytest.raises(SetupError, match="needs CREATEROLE and CREATEDB") as error:
        await guest.start(spec("one"))

    assert str(httpx.URL(users.dsn).password) not in str(error.value)
    assert await eventually(lambda: descendants() <= before)
    assert guest.problems == []


@pytest.mark.parametrize("variable", ["postgres_dsn", "redis_url"])
async def test_a_server_that_refuses(variable: str, tmp_path: Path) -> None:
    scheme = {"postgres_dsn": "postgresql", "redis_url": "redis"}[variable]
    before = descendants()
    address = f"{scheme}://someone:s3cr%65t@127.0.0.1:{free_port()}/0"
    guest = EmbeddedStack(tmp_path, **{variable: address})  # type: ignore[arg-type]  # by name

    with pytest.raises(SetupError, match=rf"refuses.*{variable.upper()}") as error:
        await guest.open()

    assert "127.0.0.1" in str(error.value)
    assert "s3cr" not in str(error.value)
    assert await eventually(lambda: descendants() <= before)


async def test_a_wrong_password_is_not_repeated(users: Fleet, tmp_path: Path) -> None:
    dsn = as_user(users.admin_dsn, "authcache_admin", "wr0ng")
    redis_url = as_user(str(users.redis_url), "", "wr0ng")

    for guest in (
        EmbeddedStack(tmp_path, postgres_dsn=dsn),
        EmbeddedStack(tmp_path, redis_url=redis_url),
    ):
        with pytest.raises(SetupError, match="refuses") as error:
            await guest.open()
        assert "wr0ng" not in str(error.value)


@pytest.mark.parametrize(
    "value", ["mysql://u:hidden@h/d", "host=h password=hidden", "postgresql://h:x/d"]
)
def test_an_address_of_another_kind(value: str, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="POSTGRES_DSN is not an address") as error:
        EmbeddedStack(tmp_path, postgres_dsn=value)

    assert "hidden" not in str(error.value)


@pytest.mark.parametrize(
    ("version", "refused"),
    [
        ("redis 6.2.14", True),
        ("redis 7.0.15", False),
        ("redis 8.0.2", False),
        ("valkey 7.2", False),
    ],
)
async def test_a_redis_that_is_too_old_is_refused(
    monkeypatch: pytest.MonkeyPatch, version: str, refused: bool
) -> None:
    async def answer(_: str) -> str:
        return version

    monkeypatch.setattr(user_redis, "server_version", answer)
    given = user_redis.UserRedis("redis://127.0.0.1:1/0", "token")
    if refused:
        with pytest.raises(SetupError, match=r"\[redis 6.2.14\]; Redis 7 or later"):
            await given.check()
    else:
        assert (await given.check())["redis_version"] == version
