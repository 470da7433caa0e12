"""SELECT: rows, counts and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .complaints import Call
from .filters import Filters
from .schema import Field, Model, Schema
from .statements import Parameters, Query, column_list, quoted, words

_DIRECTIONS = MappingProxyType({"asc": "ASC", "desc": "DESC"})
_NULLS = MappingProxyType({"first": "NULLS FIRST", "last": "NULLS LAST"})
AGGREGATES = MappingProxyType({"sum": "SUM", "avg": "AVG", "min": "MIN", "max": "MAX"})


def select(
    schema: Schema,
    model: Model,
    call: Call,
    *,
    where: Mapping[str, Any] | None = None,
    order: Any = None,
    take: int | None = None,
    skip: int | None = None,
) -> Query:
    """Rows of one table."""
    parameters = Parameters()
    clause = Filters(schema, call, parameters).clause(model, where)
    sql = words(
        "SELECT",
        column_list(model),
        "FROM",
        quoted(model.table),
        clause,
        _order(model, order, call),
        _limits(take, skip, parameters, call),
    )
    return Query(model, call.action, sql, parameters)


def related(
    schema: Schema,
    model: Model,
    call: Call,
    keys: Sequence[tuple[str, Sequence[Any]]],
    where: Mapping[str, Any] | None,
    order: Any,
) -> Query:
    """Rows of one table whose fields `keys` have one of the given values.

    The values come from another row, so they are parameters already.
    """
    parameters = Parameters()
    parts = []
    for name, values in keys:
        column = f"{quoted(model.table)}.{quoted(model.fields[name].column)}"
        if len(values) == 1:
            parts.append(f"{column} = {parameters.add(values[0])}")
        else:
            parts.append(f"{column} = ANY({parameters.add(list(values))})")
    clause = Filters(schema, call, parameters).clause(model, where)
    if clause:
        parts.append(clause.removeprefix("WHERE "))
    sql = words(
        "SELECT",
        column_list(model),
        "FROM",
        quoted(model.table),
        "WHERE",
        " AND ".join(parts),
        _order(model, order, call),
    )
    return Query(model, call.action, sql, parameters)


def count(
    schema: Schema,
    model: Model,
    call: Call,
    *,
    where: Mapping[str, Any] | None,
    names: Sequence[str],
    take: int | None,
    skip: int | None,
) -> Query:
    """How many rows; for each of `names` (``_all`` or a field) one column."""
    parameters = Parameters()
    clause = Filters(schema, call, parameters).clause(model, where)
    source = words(quoted(model.table), clause)
    if take is not None or skip is not None:
        limits = _limits(take, skip, parameters, call)
        source = f"({words('SELECT * FROM', source, limits)}) AS {quoted('sub')}"
    shown = ", ".join(_counted(model, name, call) for name in names)
    return Query(model, call.action, words("SELECT", shown, "FROM", source), parameters)


def _counted(model: Model, name: str, call: Call) -> str:
    if name == "_all":
        return "COUNT(*)"
    return f"COUNT({quoted(_column_field(model, name, call, f'select.{name}').column)})"


def group(
    schema: Schema,
    model: Model,
    call: Call,
    *,
    by: Sequence[str],
    where: Mapping[str, Any] | None,
    shown: Sequence[tuple[str, str]],
    order: Any,
    take: int | None,
    skip: int | None,
) -> Query:
    """One row a group: the fields of `by`, then what `shown` asks for, as (function, field).

    Functions are those of `AGGREGATES` and ``count``; the field of a count may be ``_all``.
    """
    parameters = Parameters()
    clause = Filters(schema, call, parameters).clause(model, where)
    keys = [quoted(_column_field(model, name, call, f"by.{name}").column) for name in by]
    columns = list(keys)
    for function, name in shown:
        if function == "count":
            columns.append(_counted(model, name, call))
        else:
            field = _column_field(model, name, call, f"{function}.{name}")
            columns.append(f"{AGGREGATES[function]}({quoted(field.column)})")
    sql = words(
        "SELECT",
        ", ".join(columns),
        "FROM",
        quoted(model.table),
        clause,
        "GROUP BY",
        ", ".join(keys),
        _order(model, order, call),
        _limits(take, skip, parameters, call),
    )
    return Query(model, call.action, sql, parameters)


def _column_field(model: Model, name: str, call: Call, path: str) -> Field:
    field = model.fields.get(name)
    if field is None or field.is_relation:
        raise call.unknown(path)
    return field


def _order(model: Model, order: Any, call: Call) -> str:
    if not order:
        return ""
    parts = []
    for one in [order] if isinstance(order, Mapping) else order:
        for name, direction in one.items():
            path = f"order.{name}"
            if name in model.relations:
                raise call.unsupported(path)
            column = quoted(_column_field(model, name, call, path).column)
            parts.append(f"{column} {_direction(direction, call, path)}")
    return f"ORDER BY {', '.join(parts)}"


def _direction(direction: Any, call: Call, path: str) -> str:
    if isinstance(direction, Mapping) and set(direction) <= {"sort", "nulls"}:
        sort, nulls = str(direction.get("sort")), str(direction.get("nulls"))
        if sort in _DIRECTIONS and nulls in _NULLS:
            return f"{_DIRECTIONS[sort]} {_NULLS[nulls]}"
    if isinstance(direction, str) and direction in _DIRECTIONS:
        return _DIRECTIONS[direction]
    raise call.unsupported(f"{path}={direction}")


def _limits(take: int | None, skip: int | None, parameters: Parameters, call: Call) -> str:
    # A negative take reads from the end in Prisma; LiteLLM never asks for it.
    for name, value in (("take", take), ("skip", skip)):
        if value is not None and (not isinstance(value, int) or value < 0):
            raise call.unsupported(f"{name}={value}")
    limit = "" if take is None else f"LIMIT {parameters.add(take)}"
    return words(limit, f"OFFSET {parameters.add(skip)}" if skip else "")
