"""The hook that reports every statement to an observer.

A statement is one round of SQL that carries data. BEGIN, COMMIT and ROLLBACK are not reported, nor
are the catalogue queries by which asyncpg learns a type that it meets for the first time.
`sent` is called once for each, immediately before it goes to Postgres (before a connection is
taken from the pool), and `failed` when it did not come back, whatever the reason. So sent minus
failed is what ``pg_stat_statements`` counts as calls, as long as no client gave up waiting.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement.

    Attributes:
        table: The table's name in Postgres; None for raw queries.
        action: The client's method that asked, such as ``find_unique``; for the statement that
            loads a relation it is the action that included it.
        sql: The text as sent, with ``$1`` placeholders.
    """

    table: str | None
    action: str
    sql: str


class Observer(Protocol):
    """Gets statements. Its methods must not raise and must not wait."""

    def sent(self, statement: Statement) -> None:
        """The statement is about to be sent."""

    def failed(self, statement: Statement, error: BaseException) -> None:
        """The statement was reported as sent and failed with `error`."""


class _NoObserver:
    def sent(self, statement: Statement) -> None:
        """Do nothing."""

    def failed(self, statement: Statement, error: BaseException) -> None:
        """Do nothing."""


_current: list[Observer] = [_NoObserver()]


def set_observer(observer: Observer | None) -> None:
    """Report all statements of this process to `observer` from now on; None to stop."""
    _current[0] = _NoObserver() if observer is None else observer


def observer() -> Observer:
    """The current observer."""
    return _current[0]
