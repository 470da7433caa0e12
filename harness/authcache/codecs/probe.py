"""Tries a codec on plain objects before a run, to find a crash before the load starts."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from harness.authcache.codecs.base import Codec
from harness.authcache.objects import CachedObject, Key, Membership, Team, User
from harness.authcache.words import ObjectKind
from harness.errors import CodecError, CodecLoadError

PLAIN: Mapping[ObjectKind, CachedObject] = {
    ObjectKind.KEY: Key(token="0" * 64, key_alias="a", user_id="u", team_id="t", models=["m"]),
    ObjectKind.USER: User(user_id="u", max_budget=1.0, models=["m"]),
    ObjectKind.TEAM: Team(team_id="t", max_budget=1.0, models=["m"]),
    ObjectKind.MEMBERSHIP: Membership(user_id="u", team_id="t", litellm_budget_table=None),
}


def probe(codec: Codec, name: str) -> list[str]:
    """Encode and decode one plain object of each kind.

    A codec that fails on one is what its author wants to see: the run shows what follows. Refusing
    (EncodeError, DecodeError) is a codec's right, and the run counts it.

    Args:
        codec: of the variant.
        name: for the text.

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
    found, encoded = [], 0
    for kind, value in PLAIN.items():
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
        except CodecError:
            encoded += 1
        except Exception as error:  # noqa: BLE001 - a codec may raise anything
            found.append(f"The codec [{name}] fails on a plain {kind}: {_said(error)}.")
    if not encoded:
        raise CodecLoadError(
            f"{found[0]} It encodes nothing. Fix it; to refuse an object, raise EncodeError or "
            "DecodeError."
        )
    return found


def _said(error: Exception) -> str:
    """An error on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]
