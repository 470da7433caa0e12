"""The actions that read, compiled at once and run on a link later.

A public function that takes a `Table` first is an action (`actions.ACTIONS`): what follows the
table is the signature of Prisma's client.
"""

from __future__ import annotations

import datetime as dt
import decimal
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import raw, selecting
from .complaints import Call
from .errors import RecordNotFoundError, problem
from .fields import iso_datetime
from .filters import unique_fields
from .includes import inclusions, load
from .links import Link
from .models import PrismaModel, row_classes
from .observing import Statement
from .schema import Model, Schema

Operation = Callable[[Link], Awaitable[Any]]
"""A compiled action: what it does once it has a link."""
_Where = Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Table:
    """One table, and the call of it that is compiled."""

    schema: Schema
    model: Model
    call: Call


def find_unique(table: Table, where: Mapping[str, Any], include: Any = None) -> Operation:
    """The row with a unique key, or None."""
    unique_fields(table.model, where, table.call)
    return _first(find_many(table, where=where, include=include))


def find_first(
    table: Table,
    skip: int | None = None,
    where: _Where = None,
    cursor: Any = None,
    include: Any = None,
    order: Any = None,
    distinct: Sequence[str] | None = None,
) -> Operation:
    """The first row that matches, or None."""
    return _first(find_many(table, 1, skip, where, cursor, include, order, distinct))


def _first(many: Operation) -> Operation:
    async def run(link: Link) -> Any:
        rows = await many(link)
        return rows[0] if rows else None

    return run


def or_raise(action: Callable[..., Operation]) -> Callable[..., Operation]:
    """The same action, but no row is an error.

    Raises:
        RecordNotFoundError: When run.
    """

    @functools.wraps(action)
    def compiled(table: Table, *args: Any, **kwargs: Any) -> Operation:
        operation = action(table, *args, **kwargs)

        async def run(link: Link) -> Any:
            row = await operation(link)
            if row is None:
                raise RecordNotFoundError(problem("P2025", f"No {table.model.name} found"))
            return row

        return run

    return compiled


def find_many(
    table: Table,
    take: int | None = None,
    skip: int | None = None,
    where: _Where = None,
    cursor: Any = None,
    include: Any = None,
    order: Any = None,
    distinct: Sequence[str] | None = None,
) -> Operation:
    """All rows that match."""
    schema, model, call = table.schema, table.model, table.call
    if cursor is not None:
        raise call.unsupported("cursor")
    names = [distinct] if isinstance(distinct, str) else list(distinct or ())
    for name in names:
        if name not in model.fields:
            raise call.unknown(f"distinct.{name}")
    # Which rows are distinct is known only after all were read; Prisma's engine does the same.
    limits = {} if names else {"take": take, "skip": skip}
    query = selecting.select(schema, model, call, where=where, order=order, **limits)
    wanted = inclusions(schema, model, include, call)
    classes = row_classes(schema)

    async def run(link: Link) -> list[PrismaModel]:
        rows = [classes.row(model, record) for record in await link.fetch(query)]
        if names:
            rows = _distinct(rows, names)[skip or 0 :][:take]
        await load(schema, link, rows, wanted)
        return rows

    return run


def _distinct(rows: Sequence[PrismaModel], names: Sequence[str]) -> list[PrismaModel]:
    seen: dict[str, PrismaModel] = {}
    for row in rows:
        seen.setdefault(repr([getattr(row, name) for name in names]), row)
    return list(seen.values())


def count(
    table: Table,
    select: Mapping[str, bool] | None = None,
    take: int | None = None,
    skip: int | None = None,
    where: _Where = None,
    cursor: Any = None,
) -> Operation:
    """How many rows match; with `select`, a dict of counts by field."""
    if cursor is not None:
        raise table.call.unsupported("cursor")
    names = [name for name, wanted in (select or {}).items() if wanted is True] or ["_all"]
    query = selecting.count(
        table.schema, table.model, table.call, where=where, names=names, take=take, skip=skip
    )

    async def run(link: Link) -> Any:
        (row,) = await link.fetch(query)
        return row[0] if select is None else dict(zip(names, row, strict=True))

    return run


def group_by(
    table: Table,
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
) -> Operation:
    """Groups of rows with their sums, counts and extremes, as dicts in the types of JSON."""
    if order is None and (take is not None or skip is not None):
        raise TypeError("Missing argument: 'order', which take and skip need")
    if having is not None:
        raise table.call.unsupported("having")
    aggregates = {"avg": avg, "sum": sum, "min": min, "max": max, "count": count}
    shown = []
    for function, wanted in aggregates.items():
        fields = {"_all": True} if wanted is True else wanted or {}
        shown += [(function, name) for name, yes in fields.items() if yes is True]
    how: dict[str, Any] = {"where": where, "order": order, "take": take, "skip": skip}
    query = selecting.group(table.schema, table.model, table.call, by=by, shown=shown, **how)

    async def run(link: Link) -> list[dict[str, Any]]:
        return [_grouped(record, by, shown) for record in await link.fetch(query)]

    return run


def _grouped(record: Any, by: Sequence[str], shown: Sequence[tuple[str, str]]) -> dict[str, Any]:
    values = [_json(value) for value in record]
    result: dict[str, Any] = dict(zip(by, values, strict=False))
    for (function, name), value in zip(shown, values[len(by) :], strict=True):
        result.setdefault(f"_{function}", {})[name] = value
    return result


def _json(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return iso_datetime(value)
    return float(value) if isinstance(value, decimal.Decimal) else value


def query_raw(table: Table | None, query: str, *args: Any) -> Operation:
    """The rows of a raw query, as dicts in the types of JSON."""
    del table
    return _raw("query_raw", query, args)


def query_first(table: Table | None, query: str, *args: Any) -> Operation:
    """The first row of a raw query, as a dict, or None."""
    del table
    return _first(_raw("query_first", query, args))


def _raw(action: str, query: str, args: Sequence[Any]) -> Operation:
    statement = Statement(None, action, query)
    values = [raw.parameter(value) for value in args]

    async def run(link: Link) -> list[dict[str, Any]]:
        return raw.result(await link.fetch_raw(statement, values))

    return run
