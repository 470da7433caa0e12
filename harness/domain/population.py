"""The population: virtual keys with the users, teams, memberships and budgets behind them.

Every key has limits of its own, and so has every owner, all different, so that a wrongly served
object is detected. Some keys share owners (`make_population`). Beside the keys that a scenario
asks for, every population has keys that a gateway must refuse, or must not refuse although a limit
is NULL, 0 or empty (`make_refusals`), and a key for each change (`make_changes`). Ids and tokens
come from the seed: the same scenario makes the same population.
"""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from harness.authcache.digest import hash_token
from harness.authcache.words import LOAD_SCOPES, KeyScope, ObjectKind
from harness.errors import UsageError, explain

MOCK_MODEL = "mock-model"
"""The model that the load requests; every key, user and team of a run may call it."""
MAX_TOKENS = 20
"""Requests set this limit, as most clients do: for one without it, LiteLLM 1.84.0rc1 reserves the
whole rest of a budget, and answers the next one with 400."""


def chat_request(model: str, text: str, max_tokens: int) -> dict[str, Any]:
    """The body of a chat completion of one message."""
    message = {"role": "user", "content": text}
    return {"model": model, "messages": [message], "max_tokens": max_tokens}


CHAT_BODY = json.dumps(chat_request(MOCK_MODEL, "ping", MAX_TOKENS))
"""Of every request of a load."""
CHANGE = "change:"
"""Begins the kind of a key that is made to be changed; the action's name follows."""
_NEW = f"{CHANGE}key-new"

MembershipRow = Literal["budget", "cleared", "none"]
"""``budget``: a row with a budget; ``cleared``: one whose budget was cleared; ``none``: no row."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a row says about the requests that it admits; budgets and spend in US dollars.

    The budget of an ordinary row is out of reach of any run. None is NULL.
    """

    max_budget: float | None
    tpm_limit: int | None
    rpm_limit: int | None
    spend: float = 0.0
    """Spent before the run."""
    blocked: bool = False
    """Of a key or a team."""
    expires: datetime | None = None
    """Of a key; with a time zone."""
    models: tuple[str, ...] | None = None
    """Where they differ from the key's `VirtualKey.models`."""


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
    """Of the key, its user and its team."""
    kind: str = ""
    """Its kind in `KINDS`, or `CHANGE` and an action; empty for an ordinary key."""
    member_spend: float = 0.0

    @property
    def has_row(self) -> bool:
        """Whether Postgres knows the key from the start."""
        return self.kind not in ("unknown", _NEW)

    @property
    def seen_scope(self) -> str:
        """The scope under which a replica counts its requests: it cannot know one without a row.

        Of a key that a change makes or removes, the scope that it has while it exists.
        """
        return KeyScope.UNKNOWN.value if self.kind == "unknown" else self.scope


class Kind(NamedTuple):
    """How a key that is made to be refused, or not to be, differs from an ordinary one."""

    owner: ObjectKind | None
    """Whose row differs; None for the key and all of its owners."""
    row: Mapping[str, Any]
    """The fields of `Limits` that differ; of a membership, ``max_budget`` and ``spend`` count."""
    scopes: frozenset[str]
    """The scopes that have such a key."""


_ALL = frozenset(LOAD_SCOPES)
_USED_UP = {"max_budget": 1.0, "spend": 2.0}
_ZERO = {"max_budget": 0.0}

