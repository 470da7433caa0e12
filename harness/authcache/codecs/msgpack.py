"""MessagePack of every field: the same names and values as ``keep_none``, in binary.

Datetimes are RFC 3339 text, so seconds in an offset from UTC are lost, as in JSON. Integers beyond
64 bits are refused.
"""

from __future__ import annotations

from typing import Any

import ormsgpack
from pydantic import ValidationError

from harness.authcache.codecs.base import T
from harness.authcache.codecs.registry import register
from harness.authcache.objects import CachedObject
from harness.authcache.words import ObjectKind
from harness.errors import DecodeError, EncodeError


@register
class Msgpack:
    """Field names and values as a MessagePack map; validated on reading."""

    name = "msgpack"
    summary = "MessagePack with every field, validated on reading"

    def encode(self, kind: ObjectKind, value: CachedObject) -> bytes:
        """A MessagePack map. Raises EncodeError."""
        try:
            return ormsgpack.packb(value.model_dump(warnings=False))
        except ormsgpack.MsgpackEncodeError as error:
            raise EncodeError(f"{kind} cannot be written as MessagePack: {error}") from error

    def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:
        """Raises DecodeError."""
        try:
            fields: Any = ormsgpack.unpackb(payload)
        except ormsgpack.MsgpackDecodeError as error:
            raise DecodeError(f"{kind} payload is not MessagePack: {error}") from error
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            raise DecodeError(str(error)) from error
