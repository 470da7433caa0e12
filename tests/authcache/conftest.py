from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.authcache.valkey import PATIENCE_S, Valkey


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """One Valkey for all tests of this folder."""
    with closing(Valkey(tmp_path_factory.mktemp("valkey"))) as started:
        yield started


@pytest.fixture
async def valkey(server: Valkey) -> AsyncIterator[Any]:
    """redis-py's client of an empty server that has counted nothing."""
    client: Any = Redis.from_url(server.url, socket_timeout=PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            await client.flushall()
        except RedisError:
            assert time.monotonic() < deadline, "the server does not come up"
            await asyncio.sleep(0.01)
        else:
            break
    await client.config_resetstat()
    yield client
    await client.aclose()