KINDS: Mapping[str, Kind] = {
    "blocked": Kind(ObjectKind.KEY, {"blocked": True}, _ALL),
    "expired": Kind(ObjectKind.KEY, {"expires": datetime(2020, 1, 1, tzinfo=UTC)}, _ALL),
    "unknown": Kind(ObjectKind.KEY, {}, _ALL),
    "wrong_model": Kind(ObjectKind.KEY, {"models": ("another-model",)}, _ALL),
    "key_budget": Kind(ObjectKind.KEY, _USED_UP, _ALL),
    "key_zero": Kind(ObjectKind.KEY, _ZERO, frozenset({"user"})),
    "expires_later": Kind(
        ObjectKind.KEY, {"expires": datetime(2999, 1, 1, tzinfo=UTC)}, frozenset({"team", "member"})
    ),
    "user_budget": Kind(ObjectKind.USER, _USED_UP, frozenset({"user"})),
    "user_zero": Kind(ObjectKind.USER, _ZERO, frozenset({"user"})),
    "team_blocked": Kind(ObjectKind.TEAM, {"blocked": True}, frozenset({"team", "member"})),
    "team_budget": Kind(ObjectKind.TEAM, _USED_UP, frozenset({"team", "member"})),
    # LiteLLM refuses a team that has spent more than its budget, not one that has just reached it:
    # with nothing spent, the first reply would be right.
    "team_zero": Kind(ObjectKind.TEAM, _ZERO | {"spend": 0.5}, frozenset({"team"})),
    "member_budget": Kind(ObjectKind.MEMBERSHIP, _USED_UP, frozenset({"shared_id", "member"})),
    "member_zero": Kind(ObjectKind.MEMBERSHIP, _ZERO, frozenset({"member"})),
    "no_limits": Kind(
        None, {"max_budget": None, "tpm_limit": None, "rpm_limit": None, "models": ()}, _ALL
    ),
}
"""The keys that every population has beside those of its scenario, one for each kind and scope.

Most must be refused: blocked, expired, unknown (no row), of another model, or with a budget that is
used up at one owner. Others show how NULL, 0 and an empty list are read. Keys whose own row differs
share the owners of their scope; the others have owners of their own. That the user's budget binds
only in scope ``user`` is LiteLLM's rule: a key of a team is not held to it.
"""


def make_population(
    counts: Mapping[str, int],
    membership: Mapping[str, MembershipRow],
    *,
    seed: int,
    model: str,
    share_every: int = 0,
) -> list[VirtualKey]:
    """Keys for each scope, in the order of `LOAD_SCOPES`.

    Args:
        counts: number of keys by scope; scopes that are missing get none.
        membership: kind of membership row for the scopes ``member`` and ``shared_id``.
        seed: of ids and secrets.
        model: a model that every key, user and team may call.
        share_every: every so many keys of a scope, one shares an owner with the key before it: the
            user or the team; in scope ``member`` the team and the membership's budget. 0 for none;
            1 leaves one owner in a scope. Keys of scope ``shared_id`` share none: there requests of
            two keys would replace each other's user by their team, and log pairs per request would
            tell of the load as much as of the variant.
    """
    rng = random.Random(seed)
    keys: list[VirtualKey] = []
    for scope in LOAD_SCOPES:
        for number in range(1, counts.get(scope, 0) + 1):
            key = _make_key(rng, len(keys), scope, membership, model)
            shares = share_every and number > 1 and number % share_every == 0
            if shares and scope is not KeyScope.SHARED_ID:
                key = _sharing(key, keys[-1])
            keys.append(key)
    return keys


def make_refusals(
    scopes: Collection[str], *, first: int, seed: int, model: str
) -> list[VirtualKey]:
    """The keys of `KINDS` for these scopes, numbered from ``first``.

    Args:
        scopes: scopes of the ordinary keys.
        first: index of the first key: the number of ordinary keys.
        seed: of ids and secrets; the same as the ordinary keys'.
        model: a model that all of them may call but those of kind ``wrong_model``.
    """
    rng = random.Random(f"{seed}:refusals")
    keys: list[VirtualKey] = []
    for scope in (scope for scope in LOAD_SCOPES if scope in scopes):
        owners: VirtualKey | None = None
        for name, kind in KINDS.items():
            if scope not in kind.scopes:
                continue
            key = _make_key(rng, first + len(keys), scope, {}, model)
            if kind.owner is ObjectKind.KEY:
                owners = owners or key
                key = _owned_by(key, owners)
            keys.append(_of_kind(key, name, kind))
    return keys


_BEFORE: Mapping[str, Kind] = {
    "key-unblock": Kind(ObjectKind.KEY, {"blocked": True}, _ALL),
    "team-unblock": Kind(ObjectKind.TEAM, {"blocked": True}, _ALL),
    "key-budget": Kind(ObjectKind.KEY, {"spend": 0.01}, _ALL),
    "key-budget-raised": Kind(ObjectKind.KEY, _USED_UP, _ALL),
    "member-budget": Kind(ObjectKind.MEMBERSHIP, {"spend": 0.01}, _ALL),
}
"""How a row differs from an ordinary one before an action, by the action."""


