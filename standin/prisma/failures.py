"""Translates asyncpg's errors into those of Prisma's client.

Codes, messages and classes are those of Prisma's error reference; LiteLLM distinguishes failures by
class, code, ``meta`` and words of the message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from asyncpg import exceptions as postgres

from .errors import (
    DataError,
    ForeignKeyViolationError,
    PrismaError,
    RawQueryError,
    TableNotFoundError,
    UniqueViolationError,
    problem,
)

_CLOSED = re.compile("closed|released back to the pool")
_KEY = re.compile(r"^Key \((?P<names>.*?)\)=")

_UNREACHABLE = (
    OSError,
    postgres.CannotConnectNowError,
    postgres.ClientCannotConnectError,
    postgres.InvalidAuthorizationSpecificationError,
)
_LOST = (
    postgres.PostgresConnectionError,
    postgres.AdminShutdownError,
    postgres.CrashShutdownError,
    postgres.InternalClientError,
)


def pool_timeout(seconds: float, size: int) -> DataError:
    """P2024: no connection became free in time."""
    message = (
        "Timed out fetching a new connection from the connection pool. "
        f"(Current connection pool timeout: {seconds:g}, connection limit: {size})"
    )
    return DataError(problem("P2024", message, {"connection_limit": size, "timeout": seconds}))


def unreachable(server: str) -> str:
    """The message of P1001, whose words LiteLLM looks for."""
    return f"Can't reach database server at `{server}`. Please make sure it is running there."


def translated(
    error: BaseException, *, server: str, raw: bool, table: str | None
) -> Exception | None:
    """The error to raise in place of asyncpg's; None if it is to stay as it is.

    Args:
        error: What asyncpg raised.
        server: Host and port, for messages.
        raw: Whether it was a raw query, where Postgres' own words are passed on.
        table: The table of the statement, for messages.
    """
    if isinstance(error, PrismaError):
        return None
    transport = _transport(error, server)
    if transport is not None:
        return transport
    if not isinstance(error, postgres.PostgresError | postgres.InterfaceError):
        return None
    code = getattr(error, "sqlstate", None)
    if raw:
        message = f"Raw query failed. Code: `{code}`. Message: `{error}`"
        return RawQueryError(problem("P2010", message, {"code": code, "message": str(error)}))
    for kind, make in _REFUSALS:
        if isinstance(error, kind):
            return make(error, table)
    message = f"Error occurred during query execution: {code}: {error}"
    return DataError(problem("P2000", message, {"code": code, "message": str(error)}))


def _transport(error: BaseException, server: str) -> DataError | None:
    cause = {"cause": str(error)}
    if isinstance(error, postgres.TooManyConnectionsError):
        return DataError(problem("P2037", f"Too many database connections opened: {error}", cause))
    # TimeoutError is an OSError.
    if isinstance(error, TimeoutError):
        return DataError(problem("P1008", "Operations timed out after the socket timeout."))
    if isinstance(error, _UNREACHABLE):
        return DataError(problem("P1001", unreachable(server), cause))
    closed = isinstance(error, postgres.InterfaceError) and _CLOSED.search(str(error))
    if closed or isinstance(error, _LOST):
        return DataError(problem("P1017", "Server has closed the connection.", cause))
    return None


def _unique(error: Any, table: str | None) -> DataError:
    del table
    match = _KEY.match(error.detail or "")
    names = [name.strip(' "') for name in match["names"].split(",")] if match else []
    shown = ",".join(f"`{name}`" for name in names)
    message = f"Unique constraint failed on the fields: ({shown})"
    return UniqueViolationError(problem("P2002", message, {"target": names}))


def _foreign_key(error: Any, table: str | None) -> DataError:
    del table
    name = f"{error.constraint_name} (index)"
    message = f"Foreign key constraint failed on the field: `{name}`"
    return ForeignKeyViolationError(problem("P2003", message, {"field_name": name}))


def _null(error: Any, table: str | None) -> DataError:
    del table
    message = f"Null constraint violation on the fields: (`{error.column_name}`)"
    return DataError(problem("P2011", message, {"constraint": [error.column_name]}))


def _no_table(error: Any, table: str | None) -> DataError:
    del error
    message = f"The table `{table}` does not exist in the current database."
    return TableNotFoundError(problem("P2021", message, {"table": table}))


def _no_column(error: Any, table: str | None) -> DataError:
    message = f"A column of `{table}` does not exist in the current database: {error}"
    return DataError(problem("P2022", message, {"column": str(error)}))


def _conflict(error: Any, table: str | None) -> DataError:
    del table
    message = "Transaction failed due to a write conflict or a deadlock. Please retry."
    return DataError(problem("P2034", message, {"cause": str(error)}))


_Make = Callable[[Any, str | None], DataError]
_REFUSALS: Sequence[tuple[type[Exception], _Make]] = (
    (postgres.UniqueViolationError, _unique),
    (postgres.ForeignKeyViolationError, _foreign_key),
    (postgres.NotNullViolationError, _null),
    (postgres.UndefinedTableError, _no_table),
    (postgres.UndefinedColumnError, _no_column),
    (postgres.DeadlockDetectedError, _conflict),
    (postgres.SerializationError, _conflict),
)
