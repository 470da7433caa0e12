"""``include``: each relation is loaded by a statement of its own on its own table.

That is how Prisma's engine does it, and it keeps the statements of one table apart from those of
another in ``pg_stat_statements``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from .complaints import Call
from .filters import Filters
from .links import Link
from .models import PrismaModel, row_classes
from .schema import Field, Model, Schema
from .selecting import related
from .statements import Parameters
from .values import moment_text

_ARGUMENTS = frozenset({"where", "order_by", "take", "skip", "include"})


@dataclass(frozen=True, slots=True)
class Inclusion:
    """One relation to load, with what is to be loaded for its rows in turn."""

    relation: Field
    arguments: Mapping[str, Any]
    further: tuple[Inclusion, ...] = ()
    call: Call = field(default=Call("", ""))


def inclusions(
    schema: Schema,
    model: Model,
    include: Mapping[str, Any] | None,
    call: Call,
    path: str = "include",
) -> tuple[Inclusion, ...]:
    """What `include` asks for, checked before any statement is sent.

    Raises:
        FieldNotFoundError: No such relation.
        UnsupportedCallError: An unsupported argument.
    """
    found = []
    for name, value in (include or {}).items():
        here = f"{path}.{name}"
        relation = model.relations.get(name)
        if relation is None:
            raise call.unknown(here)
        if value is False:
            continue
        if relation.join is None or not (value is True or isinstance(value, Mapping)):
            raise call.unsupported(here)
        arguments = {} if value is True else dict(value)
        other = schema.models[relation.join.target]
        _check(schema, other, relation, arguments, call, here)
        further = inclusions(schema, other, arguments.pop("include", None), call, f"{here}.include")
        found.append(Inclusion(relation, MappingProxyType(arguments), further, call))
    return tuple(found)


def _check(
    schema: Schema,
    other: Model,
    relation: Field,
    arguments: Mapping[str, Any],
    call: Call,
    path: str,
) -> None:
    for name in arguments:
        if name not in _ARGUMENTS or (not relation.is_list and name != "include"):
            raise call.unsupported(f"{path}.{name}")
    # Compiled for its errors only; the statement is made when the keys are known.
    Filters(schema, call, Parameters()).clause(other, arguments.get("where"))
    related(schema, other, call, [(other.columns[0].name, [None])], None, arguments.get("order_by"))


async def load(
    schema: Schema, link: Link, rows: Sequence[PrismaModel], wanted: Sequence[Inclusion]
) -> None:
    """Put the related rows into `rows`."""
    for inclusion in wanted:
        if rows:
            await _load_one(schema, link, rows, inclusion)


async def _load_one(
    schema: Schema, link: Link, rows: Sequence[PrismaModel], inclusion: Inclusion
) -> None:
    join = inclusion.relation.join
    assert join is not None
    other = schema.models[join.target]
    keys = {key for row in rows if None not in (key := _key(row, join.here))}
    found: list[PrismaModel] = []
    if keys:
        parts = [
            (name, [_parameter(other.fields[name], value) for value in dict.fromkeys(column)])
            for name, column in zip(
                join.there, zip(*sorted(keys, key=repr), strict=True), strict=True
            )
        ]
        arguments = inclusion.arguments
        query = related(
            schema, other, inclusion.call, parts, arguments.get("where"), arguments.get("order_by")
        )
        classes = row_classes(schema)
        found = [classes.row(other, record) for record in await link.fetch(query)]
        await load(schema, link, found, inclusion.further)
    by_key: dict[tuple[Any, ...], list[PrismaModel]] = {}
    for one in found:
        by_key.setdefault(_key(one, join.there), []).append(one)
    for row in rows:
        setattr(
            row, inclusion.relation.name, _chosen(inclusion, by_key.get(_key(row, join.here), []))
        )


def _chosen(inclusion: Inclusion, found: list[PrismaModel]) -> Any:
    if not inclusion.relation.is_list:
        return found[0] if found else None
    skip = inclusion.arguments.get("skip") or 0
    take = inclusion.arguments.get("take")
    return found[skip : None if take is None else skip + take]


def _key(row: PrismaModel, names: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(row, name) for name in names)


def _parameter(field_: Field, value: Any) -> Any:
    return moment_text(field_, value) if field_.type == "DateTime" else value
