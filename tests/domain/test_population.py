"""The population and the keys file."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.authcache.words import LOAD_SCOPES, key_scope
from harness.domain.changes import ACTIONS
from harness.domain.population import (
    CHANGE,
    KINDS,
    MOCK_MODEL,
    LoadKey,
    VirtualKey,
    by_scope,
    make_changes,
    make_population,
    make_refusals,
    objects_in_scope,
    read_keys,
    write_keys,
)
from harness.errors import UsageError

COUNTS = st.dictionaries(st.sampled_from([s.value for s in LOAD_SCOPES]), st.integers(0, 6))


def population(counts: dict[str, int] | None = None, seed: int = 1) -> list[VirtualKey]:
    counts = counts or dict.fromkeys(LOAD_SCOPES, 3)
    rows = {"member": "cleared", "shared_id": "budget"}
    return make_population(counts, rows, seed=seed, model=MOCK_MODEL)  # type: ignore[arg-type]  # literals


@given(COUNTS)
def test_a_population_has_the_keys_asked_for_in_the_order_of_the_scopes(
    counts: dict[str, int],
) -> None:
    keys = population(counts) if counts else []
    assert Counter(k.scope for k in keys) == Counter({s: n for s, n in counts.items() if n})
    assert [k.index for k in keys] == list(range(len(keys)))
    order = [s.value for s in LOAD_SCOPES]
    assert [k.scope for k in keys] == sorted((k.scope for k in keys), key=order.index)


def test_a_key_has_the_ids_of_its_scope() -> None:
    for key in population():
        assert key_scope(key.user_id, key.team_id) == key.scope
        assert (key.user_limits is None) == (key.user_id is None)
        assert (key.team_limits is None) == (key.team_id is None)


def test_memberships_are_as_asked() -> None:
    for key in population():
        expected = {"member": "cleared", "shared_id": "budget"}.get(key.scope, "none")
        assert key.membership == expected
        assert (key.budget_id is not None) == (expected == "budget")
        assert (key.member_max_budget is not None) == (expected == "budget")


def test_no_two_ids_and_no_two_limits_are_equal() -> None:
    keys = population()
    ids = [i for k in keys for i in {k.user_id, k.team_id, k.alias, k.budget_id} if i]
    assert len(set(ids)) == len(ids)
    assert len({k.token for k in keys}) == len(keys)
    limits = [
        one.max_budget
        for k in keys
        for one in (k.key_limits, k.user_limits, k.team_limits)
        if one is not None
    ]
    assert len(set(limits)) == len(limits)


def test_the_seed_decides() -> None:
    assert population(seed=5) == population(seed=5)
    assert population(seed=5) != population(seed=6)


def test_a_token_is_the_hash_of_its_secret() -> None:
    key = population()[0]
    assert key.secret.startswith("sk-")
    assert key.token == hashlib.sha256(key.secret.encode()).hexdigest()


@pytest.mark.parametrize(
    ("scope", "planted", "objects"),
    [
        ("team", False, 2),  # key, team
        ("team", True, 3),  # and the planted user
        ("user", True, 2),  # key, user
        ("shared_id", True, 4),  # key, user, team, membership
        ("member", False, 4),
    ],
)
def test_objects_of_a_scope(scope: str, planted: bool, objects: int) -> None:
    assert objects_in_scope(population(), scope, planted_null_user=planted) == 3 * objects


def shared(every: int) -> list[VirtualKey]:
    counts = {scope.value: 4 for scope in LOAD_SCOPES}
    return make_population(
        counts, {"member": "budget"}, seed=1, model=MOCK_MODEL, share_every=every
    )


def test_some_keys_share_owners_with_the_key_before_them() -> None:
    by = {s.value: [k for k in shared(3) if k.scope == s] for s in LOAD_SCOPES}
    for scope, (first, second, third, fourth) in by.items():
        if scope == "shared_id":
            assert third.user_id != second.user_id
            continue
        assert third.team_id == second.team_id
        assert third.team_limits == second.team_limits
        assert (third.user_id == second.user_id) == (scope != "member")
        assert third.budget_id == second.budget_id
        assert third.member_max_budget == second.member_max_budget
        owners = {(k.user_id, k.team_id, k.budget_id) for k in (first, second, fourth)}
        assert len(owners) == 3
        assert len({k.key_limits for k in (first, second, third, fourth)}) == 4


def test_objects_that_keys_share_count_once() -> None:
    keys = shared(3)
    found = {scope: objects_in_scope(keys, scope, planted_null_user=True) for scope in LOAD_SCOPES}
    # Of four keys: team 4 + 3 and a planted user each; member 4 + 4 users + 3 + 4 memberships.
    assert found == {"team": 11, "user": 7, "shared_id": 16, "member": 15}


def test_without_sharing_the_population_is_as_it_always_was() -> None:
    assert shared(0) == make_population(
        {scope.value: 4 for scope in LOAD_SCOPES}, {"member": "budget"}, seed=1, model=MOCK_MODEL
    )


def refusals() -> list[VirtualKey]:
    return make_refusals(list(LOAD_SCOPES), first=7, seed=1, model=MOCK_MODEL)


def test_every_scope_has_keys_to_refuse_and_keys_that_must_not_be() -> None:
    keys = refusals()
    assert [k.index for k in keys] == list(range(7, 7 + len(keys)))
    assert len({k.token for k in keys}) == len(keys)
    for scope in LOAD_SCOPES:
        kinds = [k.kind for k in keys if k.scope == scope]
        assert len(set(kinds)) == len(kinds)
        assert {"blocked", "expired", "unknown", "wrong_model", "key_budget", "no_limits"} <= {
            *kinds
        }
    assert {k.kind for k in keys} == set(KINDS)
    assert {k.scope for k in make_refusals(["user"], first=0, seed=1, model="m")} == {"user"}


def test_keys_with_a_row_of_their_own_to_blame_share_owners_and_others_have_their_own() -> None:
    for scope in LOAD_SCOPES:
        keys = [k for k in refusals() if k.scope == scope]
        own = [k for k in keys if KINDS[k.kind].owner == "key"]
        assert len({(k.user_id, k.team_id, k.budget_id) for k in own}) == 1
        others = [k for k in keys if k not in own]
        ids = [i for k in others for i in {k.user_id, k.team_id, k.budget_id} if i]
        assert len(set(ids)) == len(ids)


def test_each_kind_differs_from_an_ordinary_key_in_one_row() -> None:
    by = {(k.scope, k.kind): k for k in refusals()}
    assert by["user", "blocked"].key_limits.blocked
    assert by["team", "expired"].key_limits.expires is not None
    assert by["team", "wrong_model"].key_limits.models == ("another-model",)
    assert not by["team", "unknown"].has_row
    assert by["team", "unknown"].seen_scope == "unknown"
    assert by["team", "blocked"].seen_scope == "team"
    used = by["member", "member_budget"]
    assert (used.member_max_budget, used.member_spend) == (1.0, 2.0)
    team = by["member", "team_budget"].team_limits
    assert team is not None
    assert (team.max_budget, team.spend) == (1.0, 2.0)
    free = by["member", "no_limits"]
    for limits in (free.key_limits, free.user_limits, free.team_limits):
        assert limits is not None
        assert (limits.max_budget, limits.tpm_limit, limits.rpm_limit, limits.models) == (
            None, None, None, ()
        )  # fmt: skip
    assert free.member_max_budget is None
    assert free.budget_id is not None, "a budget without a limit, not no budget"


def test_an_ordinary_load_leaves_the_keys_that_test_refusals_out(tmp_path: Path) -> None:
    ordinary = population()
    keys = [*ordinary, *make_refusals(["user"], first=len(ordinary), seed=1, model="m")]
    write_keys(tmp_path / "keys.json", keys)
    read = read_keys(tmp_path / "keys.json")
    assert by_scope(read) == by_scope(read[: len(ordinary)])
    driven = by_scope(read, refusals=True)
    assert sorted(i for some in driven.values() for i in some) == [
        k.index for k in keys[len(ordinary) :]
    ]
    assert {read[i].kind for i in driven["unknown"]} == {"unknown"}


def test_the_keys_file_has_what_the_load_needs_and_no_more(tmp_path: Path) -> None:
    path, keys = tmp_path / "keys.json", population()
    write_keys(path, keys)
    assert read_keys(path) == [LoadKey(k.index, k.scope, k.secret) for k in keys]
    assert not any(k.token in path.read_text() for k in keys)


def test_keys_by_scope() -> None:
    keys = [LoadKey(0, "team", "a"), LoadKey(1, "user", "b"), LoadKey(2, "team", "c")]
    assert by_scope(keys) == {"team": [0, 2], "user": [1]}


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        '{"index": 0}',
        '[{"index": 0, "scope": "team"}]',
        '[{"index": "x", "scope": "team", "secret": "s"}]',
        '[{"index": 1, "scope": "team", "secret": "s"}]',
    ],
)
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"keys\.json"):
        read_keys(path)


def test_an_absent_keys_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.json"):
        read_keys(tmp_path / "absent.json")


def test_the_keys_file_is_json(tmp_path: Path) -> None:
    write_keys(tmp_path / "keys.json", population())
    rows = json.loads((tmp_path / "keys.json").read_text())
    assert set(rows[0]) == {"index", "scope", "secret"}


def changing(*actions: tuple[str, str]) -> dict[str, VirtualKey]:
    made = make_changes(actions, first=30, seed=1, model=MOCK_MODEL)
    assert [key.index for key in made] == list(range(30, 30 + len(actions)))
    return {key.kind.removeprefix(CHANGE): key for key in made}


def test_every_action_has_a_key_with_the_rows_before_it() -> None:
    by = changing(*((name, action.scopes[-1]) for name, action in ACTIONS.items()))
    assert list(by) == list(ACTIONS)
    owners = [(key.user_id, key.team_id) for key in by.values()]
    assert len(set(owners)) == len(owners)
    for name, key in by.items():
        team = key.team_limits
        assert team is not None
        assert key.has_row == (name != "key-new")
        assert key.seen_scope == key.scope
        assert key.key_limits.blocked == (name == "key-unblock")
        assert team.blocked == (name == "team-unblock")
        assert (key.member_max_budget is None) == (name == "member-budget-set")
        assert (key.membership, key.budget_id is None) == (
            ("cleared", True) if name == "member-budget-set" else ("budget", False)
        )
        used_up = (key.key_limits.max_budget or 0.0) <= key.key_limits.spend
        assert used_up == (name == "key-budget-raised")
        # Lowered to a millionth of a dollar, it is used up.
        assert (key.key_limits.spend > 0.000001) == name.startswith("key-budget")
        assert (key.member_spend > 0.000001) == (name == "member-budget")


def test_keys_to_be_changed_are_driven_by_no_other_window(tmp_path: Path) -> None:
    ordinary = population()
    made = make_changes([("key-block", "team")], first=len(ordinary), seed=1, model="m")
    write_keys(tmp_path / "keys.json", [*ordinary, *made])
    read = read_keys(tmp_path / "keys.json")
    assert by_scope(read) == by_scope(read[: len(ordinary)])
    assert by_scope(read, refusals=True) == {}
    assert {key.secret for key in made}.isdisjoint(key.secret for key in ordinary)
