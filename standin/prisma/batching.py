"""``batch_()``: table actions collected at once and sent in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from .actions import BatchActions
from .links import Link
from .reads import Operation
from .schema import Schema
from .writes import execute_raw


class Batch:
    """Collects writes; nothing is sent before `commit` or the end of ``async with``.

    A call is compiled when it is made: a later change of its arguments changes nothing, and a call
    that is not supported fails at once.
    """

    def __init__(self, schema: Schema, link: Callable[[], Link]) -> None:
        self._schema = schema
        self._link = link
        self._operations: list[Operation] = []

    def __getattr__(self, name: str) -> BatchActions:
        if name.startswith("_") or name not in self._schema.by_accessor:
            raise AttributeError(name)
        return BatchActions(self._schema, self._schema.by_accessor[name], self._operations.append)

    def execute_raw(self, query: str, *args: Any) -> None:
        """Add a raw statement."""
        self._operations.append(execute_raw(query, *args))

    async def commit(self) -> None:
        """Send everything, in order, in one transaction; or nothing of it.

        Raises:
            RecordNotFoundError: An update or delete of a row that is not there.
        """
        operations = self._operations[:]
        self._operations.clear()
        if not operations:
            return
        async with self._link().atomically() as whole:
            for operation in operations:
                await operation(whole)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            await self.commit()
