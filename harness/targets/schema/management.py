"""How each action is carried out: LiteLLM's management call, and the statements that do the same.

One table for both targets: the reference proxy answers calls of LiteLLM's shapes.
"""

# ruff: noqa: S608 - statements are put together from constants of this module alone

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.authcache.digest import hash_token
from harness.domain.population import VirtualKey
from harness.targets.base import Call

if TYPE_CHECKING:
    import asyncpg

_KEY = '"LiteLLM_VerificationToken"'
_USER = '"LiteLLM_UserTable"'
_TEAM = '"LiteLLM_TeamTable"'
_MEMBERSHIP = '"LiteLLM_TeamMembership"'
_BUDGET = '"LiteLLM_BudgetTable"'

_THIS_KEY = "WHERE token = :token"
_THIS_USER = "WHERE user_id = :user"
_THIS_TEAM = "WHERE team_id = :team"
_THIS_MEMBER = "WHERE user_id = :user AND team_id = :team"
_NEW_KEY = (
    f"INSERT INTO {_KEY} (token, key_alias, user_id, team_id, models, tpm_limit) "
    "VALUES (:token, :alias, :user, :team, :models, :limit)"
)
_NEW_BUDGET = (
    f"INSERT INTO {_BUDGET} (budget_id, max_budget, created_by, updated_by) "
    "VALUES (:new_budget, :member_budget, 'harness', 'harness')"
)
_NO_MEMBERS = (
    f"UPDATE {_TEAM} SET members_with_roles = '[]' {_THIS_TEAM}",
    f"UPDATE {_USER} SET teams = array_remove(teams, :team) {_THIS_USER}",
)


@dataclass(frozen=True, slots=True)
class _Way:
    """One action by API and by SQL. Values are names in `_values`; in SQL they follow a colon."""

    path: str
    body: Mapping[str, str]
    statements: tuple[str, ...]


def _key_update(**columns: str) -> _Way:
    return _update("/key/update", {"key": "secret"}, columns, _KEY, _THIS_KEY)


def _user_update(**columns: str) -> _Way:
    return _update("/user/update", {"user_id": "user"}, columns, _USER, _THIS_USER)


def _team_update(**columns: str) -> _Way:
    return _update("/team/update", {"team_id": "team"}, columns, _TEAM, _THIS_TEAM)


def _update(
    path: str, this: Mapping[str, str], columns: Mapping[str, str], table: str, where: str
) -> _Way:
    """A field of an update's body has the name of its column."""
    changed = ", ".join(f"{column} = :{value}" for column, value in columns.items())
    return _Way(path, {**this, **columns}, (f"UPDATE {table} SET {changed} {where}",))


def _block(path: str, this: Mapping[str, str], *, blocked: bool, where: str, table: str) -> _Way:
    return _Way(path, this, (f"UPDATE {table} SET blocked = {blocked} {where}",))


def _member_update(budget: str, *statements: str) -> _Way:
    body = {"team_id": "team", "user_id": "user", "max_budget_in_team": budget}
    return _Way("/team/member_update", body, statements)


_SECRET, _THE_TEAM = {"key": "secret"}, {"team_id": "team"}

