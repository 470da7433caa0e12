"""The client of one connection: what goes through it, and servers that misbehave."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.exceptions import RedisError

from harness.authcache.batching import COMMANDS, BatchingClient
from tests.authcache.valkey import PATIENCE_S, Valkey

pytestmark = [
    *(pytest.mark.integration, pytest.mark.timeout(120)),
    # A command that is not awaited, an error that is not seen.
    pytest.mark.filterwarnings("error"),
]


@pytest.fixture
async def client(server: Valkey, valkey: Any) -> AsyncIterator[BatchingClient]:
    """A client of the empty server."""
    del valkey
    made = BatchingClient(server.url, timeout_s=PATIENCE_S)
    yield made
    await made.aclose()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=st.text(), value=st.binary())
@pytest.mark.usefixtures("valkey")
def test_any_key_and_any_value_survive(server: Valkey, key: str, value: bytes) -> None:
    async def there_and_back() -> Any:
        one = BatchingClient(server.url, timeout_s=PATIENCE_S)
        await one.send("SET", key, value)
        answer = await one.send("GET", key)
        await one.aclose()
        return answer

    assert asyncio.run(there_and_back()) == value


async def test_commands_are_counted_by_name_as_they_are_sent(client: BatchingClient) -> None:
    assert client.sent == dict.fromkeys(COMMANDS, 0)
    await asyncio.gather(client.send("SET", "a", 1), client.send("GET", "a"), client.send("GET", 1))
    await client.send("incr", "a")

    assert client.sent == dict.fromkeys(COMMANDS, 0) | {"get": 2, "set": 1, "incr": 1}


async def test_a_command_that_never_left_is_not_counted() -> None:
    one = BatchingClient("redis://127.0.0.1:1", timeout_s=PATIENCE_S)
    with pytest.raises(RedisError):
        await one.send("GET", "a")
    await one.aclose()

    assert one.sent["get"] == 0


async def test_a_value_larger_than_any_buffer(client: BatchingClient) -> None:
    value = bytes(range(256)) * 40_000
    await client.send("SET", "large", value)

    assert await client.send("GET", "large") == value


async def test_many_at_once_get_their_own_answers(client: BatchingClient) -> None:
    async def there_and_back(i: int) -> Any:
        await client.send("SET", f"k{i}", i)
        return await client.send("GET", f"k{i}")

    answers = await asyncio.gather(*(there_and_back(i) for i in range(500)))

    assert answers == [b"%d" % i for i in range(500)]


async def test_what_cannot_be_sent_fails_and_blocks_no_other_for_ever(
    client: BatchingClient,
) -> None:
    wrong, right = client.send("GET", "\ud800"), client.send("GET", "a")
    later = asyncio.gather(wrong, right, return_exceptions=True)

    answers = await asyncio.wait_for(later, PATIENCE_S)

    assert isinstance(answers[0], UnicodeEncodeError)
    assert await client.send("GET", "a") is None


async def test_a_server_that_hangs_answers_again_later(server: Valkey, valkey: Any) -> None:
    hasty = BatchingClient(server.url, timeout_s=0.05)
    await asyncio.gather(hasty.send("SET", "a", b"1"), hasty.send("SET", "b", b"2"))
    server.process.send_signal(signal.SIGSTOP)
    try:
        asked = [hasty.send("GET", "a") for _ in range(3)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert [type(answer) for answer in answers] == [TimeoutError] * 3

    assert await valkey.ping()
    hasty._timeout_s = PATIENCE_S
    # Not what the first three would have got.
    assert await hasty.send("GET", "b") == b"2"
    await hasty.aclose()


@pytest.mark.parametrize("together", [True, False])
async def test_what_waits_behind_a_silent_server_waits_for_one_time_out(
    server: Valkey, valkey: Any, together: bool
) -> None:
    del valkey
    one = BatchingClient(server.url, timeout_s=0.2, fails_together=together)
    await one.send("SET", "a", b"1")
    server.process.send_signal(signal.SIGSTOP)
    try:
        under_way = one.send("GET", "a")
        await asyncio.sleep(0)
        behind = one.send("GET", "b")
        with pytest.raises(TimeoutError):
            await under_way
        await asyncio.sleep(0)
        assert behind.done() == together
        with pytest.raises(TimeoutError):
            await behind
    finally:
        server.process.send_signal(signal.SIGCONT)
    await one.aclose()


async def test_closing_fails_what_is_under_way_and_what_waits_for_it(server: Valkey) -> None:
    one = BatchingClient(server.url, timeout_s=PATIENCE_S)
    server.process.send_signal(signal.SIGSTOP)
    try:
        under_way = one.send("GET", "a")
        await asyncio.sleep(0)
        queued = one.send("GET", "b")
        await one.aclose()
        unsent = BatchingClient(server.url, timeout_s=PATIENCE_S)
        never = unsent.send("GET", "c")
        await unsent.aclose()
    finally:
        server.process.send_signal(signal.SIGCONT)

    every = asyncio.gather(under_way, queued, never, return_exceptions=True)
    answers = await asyncio.wait_for(every, PATIENCE_S)
    assert [type(answer) for answer in answers] == [ConnectionError] * 3


async def test_a_database_of_its_own(server: Valkey, valkey: Any) -> None:
    one = BatchingClient(f"redis://127.0.0.1:{server.port}/3", timeout_s=PATIENCE_S)
    await one.send("SET", "a", b"1")

    assert not await valkey.exists("a")
    assert (await valkey.info("keyspace"))["db3"]["keys"] == 1
    await one.aclose()


async def test_a_password(server: Valkey, valkey: Any) -> None:
    await valkey.config_set("requirepass", "se:cr@t")
    url = f"redis://:se%3Acr%40t@127.0.0.1:{server.port}/0"
    clients = {
        url: BatchingClient(url, timeout_s=PATIENCE_S)
        for url in (url, url.replace("se", "no"), f"redis://127.0.0.1:{server.port}/0")
    }
    try:
        right, wrong, none = clients.values()
        assert await right.send("SET", "a", b"1") == b"OK"
        with pytest.raises(RedisError, match=r"(?i)invalid username-password|WRONGPASS"):
            await wrong.send("GET", "a")
        with pytest.raises(RedisError, match="already authenticated"):
            await none.send("GET", "a")
    finally:
        await valkey.config_set("requirepass", "")
        for client in clients.values():
            await client.aclose()


async def test_no_server_listens() -> None:
    one = BatchingClient("redis://127.0.0.1:1/0", timeout_s=PATIENCE_S)

    asked = [one.send("GET", "a") for _ in range(3)]
    answers = await asyncio.gather(*asked, return_exceptions=True)

    assert all(isinstance(answer, RedisError) for answer in answers)
    await one.aclose()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
async def test_a_server_that_is_no_redis(answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as impostor:
        port = impostor.sockets[0].getsockname()[1]
        one = BatchingClient(f"redis://127.0.0.1:{port}/0", timeout_s=PATIENCE_S)
        for _ in range(2):
            with pytest.raises(RedisError):
                await asyncio.wait_for(one.send("GET", "a"), PATIENCE_S)
        await one.aclose()


async def test_a_client_can_be_connected_before_its_first_command(client: BatchingClient) -> None:
    assert not client._connection.is_connected
    await client.open()
    assert client._connection.is_connected
    assert await client.send("PING") == b"PONG"


async def test_a_redis_that_is_away_is_the_first_commands_error() -> None:
    away = BatchingClient("redis://127.0.0.1:1/0", timeout_s=PATIENCE_S)
    await away.open()
    with pytest.raises(RedisError):
        await away.send("PING")
    await away.aclose()
