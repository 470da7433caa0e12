"""The actions that write, compiled at once and run on a link later.

As in `reads`, a public function that takes a `Table` first is an action. Operations on relations
inside ``data`` become steps: rows that must be found or made before the row itself is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from . import raw, selecting, writing
from .assignments import new_row
from .complaints import Call
from .errors import RecordNotFoundError, problem
from .filters import unique_fields
from .includes import inclusions, load
from .links import Link
from .models import PrismaModel, row_classes
from .observing import Statement
from .reads import Operation, Table, find_unique
from .schema import Field, Model, Schema
from .statements import Query
from .values import encode

_ALIASES = MappingProxyType({"connect_or_create": "connectOrCreate"})


def create(table: Table, data: Mapping[str, Any], include: Any = None) -> Operation:
    """Insert a row and return it."""
    return _with_relations(table, include, lambda: _insertion(table, data, "data"))


def create_many(
    table: Table, data: Sequence[Mapping[str, Any]], *, skip_duplicates: bool | None = None
) -> Operation:
    """Insert rows and return how many."""
    model, call = table.model, table.call
    rows = [new_row(model, one, call, f"data.{index}") for index, one in enumerate(data)]
    queries = list(
        writing.insert_many(model, rows, call.action, skip_duplicates=bool(skip_duplicates))
    )

    async def run(link: Link) -> int:
        if len(queries) <= 1:
            return await link.execute(queries[0]) if queries else 0
        async with link.atomically() as whole:
            return sum([await whole.execute(query) for query in queries])

    return run


def update(
    table: Table, data: Mapping[str, Any], where: Mapping[str, Any], include: Any = None
) -> Operation:
    """Change the row with a unique key and return it.

    Raises:
        RecordNotFoundError: When run: there is no such row.
    """
    unique_fields(table.model, where, table.call)
    return _with_relations(table, include, lambda: _change(table, data, where, "data"))


def update_many(
    table: Table, data: Mapping[str, Any], where: Mapping[str, Any] | None
) -> Operation:
    """Change all rows that match and return how many."""
    return _counted(writing.update(table.schema, table.model, where, data, table.call))


def upsert(
    table: Table, where: Mapping[str, Any], data: Mapping[str, Any], include: Any = None
) -> Operation:
    """Change the row with a unique key, or insert it; return it."""
    for name in data:
        if name not in {"create", "update"}:
            raise table.call.unsupported(f"data.{name}")
    return _with_relations(table, include, lambda: _upsertion(table, where, data))


def delete(table: Table, where: Mapping[str, Any], include: Any = None) -> Operation:
    """Delete the row with a unique key and return it as it was.

    Raises:
        RecordNotFoundError: When run: there is no such row.
    """
    unique_fields(table.model, where, table.call)
    query = writing.delete(table.schema, table.model, where, table.call, returning=True)
    # Related rows must be read before the row is gone.
    read = find_unique(table, where, include) if include else None

    async def run(link: Link) -> PrismaModel:
        if read is None:
            return await _one(table, link, query)
        async with link.atomically() as whole:
            before: PrismaModel | None = await read(whole)
            after = await _one(table, whole, query)
            return before or after

    return run


def delete_many(table: Table, where: Mapping[str, Any] | None = None) -> Operation:
    """Delete all rows that match and return how many."""
    return _counted(writing.delete(table.schema, table.model, where, table.call, returning=False))


def execute_raw(query: str, *args: Any) -> Operation:
    """How many rows a raw statement changed."""
    values = [raw.parameter(value) for value in args]

    async def run(link: Link) -> int:
        return await link.execute_raw(Statement(None, "execute_raw", query), values)

    return run


def _counted(query: Query | None) -> Operation:
    async def run(link: Link) -> int:
        return 0 if query is None else await link.execute(query)

    return run


def _with_relations(table: Table, include: Any, write: Callable[[], Operation]) -> Operation:
    """What `write` makes, whose row then gets the relations that `include` asks for."""
    wanted = inclusions(table.schema, table.model, include, table.call)
    written = write()

    async def run(link: Link) -> PrismaModel:
        row: PrismaModel = await written(link)
        await load(table.schema, link, [row], wanted)
        return row

    return run


async def _one(table: Table, link: Link, query: Query) -> PrismaModel:
    rows = await link.fetch(query)
    if not rows:
        raise RecordNotFoundError(
            problem(
                "P2025",
                "An operation failed because it depends on one or more records that were required "
                f"but not found. Record of {table.model.name} to {query.statement.action} "
                "not found.",
            )
        )
    return row_classes(table.schema).row(table.model, rows[0])


def _insertion(table: Table, data: Mapping[str, Any], path: str) -> Operation:
    parts = _split(table, data, path)

    def query(plain: Mapping[str, Any]) -> Query:
        row = new_row(table.model, plain, table.call, path)
        return writing.insert(table.model, row, table.call.action)

    # With steps before it, the statement can only be made when their outcome is known.
    ready = None if parts.steps else query(parts.plain)

    async def run(link: Link) -> PrismaModel:
        if ready is not None:
            return await _one(table, link, ready)
        async with link.atomically() as whole:
            return await _one(table, whole, query(await parts.whole(whole)))

    return run


def _change(
    table: Table, data: Mapping[str, Any], where: Mapping[str, Any], path: str
) -> Operation:
    parts = _split(table, data, path)
    read = find_unique(table, where)

    def query(plain: Mapping[str, Any]) -> Query | None:
        schema, model, call = table.schema, table.model, table.call
        return writing.update(schema, model, where, plain, call, path=path, returning=True)

    ready = query(parts.plain)

    async def changed(link: Link, known: Query | None) -> PrismaModel:
        if known is not None:
            return await _one(table, link, known)
        row: PrismaModel | None = await read(link)
        if row is None:
            message = f"Record of {table.model.name} to update not found."
            raise RecordNotFoundError(problem("P2025", message))
        return row

    async def run(link: Link) -> PrismaModel:
        if not parts.steps:
            return await changed(link, ready)
        async with link.atomically() as whole:
            return await changed(whole, query(await parts.whole(whole)))

    return run


def _upsertion(table: Table, where: Mapping[str, Any], data: Mapping[str, Any]) -> Operation:
    model, call = table.model, table.call
    keys = unique_fields(model, where, call)
    new = _split(table, data["create"], "data.create")
    changes = _split(table, data["update"], "data.update")
    if not new.steps and not changes.steps and _in_one(table, where, keys, new):
        row = new_row(model, new.plain, call, "data.create")
        query = writing.upsert(model, row, list(keys), changes.plain, call)

        async def in_one(link: Link) -> PrismaModel:
            return await _one(table, link, query)

        return in_one
    change = _change(table, data["update"], where, "data.update")
    insertion = _insertion(table, data["create"], "data.create")

    async def in_two(link: Link) -> PrismaModel:
        async with link.atomically() as whole:
            try:
                row: PrismaModel = await change(whole)
            except RecordNotFoundError:
                row = await insertion(whole)
            return row

    return in_two


def _in_one(table: Table, where: Mapping[str, Any], keys: Mapping[str, Any], new: _Split) -> bool:
    """Whether INSERT ... ON CONFLICT does the same.

    The rule of Prisma's engine for its own native upserts: one unique key, nothing else in
    `where`, and the new row has that very key.
    """
    fields, call = table.model.fields, table.call
    return len(where) == 1 and all(
        new.plain.get(name) is not None
        and not isinstance(new.plain[name], Mapping)
        and encode(fields[name], new.plain[name], call, f"data.create.{name}")
        == encode(fields[name], value, call, f"where.{name}")
        for name, value in keys.items()
    )


@dataclass(frozen=True, slots=True)
class _Step:
    """A row of another table that must be found or made first.

    Attributes:
        field: The relation in the row to write.
        other: Where it leads.
        find: Looks the other row up; None if it is to be made in any case.
        make: Makes it; None if it must exist.
    """

    field: Field
    other: Model
    find: Query | None
    make: Query | None

    async def run(self, link: Link) -> dict[str, Any]:
        """The values of the foreign key.

        Raises:
            RecordNotFoundError: The row to connect does not exist.
        """
        assert self.field.join is not None
        rows = await link.fetch(self.find) if self.find else []
        if not rows and self.make:
            rows = await link.fetch(self.make)
        if not rows:
            message = (
                "An operation failed because it depends on one or more records that were required "
                f"but not found. No '{self.other.name}' record to connect for '{self.field.name}'."
            )
            raise RecordNotFoundError(problem("P2025", message))
        names = [field.name for field in self.other.columns]
        found = dict(zip(names, rows[0], strict=True))
        here_there = zip(self.field.join.here, self.field.join.there, strict=True)
        return {here: found[there] for here, there in here_there}


@dataclass(frozen=True, slots=True)
class _Split:
    """``data`` in two: values known now, and values that come from other rows."""

    plain: Mapping[str, Any]
    steps: tuple[_Step, ...]

    async def whole(self, link: Link) -> dict[str, Any]:
        """All of it, once the steps have run."""
        found = dict(self.plain)
        for step in self.steps:
            found |= await step.run(link)
        return found


def _split(table: Table, data: Mapping[str, Any], path: str) -> _Split:
    """Turn operations on relations into values of the foreign key, or into steps that find them.

    Only relations whose foreign key is in the row itself; connecting a row by the referenced field
    needs no step, the foreign key constraint checks it.

    Raises:
        UnsupportedCallError: An operation from the other side, or an unsupported one.
    """
    call = table.call
    if not isinstance(data, Mapping):
        raise call.wrong(path, "an object", data)
    plain: dict[str, Any] = {}
    steps: list[_Step] = []
    for name, value in data.items():
        field = table.model.fields.get(name)
        if field is None or not field.is_relation:
            plain[name] = value
            continue
        here = f"{path}.{name}"
        owner = field.join is not None and field.join.owner
        if not owner or not isinstance(value, Mapping) or len(value) != 1:
            raise call.unsupported(here)
        ((operation, operand),) = value.items()
        known, step = _related(
            table.schema, field, _ALIASES.get(operation, operation), operand, call, here
        )
        plain |= known
        steps += [step] if step else []
    return _Split(plain, tuple(steps))


def _related(
    schema: Schema, field: Field, operation: str, operand: Any, call: Call, path: str
) -> tuple[dict[str, Any], _Step | None]:
    join = field.join
    assert join is not None
    other = schema.models[join.target]
    here = f"{path}.{operation}"

    def make(data: Any) -> Query:
        return writing.insert(other, new_row(other, data, call, here), call.action)

    def find(where: Mapping[str, Any]) -> Query:
        unique_fields(other, where, call)
        return selecting.select(schema, other, call, where=where)

    if operation == "disconnect":
        return (dict.fromkeys(join.here) if operand else {}), None
    if operation == "create":
        return {}, _Step(field, other, None, make(operand))
    if operation == "connect":
        if set(operand) == set(join.there):
            known = {one: operand[there] for one, there in zip(join.here, join.there, strict=True)}
            return known, None
        return {}, _Step(field, other, find(operand), None)
    if operation == "connectOrCreate" and set(operand) == {"where", "create"}:
        created = make(operand["create"])
        return {}, _Step(field, other, find(operand["where"]), created)
    raise call.unsupported(here)
