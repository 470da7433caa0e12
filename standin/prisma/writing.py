"""INSERT, UPDATE and DELETE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .assignments import NewRow, assignments
from .complaints import Call
from .filters import Filters
from .schema import Model, Schema
from .statements import Parameters, Query, column_list, quoted, words

MAX_PARAMETERS = 32767
"""The most that one statement of Postgres can carry."""


def insert(model: Model, row: NewRow, action: str) -> Query:
    """Insert one row and return it."""
    parameters = Parameters()
    sql = words(_insert_one(row, parameters), "RETURNING", column_list(model))
    return Query(model, action, sql, parameters)


def _insert_one(row: NewRow, parameters: Parameters) -> str:
    table = quoted(row.model.table)
    if not row.values:
        return words("INSERT INTO", table, "DEFAULT VALUES")
    fields = [row.model.fields[name] for name in row.values]
    columns = ", ".join(quoted(field.column) for field in fields)
    bound = ", ".join(parameters.add_for(field, row.values[field.name]) for field in fields)
    return words("INSERT INTO", table, f"({columns})", "VALUES", f"({bound})")


def insert_many(
    model: Model, rows: Sequence[NewRow], action: str, *, skip_duplicates: bool
) -> Iterator[Query]:
    """Insert rows, with as few statements as the number of parameters allows.

    A row that lacks a value which another row has gets the column's default in Postgres.
    """
    names = [field.name for field in model.columns if any(field.name in row.values for row in rows)]
    size = max(1, MAX_PARAMETERS // max(1, len(names)))
    columns = ", ".join(quoted(model.fields[name].column) for name in names)
    tail = "ON CONFLICT DO NOTHING" if skip_duplicates else ""
    for start in range(0, len(rows), size):
        parameters = Parameters()
        lines = [_values(model, names, row, parameters) for row in rows[start : start + size]]
        table = quoted(model.table)
        sql = words("INSERT INTO", table, f"({columns})", "VALUES", ", ".join(lines), tail)
        yield Query(model, action, sql, parameters)


def _values(model: Model, names: Sequence[str], row: NewRow, parameters: Parameters) -> str:
    parts = [
        parameters.add_for(model.fields[name], row.values[name])
        if name in row.values
        else "DEFAULT"
        for name in names
    ]
    return f"({', '.join(parts)})"


def upsert(
    model: Model, row: NewRow, keys: Sequence[str], changes: Mapping[str, Any], call: Call
) -> Query:
    """Insert a row or, where one with the same unique key is, change that; return it."""
    parameters = Parameters()
    head = _insert_one(row, parameters)
    columns = ", ".join(quoted(model.fields[name].column) for name in keys)
    changed = assignments(model, changes, parameters, call, "data.update")
    if not changed:
        # DO NOTHING would not return the row that is there.
        column = quoted(model.fields[keys[0]].column)
        changed = f"{column} = {quoted(model.table)}.{column}"
    conflict = words("ON CONFLICT", f"({columns})", "DO UPDATE SET", changed)
    sql = words(head, conflict, "RETURNING", column_list(model))
    return Query(model, call.action, sql, parameters)


def update(
    schema: Schema,
    model: Model,
    where: Mapping[str, Any] | None,
    changes: Mapping[str, Any],
    call: Call,
    *,
    path: str = "data",
    returning: bool = False,
) -> Query | None:
    """Change rows; `returning` gives them back. None if `changes` holds nothing."""
    parameters = Parameters()
    changed = assignments(model, changes, parameters, call, path)
    if not changed:
        return None
    clause = Filters(schema, call, parameters).clause(model, where)
    tail = words("RETURNING", column_list(model)) if returning else ""
    sql = words("UPDATE", quoted(model.table), "SET", changed, clause, tail)
    return Query(model, call.action, sql, parameters)


def delete(
    schema: Schema, model: Model, where: Mapping[str, Any] | None, call: Call, *, returning: bool
) -> Query:
    """Delete rows; `returning` gives them back."""
    parameters = Parameters()
    clause = Filters(schema, call, parameters).clause(model, where)
    tail = words("RETURNING", column_list(model)) if returning else ""
    sql = words("DELETE FROM", quoted(model.table), clause, tail)
    return Query(model, call.action, sql, parameters)
