"""Parameters and results of raw queries, in the types of Prisma's client.

A result is a list of dicts as from JSON: datetimes are ISO 8601 strings, numerics are floats,
bytes are Base64; integers, JSON and arrays are what they are.
"""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import enum
from collections.abc import Callable, Sequence
from typing import Any

from .fields import Base64, Json, dumps, iso_datetime


def parameter(value: Any) -> Any:
    """One parameter as asyncpg takes it, after what Prisma's client makes of it in JSON."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, dt.datetime):
        return iso_datetime(value)
    if isinstance(value, Json):
        return dumps(value.data)
    if isinstance(value, Base64):
        return value.decode()
    if isinstance(value, list | tuple | set | frozenset):
        return [parameter(item) for item in value]
    return value


def result(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows of a raw query as dicts."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    return value


def moment_text(moment: dt.datetime) -> str:
    """RFC 3339 with as many digits below the second as there are, in threes."""
    if moment.microsecond == 0:
        return moment.isoformat(timespec="seconds")
    whole = moment.microsecond % 1000 == 0
    return moment.isoformat(timespec="milliseconds" if whole else "microseconds")


_Conversion = tuple[Any, Callable[[Any], Any]]
_CONVERSIONS: Sequence[_Conversion] = (
    ((str, int, float, bool, type(None), dict), lambda value: value),
    (list, lambda value: [_plain(item) for item in value]),
    (dt.datetime, moment_text),
    (decimal.Decimal, float),
    (bytes, lambda value: base64.b64encode(value).decode("ascii")),
)