def make_changes(
    actions: Iterable[tuple[str, str]], *, first: int, seed: int, model: str
) -> list[VirtualKey]:
    """A key for each change, with owners of its own, as its rows are before the change.

    Args:
        actions: action and key scope of each change.
        first: index of the first key.
        seed: of ids and secrets; the same as the ordinary keys'.
        model: a model that all of them may call before the change.
    """
    rng = random.Random(f"{seed}:changes")
    keys: list[VirtualKey] = []
    for action, scope in actions:
        row: MembershipRow = "cleared" if action == "member-budget-set" else "budget"
        key = _make_key(rng, first + len(keys), KeyScope(scope), {scope: row}, model)
        before = _BEFORE.get(action, Kind(ObjectKind.KEY, {}, _ALL))
        keys.append(_of_kind(key, CHANGE + action, before))
    return keys


def _owned_by(key: VirtualKey, other: VirtualKey) -> VirtualKey:
    return replace(
        key,
        user_id=other.user_id,
        team_id=other.team_id,
        membership=other.membership,
        budget_id=other.budget_id,
        user_limits=other.user_limits,
        team_limits=other.team_limits,
        member_max_budget=other.member_max_budget,
    )


def _sharing(key: VirtualKey, other: VirtualKey) -> VirtualKey:
    owned = _owned_by(key, other)
    if key.scope == KeyScope.MEMBER:
        return replace(owned, user_id=key.user_id, user_limits=key.user_limits)
    return owned


def _of_kind(key: VirtualKey, name: str, kind: Kind) -> VirtualKey:
    def changed(owner: ObjectKind, limits: Limits | None) -> Limits | None:
        return replace(limits, **kind.row) if limits and kind.owner in (None, owner) else limits

    own = changed(ObjectKind.KEY, key.key_limits)
    assert own is not None, "every key has limits"
    member = kind.row if kind.owner in (None, ObjectKind.MEMBERSHIP) else {}
    has_budget = key.member_max_budget is not None
    return replace(
        key,
        kind=name,
        key_limits=own,
        user_limits=changed(ObjectKind.USER, key.user_limits),
        team_limits=changed(ObjectKind.TEAM, key.team_limits),
        member_max_budget=member.get("max_budget", key.member_max_budget) if has_budget else None,
        member_spend=member.get("spend", 0.0),
    )


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
    objects: set[tuple[str | None, ...]] = set()
    for key in keys:
        if key.scope != scope:
            continue
        objects.add(("key", key.token))
        if key.user_id is not None:
            objects.add(("user", key.user_id))
        elif planted_null_user and scope == KeyScope.TEAM:
            objects.add(("user", key.alias))
        if key.team_id is not None:
            objects.add(("team", key.team_id))
        if key.user_id is not None and key.team_id is not None:
            objects.add(("membership", key.user_id, key.team_id))
    return len(objects)


@dataclass(frozen=True, slots=True)
class LoadKey:
    """What a load generator needs of a key."""

    index: int
    scope: str
    """Under which a replica counts its requests."""
    secret: str
    kind: str = ""
    """See `VirtualKey.kind`; an ordinary load leaves out all keys that have one."""


_KEYS = TypeAdapter(list[LoadKey])


def write_keys(path: Path, keys: list[VirtualKey]) -> None:
    """Write what the load driver needs of each key."""
    rows = [
        {"index": k.index, "scope": k.seen_scope, "secret": k.secret}
        | ({"kind": k.kind} if k.kind else {})
        for k in keys
    ]
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


def by_scope(keys: list[LoadKey], *, refusals: bool = False) -> dict[str, list[int]]:
    """Indices of the ordinary keys by scope; with ``refusals`` of those of `KINDS` instead.

    Keys that are made to be changed are in neither: a window of changes names them.
    """
    indices: dict[str, list[int]] = {}
    for key in keys:
        if bool(key.kind) == refusals and not key.kind.startswith(CHANGE):
            indices.setdefault(key.scope, []).append(key.index)
    return indices
