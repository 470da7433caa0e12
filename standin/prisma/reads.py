"""The actions that read, compiled at once and run on a link later."""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from .complaints import Call
from .errors import RecordNotFoundError, problem
from .fields import iso_datetime
from .filters import unique_fields
from .includes import inclusions, load
from .links import Link
from .models import PrismaModel, row_classes
from .schema import Model, Schema
from .selecting import count, group, select

Operation = Callable[[Link], Awaitable[Any]]
"""A compiled action: what it does once it has a link."""


def find_unique(
    schema: Schema, model: Model, call: Call, where: Mapping[str, Any], include: Any
) -> Operation:
    """The row with a unique key, or None."""
    unique_fields(model, where, call)
    return find_first(schema, model, call, where=where, include=include, take=None)


def find_first(
    schema: Schema,
    model: Model,
    call: Call,
    *,
    include: Any = None,
    take: int | None = 1,
    **how: Any,
) -> Operation:
    """The first row, or None."""
    many = find_many(schema, model, call, include=include, take=take, **how)

    async def run(link: Link) -> PrismaModel | None:
        rows = await many(link)
        return rows[0] if rows else None

    return run


def or_raise(model: Model, operation: Operation) -> Operation:
    """The same, but no row is an error.

    Raises:
        RecordNotFoundError: When run.
    """

    async def run(link: Link) -> Any:
        row = await operation(link)
        if row is None:
            raise RecordNotFoundError(problem("P2025", f"No {model.name} found"))
        return row

    return run


def find_many(
    schema: Schema,
    model: Model,
    call: Call,
    *,
    where: Mapping[str, Any] | None = None,
    include: Any = None,
    order: Any = None,
    take: int | None = None,
    skip: int | None = None,
    distinct: Sequence[str] | None = None,
    cursor: Any = None,
) -> Operation:
    """All rows that match."""
    if cursor is not None:
        raise call.unsupported("cursor")
    names = [distinct] if isinstance(distinct, str) else list(distinct or ())
    for name in names:
        if name not in model.fields:
            raise call.unknown(f"distinct.{name}")
    # Which rows are distinct is known only after all were read; Prisma's engine does the same.
    limits = {} if names else {"take": take, "skip": skip}
    query = select(schema, model, call, where=where, order=order, **limits)
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


def count_rows(
    schema: Schema,
    model: Model,
    call: Call,
    *,
    select: Mapping[str, bool] | None,
    where: Mapping[str, Any] | None,
    take: int | None,
    skip: int | None,
    cursor: Any,
) -> Operation:
    """How many rows match; with `select`, a dict of counts by field."""
    if cursor is not None:
        raise call.unsupported("cursor")
    names = [name for name, wanted in (select or {}).items() if wanted is True] or ["_all"]
    query = count(schema, model, call, where=where, names=names, take=take, skip=skip)

    async def run(link: Link) -> Any:
        (row,) = await link.fetch(query)
        return row[0] if select is None else dict(zip(names, row, strict=True))

    return run


def group_rows(
    schema: Schema,
    model: Model,
    call: Call,
    *,
    by: Sequence[str],
    aggregates: Mapping[str, Any],
    **how: Any,
) -> Operation:
    """Groups with their sums, counts and extremes, as dicts in the types of JSON."""
    if how.pop("having") is not None:
        raise call.unsupported("having")
    shown = []
    for function, wanted in aggregates.items():
        fields = {"_all": True} if wanted is True else wanted or {}
        shown += [(function, name) for name, yes in fields.items() if yes is True]
    query = group(schema, model, call, by=by, shown=shown, **how)

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
