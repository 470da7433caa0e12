"""Where two kinds of object can meet under one cache key, and where they cannot."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from harness.authcache.digest import hash_token
from harness.authcache.layout import LAYOUTS, KeyLayout

TOKEN, USER, TEAM = hash_token("sk-1"), "user-1", "team-1"

KEYS: Mapping[str, Mapping[str, str]] = {
    "raw_ids": {
        "key": TOKEN,
        "user": "user-1",
        "team": "team_id:team-1",
        "team_copy": "team-1",
        "membership": "team_membership:user-1:team-1",
        "member": "team-1_user-1",
    },
    "team_prefixed": {
        "key": TOKEN,
        "user": "user-1",
        "team": "team_id:team-1",
        "team_copy": "team_id:team-1",
        "membership": "team_membership:user-1:team-1",
        "member": "team-1_user-1",
    },
    "all_prefixed": {
        "key": f"key:{TOKEN}",
        "user": "user_id:user-1",
        "team": "team_id:team-1",
        "team_copy": "team_id:team-1",
        "membership": "team_membership:user-1:team-1",
        "member": "team_member:team-1_user-1",
    },
    "apart": {
        "key": f"authcache:key:{TOKEN}",
        "user": "authcache:user:user-1",
        "team": "authcache:team:team-1",
        "team_copy": "authcache:team:team-1",
        "membership": "authcache:membership:user-1:team-1",
        "member": "authcache:member:team-1_user-1",
    },
}


def built(layout: KeyLayout, user: str = USER, team: str = TEAM) -> dict[str, str]:
    return {
        "key": layout.key(TOKEN),
        "user": layout.user(user),
        "team": layout.team(team),
        "team_copy": layout.team_copy(team),
        "membership": layout.membership(user, team),
        "member": layout.member(user, team),
    }


def test_every_layout_is_in_the_table() -> None:
    assert LAYOUTS.keys() == KEYS.keys()


@pytest.mark.parametrize("name", KEYS)
def test_the_keys_of_a_layout(name: str) -> None:
    assert built(LAYOUTS[name]) == KEYS[name]
    assert LAYOUTS[name].name == name


@pytest.mark.parametrize(("name", "meet"), [("raw_ids", True), ("team_prefixed", False)])
def test_where_a_user_meets_the_team_of_the_same_id(name: str, meet: bool) -> None:
    keys = built(LAYOUTS[name], "same", "same")

    assert (keys["user"] == keys["team_copy"]) is meet


@given(
    name=st.sampled_from(["all_prefixed", "apart"]),
    user=st.text(max_size=4),
    team=st.text(max_size=4),
)
def test_with_prefixes_two_kinds_never_meet(name: str, user: str, team: str) -> None:
    keys = built(LAYOUTS[name], user, team)
    # A team and its copy are one object; so are the two keys of a membership.
    kinds = [keys["key"], keys["user"], keys["team"], keys["membership"], keys["member"]]

    prefixes = {key.removeprefix("authcache:").split(":", 1)[0] for key in kinds}
    assert len(prefixes) == 5


@given(ids=st.lists(st.text(max_size=4), min_size=4, max_size=4))
def test_what_is_apart_never_meets_an_entry_of_a_release(ids: list[str]) -> None:
    ours = built(LAYOUTS["apart"], ids[0], ids[1]).values()
    assume(not any(one.startswith("authcache:") for one in ids))

    for name in ("raw_ids", "team_prefixed"):
        assert not set(ours) & set(built(LAYOUTS[name], ids[2], ids[3]).values())
