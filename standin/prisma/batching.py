"""``batch_()``: table actions collected at once and sent in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from . import raw, writes
from .complaints import Call
from .links import Link
from .observing import Statement
from .reads import Operation
from .schema import Model, Schema


class Batch:
    """Collects writes; nothing is sent before `commit` or the end of ``async with``.

    A call is compiled when it is made: a later change of its arguments changes nothing, and a call
    that is not supported fails where it stands.
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
        values = [raw.parameter(value) for value in args]

        async def run(link: Link) -> int:
            return await link.execute_raw(Statement(None, "execute_raw", query), values)

        self._operations.append(run)

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


class BatchActions:
    """What a batch can do with one table."""

    def __init__(self, schema: Schema, model: Model, add: Callable[[Operation], None]) -> None:
        self._schema = schema
        self._table = model
        self._add = add

    def _call(self, action: str) -> Call:
        return Call(self._table.accessor, action)

    def create(self, data: Mapping[str, Any], include: Any = None) -> None:
        """Insert a row."""
        call = self._call("create")
        self._add(writes.create(self._schema, self._table, call, data, include))

    def create_many(
        self, data: Sequence[Mapping[str, Any]], *, skip_duplicates: bool | None = None
    ) -> None:
        """Insert rows."""
        call = self._call("create_many")
        skip = bool(skip_duplicates)
        self._add(writes.create_many(self._table, call, data, skip_duplicates=skip))

    def update(
        self, data: Mapping[str, Any], where: Mapping[str, Any], include: Any = None
    ) -> None:
        """Change the row with a unique key."""
        self._add(
            writes.update_one(
                self._schema,
                self._table,
                self._call("update"),
                data=data,
                where=where,
                include=include,
            )
        )

    def upsert(
        self, where: Mapping[str, Any], data: Mapping[str, Any], include: Any = None
    ) -> None:
        """Change the row with a unique key or insert it."""
        self._add(
            writes.upsert_one(
                self._schema,
                self._table,
                self._call("upsert"),
                where=where,
                data=data,
                include=include,
            )
        )

    def update_many(self, data: Mapping[str, Any], where: Mapping[str, Any] | None) -> None:
        """Change all rows that match."""
        call = self._call("update_many")
        self._add(writes.update_rows(self._schema, self._table, call, data=data, where=where))

    def delete(self, where: Mapping[str, Any], include: Any = None) -> None:
        """Delete the row with a unique key."""
        call = self._call("delete")
        self._add(writes.delete_one(self._schema, self._table, call, where, include))

    def delete_many(self, where: Mapping[str, Any] | None = None) -> None:
        """Delete all rows that match."""
        call = self._call("delete_many")
        self._add(writes.delete_rows(self._schema, self._table, call, where))
