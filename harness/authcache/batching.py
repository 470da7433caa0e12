"""Pipelines all Redis commands of a worker over one redis-py connection.

redis-py checks out a connection for every command, which costs several times the command itself
(docs/benchmarks.md). Here, commands issued while a batch is in flight go out together as the next
batch, in one system call, and are answered in order. redis-py and hiredis still connect, encode and
parse, so addresses, TLS and authentication are redis-py's.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import lru_cache
from typing import Any

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

Reply = Any
"""Bytes, an int, or None."""
Words = tuple[str | bytes | int, ...]
_CONNECT_TRIES = 4
COMMANDS = ("get", "set", "del", "eval", "evalsha", "mget", "incrby", "pexpire")
"""Counted from 0; another command is counted from its first use on."""
TRIAL = "ping"
"""Is not counted: it is about the connection, not about data."""


class BatchingClient:
    """Sends each command once: no retries, and a time-out for each batch.

    A batch that times out closes the connection, because its late replies would be taken for those
    of the next batch. The next batch reconnects.

    Args:
        url: in redis-py's format.
        timeout_s: for one batch, connecting included.
        fails_together: when a batch times out, the commands that wait behind it fail too; otherwise
            they are the next batch, and wait for a time-out of their own.
    """

    def __init__(self, url: str, *, timeout_s: float, fails_together: bool = False) -> None:
        pool = ConnectionPool.from_url(
            url,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            health_check_interval=0,
        )
        self._connection: Any = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py has no annotation for it
        self._timeout_s = timeout_s
        self._fails_together = fails_together
        self.sent: dict[str, int] = dict.fromkeys(COMMANDS, 0)
        """Commands that were written to the connection, by name in lower case.

        Redis counts the commands within a script too, so the caller of a script adds them."""
        self._waiting: list[tuple[Words, asyncio.Future[Reply]]] = []
        self._sender: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect before the first command: on a busy machine that can exceed its time-out.

        An unreachable Redis is no error here: the first command raises it.
        """
        for _ in range(_CONNECT_TRIES):
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                await self._connection.connect()
                return

    def send(self, *words: str | bytes | int) -> asyncio.Future[Reply]:
        """Send one command with the next batch. Awaiting it raises RedisError or TimeoutError."""
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting.append((words, future))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send_all())
        return future

    async def aclose(self) -> None:
        """Close the connection; commands in flight and queued commands fail."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
            self._sender = None
        waiting, self._waiting = self._waiting, []
        _fail(waiting, ConnectionError("the client was closed"))
        await self._connection.disconnect(nowait=True)

    async def _send_all(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._exchange(batch)
        finally:
            self._sender = None

    async def _exchange(self, batch: list[tuple[Words, asyncio.Future[Reply]]]) -> None:
        connection = self._connection
        try:
            async with asyncio.timeout(self._timeout_s):
                if not connection.is_connected:
                    await connection.connect()
                # redis-py's own packing does not use hiredis and takes twice as long.
                packed = b"".join([hiredis.pack_command(words) for words, _ in batch])  # type: ignore[arg-type]  # its stub allows one word only
                await connection.send_packed_command(packed, check_health=False)
                sent = self.sent
                for words, _ in batch:
                    name = _lower(words[0])
                    if name != TRIAL:
                        sent[name] = sent.get(name, 0) + 1
                for _, future in batch:
                    await self._answer(future)
        except Exception as error:  # noqa: BLE001 - whatever it is, no caller may wait for ever
            await connection.disconnect(nowait=True)
            _fail(batch, error)
            if self._fails_together and isinstance(error, (TimeoutError, RedisTimeoutError)):
                behind, self._waiting = self._waiting, []
                _fail(behind, error)
        except asyncio.CancelledError:
            _fail(batch, ConnectionError("the client was closed"))
            raise

    async def _answer(self, future: asyncio.Future[Reply]) -> None:
        try:
            reply = await self._connection.read_response()
        except ResponseError as error:
            _fail([((), future)], error)
        else:
            if not future.done():
                future.set_result(reply)


@lru_cache(maxsize=64)
def _lower(name: str | bytes | int) -> str:
    return (name.decode() if isinstance(name, bytes) else str(name)).lower()


def _fail(batch: list[tuple[Words, asyncio.Future[Reply]]], error: BaseException) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
            # Marked as retrieved: after a batch's first error the caller may not await the rest.
            future.exception()


async def gather_all(*answers: asyncio.Future[Reply]) -> list[Reply]:
    """Gather the replies of commands that were sent together. Raises the first error."""
    return [await answer for answer in answers]
