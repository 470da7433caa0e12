"""Connecting, losing and replacing connections."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import warnings
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from harness.process.sockets import free_port
from standin import prisma
from standin.prisma import Prisma
from standin.prisma import client as client_module
from standin.prisma.connecting import default_size, read_url
from standin.prisma.engine.errors import EngineConnectionError
from standin.prisma.errors import (
    ClientAlreadyRegisteredError,
    ClientNotConnectedError,
    ClientNotRegisteredError,
    DataError,
    PrismaError,
    UnsupportedCallError,
    UnsupportedDatabaseError,
)
from tests.standin.conftest import Heard


def test_options_of_the_url() -> None:
    target = read_url(
        "postgresql://u:p%40ss@h:6543/d?connection_limit=7&pool_timeout=60&schema=my%20one"
        "&connect_timeout=3&socket_timeout=9&sslmode=disable&statement_cache_size=5"
        "&application_name=me&options=-c%20lock_timeout%3D5s&sslaccept=strict"
    )
    assert target.dsn == "postgresql://u:p%40ss@h:6543/d?sslmode=disable"
    assert target.server == "h:6543"
    assert (target.size, target.pool_timeout_s, target.connect_timeout_s) == (7, 60.0, 3.0)
    assert (target.statement_timeout_s, target.statement_cache) == (9.0, 5)
    assert target.settings == {
        "search_path": '"my one"',
        "application_name": "me",
        "lock_timeout": "5s",
    }


def test_defaults_of_the_url() -> None:
    target = read_url("postgres://u@h/d")
    assert (target.server, target.size) == ("h:5432", default_size())
    assert (target.pool_timeout_s, target.statement_timeout_s) == (10.0, None)
    assert read_url("postgres://u@h/d?pgbouncer=true").statement_cache == 0
    assert read_url("postgres://u@h/d?pool_timeout=0").pool_timeout_s is None


def test_urls_that_are_refused() -> None:
    with pytest.raises(UnsupportedDatabaseError, match="mysql"):
        read_url("mysql://h/d")
    with pytest.raises(PrismaError, match=r"\[poool_timeout\]"):
        read_url("postgresql://h/d?poool_timeout=1")


def test_registering() -> None:
    client = Prisma()
    try:
        with pytest.raises(ClientNotRegisteredError):
            prisma.get_client()
        assert not client.is_registered()
        prisma.register(client)
        assert client.is_registered()
        with pytest.raises(ClientAlreadyRegisteredError):
            prisma.register(client)
    finally:
        client_module._registered.clear()


def test_what_the_constructor_cannot_do() -> None:
    with pytest.raises(UnsupportedCallError, match="log_queries"):
        Prisma(log_queries=True)
    with pytest.raises(TypeError):
        Prisma(nonsense=True)  # type: ignore[call-arg]  # that is the test


async def test_without_a_connection_nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    client = Prisma(http={"timeout": 5})
    for call in (client.owner.count(), client.query_raw("SELECT 1")):
        with pytest.raises(ClientNotConnectedError):
            await call
    with pytest.raises(ClientNotConnectedError):
        await client.tx().start()
    with pytest.raises(EngineConnectionError, match="DATABASE_URL"):
        await client.connect()
    await client.disconnect()


async def test_a_server_that_is_not_there() -> None:
    url = f"postgresql://u@127.0.0.1:{free_port()}/d?sslmode=disable"
    client = Prisma(datasource={"url": url})
    with pytest.raises(EngineConnectionError, match="Can't reach database server at `127"):
        await client.connect()
    assert not client.is_connected()


async def _until(admin: Any, query: str, expected: int) -> None:
    async with asyncio.timeout(60):
        while await admin.fetchval(query) != expected:  # noqa: ASYNC110 - Postgres has no event for it
            await asyncio.sleep(0.01)


@pytest.mark.integration
async def test_connect_reads_the_environment(
    sample_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", sample_dsn)
    client = Prisma()
    await client.connect(timeout=30)
    await client.connect()
    assert client.is_connected()
    assert await client.query_raw("SELECT 1 AS one") == [{"one": 1}]
    await client.disconnect()
    assert not client.is_connected()
    with pytest.raises(ClientNotConnectedError):
        await client.owner.count()


@pytest.mark.integration
async def test_a_password_that_is_wrong(sample_dsn: str) -> None:
    parts = urlsplit(sample_dsn)
    host = f"{parts.hostname}:{parts.port}"
    url = urlunsplit(parts._replace(netloc=f"{parts.username}:wrong@{host}"))
    with pytest.raises(EngineConnectionError, match="password"):
        await Prisma(datasource={"url": url}).connect()


@pytest.mark.integration
async def test_a_schema_of_its_own(sample_dsn: str, admin: Any) -> None:
    await admin.execute('CREATE SCHEMA IF NOT EXISTS "other"')
    async with Prisma(datasource={"url": f"{sample_dsn}&schema=other"}) as client:
        assert await client.query_first("SELECT current_schema() AS s") == {"s": "other"}


@pytest.mark.integration
async def test_no_free_connection_in_time(sample_dsn: str, heard: Heard) -> None:
    url = f"{sample_dsn}&connection_limit=1&pool_timeout=0.001"
    async with Prisma(datasource={"url": url}) as client, client.tx() as tx:
        await tx.query_raw("SELECT 1")
        with pytest.raises(DataError, match="Timed out fetching a new connection") as caught:
            await client.query_raw("SELECT 2")
    assert caught.value.code == "P2024"
    assert [statement.sql for statement, _ in heard.failed_] == ["SELECT 2"]


@pytest.mark.integration
async def test_a_lost_connection_is_replaced(client: Prisma, admin: Any, heard: Heard) -> None:
    (row,) = await client.query_raw("SELECT pg_backend_pid() AS pid")
    waiting = asyncio.ensure_future(client.query_raw("SELECT pg_sleep(60)"))
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
    await _until(admin, busy, 1)
    await admin.execute("SELECT pg_terminate_backend($1)", row["pid"])
    with pytest.raises(DataError) as caught:
        await waiting
    assert caught.value.code == "P1017"
    assert len(heard.failed_) == 1
    assert await client.query_raw("SELECT 1 AS one") == [{"one": 1}]


@pytest.mark.integration
async def test_a_transaction_that_is_not_ended_does_not_keep_the_client_open(
    sample_dsn: str,
) -> None:
    client = Prisma(datasource={"url": sample_dsn})
    await client.connect()
    manager = client.tx()
    tx = await manager.start()
    async with asyncio.timeout(60):
        await client.disconnect(timeout=dt.timedelta(milliseconds=1))
    with pytest.raises(DataError) as caught:
        await tx.query_raw("SELECT 1")
    assert caught.value.code == "P1017"


@pytest.mark.integration
async def test_a_client_that_is_left_behind_closes_its_pool(
    sample_dsn: str, admin: asyncpg.Connection[asyncpg.Record]
) -> None:
    """LiteLLM replaces its client without disconnecting the old one."""
    url = f"{sample_dsn}&application_name=left_behind"
    client = Prisma(datasource={"url": url})
    await client.connect()
    await client.owner.count()
    count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'left_behind'"
    assert await admin.fetchval(count) == 1
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ResourceWarning)
        del client
        gc.collect()
    assert [str(one.message) for one in said] == [], "closed on purpose, not by the collector"
    await _until(admin, count, 0)
