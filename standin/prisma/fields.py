"""Wrappers of values that LiteLLM puts into queries."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
from typing import Any

__all__ = ("Base64", "Json")


class Json:
    """A value for a JSON column; without it a dict would be read as an operation on the field."""

    def __init__(self, data: Any) -> None:
        self.data = data

    @classmethod
    def keys(cls, **data: Any) -> Json:
        """``Json({...})`` from keyword arguments."""
        return cls(data)

    def __repr__(self) -> str:
        return f"Json({self.data!r})"


class Base64:
    """Bytes in Base64, as Prisma's client holds the values of a Bytes column."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    @classmethod
    def encode(cls, value: bytes) -> Base64:
        """From bytes as they are."""
        return cls(base64.b64encode(value))

    @classmethod
    def fromb64(cls, value: str | bytes) -> Base64:
        """From what is Base64 already."""
        return cls(value.encode("ascii") if isinstance(value, str) else value)

    def decode(self) -> bytes:
        """The bytes as they were."""
        return base64.b64decode(self._raw)

    def decode_str(self, encoding: str = "utf-8") -> str:
        """The bytes as text."""
        return self.decode().decode(encoding)

    def __str__(self) -> str:
        return self._raw.decode("ascii")

    def __repr__(self) -> str:
        return f"Base64({self._raw!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Base64) and other._raw == self._raw

    def __hash__(self) -> int:
        return hash(self._raw)


def iso_datetime(moment: dt.datetime) -> str:
    """ISO 8601 in UTC with milliseconds cut off, as Prisma's client sends a datetime.

    A naive datetime counts as UTC.
    """
    aware = moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment
    utc = aware.astimezone(dt.UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000).isoformat()


def dumps(value: Any) -> str:
    """JSON as Prisma's client writes it into a query.

    Raises:
        TypeError: A value that is neither JSON nor one of Prisma's own types.
    """
    return json.dumps(value, default=_plain, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return iso_datetime(value)
    if isinstance(value, Json):
        return dumps(value.data)
    if isinstance(value, Base64 | decimal.Decimal):
        return str(value)
    raise TypeError(f"Type {type(value)} is not serializable")
