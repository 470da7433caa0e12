"""The client: connection, tables, raw queries, transactions and batches."""

from __future__ import annotations

import copy
import datetime as dt
import os
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from . import reads, writes
from .actions import Actions
from .batching import Batch
from .complaints import PREFIX, complain
from .connecting import Target, open_pool, read_url
from .engine.errors import EngineConnectionError
from .errors import (
    ClientAlreadyRegisteredError,
    ClientNotConnectedError,
    ClientNotRegisteredError,
    PrismaError,
    UnsupportedCallError,
)
from .failures import unreachable
from .links import Link, PoolLink, TransactionLink
from .locating import current_schema
from .transactions import DEFAULT_MAX_WAIT, DEFAULT_TIMEOUT, TransactionManager

__all__ = ("Batch", "Client", "Prisma", "TransactionManager", "get_client", "register")

DATABASE_VARIABLE = "DATABASE_URL"
_registered: list[Any] = []


def register(client: Any) -> None:
    """Register `client`, or a callable that makes it, for `get_client`.

    Raises:
        ClientAlreadyRegisteredError: There is one.
    """
    if _registered:
        raise ClientAlreadyRegisteredError
    _registered.append(client)


def get_client() -> Any:
    """The registered client.

    Raises:
        ClientNotRegisteredError: There is none.
    """
    if not _registered:
        raise ClientNotRegisteredError
    client = _registered[0]
    return client() if callable(client) else client


class Prisma:
    """A client for one database.

    Args:
        use_dotenv: Accepted without effect: LiteLLM loads its environment itself.
        log_queries: Write every statement to stderr.
        auto_register: Make this client the one that `get_client` returns.
        datasource: ``{"url": ...}`` in place of the environment's DATABASE_URL.
        connect_timeout: How long `connect` may take; replaces the URL's ``connect_timeout``.
        http: Accepted without effect: there is no HTTP.
    """

    def __init__(
        self,
        *,
        use_dotenv: bool = True,
        log_queries: bool = False,
        auto_register: bool = False,
        datasource: Mapping[str, Any] | None = None,
        connect_timeout: float | dt.timedelta | None = None,
        http: Any = None,
    ) -> None:
        del use_dotenv, http
        if log_queries:
            raise UnsupportedCallError(f"{PREFIX}Prisma(log_queries=True) is not supported")
        self._schema = current_schema()
        self._datasource = datasource
        self._connect_timeout = connect_timeout
        self._pool_link: PoolLink | None = None
        self._link: Link | None = None
        if auto_register:
            register(self)

    def __getattr__(self, name: str) -> Actions:
        """The actions of a table, by the model's name in lower case."""
        model = None if name.startswith("_") else self._schema.by_accessor.get(name)
        if model is None:
            if name.startswith("litellm_"):
                complain(f"{PREFIX}the schema has no table [{name}]")
            raise AttributeError(f"'Prisma' object has no attribute '{name}'")
        # Not kept: the client and its pool must be freed as soon as LiteLLM replaces it.
        return Actions(self._schema, model, self._connected)

    def _connected(self) -> Link:
        if self._link is None:
            raise ClientNotConnectedError
        return self._link

    def is_connected(self) -> bool:
        """Whether there is a pool."""
        return self._link is not None

    def is_registered(self) -> bool:
        """Whether `get_client` returns this client."""
        try:
            return get_client() is self
        except PrismaError:
            return False

    def is_transaction(self) -> bool:
        """Whether this client belongs to a transaction."""
        return isinstance(self._link, TransactionLink)

    async def connect(
        self,
        timeout: float | dt.timedelta | None = None,  # noqa: ASYNC109 - the client's own signature
    ) -> None:
        """Open the pool; nothing happens if it is open.

        Args:
            timeout: How long it may take, in seconds or as a timedelta.

        Raises:
            EngineConnectionError: The database cannot be reached or refuses the login.
        """
        if self._link is not None:
            return
        target = self._target(timeout)
        try:
            pool = await open_pool(target)
        except PrismaError:
            raise
        except Exception as error:
            message = f"{unreachable(target.server)} ({type(error).__name__}: {error})"
            raise EngineConnectionError(message) from error
        self._link = self._pool_link = PoolLink(pool, target)

    def _target(self, timeout: float | dt.timedelta | None) -> Target:
        url = (self._datasource or {}).get("url") or os.environ.get(DATABASE_VARIABLE)
        if not url:
            raise EngineConnectionError(
                f"{PREFIX}no database given. Set {DATABASE_VARIABLE} or the datasource's url."
            )
        target = read_url(url)
        limit = self._connect_timeout if timeout is None else timeout
        if limit is None:
            return target
        seconds = limit.total_seconds() if isinstance(limit, dt.timedelta) else float(limit)
        return target.with_connect_timeout(seconds)

    async def disconnect(
        self,
        timeout: float | dt.timedelta | None = None,  # noqa: ASYNC109 - the client's own signature
    ) -> None:
        """Close the pool after the statements that are running.

        Args:
            timeout: How long to wait for them before they are cut off.
        """
        link, self._link, self._pool_link = self._pool_link, None, None
        if link is not None:
            seconds = timeout.total_seconds() if isinstance(timeout, dt.timedelta) else timeout
            await link.close(seconds)

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.disconnect()

    async def query_raw(self, query: str, *args: Any, model: Any = None) -> list[Any]:
        """The rows of a raw query, as dicts in the types of JSON."""
        _without_model("query_raw", model)
        rows: list[Any] = await reads.query_raw(None, query, *args)(self._connected())
        return rows

    async def query_first(self, query: str, *args: Any, model: Any = None) -> Any:
        """The first row of a raw query, as a dict, or None."""
        _without_model("query_first", model)
        return await reads.query_first(None, query, *args)(self._connected())

    async def execute_raw(self, query: str, *args: Any) -> int:
        """How many rows a raw statement changed."""
        changed: int = await writes.execute_raw(query, *args)(self._connected())
        return changed

    def batch_(self) -> Batch:
        """Collect writes and send them in one transaction."""
        return Batch(self._schema, self._connected)

    def tx(
        self,
        *,
        max_wait: int | dt.timedelta = DEFAULT_MAX_WAIT,
        timeout: int | dt.timedelta = DEFAULT_TIMEOUT,
    ) -> TransactionManager[Self]:
        """A transaction as a context manager; inside it is a client of its own.

        Args:
            max_wait: How long to wait for a connection; an int is milliseconds.
            timeout: How long the transaction may live; an int is milliseconds.
        """
        return TransactionManager(self._pool, self._within, max_wait, timeout)

    def _pool(self) -> PoolLink:
        if self._pool_link is None:
            raise ClientNotConnectedError
        return self._pool_link

    def _within(self, link: Link) -> Self:
        """This client, but on a transaction's link."""
        inner = copy.copy(self)
        inner.__dict__["_link"] = link
        return inner


def _without_model(action: str, model: Any) -> None:
    if model is not None:
        message = f"{PREFIX}{action}(model) is not supported"
        complain(message)
        raise UnsupportedCallError(message)


Client = Prisma
