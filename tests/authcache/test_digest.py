from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.authcache import digest as digest_module
from harness.authcache.digest import ABSENT, READ_FIELDS, digest, hash_token
from harness.authcache.objects import MODELS, Budget, Membership, Team, User, limit_fields
from harness.authcache.words import ObjectKind
from tests.authcache.strategies import objects

NO_LIMIT: tuple[Any, ...] = (None, False, [], ())
TEAM = {"team_id": "t", "max_budget": 5.0, "tpm_limit": 7, "models": ["a", "b"], "blocked": False}
OTHER: dict[str, Any] = {
    "team_id": "other",
    "max_budget": 6.0,
    "tpm_limit": 8,
    "rpm_limit": 1,
    "models": ["a"],
    "blocked": True,
}


def test_every_object_has_fields_that_its_model_has() -> None:
    assert READ_FIELDS.keys() == {kind.value for kind in ObjectKind}
    for kind, model in MODELS.items():
        known = {*model.model_fields, "budget_max"}
        assert known >= set(READ_FIELDS[kind])


def test_twelve_hex_digits_that_carry_no_id() -> None:
    assert re.fullmatch(r"[0-9a-f]{12}", digest("team", TEAM))
    assert digest("team", None) == ABSENT


@pytest.mark.parametrize("field", OTHER)
def test_every_limit_counts(field: str) -> None:
    assert digest("team", TEAM | {field: OTHER[field]}) != digest("team", TEAM)


@pytest.mark.parametrize("field", ["spend", "team_alias", "last_refreshed_at", "no such field"])
def test_nothing_else_does(field: str) -> None:
    assert digest("team", TEAM | {field: 1.0}) == digest("team", TEAM)


@pytest.mark.parametrize("field", ["max_budget", "models", "blocked", "team_id"])
def test_every_spelling_of_no_limit_is_one(field: str) -> None:
    without = {name: value for name, value in TEAM.items() if name != field}
    spellings = [without, *(without | {field: none} for none in NO_LIMIT)]

    assert len({digest("team", fields) for fields in spellings}) == 1


def test_zero_is_a_limit() -> None:
    assert digest("team", TEAM | {"max_budget": 0.0}) != digest("team", TEAM | {"max_budget": None})


MOMENT = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "spelling",
    [
        MOMENT,
        MOMENT.replace(tzinfo=None),  # as Postgres gives it
        MOMENT.astimezone(timezone(timedelta(hours=5))),
        "2030-01-02T03:04:05Z",
        "2030-01-02T03:04:05+00:00",
        "2030-01-02T03:04:05",
    ],
)
def test_a_moment_of_expiry_is_one_in_every_spelling(spelling: object) -> None:
    key = {"token": "t", "expires": MOMENT}
    assert digest("key", key | {"expires": spelling}) == digest("key", key)
    later = MOMENT + timedelta(milliseconds=1)
    for other in (later, later.isoformat(), None, "soon"):
        assert digest("key", key | {"expires": other}) != digest("key", key)


def test_metadata_counts_as_a_mapping_or_as_postgres_prints_it() -> None:
    key = {"token": "t", "metadata": {"b": [1], "a": "x"}}
    assert digest("key", key | {"metadata": '{"a": "x", "b": [1]}'}) == digest("key", key)
    for other in ({}, None, "{}", {"a": "x"}, "no JSON"):
        assert digest("key", key | {"metadata": other}) != digest("key", key)
    assert digest("key", {"metadata": {}}) == digest("key", {"metadata": "{}"}) == digest("key", {})


@pytest.mark.parametrize("lost", ["expires", "metadata", "blocked", "models", "key_alias"])
def test_a_field_that_is_lost_on_the_way_to_the_cache_is_seen(lost: str) -> None:
    """Plant 15."""
    fields = {
        "token": "t", "key_alias": "k", "expires": MOMENT, "metadata": {"a": 1}, "blocked": True,
        "models": ["m"],
    }  # fmt: skip
    rest = {name: value for name, value in fields.items() if name != lost}
    assert digest("key", rest) != digest("key", fields)


def test_a_number_is_its_value_and_a_list_its_items() -> None:
    assert digest("team", TEAM | {"max_budget": 5, "models": ("a", "b")}) == digest("team", TEAM)
    assert digest("team", TEAM | {"models": ["b", "a"]}) != digest("team", TEAM)


def test_the_kind_belongs_to_it() -> None:
    user = User(user_id="same", max_budget=1.0)
    team = Team(team_id="same", max_budget=1.0)

    assert digest("user", limit_fields(user)) != digest("user", limit_fields(team))
    assert digest("user", {}) != digest("team", {})


def test_a_memberships_limit_is_its_budgets() -> None:
    budget = Budget(budget_id="b", max_budget=9.0)
    member = Membership(user_id="u", team_id="t", budget_id="b", litellm_budget_table=budget)
    row = {"user_id": "u", "team_id": "t", "budget_id": "b", "budget_max": 9.0}
    cleared = member.model_copy(update={"budget_id": None, "litellm_budget_table": None})

    assert digest("membership", limit_fields(member)) == digest("membership", row)
    assert limit_fields(cleared)["budget_max"] is None


@given(data=st.data())
def test_every_object_that_a_model_admits_has_one(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(list(MODELS)))
    value = data.draw(objects(MODELS[kind]))

    assert digest(kind, limit_fields(value)) == digest(kind.value, limit_fields(value))


def test_the_same_in_another_process_with_nothing_but_the_standard_library() -> None:
    # It runs inside the environment of a release, which has none of our packages.
    script = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('digest', {digest_module.__file__!r})\n"
        "module = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(module)\n"
        f"print(module.digest('team', {TEAM!r}))\n"
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'harness']\n"
    )
    told = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )

    assert told.stdout.strip() == digest("team", TEAM)


def test_a_token_is_the_hash_of_its_secret() -> None:
    assert hash_token("sk-1234") == hashlib.sha256(b"sk-1234").hexdigest()
