from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.authcache.digest import digest, hash_token
from harness.authcache.words import ObjectKind
from harness.targets.litellm.inside import kinds
from tests.targets.litellm.inside.caches import (
    LiteLLM_TeamTableCachedObj,
    LiteLLM_UserTable,
    UserAPIKeyAuth,
)

USER, TEAM = str(uuid.UUID(int=1, version=4)), str(uuid.UUID(int=2, version=4))


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (hash_token("sk-1"), ObjectKind.KEY),
        (USER, ObjectKind.USER),
        (f"team_id:{TEAM}", ObjectKind.TEAM),
        (f"team_membership:{USER}:{TEAM}", ObjectKind.MEMBERSHIP),
        (f"{TEAM}_{USER}", ObjectKind.MEMBERSHIP),
    ],
)
def test_an_object_is_known_by_its_key(key: str, kind: ObjectKind) -> None:
    assert kinds.of_key(key) is kind


@pytest.mark.parametrize(
    "key",
    [f"spend:user:{USER}", "default_user_id:spend", f"end_user_id:{USER}", "", None, 7],
)
def test_bookkeeping_is_not_under_study(key: object) -> None:
    assert kinds.of_key(key) is None


@given(st.text(max_size=80))
def test_any_text_is_a_key_or_is_not(key: str) -> None:
    assert kinds.of_key(key) in (None, *ObjectKind)


def test_the_second_copy_of_a_team_is_a_team() -> None:
    team = LiteLLM_TeamTableCachedObj(TEAM)
    assert kinds.of_entry(TEAM, team, None) is ObjectKind.TEAM
    assert (
        kinds.of_entry(TEAM, {"team_id": TEAM, "members_with_roles": []}, None) is ObjectKind.TEAM
    )
    assert kinds.of_entry(TEAM, {"user_id": TEAM}, LiteLLM_UserTable) is ObjectKind.USER
    assert kinds.of_entry(TEAM, {"user_id": TEAM}, None) is ObjectKind.USER


def test_a_subclass_is_what_its_ancestor_is() -> None:
    class Copied(UserAPIKeyAuth):
        pass

    assert kinds.of_model(Copied) is ObjectKind.KEY
    assert kinds.of_model(dict) is None


def test_limits_of_a_model_and_of_its_dump_have_one_digest() -> None:
    row = {"user_id": USER, "max_budget": 2.0}
    of_model = kinds.limit_fields(ObjectKind.USER, LiteLLM_UserTable(USER, 2.0))
    assert digest("user", of_model) == digest("user", kinds.limit_fields(ObjectKind.USER, row))


def test_a_word_in_an_objects_place_is_its_absence() -> None:
    assert kinds.limit_fields(ObjectKind.MEMBERSHIP, "__no_team_membership__") is None


def test_the_budget_of_a_membership_is_found_in_its_budget_row() -> None:
    row = {"user_id": USER, "team_id": TEAM, "budget_id": "b"}
    truth = digest("membership", {**row, "budget_max": 4.0})
    dump = {**row, "litellm_budget_table": {"max_budget": 4.0}}
    assert digest("membership", kinds.limit_fields(ObjectKind.MEMBERSHIP, dump)) == truth
    cleared = kinds.limit_fields(ObjectKind.MEMBERSHIP, {**row, "litellm_budget_table": None})
    assert digest("membership", cleared) == digest("membership", {**row, "budget_max": None})
