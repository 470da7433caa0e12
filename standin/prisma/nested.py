"""Operations on relations inside ``data``: which rows they need before the row is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .assignments import new_row
from .complaints import Call
from .errors import RecordNotFoundError, problem
from .filters import Filters, unique_fields
from .links import Link
from .schema import Field, Model, Schema
from .statements import Parameters, Query, column_list, quoted, words
from .writing import insert

_ALIASES = MappingProxyType({"connect_or_create": "connectOrCreate"})


@dataclass(frozen=True, slots=True)
class Step:
    """A row of another table that must be found or made first.

    Attributes:
        field: The relation in the row to write.
        find: Looks the other row up; None if it is to be made in any case.
        make: Makes it; None if it must exist.
    """

    field: Field
    find: Query | None
    make: Query | None

    async def run(self, schema: Schema, link: Link) -> dict[str, Any]:
        """The values of the foreign key.

        Raises:
            RecordNotFoundError: The row to connect does not exist.
        """
        assert self.field.join is not None
        other = schema.models[self.field.join.target]
        rows = await link.fetch(self.find) if self.find else []
        if not rows and self.make:
            rows = await link.fetch(self.make)
        if not rows:
            message = (
                "An operation failed because it depends on one or more records that were required "
                f"but not found. No '{other.name}' record to connect for '{self.field.name}'."
            )
            raise RecordNotFoundError(problem("P2025", message))
        names = [field.name for field in other.columns]
        found = dict(zip(names, rows[0], strict=True))
        here_there = zip(self.field.join.here, self.field.join.there, strict=True)
        return {here: found[there] for here, there in here_there}


@dataclass(frozen=True, slots=True)
class Split:
    """``data`` in two: what is known now, and what other rows will tell."""

    plain: Mapping[str, Any]
    steps: tuple[Step, ...]


def split(schema: Schema, model: Model, data: Mapping[str, Any], call: Call, path: str) -> Split:
    """Turn operations on relations into values of the foreign key, or into steps that find them.

    Only relations whose foreign key is in the row itself; connecting a row by the referenced field
    needs no step, the foreign key constraint checks it.

    Raises:
        UnsupportedCallError: An operation from the other side, or one that is not carried out.
    """
    if not isinstance(data, Mapping):
        raise call.wrong(path, "an object", data)
    plain: dict[str, Any] = {}
    steps: list[Step] = []
    for name, value in data.items():
        field = model.fields.get(name)
        if field is None or not field.is_relation:
            plain[name] = value
            continue
        here = f"{path}.{name}"
        if (
            field.join is None
            or not field.join.owner
            or not isinstance(value, Mapping)
            or len(value) != 1
        ):
            raise call.unsupported(here)
        ((operation, operand),) = value.items()
        known, step = _carried_out(
            schema, field, _ALIASES.get(operation, operation), operand, call, here
        )
        plain |= known
        steps += [step] if step else []
    return Split(plain, tuple(steps))


def _carried_out(
    schema: Schema, field: Field, operation: str, operand: Any, call: Call, path: str
) -> tuple[dict[str, Any], Step | None]:
    join = field.join
    assert join is not None
    other = schema.models[join.target]
    here = f"{path}.{operation}"
    if operation == "disconnect":
        return (dict.fromkeys(join.here) if operand else {}), None
    if operation == "create":
        return {}, Step(
            field, None, insert(other, new_row(other, operand, call, here), call.action)
        )
    if operation == "connect":
        if set(operand) == set(join.there):
            return {
                one: operand[there] for one, there in zip(join.here, join.there, strict=True)
            }, None
        return {}, Step(field, _lookup(schema, other, operand, call), None)
    if operation == "connectOrCreate" and set(operand) == {"where", "create"}:
        make = insert(other, new_row(other, operand["create"], call, here), call.action)
        return {}, Step(field, _lookup(schema, other, operand["where"], call), make)
    raise call.unsupported(here)


def _lookup(schema: Schema, model: Model, where: Mapping[str, Any], call: Call) -> Query:
    unique_fields(model, where, call)
    parameters = Parameters()
    clause = Filters(schema, call, parameters).clause(model, where)
    sql = words("SELECT", column_list(model), "FROM", quoted(model.table), clause)
    return Query(model, call.action, sql, parameters)
