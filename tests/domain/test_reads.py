"""Read logs: which object a logged read is of."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.authcache.words import LOAD_SCOPES, ObjectKind
from harness.domain.population import MOCK_MODEL, VirtualKey, make_population, objects_in_scope
from harness.domain.reads import (
    LoggedRead,
    ObjectRead,
    Owned,
    object_id,
    objects_of,
    owned_objects,
    resolve,
)

_KEYS = make_population(dict.fromkeys(LOAD_SCOPES, 3), {}, seed=1, model=MOCK_MODEL)


def of(scope: str) -> VirtualKey:
    return next(key for key in _KEYS if key.scope == scope)


@pytest.mark.parametrize("planted", [True, False])
def test_the_objects_are_those_that_the_reference_line_counts(planted: bool) -> None:
    found = owned_objects(_KEYS, planted_null_user=planted)
    for scope in LOAD_SCOPES:
        ours = [one for one in found.values() if one.scope == scope]
        assert len(ours) == objects_in_scope(_KEYS, scope, planted_null_user=planted)
        assert {len(one.keys) for one in ours} == {1}


def test_planted_users_and_absent_memberships_are_told_apart_by_their_keys() -> None:
    """Their contents, and so their digests, are the same."""
    planted = {
        objects_of(key, planted_null_user=True)[ObjectKind.USER]
        for key in _KEYS
        if key.scope == "team"
    }
    assert len(planted) == 3
    absent = make_population({"member": 3}, {"member": "none"}, seed=1, model=MOCK_MODEL)
    kinds = [objects_of(key, planted_null_user=False) for key in absent]
    assert len({objects[ObjectKind.MEMBERSHIP] for objects in kinds}) == 3


def test_an_object_that_keys_share_is_one_object_of_all_of_them() -> None:
    first = of("member")
    keys = [first, *(key for key in _KEYS if key.scope == "member" and key is not first)]
    shared = [replace(key, team_id=first.team_id) for key in keys]
    found = owned_objects(shared, planted_null_user=False)
    team = found[object_id("team", first.team_id or "")]
    assert team == Owned("team", "member", tuple(key.index for key in keys))
    assert sum(one.kind == "membership" for one in found.values()) == 3


@given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.text(), min_size=1, max_size=3))
def test_ids_are_the_same_for_the_same_object_only(one: list[str], other: list[str]) -> None:
    if any("\0" in text for text in (*one, *other)):
        return  # Postgres stores no such text.
    assert (object_id("key", *one) == object_id("key", *other)) == (one == other)
    assert object_id("key", *one) != object_id("user", *one)


def test_an_id_shows_the_kind_and_none_of_the_ids() -> None:
    token = of("team").token
    assert object_id("key", token).startswith("key:")
    assert token not in object_id("key", token)


def test_reads_of_all_workers_are_joined_in_order_of_time() -> None:
    key = of("member")
    names = objects_of(key, planted_null_user=False)
    user, row = names[ObjectKind.USER], names[ObjectKind.MEMBERSHIP]
    logs = [
        [LoggedRead(3.0, user, ""), LoggedRead(5.0, "key:0123", "")],
        [LoggedRead(1.0, row, "member")],
    ]
    random.shuffle(logs[0])
    assert resolve(logs, owned_objects(_KEYS, planted_null_user=False)) == (
        ObjectRead(1.0, 1, row, "membership", "member", "member"),
        ObjectRead(3.0, 0, user, "user", "", "member"),
        ObjectRead(5.0, 0, "key:0123", "key", "", "unknown"),
    )
