"""How a statement reaches Postgres: through the pool, or in a transaction on one connection.

Every statement of this package passes `_sent`, and nothing else calls asyncpg with SQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol

import asyncpg

from . import observing
from .connecting import Target
from .errors import TransactionExpiredError
from .failures import pool_timeout, translated
from .observing import Statement
from .statements import Query

Rows = list[Any]

CLOSE_TIMEOUT_S = 5.0


class Link(Protocol):
    """Runs statements."""

    async def fetch(self, query: Query) -> Rows:
        """The rows that a statement returns."""

    async def execute(self, query: Query) -> int:
        """How many rows a statement changed."""

    async def fetch_raw(self, statement: Statement, values: Sequence[Any]) -> Rows:
        """The rows of a raw query."""

    async def execute_raw(self, statement: Statement, values: Sequence[Any]) -> int:
        """How many rows a raw statement changed."""

    def atomically(self) -> contextlib.AbstractAsyncContextManager[Link]:
        """A link whose statements are committed together at the end, or not at all."""


def affected(status: str) -> int:
    """The number at the end of a command's status, such as ``INSERT 0 3``; else 0."""
    last = status.rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


@contextlib.contextmanager
def _sent(statement: Statement, server: str) -> Iterator[None]:
    """Report a statement, and its failure; raise what Prisma's client would."""
    observer = observing.observer()
    observer.sent(statement)
    try:
        yield
    except BaseException as error:
        observer.failed(statement, error)
        instead = translated(
            error, server=server, raw=statement.table is None, table=statement.table
        )
        if instead is None:
            raise
        raise instead from error


class _Carrier:
    """What both links share: the four ways to send, over `_use`."""

    def __init__(self, target: Target) -> None:
        self.target = target

    async def _use(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        raise NotImplementedError

    async def _send(self, statement: Statement, work: Callable[[Any], Awaitable[Any]]) -> Any:
        with _sent(statement, self.target.server):
            return await self._use(work)

    async def fetch(self, query: Query) -> Rows:
        return await self.fetch_raw(query.statement, query.values)

    async def execute(self, query: Query) -> int:
        return await self.execute_raw(query.statement, query.values)

    async def fetch_raw(self, statement: Statement, values: Sequence[Any]) -> Rows:
        rows: Rows = await self._send(statement, lambda one: one.fetch(statement.sql, *values))
        return rows

    async def execute_raw(self, statement: Statement, values: Sequence[Any]) -> int:
        status = await self._send(statement, lambda one: one.execute(statement.sql, *values))
        return affected(status)


class PoolLink(_Carrier):
    """Each statement on whatever connection is free.

    The pool is closed when the last user of the link is gone: LiteLLM replaces its client without
    disconnecting the old one, and statements may still be running then.
    """

    def __init__(self, pool: asyncpg.Pool, target: Target) -> None:
        super().__init__(target)
        self.pool = pool
        weakref.finalize(self, _terminate, pool).atexit = False

    async def close(self, timeout_s: float | None) -> None:
        """Close the pool, and cut off the statements that still run after `timeout_s`.

        Args:
            timeout_s: None for the default: a transaction that is never ended must not keep a proxy
                from shutting down.
        """
        limit_s = CLOSE_TIMEOUT_S if timeout_s is None else timeout_s
        # asyncpg cuts off what is left when its close is given up.
        with contextlib.suppress(TimeoutError):
            # Correct also in a task that is being cancelled; the harness cannot be imported here.
            await asyncio.wait_for(self.pool.close(), limit_s)  # noqa: TID251

    @contextlib.asynccontextmanager
    async def connection(self, timeout_s: float | None) -> AsyncIterator[Any]:
        """A connection for the caller alone.

        Raises:
            DataError: P2024, none became free in `timeout_s` seconds.
        """
        try:
            connection = await self.pool.acquire(timeout=timeout_s)
        except TimeoutError as error:
            raise pool_timeout(timeout_s or 0.0, self.target.size) from error
        try:
            yield connection
        finally:
            await self.pool.release(connection)

    async def _use(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        async with self.connection(self.target.pool_timeout_s) as connection:
            return await work(connection)

    @contextlib.asynccontextmanager
    async def atomically(self) -> AsyncIterator[Link]:
        """A transaction of its own."""
        try:
            async with (
                self.connection(self.target.pool_timeout_s) as connection,
                connection.transaction(),
            ):
                yield TransactionLink(connection, self.target)
        except Exception as error:
            # Of BEGIN and COMMIT; a statement's own error is translated already.
            instead = translated(error, server=self.target.server, raw=False, table=None)
            if instead is None:
                raise
            raise instead from error


def _terminate(pool: asyncpg.Pool) -> None:
    # The loop of the pool may be gone before the pool.
    with contextlib.suppress(Exception):
        pool.terminate()


class TransactionLink(_Carrier):
    """All statements on one connection, one after the other, inside one transaction.

    Args:
        connection: With a transaction begun.
        target: For messages.
        lifetime_s: After this many seconds every further statement is refused, as Prisma's engine
            does; None for no limit.
    """

    def __init__(self, connection: Any, target: Target, lifetime_s: float | None = None) -> None:
        super().__init__(target)
        self._connection = connection
        self._lifetime_s = lifetime_s
        self._since = time.monotonic()
        self._turn = asyncio.Lock()

    def check_alive(self) -> None:
        """Refuse what comes too late.

        Raises:
            TransactionExpiredError: The transaction is older than its lifetime.
        """
        passed = time.monotonic() - self._since
        if self._lifetime_s is not None and passed > self._lifetime_s:
            raise TransactionExpiredError(
                "Transaction already closed: A query cannot be executed on an expired transaction. "
                f"The timeout for this transaction was {self._lifetime_s * 1000:.0f} ms, however "
                f"{passed * 1000:.0f} ms passed since the start of the transaction."
            )

    async def _use(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        # Callers may gather; Prisma's engine queues the statements of a transaction too.
        async with self._turn:
            self.check_alive()
            return await work(self._connection)

    @contextlib.asynccontextmanager
    async def atomically(self) -> AsyncIterator[Link]:
        """Already in a transaction, so itself."""
        yield self
