"""The actions that write, compiled at once and run on a link later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .assignments import new_row
from .complaints import Call
from .errors import RecordNotFoundError, problem
from .filters import unique_fields
from .includes import inclusions, load
from .links import Link
from .models import PrismaModel, row_classes
from .nested import Split, split
from .reads import Operation, find_unique
from .schema import Model, Schema
from .statements import Query
from .values import encode
from .writing import delete, insert, insert_many, update, upsert


def create(
    schema: Schema, model: Model, call: Call, data: Mapping[str, Any], include: Any
) -> Operation:
    """Insert one row and return it."""
    wanted = inclusions(schema, model, include, call)
    insertion = _insertion(schema, model, call, data, "data")

    async def run(link: Link) -> PrismaModel:
        row: PrismaModel = await insertion(link)
        await load(schema, link, [row], wanted)
        return row

    return run


def _insertion(
    schema: Schema, model: Model, call: Call, data: Mapping[str, Any], path: str
) -> Operation:
    parts = split(schema, model, data, call, path)
    # With steps before it, the statement can only be made when their outcome is known.
    ready = (
        None if parts.steps else insert(model, new_row(model, parts.plain, call, path), call.action)
    )

    async def run(link: Link) -> PrismaModel:
        if ready is not None:
            return await _one(schema, model, link, ready)
        async with link.atomically() as whole:
            plain = {**parts.plain, **await _outcome(schema, parts, whole)}
            query = insert(model, new_row(model, plain, call, path), call.action)
            return await _one(schema, model, whole, query)

    return run


async def _outcome(schema: Schema, parts: Split, link: Link) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for step in parts.steps:
        found |= await step.run(schema, link)
    return found


async def _one(schema: Schema, model: Model, link: Link, query: Query) -> PrismaModel:
    rows = await link.fetch(query)
    if not rows:
        raise RecordNotFoundError(
            problem(
                "P2025",
                "An operation failed because it depends on one or more records that were required "
                f"but not found. Record of {model.name} to {query.statement.action} not found.",
            )
        )
    return row_classes(schema).row(model, rows[0])


def create_many(
    model: Model,
    call: Call,
    data: Sequence[Mapping[str, Any]],
    *,
    skip_duplicates: bool,
) -> Operation:
    """Insert rows and return how many."""
    rows = [new_row(model, one, call, f"data.{index}") for index, one in enumerate(data)]
    queries = list(insert_many(model, rows, call.action, skip_duplicates=skip_duplicates))

    async def run(link: Link) -> int:
        if len(queries) <= 1:
            return await link.execute(queries[0]) if queries else 0
        async with link.atomically() as whole:
            return sum([await whole.execute(query) for query in queries])

    return run


def update_one(
    schema: Schema,
    model: Model,
    call: Call,
    *,
    data: Mapping[str, Any],
    where: Mapping[str, Any],
    include: Any,
) -> Operation:
    """Change the row with a unique key and return it.

    Raises:
        RecordNotFoundError: When run: there is no such row.
    """
    unique_fields(model, where, call)
    wanted = inclusions(schema, model, include, call)
    change = _change(schema, model, call, data, where, "data")

    async def run(link: Link) -> PrismaModel:
        row: PrismaModel = await change(link)
        await load(schema, link, [row], wanted)
        return row

    return run


def _change(
    schema: Schema,
    model: Model,
    call: Call,
    data: Mapping[str, Any],
    where: Mapping[str, Any],
    path: str,
) -> Operation:
    parts = split(schema, model, data, call, path)
    read = find_unique(schema, model, call, where, None)
    query = update(schema, model, where, parts.plain, call, path=path, returning=True)

    async def changed(link: Link, known: Query | None) -> PrismaModel:
        if known is not None:
            return await _one(schema, model, link, known)
        row: PrismaModel | None = await read(link)
        if row is None:
            raise RecordNotFoundError(
                problem("P2025", f"Record of {model.name} to update not found.")
            )
        return row

    async def run(link: Link) -> PrismaModel:
        if not parts.steps:
            return await changed(link, query)
        async with link.atomically() as whole:
            plain = {**parts.plain, **await _outcome(schema, parts, whole)}
            known = update(schema, model, where, plain, call, path=path, returning=True)
            return await changed(whole, known)

    return run


def update_rows(
    schema: Schema,
    model: Model,
    call: Call,
    *,
    data: Mapping[str, Any],
    where: Mapping[str, Any] | None,
) -> Operation:
    """Change all rows that match and return how many."""
    query = update(schema, model, where, data, call)

    async def run(link: Link) -> int:
        return 0 if query is None else await link.execute(query)

    return run


def upsert_one(
    schema: Schema,
    model: Model,
    call: Call,
    *,
    where: Mapping[str, Any],
    data: Mapping[str, Any],
    include: Any,
) -> Operation:
    """Change the row with a unique key, or insert it; return it."""
    for name in data:
        if name not in {"create", "update"}:
            raise call.unsupported(f"data.{name}")
    wanted = inclusions(schema, model, include, call)
    keys = unique_fields(model, where, call)
    new = split(schema, model, data["create"], call, "data.create")
    changes = split(schema, model, data["update"], call, "data.update")
    write: Operation
    if not new.steps and not changes.steps and _in_one(model, call, where, keys, new):
        row = new_row(model, new.plain, call, "data.create")
        query = upsert(model, row, list(keys), changes.plain, call)

        async def write(link: Link) -> PrismaModel:
            return await _one(schema, model, link, query)
    else:
        write = _in_two(schema, model, call, where, data)

    async def run(link: Link) -> PrismaModel:
        row = await write(link)
        await load(schema, link, [row], wanted)
        return row

    return run


def _in_one(
    model: Model, call: Call, where: Mapping[str, Any], keys: Mapping[str, Any], new: Split
) -> bool:
    """Whether INSERT ... ON CONFLICT does the same.

    The rule of Prisma's engine for its own native upserts: one unique key, nothing else in
    `where`, and the new row has that very key.
    """
    return len(where) == 1 and all(
        new.plain.get(name) is not None
        and not isinstance(new.plain[name], Mapping)
        and encode(model.fields[name], new.plain[name], call, f"data.create.{name}")
        == encode(model.fields[name], value, call, f"where.{name}")
        for name, value in keys.items()
    )


def _in_two(
    schema: Schema, model: Model, call: Call, where: Mapping[str, Any], data: Mapping[str, Any]
) -> Operation:
    change = _change(schema, model, call, data["update"], where, "data.update")
    insertion = _insertion(schema, model, call, data["create"], "data.create")

    async def run(link: Link) -> PrismaModel:
        async with link.atomically() as whole:
            try:
                row: PrismaModel = await change(whole)
            except RecordNotFoundError:
                row = await insertion(whole)
            return row

    return run


def delete_one(
    schema: Schema, model: Model, call: Call, where: Mapping[str, Any], include: Any
) -> Operation:
    """Delete the row with a unique key and return it as it was.

    Raises:
        RecordNotFoundError: When run: there is no such row.
    """
    unique_fields(model, where, call)
    query = delete(schema, model, where, call, returning=True)
    # What belongs to the row must be read before it is gone.
    read = find_unique(schema, model, call, where, include) if include else None

    async def run(link: Link) -> PrismaModel:
        if read is None:
            return await _one(schema, model, link, query)
        async with link.atomically() as whole:
            before: PrismaModel | None = await read(whole)
            after = await _one(schema, model, whole, query)
            return before or after

    return run


def delete_rows(
    schema: Schema, model: Model, call: Call, where: Mapping[str, Any] | None
) -> Operation:
    """Delete all rows that match and return how many."""
    query = delete(schema, model, where, call, returning=False)

    async def run(link: Link) -> int:
        return await link.execute(query)

    return run
