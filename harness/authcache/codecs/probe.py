"""Tries a codec on plain objects before a run, to find a crash before the load starts."""

from __future__ import annotations

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


def probe(codec: Codec, name: str) -> None:
    """Encode and decode one plain object of each kind.

    A codec may refuse (EncodeError, DecodeError): that is a finding of the run. Anything else it
    raises, or a payload that is not bytes, is a mistake in the codec.

    Raises:
        CodecLoadError: the codec is broken.
    """
    for kind, value in PLAIN.items():
        try:
            payload = codec.encode(kind, value)
            if not isinstance(payload, bytes):
                raise TypeError(f"encode returned {type(payload).__name__}, not bytes")  # noqa: TRY301 - reported like any other mistake
            back = codec.decode(kind, payload, type(value))
            if not isinstance(back, type(value)):
                raise TypeError(  # noqa: TRY301 - reported like any other mistake
                    f"decode returned {type(back).__name__}, not {type(value).__name__}"
                )
        except CodecError:
            continue
        except Exception as error:
            raise CodecLoadError(
                f"The codec [{name}] fails on a plain {kind}: {type(error).__name__}: {error}. "
                "Fix it; to refuse an object, raise EncodeError or DecodeError."
            ) from error
