"""Digests of what was served, to compare with Postgres afterwards.

A status code cannot show that a team was served as a user; a digest of the identity and limit
fields does. Spend is left out: it changes with every request. Only the standard library is used,
so that the same function runs inside a LiteLLM release's own environment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

IDENTITY_AND_LIMITS: Mapping[str, tuple[str, ...]] = {
    "key": (
        "token",
        "user_id",
        "team_id",
        "max_budget",
        "tpm_limit",
        "rpm_limit",
        "models",
        "blocked",
    ),
    "user": ("user_id", "max_budget", "tpm_limit", "rpm_limit", "models"),
    "team": ("team_id", "max_budget", "tpm_limit", "rpm_limit", "models", "blocked"),
    "membership": ("user_id", "team_id", "budget_id", "budget_max"),
}
"""Fields by object. ``budget_max`` is the ``max_budget`` of the membership's budget row."""

ABSENT = "absent"
"""The digest of an absent object."""


def digest(kind: str, fields: Mapping[str, Any] | None) -> str:
    """Twelve hex digits over the identity and limit fields of one object.

    Args:
        kind: ``key``, ``user``, ``team`` or ``membership``.
        fields: the object's fields by name; others are ignored, missing ones count as NULL.
            None is an absent object.

    NULL, ``false`` and an empty list count as one value: Postgres, the ORM and the models spell
    "no limit" in each of these ways.
    """
    if fields is None:
        return ABSENT
    return _digest(kind, tuple(_plain(fields.get(name)) for name in IDENTITY_AND_LIMITS[kind]))


# A replica serves a handful of objects over and over; hashing them again on every request would
# cost more than the lookups under study.
@lru_cache(maxsize=4096)
def _digest(kind: str, values: tuple[Any, ...]) -> str:
    text = json.dumps([kind, values], separators=(",", ":"))
    return hashlib.blake2s(text.encode(), digest_size=6).hexdigest()


# For the same reason. The secrets that a worker keeps here are those of a run's own population.
@lru_cache(maxsize=4096)
def hash_token(secret: str) -> str:
    """What LiteLLM stores of a virtual key: the SHA-256 of the secret, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _plain(value: Any) -> Any:
    if value is None or value is False or value in ([], ()):
        return None
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return str(value)
