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
from harness.domain.population import (
    MOCK_MODEL,
    LoadKey,
    VirtualKey,
    by_scope,
    make_population,
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
