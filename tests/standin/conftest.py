from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import asyncpg
import pytest

from harness.targets.litellm.environment import Environment, installed
from harness.targets.litellm.migrations import migrate
from standin.prisma import Prisma, complaints, locating, observing
from standin.prisma.locating import merged
from standin.prisma.observing import Statement
from standin.prisma.reading import read_schema
from standin.prisma.schema import Schema
from tests.standin import sample
from tests.targets.world import Servers, running_servers

PREFERRED = "1.84.0rc1"
"""The release that CI installs."""


@dataclass
class Heard:
    """An observer that keeps what it hears."""

    sent_: list[Statement] = field(default_factory=list)
    failed_: list[tuple[Statement, BaseException]] = field(default_factory=list)

    def sent(self, statement: Statement) -> None:
        self.sent_.append(statement)

    def failed(self, statement: Statement, error: BaseException) -> None:
        self.failed_.append((statement, error))

    @property
    def tables(self) -> list[str | None]:
        return [statement.table for statement in self.sent_]

    @property
    def verbs(self) -> list[str]:
        return [statement.sql.split()[0] for statement in self.sent_]


@pytest.fixture
def heard() -> Iterator[Heard]:
    """All statements of the test."""
    kept = Heard()
    observing.set_observer(kept)
    yield kept
    observing.set_observer(None)


@pytest.fixture(autouse=True)
def sample_schema() -> Iterator[Schema]:
    """The sample's schema is the one of the process."""
    complaints.forget_complaints()
    locating.use_schema(sample.SCHEMA)
    yield sample.SCHEMA
    locating.use_schema(None)


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One Postgres for all tests of this folder."""
    with running_servers(tmp_path_factory.mktemp("standin")) as started:
        yield started


@pytest.fixture(scope="package")
def sample_dsn(servers: Servers) -> str:
    """A database with the sample's tables."""
    databases = servers.stack._databases
    assert databases is not None
    database = servers._run(databases.create("prisma-sample"))

    async def fill() -> None:
        connection = await asyncpg.connect(database.dsn)
        await connection.execute(sample.TABLES)
        await connection.close()

    servers._run(fill())
    return str(database.dsn)


@pytest.fixture
async def admin(sample_dsn: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection of the test's own, on empty tables."""
    connection = await asyncpg.connect(sample_dsn)
    await connection.execute('TRUNCATE "OwnerTable", "Thing", "Maker", "Counter" CASCADE')
    yield connection
    await connection.close()


@pytest.fixture
async def client(
    sample_dsn: str, admin: asyncpg.Connection[asyncpg.Record], heard: Heard
) -> AsyncIterator[Prisma]:
    """A connected client on the sample's empty tables."""
    del admin, heard
    async with Prisma(datasource={"url": f"{sample_dsn}&connection_limit=4"}) as connected:
        yield connected


@pytest.fixture(scope="package")
def release() -> Environment:
    """An installed release; the preferred one, else the oldest."""
    found = {one.version: one for one in installed()}
    if not found:
        pytest.skip(f"NO LITELLM RELEASE IS INSTALLED; run: harness releases install {PREFERRED}")
    return found.get(PREFERRED) or next(iter(found.values()))


@pytest.fixture(scope="package")
def release_schema(release: Environment) -> Schema:
    """As the stand-in reads it inside the release's environment."""
    places = ("litellm_proxy_extras/schema.prisma", "litellm/proxy/schema.prisma")
    texts = [(release.site_packages / place).read_text(encoding="utf-8") for place in places]
    return merged([read_schema(text) for text in texts])


@pytest.fixture(scope="package")
def release_dsn(servers: Servers, release: Environment) -> str:
    """A database made by the release's own migrations."""
    databases = servers.stack._databases
    assert databases is not None
    database = servers._run(databases.create("prisma-release"))
    servers._run(migrate(database.dsn, release.extras_migrations))
    return str(database.dsn)


@pytest.fixture
async def release_client(
    release_dsn: str, release_schema: Schema, heard: Heard
) -> AsyncIterator[Prisma]:
    """A connected client on the release's tables."""
    del heard
    locating.use_schema(release_schema)
    async with Prisma(datasource={"url": release_dsn}) as connected:
        yield connected
