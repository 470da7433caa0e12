"""The table of actions: calls of LiteLLM's shapes, and statements that do the same."""

from __future__ import annotations

import pytest

from harness.domain.changes import ACTIONS
from harness.domain.population import MOCK_MODEL, make_population
from harness.targets.schema import management
from harness.targets.schema.management import WAYS, bound, call

KEY = make_population({"member": 1}, {}, seed=1, model=MOCK_MODEL)[0]


def test_every_action_has_a_way() -> None:
    assert WAYS.keys() == ACTIONS.keys()


@pytest.mark.parametrize("action", ACTIONS)
def test_every_name_of_a_way_has_a_value(action: str) -> None:
    way, values = WAYS[action], management._values(KEY, 1)
    used = {name for text in way.statements for name in bound(text)[1]}
    assert used | set(way.body.values()) <= values.keys()
    owner = action.partition("-")[0].replace("member", "team")
    assert call(action, KEY, 1).path.startswith(f"/{owner}/")


@pytest.mark.parametrize(
    ("action", "path", "body"),
    [
        ("key-block", "/key/block", {"key": KEY.secret}),
        ("key-delete", "/key/delete", {"keys": [KEY.secret]}),
        (
            "key-new",
            "/key/generate",
            {
                "key": KEY.secret,
                "user_id": KEY.user_id,
                "team_id": KEY.team_id,
                "models": list(KEY.models),
                "tpm_limit": 5_000_007,
                "key_alias": KEY.alias,
            },
        ),
        (
            "key-models",
            "/key/update",
            {"key": KEY.secret, "models": ["only-for-key-1"], "tpm_limit": 5_000_007},
        ),
        (
            "key-budget-raised",
            "/key/update",
            {"key": KEY.secret, "max_budget": 1_000_007.0, "tpm_limit": 5_000_007},
        ),
        ("team-delete", "/team/delete", {"team_ids": [KEY.team_id]}),
        ("user-limits", "/user/update", {"user_id": KEY.user_id, "tpm_limit": 5_000_007}),
        (
            "member-budget-set",
            "/team/member_update",
            {"team_id": KEY.team_id, "user_id": KEY.user_id, "max_budget_in_team": 5_000_007.0},
        ),
    ],
)
def test_a_call_has_the_shape_of_litellm(action: str, path: str, body: object) -> None:
    made = call(action, KEY, 7)
    assert (made.method, made.path, made.body) == ("POST", path, body)
    assert KEY.secret not in repr(made)


@pytest.mark.parametrize("action", [name for name in ACTIONS if name.endswith("-models")])
def test_a_narrowed_list_is_not_empty(action: str) -> None:
    models = call(action, KEY, 1).body["models"]
    assert models, "an empty list allows every model"
    assert MOCK_MODEL not in models
    assert set(models) <= set(KEY.models)


def test_a_statement_is_bound_by_number() -> None:
    assert bound("SET a = :x, b = :y WHERE c = :x") == (
        "SET a = $1, b = $2 WHERE c = $1",
        ["x", "y"],
    )
