"""Connections that stay out of their pool between reads.

Acquiring a connection from asyncpg's pool and releasing it costs about as much as a read. So a
connection is acquired once and lent to one read after another. After any error it goes back to the
pool, which can replace it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Any

import asyncpg

AGAIN_S = 0.05
"""Between two tries of one read; the second is made at once."""
GROWS_AFTER_S = 1.0
"""When a server that had no more connections is asked for one again."""


class Readers:
    """Lends connections of a pool to reads, in the order in which they ask.

    Args:
        pool: where connections come from; all but one of them may be held here.
        most_s: for one read, in seconds, waiting for a connection included. A connection on which
            the time is up is cut: to return it, the pool would wait for the server. A server that
            cuts or refuses connections is asked again meanwhile, until it has been away for so
            long; from then on each read asks once. None: as long as the pool waits for a
            statement, and for a connection for ever; and nothing is asked again.
    """

    def __init__(self, pool: asyncpg.Pool, most_s: float | None = None) -> None:
        self._pool = pool
        self._most_s = most_s
        self._most = self._allowed = pool.get_max_size() - 1
        self._grows_at = 0.0
        self._away_since: float | None = None
        assert self._most > 0, "a pool has a connection for writes and one for reads"
        self._held = 0
        self._free: list[Any] = []
        self._queue: deque[asyncio.Future[Any]] = deque()
        self._closed = False

    async def fetchrow(self, statement: str, *arguments: str) -> asyncpg.Record | None:
        """The first row of a statement. Raises what asyncpg raises, and TimeoutError."""
        if self._most_s is None:
            return await self._fetchrow(statement, *arguments)
        clock, pause_s = asyncio.get_running_loop().time, 0.0
        async with asyncio.timeout(self._most_s):
            while True:
                try:
                    row = await self._fetchrow(statement, *arguments)
                except _CUT:
                    # A read does no harm if it is sent twice.
                    now = clock()
                    self._away_since = now if self._away_since is None else self._away_since
                    if now >= self._away_since + self._most_s:
                        raise
                    await asyncio.sleep(pause_s)
                    pause_s = AGAIN_S
                else:
                    self._away_since = None
                    return row

    async def _fetchrow(self, statement: str, *arguments: str) -> asyncpg.Record | None:
        while self._free:
            connection = self._free.pop()
            if not lost(connection):
                break
            # Lost while idle: no reason for a read to fail.
            await self._give_back(connection)
        else:
            connection = await self._borrow()
        try:
            row: asyncpg.Record | None = await connection.fetchrow(statement, *arguments)
        except BaseException as error:
            if self._most_s is not None and not isinstance(error, asyncpg.PostgresError):
                cut(connection)
            await self._give_back(connection)
            raise
        if self._closed or lost(connection):
            await self._give_back(connection)
        else:
            self._lend(connection)
        return row

    async def close(self) -> None:
        """Release all connections. A read under way releases its own when it ends."""
        self._closed = True
        while self._free:
            await self._give_back(self._free.pop())

    async def _borrow(self) -> Any:
        while True:
            if self._most < self._allowed and time.monotonic() >= self._grows_at:
                self._most = self._allowed
            while self._held >= self._most:
                connection = await self._turn()
                if connection is not None:
                    return connection
            self._held += 1
            try:
                return await self._pool.acquire()
            except BaseException as error:
                self._held -= 1
                if isinstance(error, asyncpg.TooManyConnectionsError) and self._held:
                    # The server has no more; the ones that we hold suffice.
                    self._most, self._grows_at = self._held, time.monotonic() + GROWS_AFTER_S
                    continue
                self._wake(None)
                raise

    async def _turn(self) -> Any:
        """Wait for a connection, or None: the right to acquire a new one."""
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._lend(turn.result())
            raise

    def _lend(self, connection: Any) -> None:
        if not self._wake(connection) and connection is not None:
            self._free.append(connection)

    def _wake(self, connection: Any) -> bool:
        """Give the next waiter a connection, or with None the right to acquire a new one."""
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False

    async def _give_back(self, connection: Any) -> None:
        self._held -= 1
        self._wake(None)
        await self._pool.release(connection)


_CUT = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.InterfaceError,
    ConnectionError,
)


def cut(connection: Any) -> None:
    """Close a connection of a pool at once, whatever the server does."""
    with contextlib.suppress(asyncpg.InterfaceError):  # The pool has taken it back already.
        connection.terminate()


def lost(connection: Any) -> bool:
    """Whether a connection of a pool is closed, as far as this end knows."""
    try:
        closed: bool = connection.is_closed()
    except asyncpg.InterfaceError:
        # The pool takes back a connection that the server has closed, even if it is lent.
        return True
    return closed
