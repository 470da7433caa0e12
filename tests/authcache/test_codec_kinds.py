"""What a codec does with a payload of another kind, and with the row that a scenario plants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import create_model

from harness.authcache.codecs import ForeignPayloadError, codec_names, load_codec
from harness.authcache.codecs.envelope import schema_hash
from harness.authcache.codecs.probe import PLAIN
from harness.authcache.digest import digest
from harness.authcache.objects import Budget, CachedObject, Membership, User, limit_fields
from harness.authcache.words import ObjectKind
from harness.errors import DecodeError, EncodeError

OBJECTS: Mapping[ObjectKind, CachedObject] = {
    **PLAIN,
    # With a budget: without one, some codecs cannot read it even as what it is.
    ObjectKind.MEMBERSHIP: Membership(
        user_id="u", team_id="t", litellm_budget_table=Budget(max_budget=1.0)
    ),
}
KINDS = tuple(OBJECTS)

Row = tuple[str, str, str, str]
# Columns: read as a key, a user, a team, a membership.
NAMED_FIELDS: Mapping[str, Row] = {
    "key": ("accepts", "accepts", "accepts", "fails"),
    "user": ("accepts", "accepts", "fails", "fails"),
    "team": ("accepts", "fails", "accepts", "fails"),
    "membership": ("accepts", "accepts", "accepts", "accepts"),
}
"""Without tag, the fields decide; a key, all of whose fields are optional, can be anything."""
EVERY_FIELD: Mapping[str, Row] = {
    "key": ("accepts", "accepts", "fails", "accepts"),
    "user": ("fails", "accepts", "fails", "fails"),
    "team": ("fails", "fails", "accepts", "fails"),
    "membership": ("accepts", "accepts", "accepts", "accepts"),
}
"""A None that the other model does not take is refused; one that it needs is found."""
TAGGED: Mapping[str, Row] = {
    "key": ("accepts", "foreign", "foreign", "foreign"),
    "user": ("foreign", "accepts", "foreign", "foreign"),
    "team": ("foreign", "foreign", "accepts", "foreign"),
    "membership": ("foreign", "foreign", "foreign", "accepts"),
}
WRONG_TYPES: Mapping[str, Mapping[str, Row]] = {
    "exclude_none": NAMED_FIELDS,
    "exclude_defaults": NAMED_FIELDS,
    "keep_required_none": NAMED_FIELDS,
    # What the first proposal of issue #27874 costs: a team is read as a user.
    "optional_user_id": {**NAMED_FIELDS, "team": ("accepts", "accepts", "accepts", "fails")},
    "keep_none": EVERY_FIELD,
    "msgpack": EVERY_FIELD,
    "envelope": TAGGED,
    "msgspec": TAGGED,
    # A peer's dict becomes a key, but no other object, not even the one that it is.
    "raw": dict.fromkeys(KINDS, ("accepts", "fails", "fails", "fails")),
}

PLANTED_COLUMNS = (
    *("user_id", "user_alias", "user_email", "user_role", "spend", "max_budget", "tpm_limit"),
    *("rpm_limit", "models", "teams", "metadata", "created_at", "updated_at"),
)
# As in the log line, with the lists that the reader has put there itself.
IS_MISSING = r"user_id\n  Field required \[type=missing, input_value=\{.*\[\], 'teams': \[\]\}"
IS_NO_STRING = r"user_id\n  Input should be a valid string"
PLANTED: Mapping[str, str | None] = {
    "exclude_none": IS_MISSING,
    "keep_none": IS_NO_STRING,
    "keep_required_none": IS_NO_STRING,
    "exclude_defaults": IS_NO_STRING,
    "envelope": IS_NO_STRING,
    "msgpack": IS_NO_STRING,
    "optional_user_id": None,
    "msgspec": None,
}
"""How reading the planted row fails; None where it comes back as it is in Postgres."""


def planted_user() -> User:
    nulls: dict[str, Any] = dict.fromkeys(PLANTED_COLUMNS)
    return User.model_construct(**nulls)


def outcome(name: str, written: ObjectKind, read: ObjectKind) -> str:
    codec = load_codec(name)
    # With raw, what lies in Redis is a peer's.
    writer = load_codec("exclude_none") if name == "raw" else codec
    payload = writer.encode(written, OBJECTS[written])
    try:
        value = codec.decode(read, payload, type(OBJECTS[read]))
    except ForeignPayloadError:
        return "foreign"
    except DecodeError:
        return "fails"
    assert isinstance(value, type(OBJECTS[read]))
    return "accepts"


def test_every_codec_is_in_the_tables() -> None:
    assert WRONG_TYPES.keys() == codec_names().keys()
    assert PLANTED.keys() | {"raw"} == codec_names().keys()


@pytest.mark.parametrize("name", WRONG_TYPES)
@pytest.mark.parametrize("written", KINDS)
def test_a_payload_of_another_kind(name: str, written: ObjectKind) -> None:
    assert tuple(outcome(name, written, read) for read in KINDS) == WRONG_TYPES[name][written]


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_row(name: str) -> None:
    codec = load_codec(name)
    payload = codec.encode(ObjectKind.USER, planted_user())

    reason = PLANTED[name]
    if reason is not None:
        with pytest.raises(DecodeError, match=reason):
            codec.decode(ObjectKind.USER, payload, User)
        return
    served = codec.decode(ObjectKind.USER, payload, User)
    assert served.user_id is None
    all_null = digest("user", dict.fromkeys(PLANTED_COLUMNS))
    assert digest("user", limit_fields(served)) == all_null


def test_raw_cannot_write_the_planted_row_either() -> None:
    with pytest.raises(EncodeError, match="not JSON serializable"):
        load_codec("raw").encode(ObjectKind.USER, planted_user())


def model(**fields: Any) -> type[CachedObject]:
    return create_model("Thing", __base__=CachedObject, **fields)


def inner(*names: str) -> Any:
    fields: dict[str, Any] = dict.fromkeys(names, (str | None, None))
    return create_model("Inner", __base__=CachedObject, **fields)


NEW_SCHEMAS = {
    "another default": (model(a=(int, 0)), model(a=(int, 1))),
    "another name": (model(a=(int, 0)), model(b=(int, 0))),
    "another type": (model(a=(int, 0)), model(a=(float, 0))),
    "another order": (model(a=(int, 0), b=(int, 0)), model(b=(int, 0), a=(int, 0))),
    "now required": (model(a=(int | None, None)), model(a=(int | None, ...))),
    "another order inside": (
        model(a=(inner("b", "c") | None, None)),
        model(a=(inner("c", "b") | None, None)),
    ),
}


@pytest.mark.parametrize("name", ["envelope", "msgspec"])
@pytest.mark.parametrize("change", NEW_SCHEMAS)
def test_a_payload_of_another_version_of_the_models_is_foreign(name: str, change: str) -> None:
    codec = load_codec(name)
    old, new = NEW_SCHEMAS[change]
    payload = codec.encode(ObjectKind.TEAM, old())

    assert codec.decode(ObjectKind.TEAM, payload, old) == old()
    assert schema_hash(old) != schema_hash(new)
    with pytest.raises(ForeignPayloadError, match="asked for team"):
        codec.decode(ObjectKind.TEAM, payload, new)
