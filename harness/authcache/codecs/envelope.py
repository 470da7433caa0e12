"""A JSON envelope with type and schema, so that a foreign payload is detected, not guessed."""

from __future__ import annotations

import types
from functools import lru_cache
from hashlib import blake2s
from typing import Any, Union, get_args, get_origin

from harness.authcache.codecs.base import ForeignPayloadError, T
from harness.authcache.codecs.json_models import KeepNone, validate_json
from harness.authcache.codecs.registry import register
from harness.authcache.objects import CachedObject
from harness.authcache.words import ObjectKind


@lru_cache(maxsize=32)
def schema_hash(model: type[CachedObject]) -> str:
    """Eight hex digits over a model's fields: names, order, types, defaults, nested models."""
    # Defaults count: where a codec leaves them out, the reader fills in its own.
    fields = [
        (name, repr(f.annotation), repr(f.get_default(call_default_factory=True)))
        for name, f in model.model_fields.items()
    ]
    inner = [nested_model(field.annotation) for field in model.model_fields.values()]
    schema = (fields, [schema_hash(one) for one in inner if one is not None])
    return blake2s(repr(schema).encode(), digest_size=4).hexdigest()


def nested_model(annotation: Any) -> type[CachedObject] | None:
    """The cached model in a field's type, such as ``Budget`` in ``Budget | None``."""
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()
    for option in options or (annotation,):
        if isinstance(option, type) and issubclass(option, CachedObject):
            return option
    return None


@register
class Envelope:
    """``{type}/{schema}`` and a line feed, then every field as JSON."""

    name = "envelope"
    summary = "JSON with every field, tagged with type and schema"

    def __init__(self) -> None:
        self._body = KeepNone()

    def encode(self, kind: ObjectKind, value: CachedObject) -> bytes:
        """Tag and JSON text. Raises EncodeError."""
        return _tag(kind, type(value)) + self._body.encode(kind, value)

    def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:
        """Raises ForeignPayloadError on another tag, DecodeError on a body that does not fit."""
        tag = _tag(kind, model)
        if not payload.startswith(tag):
            found = payload.partition(b"\n")[0][:40].decode(errors="replace")
            raise ForeignPayloadError(f"asked for {tag.decode().strip()}, found {found}")
        return validate_json(payload[len(tag) :], model)


def _tag(kind: ObjectKind, model: type[CachedObject]) -> bytes:
    return f"{kind}/{schema_hash(model)}\n".encode()
