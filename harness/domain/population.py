"""The population: virtual keys with the users, teams, memberships and budgets behind them.

Every key has ids and limits of its own, all different, so that a wrongly served object is detected.
Ids and tokens come from the seed: the same scenario makes the same population.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from harness.authcache.digest import hash_token
from harness.authcache.words import LOAD_SCOPES, KeyScope
from harness.errors import UsageError, explain

MOCK_MODEL = "mock-model"
"""The model that the load requests; every key, user and team of a run may call it."""

MembershipRow = Literal["budget", "cleared", "none"]
"""``budget``: a row with a budget; ``cleared``: one whose budget was cleared; ``none``: no row."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one object; budgets in US dollars, out of reach of any run."""

    max_budget: float
    tpm_limit: int
    rpm_limit: int


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """One key and everything behind it. Absent parts are None."""

    index: int
    scope: str
    secret: str
    """What a client sends: ``sk-…``."""
    token: str
    """SHA-256 of the secret in hex: what Postgres and the caches hold."""
    alias: str
    """A UUID equal to no other id; the planted premise looks a user up under it."""
    user_id: str | None
    team_id: str | None
    membership: str
    """A `MembershipRow`; ``none`` where there is no user or no team."""
    budget_id: str | None
    key_limits: Limits
    user_limits: Limits | None
    team_limits: Limits | None
    member_max_budget: float | None
    models: tuple[str, ...]


def make_population(
    counts: Mapping[str, int], membership: Mapping[str, MembershipRow], *, seed: int, model: str
) -> list[VirtualKey]:
    """Keys for each scope, in the order of `LOAD_SCOPES`.

    Args:
        counts: number of keys by scope; scopes that are missing get none.
        membership: kind of membership row for the scopes ``member`` and ``shared_id``.
        seed: of ids and secrets.
        model: a model that every key, user and team may call.
    """
    rng = random.Random(seed)
    keys: list[VirtualKey] = []
    for scope in LOAD_SCOPES:
        for _ in range(counts.get(scope, 0)):
            keys.append(_make_key(rng, len(keys), scope, membership, model))
    return keys


def _make_key(
    rng: random.Random,
    index: int,
    scope: KeyScope,
    membership: Mapping[str, MembershipRow],
    model: str,
) -> VirtualKey:
    user_id: str | None = None
    team_id: str | None = None
    if scope is KeyScope.SHARED_ID:
        user_id = team_id = _uuid(rng)
    else:
        if scope in (KeyScope.USER, KeyScope.MEMBER):
            user_id = _uuid(rng)
        if scope in (KeyScope.TEAM, KeyScope.MEMBER):
            team_id = _uuid(rng)
    row: MembershipRow = "none"
    if user_id is not None and team_id is not None:
        row = membership.get(scope, "budget")
    secret = f"sk-{rng.getrandbits(128):032x}"
    n = index + 1
    return VirtualKey(
        index=index,
        scope=scope.value,
        secret=secret,
        token=hash_token(secret),
        alias=_uuid(rng),
        user_id=user_id,
        team_id=team_id,
        membership=row,
        budget_id=_uuid(rng) if row == "budget" else None,
        key_limits=Limits(1_000_000.0 + n, 1_000_000 + n, 100_000 + n),
        user_limits=Limits(2_000_000.0 + n, 2_000_000 + n, 200_000 + n) if user_id else None,
        team_limits=Limits(3_000_000.0 + n, 3_000_000 + n, 300_000 + n) if team_id else None,
        member_max_budget=4_000_000.0 + n if row == "budget" else None,
        models=(model, f"only-for-key-{n}"),
    )


def _uuid(rng: random.Random) -> str:
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def objects_in_scope(keys: list[VirtualKey], scope: str, *, planted_null_user: bool) -> int:
    """Distinct objects that requests of a scope look up: keys, users, teams and memberships.

    A membership that has no row counts too: it is looked up, and its absence is an answer. With
    the planted premise every team key has a user object of its own.
    """
    total = 0
    for key in keys:
        if key.scope != scope:
            continue
        total += 1 + (key.user_id is not None) + (key.team_id is not None)
        total += key.user_id is not None and key.team_id is not None
        total += planted_null_user and scope == KeyScope.TEAM
    return total


@dataclass(frozen=True, slots=True)
class LoadKey:
    """What a load generator needs of a key."""

    index: int
    scope: str
    secret: str


_KEYS = TypeAdapter(list[LoadKey])


def write_keys(path: Path, keys: list[VirtualKey]) -> None:
    """Write what the load driver needs of each key: index, scope and secret."""
    rows = [{"index": k.index, "scope": k.scope, "secret": k.secret} for k in keys]
    path.write_text(json.dumps(rows, indent=1), encoding="utf-8")


def read_keys(path: Path) -> list[LoadKey]:
    """Read what `write_keys` wrote; the index of a key is its place in the list.

    Raises:
        UsageError: if the file cannot be read or is not a keys file.
    """
    try:
        keys = _KEYS.validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"The keys file [{path}] cannot be read: {error.strerror}. "
            "Give one that the harness wrote."
        ) from error
    except ValidationError as error:
        raise UsageError(
            f"[{path}] is not a keys file: {explain(error)} Give one that the harness wrote."
        ) from error
    if [key.index for key in keys] != list(range(len(keys))):
        raise UsageError(
            f"The keys in [{path}] are not in the order of their indices. "
            "Give one that the harness wrote."
        )
    return keys


def by_scope(keys: list[LoadKey]) -> dict[str, list[int]]:
    """Indices of the keys by scope."""
    indices: dict[str, list[int]] = {}
    for key in keys:
        indices.setdefault(key.scope, []).append(key.index)
    return indices
