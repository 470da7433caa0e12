"""``tx()``: statements that are committed together."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from .errors import DataError, TransactionError, TransactionNotStartedError
from .failures import translated
from .links import Link, PoolLink, TransactionLink

Client = TypeVar("Client")

DEFAULT_MAX_WAIT = dt.timedelta(seconds=2)
DEFAULT_TIMEOUT = dt.timedelta(seconds=5)


class TransactionManager(Generic[Client]):
    """One transaction, begun and ended by ``async with`` or by its methods.

    Args:
        pool: Gives the pool that the connection comes from.
        within: Makes the client whose calls go over a link.
        max_wait: How long to wait for a connection; an int is milliseconds.
        timeout: How long the transaction may live; an int is milliseconds. After that every
            statement and the commit are refused and everything is rolled back.
    """

    def __init__(
        self,
        pool: Callable[[], PoolLink],
        within: Callable[[Link], Client],
        max_wait: int | dt.timedelta,
        timeout: int | dt.timedelta,
    ) -> None:
        self._pool = pool
        self._within = within
        self._max_wait_s = _seconds(max_wait)
        self._timeout_s = _seconds(timeout)
        self._stack = contextlib.AsyncExitStack()
        self._transaction: Any = None
        self._link: TransactionLink | None = None

    async def start(self) -> Client:
        """Begin, and return the client whose calls belong to the transaction.

        Raises:
            TransactionError: No connection became free in time.
        """
        pool = self._pool()
        try:
            connection = await self._stack.enter_async_context(pool.connection(self._max_wait_s))
            self._transaction = connection.transaction()
            await self._transaction.start()
        except BaseException as error:
            await self._stack.aclose()
            if isinstance(error, DataError):
                raise TransactionError(
                    "Transaction API error: Unable to start a transaction in the given time."
                ) from error
            instead = self._translated(error)
            if instead is None:
                raise
            raise instead from error
        self._link = TransactionLink(connection, pool.target, self._timeout_s)
        return self._within(self._link)

    async def commit(self) -> None:
        """Keep everything.

        Raises:
            TransactionNotStartedError: Nothing was begun.
            TransactionExpiredError: It took too long; everything is rolled back.
        """
        link = self._started()
        try:
            link.check_alive()
        except TransactionError:
            await self.rollback()
            raise
        await self._end(self._transaction.commit)

    async def rollback(self) -> None:
        """Undo everything.

        Raises:
            TransactionNotStartedError: Nothing was begun.
        """
        self._started()
        await self._end(self._transaction.rollback)

    def _started(self) -> TransactionLink:
        if self._link is None:
            raise TransactionNotStartedError
        return self._link

    async def _end(self, finish: Any) -> None:
        self._link = None
        try:
            await finish()
        except Exception as error:
            instead = self._translated(error)
            if instead is None:
                raise
            raise instead from error
        finally:
            await self._stack.aclose()

    def _translated(self, error: BaseException) -> Exception | None:
        server = self._pool().target.server
        return translated(error, server=server, raw=False, table=None)

    async def __aenter__(self) -> Client:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.commit()
            return
        # The original error says more than one from the rollback.
        with contextlib.suppress(Exception):
            await self.rollback()


def _seconds(value: int | dt.timedelta) -> float:
    return value.total_seconds() if isinstance(value, dt.timedelta) else value / 1000
