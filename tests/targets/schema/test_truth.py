"""The oracle of digests and statuses, every budget and flag at its edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harness.authcache.digest import digest
from harness.authcache.words import LOAD_SCOPES
from harness.domain.population import (
    MOCK_MODEL,
    Limits,
    VirtualKey,
    make_population,
    make_refusals,
)
from harness.targets.base import KeyTruth
from harness.targets.schema.truth import STATUSES, Tables, expected_status, key_truths

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
INSTANT = timedelta(microseconds=1)
LIMITS: Mapping[str, Any] = {"spend": 0.0, "max_budget": None, "models": []}
SOUND: Mapping[str, Mapping[str, Any]] = {
    "key": {**LIMITS, "blocked": None, "expires": None},
    "user": LIMITS,
    "team": {**LIMITS, "blocked": False},
    "membership": {"spend": 0.0, "budget_max": None},
}


def _status(**changes: Mapping[str, Any] | None) -> int:
    """Of sound rows, some fields changed; None takes a row away."""
    rows = {
        kind: None if (change := changes.get(kind, {})) is None else {**row, **change}
        for kind, row in SOUND.items()
    }
    return expected_status(rows, NOW)


def test_sound_rows_call_for_200() -> None:
    assert _status() == 200


BUDGETS = [(kind, "max_budget") for kind in ("key", "user", "team")] + [
    ("membership", "budget_max")
]


@pytest.mark.parametrize(("kind", "budget"), BUDGETS)
@pytest.mark.parametrize(
    ("spend", "limit", "status"),
    [
        (9.999999, 10.0, 200),
        (10.0, 10.0, 429),
        (10.000001, 10.0, 429),
        (10.0, None, 200),
        (None, 10.0, 200),
        (None, 0.000001, 200),
        (None, None, 200),
        (0.0, 0.0, 429),
        (None, 0.0, 429),
        (0.5, 0.0, 429),
        (0.5, 1.0, 200),
    ],
)
def test_a_budget_is_used_up_as_soon_as_spend_reaches_it(
    kind: str, budget: str, spend: float | None, limit: float | None, status: int
) -> None:
    assert _status(**{kind: {"spend": spend, budget: limit}}) == status


def test_a_membership_is_held_to_the_budget_of_its_own_row_alone() -> None:
    """``max_budget`` is no column of a membership; were it one, it would not be the budget."""
    assert _status(membership={"spend": 2.0, "max_budget": 1.0}) == 200
    for kind in ("key", "user", "team"):
        assert _status(**{kind: {"spend": 2.0, "budget_max": 1.0}}) == 200


@pytest.mark.parametrize("kind", ["user", "team", "membership"])
def test_an_object_that_is_not_there_limits_nothing(kind: str) -> None:
    assert _status(**{kind: None}) == 200
    rows = {name: row for name, row in SOUND.items() if name != kind}
    assert expected_status(rows, NOW) == 200


@pytest.mark.parametrize("absent", ["user", "team", "membership"])
def test_an_object_that_is_not_there_does_not_hide_the_limits_of_others(absent: str) -> None:
    for kind, budget in BUDGETS:
        if kind != absent:
            assert _status(**{absent: None, kind: {"spend": 1.0, budget: 1.0}}) == 429


def test_a_key_that_is_not_there_is_refused() -> None:
    assert _status(key=None) == 401
    assert _status(key=None, team={"blocked": True}) == 401


@pytest.mark.parametrize(
    ("blocked", "status"), [(True, 401), (False, 200), (None, 200)], ids=["true", "false", "NULL"]
)
@pytest.mark.parametrize("kind", ["key", "team"])
def test_a_blocked_key_or_team_is_refused(kind: str, blocked: bool | None, status: int) -> None:
    assert _status(**{kind: {"blocked": blocked}}) == status


@pytest.mark.parametrize(
    ("expires", "status"),
    [(NOW - INSTANT, 401), (NOW, 200), (NOW + INSTANT, 200), (None, 200)],
    ids=["just over", "exactly now", "not yet", "NULL"],
)
def test_a_key_is_refused_from_the_moment_after_it_expires(
    expires: datetime | None, status: int
) -> None:
    """As Postgres gives it: in UTC and without a time zone."""
    naive = None if expires is None else expires.replace(tzinfo=None)
    assert _status(key={"expires": naive}) == status


@pytest.mark.parametrize("kind", ["key", "user", "team"])
@pytest.mark.parametrize(
    ("models", "status"),
    [
        ([MOCK_MODEL], 200),
        (["another", MOCK_MODEL], 200),
        (["another"], 403),
        ([f"{MOCK_MODEL}-2"], 403),
        ([], 200),
        (None, 200),
    ],
)
def test_a_list_of_models_without_the_one_asked_for_is_a_refusal(
    kind: str, models: list[str] | None, status: int
) -> None:
    assert _status(**{kind: {"models": models}}) == status


def _seeded(keys: list[VirtualKey]) -> Tables:
    """The rows of keys, as the database is filled."""

    def row(key: VirtualKey, limits: Limits | None) -> dict[str, Any]:
        assert limits is not None
        models = key.models if limits.models is None else limits.models
        expires = limits.expires and limits.expires.replace(tzinfo=None)
        return {**asdict(limits), "models": list(models), "expires": expires}

    return Tables(
        keys={(k.token,): row(k, k.key_limits) for k in keys if k.has_row},
        users={(k.user_id,): row(k, k.user_limits) for k in keys if k.user_id},
        teams={(k.team_id,): row(k, k.team_limits) for k in keys if k.team_id},
        memberships={
            (k.user_id, k.team_id): {"spend": k.member_spend, "budget_max": k.member_max_budget}
            for k in keys
            if k.user_id and k.team_id
        },
    )


def test_every_key_that_tests_refusals_calls_for_the_refusal_of_its_kind_and_no_other() -> None:
    keys = make_refusals(list(LOAD_SCOPES), first=0, seed=1, model=MOCK_MODEL)
    truths = key_truths(_seeded(keys), keys, planted_null_user=True, now=NOW)
    for key in keys:
        admitted = key.kind in ("no_limits", "expires_later")
        truth = truths[key.index]
        assert truth.refusal == ("" if admitted else key.kind)
        assert truth.status == (200 if admitted else STATUSES[key.kind])


def test_a_refusal_that_the_target_does_not_make_is_none() -> None:
    (key,) = make_population({"user": 1}, {}, seed=1, model=MOCK_MODEL)
    rows = {(key.token,): _row(token=key.token, expires=None, max_budget=0.0)}
    tables = _tables([key], keys=rows)
    for status, why in ((429, "key_zero"), (200, "")):
        truths = key_truths(
            tables, [key], planted_null_user=False, now=NOW, statuses={"key_zero": status}
        )
        assert (truths[0].status, truths[0].refusal) == (status, why)


def test_refusals_come_before_budgets() -> None:
    used_up = {"spend": 1.0, "max_budget": 1.0}
    assert _status(user=used_up, team={"blocked": True}) == 401
    assert _status(user=used_up, key={"expires": datetime(2026, 1, 1)}) == 401  # noqa: DTZ001 - as Postgres gives it
    assert _status(user=used_up, team={"models": ["another"]}) == 403
    assert _status(key={"blocked": True}, team={"models": ["another"]}) == 401


def _population() -> list[VirtualKey]:
    counts = {"team": 1, "user": 1, "shared_id": 1, "member": 1}
    return make_population(counts, {"member": "none"}, seed=1, model=MOCK_MODEL)


def _row(**fields: Any) -> dict[str, Any]:
    return {"spend": 0.0, "max_budget": None, "models": [MOCK_MODEL], "blocked": False, **fields}


def _tables(population: list[VirtualKey], **changes: Any) -> Tables:
    both = [(k.user_id, k.team_id) for k in population if k.user_id and k.team_id and k.budget_id]
    tables: dict[str, Any] = {
        "keys": {(k.token,): _row(token=k.token, expires=None) for k in population},
        "users": {(k.user_id,): _row(user_id=k.user_id) for k in population if k.user_id},
        "teams": {(k.team_id,): _row(team_id=k.team_id) for k in population if k.team_id},
        "memberships": {
            (user, team): {"user_id": user, "team_id": team, "spend": 0.0, "budget_max": 5.0}
            for user, team in both
        },
    }
    return Tables(**(tables | changes))


def _truths(
    population: list[VirtualKey], *, planted: bool = False, **tables: Any
) -> dict[str, KeyTruth]:
    """By scope; each has one key here."""
    found = key_truths(
        _tables(population, **tables), population, planted_null_user=planted, now=NOW
    )
    assert list(found) == [key.index for key in population]
    return {key.scope: found[key.index] for key in population}


def test_each_scope_has_the_objects_that_stand_behind_its_keys() -> None:
    keys = _population()
    truths = _truths(keys)
    tables = _tables(keys)
    assert {scope: list(truth.digests) for scope, truth in truths.items()} == {
        "team": ["key", "team"],
        "user": ["key", "user"],
        "shared_id": ["key", "user", "team", "membership"],
        "member": ["key", "user", "team", "membership"],
    }
    shared = next(key for key in keys if key.scope == "shared_id")
    assert shared.user_id is not None
    assert shared.team_id is not None
    assert truths["shared_id"].digests == {
        "key": digest("key", tables.keys[shared.token,]),
        "user": digest("user", tables.users[shared.user_id,]),
        "team": digest("team", tables.teams[shared.team_id,]),
        "membership": digest("membership", tables.memberships[shared.user_id, shared.team_id]),
    }
    assert {truth.status for truth in truths.values()} == {200}


def test_a_membership_without_a_row_is_known_to_be_absent() -> None:
    member = _truths(_population())["member"]
    assert member.digests["membership"] == digest("membership", None)
    assert "absent" not in {member.digests[kind] for kind in ("key", "user", "team")}


def test_rows_that_are_gone_are_absent_and_a_key_without_a_row_is_refused() -> None:
    truths = _truths(_population(), keys={}, users={}, teams={}, memberships={})
    for truth in truths.values():
        assert set(truth.digests.values()) == {"absent"}
        assert truth.status == 401


def test_the_planted_user_is_that_of_a_team_key_alone_and_has_no_limits() -> None:
    plain, planted = _truths(_population()), _truths(_population(), planted=True)
    assert planted["team"].digests["user"] == digest("user", {})
    assert planted["team"].digests["user"] != digest("user", None)
    assert planted["team"].status == 200
    assert {s: t for s, t in planted.items() if s != "team"} == {
        s: t for s, t in plain.items() if s != "team"
    }


def test_the_status_is_that_of_the_rows_at_the_given_moment() -> None:
    keys = _population()
    expires = NOW.replace(tzinfo=None)
    rows = {(key.token,): _row(token=key.token, expires=expires) for key in keys}
    tables = _tables(keys, keys=rows)
    for now, status in ((NOW, 200), (NOW + INSTANT, 401)):
        truths = key_truths(tables, keys, planted_null_user=False, now=now)
        assert {truth.status for truth in truths.values()} == {status}


@pytest.mark.parametrize("kind", ["users", "teams"])
def test_what_stands_behind_a_key_decides_with_it(kind: str) -> None:
    keys = _population()
    ids = [(key.user_id if kind == "users" else key.team_id) for key in keys]
    used_up = {(one,): _row(spend=2.0, max_budget=1.0) for one in ids if one is not None}
    tables: dict[str, Any] = {kind: used_up}
    truths = _truths(keys, **tables)
    spared = "team" if kind == "users" else "user"
    assert {scope: t.status for scope, t in truths.items()} == {
        scope: 200 if scope == spared else 429 for scope in truths
    }


def test_the_budget_of_a_membership_decides_for_those_who_have_a_row() -> None:
    keys = _population()
    used_up = {
        (key.user_id, key.team_id): {"spend": 5.0, "budget_max": 5.0}
        for key in keys
        if key.user_id and key.team_id and key.budget_id
    }
    statuses = {scope: t.status for scope, t in _truths(keys, memberships=used_up).items()}
    assert statuses == {"team": 200, "user": 200, "shared_id": 429, "member": 200}
