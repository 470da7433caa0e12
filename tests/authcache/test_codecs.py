"""Every codec gives back what it was given or fails loudly; what it loses is in a table."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from functools import cache, partial
from typing import Any

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from harness.authcache.codecs import Codec, codec_names, load_codec
from harness.authcache.codecs.probe import PLAIN
from harness.authcache.objects import (
    Budget,
    CachedObject,
    Key,
    Membership,
    MembershipDefaultNone,
    Team,
    User,
)
from harness.authcache.words import ObjectKind
from harness.errors import CodecError, DecodeError, EncodeError
from tests.authcache.strategies import json_values, lost, objects, told, values

CODECS: Mapping[str, Codec] = {name: load_codec(name) for name in codec_names()}
MODELS: tuple[tuple[ObjectKind, type[CachedObject]], ...] = (
    (ObjectKind.KEY, Key),
    (ObjectKind.USER, User),
    (ObjectKind.TEAM, Team),
    (ObjectKind.MEMBERSHIP, Membership),
    (ObjectKind.MEMBERSHIP, MembershipDefaultNone),
)
KIND_OF = {model: kind for kind, model in MODELS}

WITHOUT_NONE = ("exclude_none", "keep_required_none", "optional_user_id")
"""Codecs that leave None out, as LiteLLM 1.84 to 1.92 does: the reader fills in its default."""
NONE_BECOMES_DEFAULT: Mapping[type[CachedObject], Mapping[str, Any]] = {
    Key: {
        "allowed_cache_controls": [],
        "allowed_routes": [],
        "rotation_count": 0,
        "auto_rotate": False,
    },
    User: {"model_max_budget": {}, "model_spend": {}},
    Team: {},
    Membership: {"spend": 0.0, "total_spend": 0.0},
    MembershipDefaultNone: {"spend": 0.0, "total_spend": 0.0},
}
"""The known defect of `WITHOUT_NONE`: nullable fields whose default is not None."""
LOSES_THE_BUDGET = ("exclude_none", "optional_user_id")
"""The known defect of 1.84: a membership whose budget was cleared cannot be read again."""
SECONDS_OF_AN_OFFSET = (
    *("envelope", "exclude_defaults", "exclude_none", "keep_none", "keep_required_none"),
    *("msgpack", "optional_user_id"),
)
"""Codecs that write datetimes as RFC 3339, whose offsets are whole minutes."""

find_smallest = partial(
    find, settings=settings(max_examples=3000, derandomize=True, database=None, deadline=None)
)


def back(name: str, value: CachedObject) -> CachedObject:
    """What a reader gets of what a writer had. Raises CodecError."""
    kind = KIND_OF[type(value)]
    return CODECS[name].decode(kind, CODECS[name].encode(kind, value), type(value))


def unreadable(name: str, value: CachedObject) -> bool:
    try:
        back(name, value)
    except DecodeError:
        return True
    return False


def refused(name: str, value: CachedObject) -> bool:
    try:
        back(name, value)
    except EncodeError:
        return True
    return False


@pytest.mark.parametrize("model", KIND_OF)
@given(data=st.data())
def test_what_is_read_is_what_was_written(model: type[CachedObject], data: st.DataObject) -> None:
    value = data.draw(objects(model))
    for name in CODECS:
        if name == "raw":
            with pytest.raises(EncodeError):
                back(name, value)
            continue
        if (
            name in LOSES_THE_BUDGET
            and type(value) is Membership
            and value.litellm_budget_table is None
        ):
            with pytest.raises(DecodeError):
                back(name, value)
            continue
        known = NONE_BECOMES_DEFAULT[model] if name in WITHOUT_NONE else {}
        expected = {
            field: (None, default)
            for field, default in known.items()
            if getattr(value, field) is None
        }
        assert lost(value, back(name, value)) == expected, name


@pytest.mark.integration  # no server, but it searches for a second
@pytest.mark.parametrize("name", WITHOUT_NONE)
@pytest.mark.parametrize(
    ("model", "field"),
    [(model, field) for model, fields in NONE_BECOMES_DEFAULT.items() for field in fields],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_the_smallest_object_whose_none_becomes_a_default(
    name: str, model: type[CachedObject], field: str
) -> None:
    # Always drawn, so that it is found soon; and a budget, so that it is this defect and no other.
    drawn = {field: values(model.model_fields[field].annotation)}
    others = {"litellm_budget_table": st.just(Budget())} if "Membership" in model.__name__ else {}

    smallest = find_smallest(
        objects(model, drawn | others), lambda value: field in lost(value, back(name, value))
    )

    plain = PLAIN[KIND_OF[model]]
    required = {name for name, one in type(plain).model_fields.items() if one.is_required()}
    assert told(smallest).keys() - required - others.keys() == {field}
    assert lost(smallest, back(name, smallest)) == {
        field: (None, NONE_BECOMES_DEFAULT[model][field])
    }


@pytest.mark.parametrize("name", LOSES_THE_BUDGET)
def test_the_smallest_membership_that_cannot_be_read_again(name: str) -> None:
    smallest = find_smallest(objects(Membership), partial(unreadable, name))

    assert told(smallest) == {"user_id": "", "team_id": "", "litellm_budget_table": None}
    with pytest.raises(DecodeError, match=r"litellm_budget_table\n  Field required"):
        back(name, smallest)
    same_but_later = MembershipDefaultNone(**smallest.model_dump())
    assert lost(same_but_later, back(name, same_but_later)) == {}


@pytest.mark.integration  # no server, but it searches for a second
def test_the_smallest_team_that_passes_for_a_user() -> None:
    codec = CODECS["optional_user_id"]

    def as_user(team: Team) -> User:
        return codec.decode(ObjectKind.USER, codec.encode(ObjectKind.TEAM, team), User)

    smallest = find_smallest(objects(Team), lambda team: as_user(team).max_budget is not None)

    assert told(smallest) == {"team_id": "", "max_budget": 0.0}
    assert told(as_user(smallest)) == {"max_budget": 0.0}
    with pytest.raises(DecodeError, match=r"user_id\n  Field required"):
        CODECS["exclude_none"].decode(
            ObjectKind.USER, codec.encode(ObjectKind.TEAM, smallest), User
        )


@pytest.mark.parametrize("name", sorted(CODECS.keys() - {"raw"}))
def test_the_smallest_offset_that_moves_an_instant(name: str) -> None:
    offsets = st.integers(0, 3600).map(lambda seconds: timezone(timedelta(seconds=seconds)))
    keys = offsets.map(lambda offset: Key(expires=datetime(2000, 1, 1, tzinfo=offset)))

    def moves(value: Key) -> bool:
        return "expires" in lost(value, back(name, value))

    if name not in SECONDS_OF_AN_OFFSET:
        with pytest.raises(NoSuchExample):
            find_smallest(keys, moves, settings=settings(max_examples=100, database=None))
        return
    smallest = find_smallest(keys, moves)
    assert smallest.expires is not None
    assert smallest.expires.utcoffset() == timedelta(seconds=1)


@pytest.mark.integration  # no server, but it searches for a second
@pytest.mark.parametrize("name", ["msgpack", "msgspec"])
@pytest.mark.parametrize(("low", "high", "smallest"), [(0, 2**80, 2**64), (-(2**80), 0, -(2**63))])
def test_the_smallest_integer_that_messagepack_refuses(
    name: str, low: int, high: int, smallest: int
) -> None:
    number = st.integers(low, high)
    keys = st.builds(Key, tpm_limit=number) | st.builds(Key, metadata=st.builds(dict, n=number))

    found = find_smallest(keys, partial(refused, name))

    assert told(found) == {"tpm_limit": smallest - (smallest < 0)}


@pytest.mark.parametrize("name", sorted(CODECS.keys() - {"raw", "msgpack", "msgspec"}))
@pytest.mark.parametrize(
    "number",
    [2**64, -(2**63) - 1, 10**1000, -(10**1000)],
    ids=["2**64", "-2**63 - 1", "10**1000", "-10**1000"],
)
def test_json_writes_any_integer(name: str, number: int) -> None:
    value = Key(tpm_limit=number, metadata={"n": [number]})

    assert lost(value, back(name, value)) == {}


@pytest.mark.parametrize("name", sorted(CODECS.keys() - {"raw"}))
@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_infinity_survives_where_a_limit_or_metadata_hold_it(name: str, number: float) -> None:
    value = User(user_id="u", max_budget=number, metadata={"n": [number]})

    assert lost(value, back(name, value)) == {}


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"n": value}
    return value


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(
    "metadata",
    [{"n": "\ud800"}, {"n": {"\ud800": 1}}, {"n": 10**5000}, nested(100_000)],
    ids=["lone surrogate", "lone surrogate as a name", "5000 digits", "100,000 deep"],
)
def test_what_no_payload_can_hold_fails_loudly(name: str, metadata: dict[str, Any]) -> None:
    with pytest.raises(CodecError):
        back(name, Team(team_id="t", metadata=metadata))


@pytest.mark.parametrize("name", CODECS)
@given(data=st.data())
def test_any_bytes_are_an_object_or_a_decode_error(name: str, data: st.DataObject) -> None:
    codec, kind = CODECS[name], data.draw(st.sampled_from(list(PLAIN)))
    model = type(PLAIN[kind])
    payload = data.draw(_damaged(written(codec, kind)))
    try:
        value = codec.decode(kind, payload, model)
    except DecodeError:
        return
    assert isinstance(value, model)


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("opening", [b"[", b'{"metadata":', b"\x91", b"\x81\xa1e"])
def test_a_payload_nested_without_end_is_a_decode_error(
    name: str, kind: ObjectKind, opening: bytes
) -> None:
    codec, model = CODECS[name], type(PLAIN[kind])
    with pytest.raises(DecodeError):
        codec.decode(kind, _tag(codec, kind) + opening * 100_000, model)


def written(codec: Codec, kind: ObjectKind) -> bytes:
    try:
        return codec.encode(kind, PLAIN[kind])
    except EncodeError:  # raw: what a peer with a codec left
        return CODECS["exclude_none"].encode(kind, PLAIN[kind])


def _tag(codec: Codec, kind: ObjectKind) -> bytes:
    return {
        "envelope": written(codec, kind).partition(b"\n")[0] + b"\n",
        "msgspec": written(codec, kind)[:5],
    }.get(codec.name, b"")


@cache
def _damaged(good: bytes) -> st.SearchStrategy[bytes]:
    """Payloads cut, changed in some bytes, followed by others, and documents of other shapes."""
    tag = good[: good.find(b"\n") + 1] or good[:5]
    cut = st.integers(0, len(good)).map(lambda end: good[:end])
    changed = st.builds(
        lambda at, new: good[:at] + new + good[at + len(new) :],
        st.integers(0, len(good)),
        st.binary(min_size=1, max_size=4),
    )
    documents = json_values().map(lambda value: json.dumps(value).encode())
    anything = st.binary(max_size=40) | documents
    return st.one_of(
        anything, cut, changed, anything.map(lambda more: good + more), anything.map(tag.__add__)
    )
