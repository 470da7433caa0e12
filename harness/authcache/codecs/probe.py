"""Tries a codec on small objects before a run, to find a mistake before the load starts."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import get_args

from harness.authcache.codecs.base import Codec
from harness.authcache.objects import MODELS, Budget, CachedObject, Key, Membership, Team, User
from harness.authcache.words import ObjectKind
from harness.errors import CodecError, CodecLoadError, DecodeError

PLAIN: Mapping[ObjectKind, CachedObject] = {
    ObjectKind.KEY: Key(token="0" * 64, key_alias="a", user_id="u", team_id="t", models=["m"]),
    ObjectKind.USER: User(user_id="u", max_budget=1.0, models=["m"]),
    ObjectKind.TEAM: Team(team_id="t", max_budget=1.0, models=["m"]),
    ObjectKind.MEMBERSHIP: Membership(
        user_id="u", team_id="t", litellm_budget_table=Budget(max_budget=1.0)
    ),
}


def probe(
    codec: Codec, name: str, models: Mapping[ObjectKind, type[CachedObject]] = MODELS
) -> list[str]:
    """Encode and decode two small objects of each kind: a plain one, and one of required fields.

    A codec that fails on one is what its author wants to see: the run shows what follows. Refusing
    to write (EncodeError) is a codec's right, and the run counts it; what it wrote, it must read.

    Args:
        codec: of the variant.
        name: for the text.
        models: of the variant, by kind, as `Switches.models`.

    Returns:
        What it does wrong, a sentence for each kind; empty for a codec that does its work.

    Raises:
        CodecLoadError: it cannot be called at all: encode or decode takes other arguments, or no
            kind is encoded to bytes.
    """
    for what, arguments in (("encode", 2), ("decode", 3)):
        try:
            inspect.signature(getattr(codec, what)).bind(*range(arguments))
        except TypeError as error:
            raise CodecLoadError(
                f"The codec [{name}] cannot be called: {what} takes other arguments ({error}). "
                "Give it encode(kind, value) and decode(kind, payload, model)."
            ) from error
    found: dict[ObjectKind, str] = {}
    encoded = 0
    for what, kind, value in _samples(models):
        try:
            payload = codec.encode(kind, value)
            if not isinstance(payload, bytes):
                raise TypeError(f"encode returned {type(payload).__name__}, not bytes")  # noqa: TRY301 - reported like any other mistake
            encoded += 1
            back = codec.decode(kind, payload, type(value))
            if not isinstance(back, type(value)):
                raise TypeError(  # noqa: TRY301 - reported like any other mistake
                    f"decode returned {type(back).__name__}, not {type(value).__name__}"
                )
        except DecodeError as error:
            text = f"The codec [{name}] cannot read back {what}: {_said(error)}."
            found.setdefault(kind, text)
        except CodecError:
            encoded += 1
        except Exception as error:  # noqa: BLE001 - a codec may raise anything
            text = f"The codec [{name}] fails on {what}: {type(error).__name__}: {_said(error)}."
            found.setdefault(kind, text)
    if not encoded:
        raise CodecLoadError(
            f"{next(iter(found.values()))} It encodes nothing. Fix it; to refuse an object, raise "
            "EncodeError or DecodeError."
        )
    return [*found.values()]


def _samples(
    models: Mapping[ObjectKind, type[CachedObject]],
) -> Iterator[tuple[str, ObjectKind, CachedObject]]:
    """Objects of the models, each with words for it."""
    for kind, plain in PLAIN.items():
        model = models[kind]
        yield f"a plain {kind}", kind, model(**plain.__dict__)
        required = {
            field: None if type(None) in get_args(info.annotation) else getattr(plain, field)
            for field, info in model.model_fields.items()
            if info.is_required()
        }
        empty = [field for field, value in required.items() if value is None]
        what = f"a {kind} with required fields only"
        yield what + (f" ({', '.join(empty)} None)" if empty else ""), kind, model(**required)


def _said(error: Exception) -> str:
    """An error on one line, without the input that Pydantic shows."""
    return " ".join(str(error).split()).partition(" [type=")[0][:200]
