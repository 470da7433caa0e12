"""JSON by Pydantic's own rules: the codecs of LiteLLM's releases and of the issue's proposals.

LiteLLM dumps a model to JSON-safe values and then dumps those to text; here Pydantic writes the
text directly. The text is the same up to white space; the time is not, so the benchmark also
measures LiteLLM's way for each codec.

Both lose one thing silently: RFC 3339 writes an offset from UTC in whole minutes, so a datetime
with seconds in its offset comes back as another instant. Postgres returns none.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

from pydantic import ValidationError
from pydantic_core import to_json

from harness.authcache.codecs.base import T
from harness.authcache.codecs.registry import register
from harness.authcache.objects import CachedObject, User, UserOptionalId
from harness.authcache.words import ObjectKind
from harness.errors import DecodeError, EncodeError

M = TypeVar("M", bound=CachedObject)


def validate_json(payload: bytes, model: type[M]) -> M:
    """Read a JSON payload by the rules of a model. Raises DecodeError with Pydantic's message."""
    try:
        return model.model_validate_json(payload)
    except ValidationError as error:
        raise DecodeError(str(error)) from error


class _PydanticJson:
    """Dumps with the options of a subclass, reads by the rules of the requested model."""

    options: ClassVar[dict[str, Any]] = {}

    def encode(self, kind: ObjectKind, value: CachedObject) -> bytes:
        """JSON text. Raises EncodeError."""
        try:
            # Warnings off: the planted row holds None where the model says str, and Pydantic
            # would warn on every write.
            return value.model_dump_json(warnings=False, **self.options).encode()
        except Exception as error:
            raise EncodeError(f"{kind} cannot be written as JSON: {error}") from error

    def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:  # noqa: ARG002 - the protocol's
        """Raises DecodeError."""
        return validate_json(payload, model)


@register
class ExcludeNone(_PydanticJson):
    """``exclude_none=True``: a required field that holds None is left out."""

    name = "exclude_none"
    summary = "JSON without None (LiteLLM 1.84 to 1.92)"
    options: ClassVar[dict[str, Any]] = {"exclude_none": True}


@register
class KeepNone(_PydanticJson):
    """Every field, like LiteLLM from 1.93 on and the issue's third proposal."""

    name = "keep_none"
    summary = "JSON with every field (LiteLLM 1.93 on; the issue's fix 3)"


@register
class ExcludeDefaults(_PydanticJson):
    """Only what differs from the model's defaults; required fields always."""

    name = "exclude_defaults"
    summary = "JSON of what differs from the defaults"
    options: ClassVar[dict[str, Any]] = {"exclude_defaults": True}


@register
class OptionalUserId(ExcludeNone):
    """The issue's first proposal: write like 1.84, read users without requiring ``user_id``."""

    name = "optional_user_id"
    summary = "exclude_none, read with an optional user_id (the issue's fix 1)"

    def decode(self, kind: ObjectKind, payload: bytes, model: type[T]) -> T:
        """Raises DecodeError."""
        if issubclass(model, User):
            loosened: Any = UserOptionalId
            found: T = validate_json(payload, loosened)
            return found
        return super().decode(kind, payload, model)


@register
class KeepRequiredNone(_PydanticJson):
    """The issue's second proposal: None is kept where the model requires the field."""

    name = "keep_required_none"
    summary = "exclude_none, but None kept for required fields (the issue's fix 2)"

    def encode(self, kind: ObjectKind, value: CachedObject) -> bytes:
        """JSON text. Raises EncodeError."""
        try:
            fields = value.model_dump(mode="json", warnings=False, exclude_none=True)
            for name, field in type(value).model_fields.items():
                if field.is_required() and getattr(value, name) is None:
                    fields[name] = None
            return to_json(fields, inf_nan_mode="constants")
        except Exception as error:
            raise EncodeError(f"{kind} cannot be written as JSON: {error}") from error
