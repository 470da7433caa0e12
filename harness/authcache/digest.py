"""Digests of what was served, to compare with Postgres afterwards.

A status code cannot show that a team was served as a user; a digest of every field that the auth
path reads does. Spend is left out: it changes with every request. Only the standard library is
used, so that the same function runs inside a LiteLLM release's own environment.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from functools import lru_cache
from typing import Any

READ_FIELDS: Mapping[str, tuple[str, ...]] = {
    "key": (
        "token",
        "key_alias",
        "user_id",
        "team_id",
        "max_budget",
        "tpm_limit",
        "rpm_limit",
        "models",
        "blocked",
        "expires",
        "metadata",
    ),
    "user": ("user_id", "max_budget", "tpm_limit", "rpm_limit", "models"),
    "team": ("team_id", "max_budget", "tpm_limit", "rpm_limit", "models", "blocked", "metadata"),
    "membership": ("user_id", "team_id", "budget_id", "budget_max"),
}
"""The fields that the auth path reads, by object, but for ``spend``.

``budget_max`` is the ``max_budget`` of the membership's budget row. ``metadata`` of a key and a
team is what a release's auth path reads settings from (limits per model, guardrails, tags); the
reference proxy only carries it.
"""

ABSENT = "absent"
"""The digest of an absent object."""


def digest(kind: str, fields: Mapping[str, Any] | None) -> str:
    """Twelve hex digits over the `READ_FIELDS` of one object.

    Args:
        kind: ``key``, ``user``, ``team`` or ``membership``.
        fields: the object's fields by name; others are ignored, missing ones count as NULL.
            None is an absent object.

    NULL and 0 differ: a budget of 0 admits nothing, NULL is no budget. NULL, ``false``, an empty
    list and an empty mapping count as one value: the auth path treats them alike, and Postgres, the
    ORM and the models spell "no limit" in each of these ways.
    """
    if fields is None:
        return ABSENT
    return _digest(kind, tuple(_field(name, fields.get(name)) for name in READ_FIELDS[kind]))


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


def _field(name: str, value: Any) -> Any:
    """A field in one spelling: Postgres, the ORM and a JSON dump each have their own."""
    if value is not None:
        if name == "expires":
            return _moment(value)
        if name == "metadata" and isinstance(value, str):
            with suppress(ValueError):
                value = json.loads(value)
    return _plain(value)


def _moment(moment: datetime | str) -> str:
    """A moment in UTC, to the millisecond, which is as fine as Postgres keeps it."""
    value = moment
    if isinstance(value, str):
        try:
            # Python 3.10 does not know the Z.
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))  # noqa: FURB162
        except ValueError:
            return f"{moment}"
    if value.tzinfo is None:
        value = value.replace(tzinfo=timezone.utc)  # noqa: UP017 - releases run on Python 3.10 too
    return value.astimezone(timezone.utc).isoformat(timespec="milliseconds")  # noqa: UP017 - see above


def _plain(value: Any) -> Any:
    if value is None or value is False or value in ([], (), {}):
        return None
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, list | tuple):
        return tuple(_plain(item) for item in value)
    return str(value)
