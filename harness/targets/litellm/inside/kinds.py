"""Which object a cache key or a cached value of LiteLLM holds.

LiteLLM keeps many things in one cache; four of them are under study. A key object lies under the
SHA-256 of its secret, a user under its raw id, a team under ``team_id:{id}`` and, up to 1.90, under
its raw id too, a membership under ``team_membership:{user}:{team}`` and ``{team}_{user}``
(auth_checks.py and user_api_key_auth.py of the releases).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from harness.authcache.words import ObjectKind

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_KEYS: tuple[tuple[re.Pattern[str], ObjectKind], ...] = (
    (re.compile(r"[0-9a-f]{64}"), ObjectKind.KEY),
    (re.compile(r"team_id:.+"), ObjectKind.TEAM),
    (re.compile(r"team_membership:.+"), ObjectKind.MEMBERSHIP),
    (re.compile(f"{_UUID}_{_UUID}"), ObjectKind.MEMBERSHIP),
    # The population's ids are UUIDs, so that a raw id differs from a bookkeeping key.
    (re.compile(rf"(?:user_id:)?{_UUID}"), ObjectKind.USER),
)
_MODELS: tuple[tuple[str, ObjectKind], ...] = (
    ("UserAPIKeyAuth", ObjectKind.KEY),
    ("LiteLLM_VerificationToken", ObjectKind.KEY),
    ("LiteLLM_UserTable", ObjectKind.USER),
    ("LiteLLM_TeamMembership", ObjectKind.MEMBERSHIP),
    ("LiteLLM_TeamTable", ObjectKind.TEAM),
)


def of_key(key: object) -> ObjectKind | None:
    """The object that lies under a cache key; None for what is not under study."""
    if isinstance(key, str):
        for pattern, kind in _KEYS:
            if pattern.fullmatch(key):
                return kind
    return None


def of_model(model: type[Any] | None) -> ObjectKind | None:
    """The object that a model class of LiteLLM describes, by its name or an ancestor's."""
    for ancestor in () if model is None else model.__mro__:
        for prefix, kind in _MODELS:
            if ancestor.__name__.startswith(prefix):
                return kind
    return None


def of_value(value: object) -> ObjectKind | None:
    """The object that a cached value is; None where the value does not show it.

    Of the dumps only a team's can lie under the key of another object.
    """
    if isinstance(value, Mapping):
        return ObjectKind.TEAM if "members_with_roles" in value else None
    return of_model(type(value))


def of_entry(key: object, value: object, model: type[Any] | None) -> ObjectKind | None:
    """The object that is written: by model, by the value, last by key.

    The key alone would call the second copy of a team, under its raw id, a user.
    """
    if of_key(key) is None:
        return None
    return of_model(model) or of_value(value) or of_key(key)


def limit_fields(kind: ObjectKind, value: object) -> Mapping[str, Any] | None:
    """The fields that `harness.authcache.digest` looks at, of a model or of its dump.

    None for anything else: later releases cache a string in place of an absent object.
    """
    fields = value if isinstance(value, Mapping) else getattr(value, "__dict__", None)
    if fields is None:
        return None
    if kind is not ObjectKind.MEMBERSHIP:
        return fields
    budget = fields.get("litellm_budget_table")
    if budget is not None and not isinstance(budget, Mapping):
        budget = vars(budget)
    return {**fields, "budget_max": None if budget is None else budget.get("max_budget")}
