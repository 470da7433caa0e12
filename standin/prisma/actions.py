"""The table actions, with the signatures of Prisma's client.

An argument that Prisma's client does not take is a `TypeError` here too. That matters: releases
up to 1.94 call ``find_first(select=...)`` for rotated keys, which the real client refuses before
any statement is sent, and LiteLLM goes on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from . import raw, reads, writes
from .complaints import Call
from .errors import RecordNotFoundError
from .links import Link
from .observing import Statement
from .schema import Model, Schema

_Where = Mapping[str, Any] | None


class Actions:
    """What can be done with one table.

    Args:
        schema: The model's schema.
        model: The table's model.
        link: Gives what carries statements out, when they are due.
    """

    def __init__(self, schema: Schema, model: Model, link: Callable[[], Link]) -> None:
        self._schema = schema
        self._table = model
        self._link = link

    def _call(self, action: str) -> Call:
        return Call(self._table.accessor, action)

    async def find_unique(self, where: Mapping[str, Any], include: Any = None) -> Any:
        """The row with a unique key, or None."""
        call = self._call("find_unique")
        return await reads.find_unique(self._schema, self._table, call, where, include)(
            self._link()
        )

    async def find_unique_or_raise(self, where: Mapping[str, Any], include: Any = None) -> Any:
        """The row with a unique key; RecordNotFoundError if there is none."""
        call = self._call("find_unique_or_raise")
        found = reads.find_unique(self._schema, self._table, call, where, include)
        return await reads.or_raise(self._table, found)(self._link())

    async def find_first(
        self,
        skip: int | None = None,
        where: _Where = None,
        cursor: Any = None,
        include: Any = None,
        order: Any = None,
        distinct: Sequence[str] | None = None,
    ) -> Any:
        """The first row that matches, or None."""
        found = reads.find_first(
            self._schema,
            self._table,
            self._call("find_first"),
            skip=skip,
            where=where,
            cursor=cursor,
            include=include,
            order=order,
            distinct=distinct,
        )
        return await found(self._link())

    async def find_first_or_raise(
        self,
        skip: int | None = None,
        where: _Where = None,
        cursor: Any = None,
        include: Any = None,
        order: Any = None,
        distinct: Sequence[str] | None = None,
    ) -> Any:
        """The first row that matches; RecordNotFoundError if there is none."""
        found = reads.find_first(
            self._schema,
            self._table,
            self._call("find_first_or_raise"),
            skip=skip,
            where=where,
            cursor=cursor,
            include=include,
            order=order,
            distinct=distinct,
        )
        return await reads.or_raise(self._table, found)(self._link())

    async def find_many(
        self,
        take: int | None = None,
        skip: int | None = None,
        where: _Where = None,
        cursor: Any = None,
        include: Any = None,
        order: Any = None,
        distinct: Sequence[str] | None = None,
    ) -> Any:
        """All rows that match."""
        found = reads.find_many(
            self._schema,
            self._table,
            self._call("find_many"),
            take=take,
            skip=skip,
            where=where,
            cursor=cursor,
            include=include,
            order=order,
            distinct=distinct,
        )
        return await found(self._link())

    async def count(
        self,
        select: Mapping[str, bool] | None = None,
        take: int | None = None,
        skip: int | None = None,
        where: _Where = None,
        cursor: Any = None,
    ) -> Any:
        """How many rows match; with `select`, counts by field."""
        call = self._call("count")
        counted = reads.count_rows(
            self._schema,
            self._table,
            call,
            select=select,
            where=where,
            take=take,
            skip=skip,
            cursor=cursor,
        )
        return await counted(self._link())

    async def group_by(
        self,
        by: Sequence[str],
        *,
        where: _Where = None,
        take: int | None = None,
        skip: int | None = None,
        avg: Any = None,
        sum: Any = None,  # noqa: A002 - the name that Prisma's client gives it
        min: Any = None,  # noqa: A002 - the same
        max: Any = None,  # noqa: A002 - the same
        having: Any = None,
        count: Any = None,
        order: Any = None,
    ) -> Any:
        """Groups of rows with their aggregates."""
        if order is None and (take is not None or skip is not None):
            raise TypeError("Missing argument: 'order', which take and skip need")
        grouped = reads.group_rows(
            self._schema,
            self._table,
            self._call("group_by"),
            by=by,
            aggregates={"avg": avg, "sum": sum, "min": min, "max": max, "count": count},
            where=where,
            take=take,
            skip=skip,
            having=having,
            order=order,
        )
        return await grouped(self._link())

    async def create(self, data: Mapping[str, Any], include: Any = None) -> Any:
        """Insert a row and return it."""
        call = self._call("create")
        return await writes.create(self._schema, self._table, call, data, include)(self._link())

    async def create_many(
        self, data: Sequence[Mapping[str, Any]], *, skip_duplicates: bool | None = None
    ) -> Any:
        """Insert rows and return how many."""
        made = writes.create_many(
            self._table,
            self._call("create_many"),
            data,
            skip_duplicates=bool(skip_duplicates),
        )
        return await made(self._link())

    async def update(
        self, data: Mapping[str, Any], where: Mapping[str, Any], include: Any = None
    ) -> Any:
        """Change the row with a unique key and return it; None if there is none."""
        changed = writes.update_one(
            self._schema,
            self._table,
            self._call("update"),
            data=data,
            where=where,
            include=include,
        )
        try:
            return await changed(self._link())
        except RecordNotFoundError:
            return None

    async def update_many(self, data: Mapping[str, Any], where: _Where) -> Any:
        """Change all rows that match and return how many."""
        call = self._call("update_many")
        changed = writes.update_rows(self._schema, self._table, call, data=data, where=where)
        return await changed(self._link())

    async def upsert(
        self, where: Mapping[str, Any], data: Mapping[str, Any], include: Any = None
    ) -> Any:
        """Change the row with a unique key or insert it; return it."""
        written = writes.upsert_one(
            self._schema,
            self._table,
            self._call("upsert"),
            where=where,
            data=data,
            include=include,
        )
        return await written(self._link())

    async def delete(self, where: Mapping[str, Any], include: Any = None) -> Any:
        """Delete the row with a unique key and return it; None if there is none."""
        call = self._call("delete")
        deleted = writes.delete_one(self._schema, self._table, call, where, include)
        try:
            return await deleted(self._link())
        except RecordNotFoundError:
            return None

    async def delete_many(self, where: _Where = None) -> Any:
        """Delete all rows that match and return how many."""
        call = self._call("delete_many")
        return await writes.delete_rows(self._schema, self._table, call, where)(self._link())

    async def query_raw(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """The rows of a raw query, as dicts."""
        statement = Statement(None, "query_raw", query)
        values = [raw.parameter(value) for value in args]
        return raw.result(await self._link().fetch_raw(statement, values))

    async def query_first(self, query: str, *args: Any) -> dict[str, Any] | None:
        """The first row of a raw query, as a dict, or None."""
        statement = Statement(None, "query_first", query)
        values = [raw.parameter(value) for value in args]
        rows = raw.result(await self._link().fetch_raw(statement, values))
        return rows[0] if rows else None


def __getattr__(name: str) -> type[Actions]:
    """``LiteLLM_UserTableActions`` and its like, which releases name in annotations."""
    if name.endswith("Actions"):
        return Actions
    raise AttributeError(name)
