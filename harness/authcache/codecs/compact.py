"""The smallest payload here: MessagePack of what differs from the defaults, under short names.

A msgspec struct is made from each model: the same fields in the same order, named by position in
base 36, every one nullable, defaults left out. The first bytes name type and schema, so a payload
of another kind or of another version of the models is rejected before anything is decoded. The
short names are safe because the schema hash covers the order of the fields and their defaults,
nested models included. An aware datetime comes back as the same instant in UTC.

Any field may be None in a payload: the reader gets what the writer held. The auth path decides
whether an object may be served, not the transport.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, Union

import msgspec

from harness.authcache.codecs.base import ForeignPayloadError, T
from harness.authcache.codecs.envelope import nested_model, schema_hash
from harness.authcache.codecs.registry import register
from harness.authcache.objects import CachedObject
from harness.authcache.words import ObjectKind
from harness.errors import DecodeError, EncodeError

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class _Wire(NamedTuple):
    """The wire format of one model."""

    tag: bytes
    struct: type[msgspec.Struct]
    encoder: msgspec.msgpack.Encoder
    decoder: msgspec.msgpack.Decoder[Any]
    nested: dict[str, type[CachedObject]]
    """Fields that hold another model."""
    names: list[str]
    fields_set: set[str]
    """All fields, as ``__pydantic_fields_set__``. Shared, because it never changes."""


@register
class Compact:
    """Type and schema in five bytes, then MessagePack of non-default fields under short names."""

    name = "msgspec"
    summary = "MessagePack under short names, defaults left out, tagged with type and schema"

    def encode(self, kind: ObjectKind, value: CachedObject) -> bytes:
        """Tag and MessagePack map. Raises EncodeError."""
        wire = _wire(kind, type(value))
        try:
            return wire.tag + wire.encoder.encode(_to_struct(wire, value))
        except Exception as error:
            # msgspec also raises Python's own errors: UnicodeEncodeError on a lone surrogate,
            # OverflowError on an integer beyond 64 bits, RecursionError on deep nesting.
            raise EncodeError(f"{kind} cannot be written as MessagePack: {error}") from error

    def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:
        """Raises ForeignPayloadError on another tag, DecodeError on bytes that do not fit it."""
        wire = _wire(kind, model)
        size = len(wire.tag)
        if payload[:size] != wire.tag:
            raise ForeignPayloadError(
                f"asked for {kind} {wire.tag.hex()}, found {payload[:size].hex()}"
            )
        try:
            struct = wire.decoder.decode(memoryview(payload)[size:])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            # Text that is not UTF-8 raises Python's own ValueError.
            raise DecodeError(f"{kind} payload does not fit its schema: {error}") from error
        return _from_struct(wire, struct, model)


@lru_cache(maxsize=32)
def _wire(kind: ObjectKind | None, model: type[CachedObject]) -> _Wire:
    nested: dict[str, type[CachedObject]] = {}
    fields: list[tuple[str, Any, Any]] = []
    for name, info in model.model_fields.items():
        inner = nested_model(info.annotation)
        annotation: Any = info.annotation
        if inner is not None:
            nested[name] = inner
            annotation = _wire(None, inner).struct
        default: Any = None if info.is_required() else info.default
        if info.default_factory is not None:
            default = msgspec.field(default_factory=info.default_factory)  # type: ignore[arg-type]  # none of ours takes validated data
        fields.append((name, Union[annotation, None], default))  # noqa: UP007 - built at run time
    struct = msgspec.defstruct(
        f"{model.__name__}Wire",
        fields,
        rename={name: _base36(i) for i, name in enumerate(model.model_fields)},
        omit_defaults=True,
        gc=False,
    )
    tag = (b"" if kind is None else kind[0].encode()) + bytes.fromhex(schema_hash(model))
    return _Wire(
        tag,
        struct,
        msgspec.msgpack.Encoder(),
        msgspec.msgpack.Decoder(struct),
        nested,
        list(model.model_fields),
        set(model.model_fields),
    )


def _base36(number: int) -> str:
    low = _DIGITS[number % 36]
    return low if number < 36 else _base36(number // 36) + low  # noqa: PLR2004 - the base


def _to_struct(wire: _Wire, value: CachedObject) -> msgspec.Struct:
    fields = value.__dict__
    if wire.nested:
        fields = dict(fields)
        for name, inner in wire.nested.items():
            if fields.get(name) is not None:
                fields[name] = _to_struct(_wire(None, inner), fields[name])
    # Positional arguments take a quarter of the time; validated objects have their fields in order.
    if list(fields) == wire.names:
        return wire.struct(*fields.values())
    return wire.struct(**fields)


def _from_struct(wire: _Wire, struct: msgspec.Struct, model: type[T]) -> T:
    fields = msgspec.structs.asdict(struct)
    for name, inner in wire.nested.items():
        if fields[name] is not None:
            fields[name] = _from_struct(_wire(None, inner), fields[name], inner)
    # The struct decoder has checked every type against the model's schema, whose hash matched;
    # model_construct would visit each field again and take ten times as long.
    value = model.__new__(model)
    object.__setattr__(value, "__dict__", fields)
    object.__setattr__(value, "__pydantic_fields_set__", wire.fields_set)
    object.__setattr__(value, "__pydantic_extra__", None)
    object.__setattr__(value, "__pydantic_private__", None)
    return value
