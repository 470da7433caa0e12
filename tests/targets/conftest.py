from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from harness.stack.base import Fleet
from tests.targets.chat import Make
from tests.targets.world import Servers, running_servers


@pytest.fixture(scope="package")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One Postgres for all tests of this folder."""
    with running_servers(tmp_path_factory.mktemp("targets")) as started:
        yield started


@pytest.fixture(scope="package")
def baseline(servers: Servers) -> Fleet:
    """A replica with two workers as LiteLLM 1.84 behaves."""
    return servers.fleet("litellm_1_84", "litellm_1_84", workers=2)


@pytest.fixture(scope="package")
def recommended(servers: Servers) -> Fleet:
    """A replica as we would ship it."""
    return servers.fleet("recommended", "recommended")


@pytest.fixture(params=["baseline", "recommended"])
def fleet(request: pytest.FixtureRequest) -> Fleet:
    """Both ways through the auth path say the same to a client."""
    found: Fleet = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def client(fleet: Fleet) -> AsyncIterator[Make]:
    async with openai.DefaultAsyncHttpxClient(trust_env=False) as http:

        def make(secret: str) -> openai.AsyncOpenAI:
            base = f"{fleet.replica_urls[0]}/v1"
            return openai.AsyncOpenAI(
                api_key=secret, base_url=base, max_retries=0, http_client=http
            )

        yield make
