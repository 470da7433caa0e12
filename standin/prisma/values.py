"""Python values as parameters of statements, field by field."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import json
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from .complaints import Call
from .fields import Base64, Json, dumps
from .schema import Field, Function

POSTGRES_TYPES: Mapping[str, str] = MappingProxyType(
    {
        "String": "text",
        "Int": "int4",
        "BigInt": "int8",
        "Float": "float8",
        "Boolean": "bool",
        "DateTime": "timestamp",
        "Json": "jsonb",
        "Bytes": "bytea",
        "Decimal": "numeric",
    }
)
"""Postgres type of a Prisma scalar that names no native type of its own."""


def encode(field: Field, value: Any, call: Call, path: str) -> Any:
    """One value, not None and no list, as asyncpg wants it for the field's column.

    Raises:
        DataError: The value has another type than the field; Prisma's engine refuses it too.
    """
    if isinstance(value, enum.Enum):
        value = value.value
    if field.kind == "enum":
        if not isinstance(value, str):
            raise call.wrong(path, field.type, value)
        return value
    return _ENCODERS[field.type](field, value, call, path)


def encode_list(field: Field, value: Any, call: Call, path: str) -> list[Any]:
    """A list of values for a list field, or for an operator that takes a list."""
    if not isinstance(value, list | tuple | set | frozenset):
        raise call.wrong(path, f"a list of {field.type}", value)
    return [encode(field, item, call, path) for item in value]


def _text(field: Field, value: Any, call: Call, path: str) -> str:
    if not isinstance(value, str):
        raise call.wrong(path, field.type, value)
    return value


def _whole(field: Field, value: Any, call: Call, path: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise call.wrong(path, field.type, value)
    return value


def _float(field: Field, value: Any, call: Call, path: str) -> float:
    if not isinstance(value, int | float | decimal.Decimal) or isinstance(value, bool):
        raise call.wrong(path, field.type, value)
    return float(value)


def _decimal(field: Field, value: Any, call: Call, path: str) -> decimal.Decimal:
    if not isinstance(value, int | float | decimal.Decimal | str) or isinstance(value, bool):
        raise call.wrong(path, field.type, value)
    return decimal.Decimal(str(value))


def _boolean(field: Field, value: Any, call: Call, path: str) -> bool:
    if not isinstance(value, bool):
        raise call.wrong(path, field.type, value)
    return value


def _moment(field: Field, value: Any, call: Call, path: str) -> str:
    # A string counts as Prisma's engine counts it: only with a time of day and an offset.
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            raise call.wrong(path, "an ISO 8601 DateTime", value) from None
        if value.tzinfo is None:
            raise call.wrong(path, "an ISO 8601 DateTime with an offset", value)
    if not isinstance(value, dt.datetime):
        raise call.wrong(path, field.type, value)
    return moment_text(field, value)


def moment_text(field: Field, value: dt.datetime) -> str:
    """A datetime as text for the field's column: UTC, milliseconds cut off.

    A naive datetime counts as UTC. Columns without a zone hold UTC, as Prisma's engine keeps them.
    """
    aware = value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value
    text = aware.astimezone(dt.UTC).replace(tzinfo=None).isoformat(" ", "milliseconds")
    return f"{text}+00:00" if (field.native or "").startswith("Timestamptz") else text


def _json(field: Field, value: Any, call: Call, path: str) -> str:
    if isinstance(value, Json):
        return dumps(value.data)
    # A string is JSON already: Prisma's engine parses it. A bare dict or list would be read as an
    # operation there, and is refused.
    if not isinstance(value, str):
        raise call.wrong(path, "Json", value)
    try:
        json.loads(value)
    except ValueError:
        raise call.wrong(path, f"{field.type} as valid JSON text", value) from None
    return value


def _bytes(field: Field, value: Any, call: Call, path: str) -> bytes:
    if isinstance(value, str):
        value = Base64.fromb64(value)
    if not isinstance(value, Base64):
        raise call.wrong(path, f"{field.type} in Base64", value)
    return value.decode()


_Encoder = Callable[[Field, Any, Call, str], Any]
_ENCODERS: Mapping[str, _Encoder] = MappingProxyType(
    {
        "String": _text,
        "Int": _whole,
        "BigInt": _whole,
        "Float": _float,
        "Decimal": _decimal,
        "Boolean": _boolean,
        "DateTime": _moment,
        "Json": _json,
        "Bytes": _bytes,
    }
)


def utc_now() -> dt.datetime:
    """The value of ``now()`` and ``@updatedAt``."""
    return dt.datetime.now(dt.UTC)


_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_CUID_RANDOM = 16


def _cuid() -> str:
    moment = int(time.time() * 1000)
    stamp = ""
    while moment:
        moment, digit = divmod(moment, len(_DIGITS))
        stamp = _DIGITS[digit] + stamp
    return "c" + stamp + "".join(secrets.choice(_DIGITS) for _ in range(_CUID_RANDOM))


def _uuid(field: Field, function: Function, call: Call) -> Any:
    if function.arguments not in {(), (4,)}:
        raise call.unsupported(f"default {field.name} uuid{function.arguments}")
    return str(uuid.uuid4())


def _now(field: Field, function: Function, call: Call) -> Any:
    del function, call
    return moment_text(field, utc_now())


DATABASE_DEFAULTS = frozenset({"autoincrement", "dbgenerated", "sequence"})
"""Defaults that Postgres makes itself, so the column is left out."""


def default_value(field: Field, call: Call) -> Any:
    """The field's default as a parameter, made here as Prisma's engine makes it.

    The field must have a default that is not one of `DATABASE_DEFAULTS`.
    """
    assert field.default is not None
    value = field.default.value
    if isinstance(value, Function):
        if value.name == "cuid":
            return _cuid()
        if value.name == "uuid":
            return _uuid(field, value, call)
        if value.name == "now":
            return _now(field, value, call)
        raise call.unsupported(f"default {field.name} {value.name}()")
    if field.is_list:
        return encode_list(field, value, call, field.name)
    return encode(field, value, call, field.name)
