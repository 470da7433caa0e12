"""No codec: what LiteLLM up to 1.83 does when Redis is attached manually.

Live models go to ``json.dumps``, which refuses them, so nothing reaches Redis. A payload that a
peer wrote with another codec comes back as a dict where the code expects a model.
"""

from __future__ import annotations

import json
from typing import Any

from harness.authcache.codecs.base import T
from harness.authcache.codecs.registry import register
from harness.authcache.objects import CachedObject
from harness.authcache.words import ObjectKind
from harness.errors import DecodeError, EncodeError


@register
class Raw:
    """``json.dumps`` of the object as it is."""

    name = "raw"
    summary = "no codec: models go to json.dumps as they are (LiteLLM up to 1.83)"

    def encode(self, kind: ObjectKind, value: CachedObject) -> bytes:
        """Always raises EncodeError: a model is not JSON."""
        try:
            return json.dumps(value).encode()
        except TypeError as error:
            raise EncodeError(f"{kind}: {error}") from error

    def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:
        """A peer's dict becomes a key, but no other object. Raises DecodeError."""
        try:
            value: Any = json.loads(payload)
            if kind is ObjectKind.KEY and isinstance(value, dict):
                return model(**value)
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"{kind}: {error}") from error
        raise DecodeError(f"{type(value).__name__!r} object has no attribute 'spend'")