WAYS: Mapping[str, _Way] = {
    "key-block": _block("/key/block", _SECRET, blocked=True, where=_THIS_KEY, table=_KEY),
    "key-unblock": _block("/key/unblock", _SECRET, blocked=False, where=_THIS_KEY, table=_KEY),
    "key-delete": _Way("/key/delete", {"keys": "secrets"}, (f"DELETE FROM {_KEY} {_THIS_KEY}",)),
    "key-regenerate": _Way(
        "/key/regenerate", _SECRET, (f"UPDATE {_KEY} SET token = :new_token {_THIS_KEY}",)
    ),
    "key-new": _Way(
        "/key/generate",
        {
            **_SECRET,
            "user_id": "user",
            "team_id": "team",
            "models": "models",
            "tpm_limit": "limit",
            "key_alias": "alias",
        },
        (_NEW_KEY,),
    ),
    "key-models": _key_update(models="narrowed", tpm_limit="limit"),
    "key-budget": _key_update(max_budget="used_up", tpm_limit="limit"),
    "key-budget-raised": _key_update(max_budget="ample", tpm_limit="limit"),
    "key-limits": _key_update(tpm_limit="limit"),
    "key-blocked": _key_update(blocked="true", tpm_limit="limit"),
    "team-block": _block("/team/block", _THE_TEAM, blocked=True, where=_THIS_TEAM, table=_TEAM),
    "team-unblock": _block(
        "/team/unblock", _THE_TEAM, blocked=False, where=_THIS_TEAM, table=_TEAM
    ),
    "team-models": _team_update(models="narrowed", tpm_limit="limit"),
    "team-limits": _team_update(tpm_limit="limit"),
    "team-delete": _Way(
        "/team/delete",
        {"team_ids": "teams"},
        tuple(f"DELETE FROM {table} {_THIS_TEAM}" for table in (_KEY, _MEMBERSHIP, _TEAM)),
    ),
    "user-models": _user_update(models="narrowed", tpm_limit="limit"),
    "user-limits": _user_update(tpm_limit="limit"),
    "user-delete": _Way(
        "/user/delete",
        {"user_ids": "users"},
        tuple(f"DELETE FROM {table} {_THIS_USER}" for table in (_KEY, _MEMBERSHIP, _USER)),
    ),
    "member-budget": _member_update(
        "used_up",
        f"UPDATE {_BUDGET} SET max_budget = :used_up WHERE budget_id = "
        f"(SELECT budget_id FROM {_MEMBERSHIP} {_THIS_MEMBER})",
    ),
    "member-budget-set": _member_update(
        "member_budget",
        _NEW_BUDGET,
        f"UPDATE {_MEMBERSHIP} SET budget_id = :new_budget {_THIS_MEMBER}",
    ),
    "member-budget-cleared": _member_update(
        "null", f"UPDATE {_MEMBERSHIP} SET budget_id = NULL {_THIS_MEMBER}"
    ),
    "member-remove": _Way(
        "/team/member_delete",
        {"team_id": "team", "user_id": "user"},
        # Releases delete the member's keys of the team too; without its row, a key is refused.
        tuple(f"DELETE FROM {table} {_THIS_MEMBER}" for table in (_KEY, _MEMBERSHIP)) + _NO_MEMBERS,
    ),
}
"""Every action of `harness.domain.changes.ACTIONS`, by name."""


def call(action: str, key: VirtualKey, number: int) -> Call:
    """As `harness.targets.base.Target.call`, for a target that has every action."""
    way, values = WAYS[action], _values(key, number)
    return Call("POST", way.path, {field: values[name] for field, name in way.body.items()})


async def edit(connection: asyncpg.Connection, action: str, key: VirtualKey, number: int) -> bool:
    """As `harness.targets.base.Database.edit`."""
    values = _values(key, number)
    async with connection.transaction():
        for statement in WAYS[action].statements:
            text, names = bound(statement)
            await connection.execute(text, *(values[name] for name in names))
    return True


def bound(statement: str) -> tuple[str, list[str]]:
    """A statement with ``$1`` in place of names, and the names in the order of their numbers."""
    names = list(dict.fromkeys(re.findall(r":(\w+)", statement)))
    return re.sub(r":(\w+)", lambda found: f"${names.index(found[1]) + 1}", statement), names


def _values(key: VirtualKey, number: int) -> dict[str, Any]:
    """What calls and statements are made of; budgets in US dollars.

    Limits that ``number`` makes unique are out of reach of any run and unlike those of
    `harness.domain.population`, so that the versions of an object can be told apart.
    """
    return {
        "secret": key.secret,
        "secrets": [key.secret],
        "token": key.token,
        "new_token": hash_token(f"{key.secret}-{number}"),
        "alias": key.alias,
        "user": key.user_id,
        "users": [key.user_id],
        "team": key.team_id,
        "teams": [key.team_id],
        "models": list(key.models),
        # Not empty: an empty list allows every model.
        "narrowed": [f"only-for-key-{key.index + 1}"],
        "limit": 5_000_000 + number,
        # Less than a key has spent whose budget is to be used up.
        "used_up": 0.000_001,
        "ample": 1_000_000.0 + number,
        "member_budget": 5_000_000.0 + number,
        "new_budget": f"change-{number}-{key.token[:12]}",
        "true": True,
        "null": None,
    }
