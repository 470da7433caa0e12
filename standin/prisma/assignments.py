"""``data`` of creates and updates as columns and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .complaints import Call
from .schema import Field, Function, Model
from .statements import Parameters, column_of, quoted
from .values import (
    DATABASE_DEFAULTS,
    POSTGRES_TYPES,
    default_value,
    encode,
    encode_list,
    moment_text,
    utc_now,
)

_ARITHMETIC = MappingProxyType({"increment": "+", "decrement": "-", "multiply": "*", "divide": "/"})
_NUMBERS = frozenset({"Int", "BigInt", "Float", "Decimal"})


@dataclass(frozen=True, slots=True)
class NewRow:
    """A row to insert: encoded values by field name, in the order of the schema."""

    model: Model
    values: Mapping[str, Any]


def new_row(model: Model, data: Mapping[str, Any], call: Call, path: str = "data") -> NewRow:
    """The row that `data` makes, with the defaults that Prisma's engine adds.

    `data` holds no relations any more. Columns whose default Postgres makes are left out.

    Raises:
        MissingRequiredValueError: A required field without a value and without a default.
        FieldNotFoundError: A field that the schema does not have.
    """
    _check(model, data, call, path)
    values: dict[str, Any] = {}
    for field in model.columns:
        here = f"{path}.{field.name}"
        if field.name in data:
            values[field.name] = _created(field, data[field.name], call, here)
        elif field.default is not None:
            if not _made_by_postgres(field):
                values[field.name] = default_value(field, call)
        elif field.is_updated_at:
            values[field.name] = moment_text(field, utc_now())
        elif not field.is_optional and not field.is_list:
            raise call.missing(here)
    return NewRow(model, values)


def _check(model: Model, data: Mapping[str, Any], call: Call, path: str) -> None:
    if not isinstance(data, Mapping):
        raise call.wrong(path, "an object", data)
    for name in data:
        if name not in model.fields:
            raise call.unknown(f"{path}.{name}")
        if model.fields[name].is_relation:
            raise call.unsupported(f"{path}.{name}")


def _made_by_postgres(field: Field) -> bool:
    default = field.default.value if field.default else None
    return isinstance(default, Function) and default.name in DATABASE_DEFAULTS


def _created(field: Field, value: Any, call: Call, path: str) -> Any:
    if isinstance(value, Mapping) and set(value) == {"set"}:
        value = value["set"]
    if value is None:
        # No version of Prisma generates a key that is given as None.
        if not field.is_optional:
            raise call.missing(path)
        return None
    if field.is_list:
        return encode_list(field, value, call, path)
    return encode(field, value, call, path)


def assignments(
    model: Model, data: Mapping[str, Any], parameters: Parameters, call: Call, path: str = "data"
) -> str:
    """``"a" = $1, "b" = "T"."b" + $2``; empty if `data` changes nothing.

    As Prisma's engine does, ``@updatedAt`` fields are set to now unless given, but only if
    anything else changes.
    """
    _check(model, data, call, path)
    parts = []
    for name, value in data.items():
        field = model.fields[name]
        text = _updated(model, field, value, parameters, call, f"{path}.{name}")
        parts.append(f"{quoted(field.column)} = {text}")
    if parts:
        for field in model.columns:
            if field.is_updated_at and field.name not in data:
                bound = parameters.add(moment_text(field, utc_now()))
                parts.append(f"{quoted(field.column)} = {bound}")
    return ", ".join(parts)


def _updated(
    model: Model, field: Field, value: Any, parameters: Parameters, call: Call, path: str
) -> str:
    if not isinstance(value, Mapping):
        return parameters.add_for(field, _created(field, value, call, path))
    if len(value) != 1:
        raise call.unsupported(path)
    ((name, operand),) = value.items()
    here = f"{path}.{name}"
    if name == "set":
        return parameters.add_for(field, _created(field, operand, call, here))
    column = column_of(quoted(model.table), field)
    if name == "push" and field.is_list:
        items = operand if isinstance(operand, list | tuple | set) else [operand]
        bound = parameters.add_for(field, encode_list(field, items, call, here))
        kind = "" if field.kind == "enum" else f"::{POSTGRES_TYPES[field.type]}[]"
        return f"{column} || {bound}{kind}"
    if name in _ARITHMETIC and field.type in _NUMBERS and not field.is_list:
        bound = parameters.add(encode(field, operand, call, here))
        return f"{column} {_ARITHMETIC[name]} {bound}"
    if field.type == "Json":
        raise call.wrong(path, "Json", value)
    raise call.unsupported(here)
