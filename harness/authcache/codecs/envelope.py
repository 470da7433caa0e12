"""A JSON envelope that names type and schema, so that a foreign payload is told, not guessed."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2s

from harness.authcache.codecs.base import ForeignPayloadError, T
from harness.authcache.codecs.json_models import KeepNone, validate_json
from harness.authcache.codecs.registry import register
from harness.authcache.objects import CachedObject
from harness.authcache.words import ObjectKind


@lru_cache(maxsize=32)
def schema_hash(model: type[CachedObject]) -> str:
    """Eight hex digits over a model's field names, types and whether they are required."""
    fields = [(n, repr(f.annotation), f.is_required()) for n, f in model.model_fields.items()]
    return blake2s(repr(fields).encode(), digest_size=4).hexdigest()


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
