"""Connections that stay out of their pool between reads.

Acquiring a connection from asyncpg's pool and releasing it costs about as much as a read. So a
connection is acquired once and lent to one read after another. After any error it goes back to the
pool, which can replace it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import asyncpg


class Readers:
    """Lends connections of a pool to reads, in the order in which they ask.

    Args:
        pool: where connections come from; all but one of them may be held here.
    """

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._most = pool.get_max_size() - 1
        assert self._most > 0, "a pool has a connection for writes and one for reads"
        self._held = 0
        self._free: list[Any] = []
        self._queue: deque[asyncio.Future[Any]] = deque()
        self._closed = False

    async def fetchrow(self, statement: str, *arguments: str) -> asyncpg.Record | None:
        """The first row of a statement. Raises what asyncpg raises."""
        while self._free:
            connection = self._free.pop()
            if not _lost(connection):
                break
            # Lost while idle: no reason for a read to fail.
            await self._give_back(connection)
        else:
            connection = await self._borrow()
        try:
            row: asyncpg.Record | None = await connection.fetchrow(statement, *arguments)
        except BaseException:
            await self._give_back(connection)
            raise
        if self._closed or _lost(connection):
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
                    self._most = self._held
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


def _lost(connection: Any) -> bool:
    try:
        closed: bool = connection.is_closed()
    except asyncpg.InterfaceError:
        # The pool takes back a connection that the server has closed, even if it is lent.
        return True
    return closed
