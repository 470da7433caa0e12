"""Statements of a release that runs on Prisma's own client and engine.

There every call passes one method of the client, whatever its table. The engine writes the SQL, so
only the table and the action are visible here, reported in the form that `classify` parses.

Tested only on a client of the same shape: the engine was not available where this was written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from harness.domain.series import HookPoint
from harness.targets.litellm.inside.guard import Guard, Watch


class PrismaCall(NamedTuple):
    """One call of the client."""

    table: str | None
    action: str
    sql: str


class CallObserver(Protocol):
    """Gets every call before it is sent, and every one that fails."""

    def sent(self, statement: Any) -> None:
        """A call is about to be sent."""

    def failed(self, statement: Any, error: BaseException) -> None:
        """A call failed."""


def observe(client: type[Any], observer: CallObserver, guard: Guard) -> None:
    """Wrap ``Prisma._execute``. Raises AttributeError where the client has no such method."""

    def executing(
        _: Any,
        method: str,
        arguments: Mapping[str, Any],
        model: type[Any] | None = None,
        **__: Any,
    ) -> Watch:
        call = describe(method, arguments, model)
        observer.sent(call)
        error = (yield).error
        if isinstance(error, Exception):
            observer.failed(call, error)

    execute = client._execute  # noqa: SLF001 - the one place that all calls pass
    client._execute = guard.awaited(HookPoint.STATEMENTS, execute, executing)  # noqa: SLF001 - as above


def describe(method: str, arguments: Mapping[str, Any], model: type[Any] | None) -> PrismaCall:
    """What a call reads or does. Raw queries carry their own text."""
    raw = arguments.get("query")
    if isinstance(raw, str):
        return PrismaCall(None, method, raw)
    table = None if model is None else model.__name__
    verb = "SELECT 1 FROM" if method.startswith("find") else method.upper()
    return PrismaCall(table, method, f'{verb} "{table}"')
