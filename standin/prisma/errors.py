"""The tree of errors that LiteLLM looks at, with the names and constructors of Prisma's client.

PrismaError
├── UnsupportedCallError          ours: a call that this package does not carry out
├── ClientNotConnectedError, ClientNotRegisteredError, ClientAlreadyRegisteredError
├── HTTPClientClosedError, UnsupportedDatabaseError
├── DataError                     Postgres or the schema refused; carries Prisma's code and meta
│   ├── UniqueViolationError, ForeignKeyViolationError, MissingRequiredValueError
│   ├── RawQueryError, TableNotFoundError, FieldNotFoundError
│   └── RecordNotFoundError, InputError
├── TransactionError
│   └── TransactionExpiredError, TransactionNotStartedError
└── engine.errors.EngineError     the database cannot be reached at all
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PrismaError(Exception):
    """Base of all errors of this package."""


class UnsupportedCallError(PrismaError):
    """A call, argument or operator that this package does not carry out."""


class ClientNotRegisteredError(PrismaError):
    """``get_client`` before ``register``."""

    def __init__(self) -> None:
        super().__init__("No client is registered. Call prisma.register(prisma.Prisma()) first.")


class ClientAlreadyRegisteredError(PrismaError):
    """``register`` twice."""

    def __init__(self) -> None:
        super().__init__("A client has already been registered.")


class ClientNotConnectedError(PrismaError):
    """A query before ``connect`` or after ``disconnect``."""

    def __init__(self) -> None:
        super().__init__("Client is not connected to the database. Call `connect()` first.")


class HTTPClientClosedError(PrismaError):
    """Part of the tree that LiteLLM names; never raised here, since no HTTP is spoken."""

    def __init__(self) -> None:
        super().__init__("Cannot make a request from a closed client.")


class UnsupportedDatabaseError(PrismaError):
    """A DATABASE_URL that is not one of Postgres."""

    def __init__(self, database: str, context: str) -> None:
        super().__init__(f"{context} is not supported by {database}")
        self.database = database
        self.context = context


class DataError(PrismaError):
    """Postgres or the schema refused what was asked.

    Args:
        data: The shape of Prisma's engine: ``{"user_facing_error": {"error_code", "message",
            "meta"}}``. LiteLLM reads ``code`` and ``meta``.
        message: Replaces the message in ``data``.
    """

    def __init__(self, data: Any, *, message: str | None = None) -> None:
        self.data = data
        facing = data.get("user_facing_error", {})
        self.code: Any = facing.get("error_code")
        self.meta: Any = facing.get("meta")
        super().__init__(
            message or facing.get("message") or "An error occurred while processing data."
        )


class UniqueViolationError(DataError):
    """P2002: a unique constraint failed."""


class ForeignKeyViolationError(DataError):
    """P2003: a foreign key constraint failed."""


class MissingRequiredValueError(DataError):
    """P2012: a value is required but not set."""


class RawQueryError(DataError):
    """P2010: Postgres refused a raw query; ``meta`` holds its SQLSTATE and message."""

    def __init__(self, data: Any) -> None:
        meta = data.get("user_facing_error", {}).get("meta") or {}
        super().__init__(data, message=meta.get("message"))


class TableNotFoundError(DataError):
    """P2021: the table does not exist in the database."""

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        self.table: str | None = (self.meta or {}).get("table")


class FieldNotFoundError(DataError):
    """P2009: the schema has no such field."""


class RecordNotFoundError(DataError):
    """P2025: a record that the call depends on does not exist."""


class InputError(DataError):
    """P2019: an input that the schema refuses."""


class TransactionError(PrismaError):
    """P2028: a transaction could not be started or used."""


class TransactionExpiredError(TransactionError):
    """A transaction lived longer than its timeout."""


class TransactionNotStartedError(TransactionError):
    """``commit`` or ``rollback`` before ``start``."""

    def __init__(self) -> None:
        super().__init__(
            "Transaction has not been started yet. Use it as a context manager, or start it."
        )


def problem(code: str, message: str, meta: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The shape in which Prisma's engine reports a problem, for the ``data`` of a DataError."""
    facing = {"error_code": code, "message": message, "meta": dict(meta or {})}
    return {"error": message, "user_facing_error": facing}
