from __future__ import annotations

import pytest

from harness.authcache.words import LOAD_SCOPES, KeyScope, key_scope


@pytest.mark.parametrize(
    ("user_id", "team_id", "scope"),
    [
        (None, "t", KeyScope.TEAM),
        ("u", None, KeyScope.USER),
        ("u", "t", KeyScope.MEMBER),
        ("same", "same", KeyScope.SHARED_ID),
        (None, None, KeyScope.UNKNOWN),
        ("", "", KeyScope.SHARED_ID),
        ("", None, KeyScope.USER),
    ],
)
def test_the_scope_of_a_key(user_id: str | None, team_id: str | None, scope: KeyScope) -> None:
    assert key_scope(user_id, team_id) is scope


def test_every_scope_but_the_unknown_can_be_driven() -> None:
    assert {*LOAD_SCOPES, KeyScope.UNKNOWN} == set(KeyScope)
