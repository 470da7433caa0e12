"""The protocol of a codec."""

from __future__ import annotations

from typing import ClassVar, Protocol, TypeVar

from harness.authcache.objects import CachedObject
from harness.authcache.words import ObjectKind
from harness.errors import DecodeError

T = TypeVar("T", bound=CachedObject)


class ForeignPayloadError(DecodeError):
    """The payload's tag names another type or schema: counted, not logged."""


class Codec(Protocol):
    """Turns cached objects into payloads and back. Instances hold no state between calls."""

    name: ClassVar[str]
    summary: ClassVar[str]
    """One line for lists."""

    def encode(self, kind: ObjectKind, value: CachedObject) -> bytes:
        """The payload of an object. Raises EncodeError."""

    def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:
        """The object in a payload, read by the rules of ``model``.

        Raises:
            ForeignPayloadError: the payload names another type or schema than the requested one.
            DecodeError: the payload does not fit ``model`` for any other reason.
        """
