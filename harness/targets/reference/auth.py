"""The auth path: which objects one request asks for, in which order, and what is checked.

The order is that of LiteLLM 1.84: the key (from the cache alone, then with Postgres), the team (a
peek), the user, the membership, the team again and its second copy, the key written back in the
background; then the common checks with team, user and membership once more, and the budget
reservation, which builds the membership from whatever lies in the cache without a net.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import NamedTuple

from harness.authcache.cache import (
    AuthCache,
    Entry,
    Found,
    OnFailure,
    ReadSource,
    SourceUnavailableError,
)
from harness.authcache.digest import digest, hash_token
from harness.authcache.layout import KeyLayout
from harness.authcache.objects import Key, Membership, Team, User, limit_fields
from harness.authcache.trace import Trace
from harness.authcache.words import ObjectKind, key_scope
from harness.errors import DecodeError
from harness.served import Served
from harness.targets.reference.problems import (
    AuthError,
    BudgetExceededError,
    ModelNotAllowedError,
    UnavailableError,
)
from harness.targets.reference.store import Store


class Grant(NamedTuple):
    """What a request may go on with."""

    key: Found
    user_id: str | None
    team_id: str | None
    user: User | None
    team: Team | None
    membership: Membership | None


class Asked:
    """The objects that one request has asked for.

    With ``lookups = once`` a second question for the same object is answered from here and never
    reaches the cache; with ``repeated`` every question is a lookup, as upstream.
    """

    def __init__(self, cache: AuthCache, trace: Trace, served: list[Served] | None) -> None:
        self.trace = trace
        self._cache = cache
        self._served = served
        self._once = cache.switches.lookups == "once"
        self._known: dict[ObjectKind, Found | None] = {}

    async def load(self, kind: ObjectKind, cache_key: str, read: ReadSource) -> Found | None:
        """An object, from wherever it is. Raises UnavailableError."""
        if self._once and kind in self._known:
            return self._known[kind]
        try:
            found = await self._cache.load(kind, cache_key, read, self.trace)
        except SourceUnavailableError as error:
            raise UnavailableError(
                f"The database does not answer and the {kind} is not cached. Try again later."
            ) from error
        self._known[kind] = found
        self.serve(kind, found)
        return found

    def knows(self, kind: ObjectKind) -> bool:
        """Whether a further question for this object would be answered from here."""
        return self._once and kind in self._known

    def serve(self, kind: ObjectKind, found: Found | None) -> None:
        """Note what the request was served with, for the response header."""
        if self._served is None:
            return
        if found is None or found.value is None:
            tier = "source" if found is None else str(found.tier)
            self._served.append(Served(kind.value, tier, digest(kind, None), None))
            return
        age_ms = max(0, round((time.time() - found.read_at) * 1000))
        fingerprint = digest(kind, limit_fields(found.value))
        self._served.append(Served(kind.value, str(found.tier), fingerprint, age_ms))


class Authenticator:
    """Checks a virtual key and what stands behind it.

    Args:
        cache: the cache under study.
        layout: how its keys are built.
        store: Postgres.
        planted_null_user: whether a team key without a user has a user looked up (the premise).
    """

    def __init__(
        self, cache: AuthCache, layout: KeyLayout, store: Store, *, planted_null_user: bool
    ) -> None:
        self._cache = cache
        self._layout = layout
        self._store = store
        self._planted_null_user = planted_null_user
        self._repeated = cache.switches.lookups == "repeated"
        self._rewrite = cache.switches.key_rewrite == "on"
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(
        self, secret: str, model: str, trace: Trace, served: list[Served] | None
    ) -> Grant:
        """Let a request pass.

        Args:
            secret: the bearer token, ``sk-…``.
            model: the model that is asked for.
            trace: collects the lookups; its scope is set as soon as the key is known.
            served: collects what was served, None where nobody wants to know.

        Raises:
            ApiError: 401, 403, 429 or 503.
        """
        asked = Asked(self._cache, trace, served)
        found_key = await self._key(secret, asked)
        key: Key = found_key.value
        _check_key(key, model)
        user_id, team_id = key.user_id, key.team_id
        user = await self._user(key, asked)
        if key.team_member_spend is not None and user_id is not None and team_id is not None:
            member = await self._membership(
                self._layout.member(user_id, team_id), user_id, team_id, asked
            )
            if member is not None:
                _check_budget("Team member", key.team_member_spend, member.budget_max)
        _check_budget("Key", key.spend, key.max_budget)
        team = await self._team(key, asked)
        if self._rewrite:
            self._rewrite_later(found_key, key)
        return await self._common_checks(found_key, model, asked, user, team)

    async def _common_checks(
        self, found_key: Found, model: str, asked: Asked, user: User | None, team: Team | None
    ) -> Grant:
        key: Key = found_key.value
        user_id, team_id = key.user_id, key.team_id
        if self._repeated:
            if team_id is not None:
                team = await self._load_team(team_id, asked)
            user = await self._user(key, asked)
        if team is not None:
            if team.blocked:
                raise AuthError("The team of this key is blocked.")
            _check_model("team", team.models, model)
            _check_budget("Team", team.spend, team.max_budget)
        if user is not None:
            _check_model("user", user.models, model)
            _check_budget("User", user.spend, user.max_budget)
        membership = None
        if user_id is not None and team_id is not None:
            cache_key = self._layout.membership(user_id, team_id)
            membership = await self._membership(cache_key, user_id, team_id, asked)
            if membership is not None:
                _check_budget("Team member", membership.spend, membership.budget_max)
            if user is not None and not asked.knows(ObjectKind.MEMBERSHIP):
                await self._reserve(cache_key, asked)
        return Grant(found_key, user_id, team_id, user, team, membership)

    async def known_key(self, secret: str, asked: Asked) -> Key:
        """The key behind a secret, blocked and expired ones refused. Raises ApiError."""
        key: Key = (await self._key(secret, asked)).value
        _check_alive(key)
        return key

    async def close(self) -> None:
        """Wait for background writes."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _key(self, secret: str, asked: Asked) -> Found:
        if not secret.startswith("sk-"):
            raise AuthError("A virtual key is expected: it starts with sk-.")
        token = hash_token(secret)
        cache_key = self._layout.key(token)
        found: Found | None = None
        if self._repeated:
            found = await self._cache.peek(ObjectKind.KEY, cache_key, asked.trace)
            if found is not None:
                asked.serve(ObjectKind.KEY, found)
        if found is None:
            found = await asked.load(ObjectKind.KEY, cache_key, lambda: self._store.key(token))
            if found is None:
                raise AuthError("This virtual key is not known. Create it, or check its spelling.")
            _enter_scope(asked.trace, found.value)
        else:
            _enter_scope(asked.trace, found.value)
            if found.value.team_id is not None:
                await self._cache.peek(
                    ObjectKind.TEAM, self._layout.team(found.value.team_id), asked.trace
                )
        return found

    async def _user(self, key: Key, asked: Asked) -> User | None:
        if key.user_id is not None:
            user_id = key.user_id
            found = await asked.load(
                ObjectKind.USER, self._layout.user(user_id), lambda: self._store.user(user_id)
            )
        elif self._planted_null_user and key.team_id is not None and key.key_alias is not None:
            alias = key.key_alias
            found = await asked.load(
                ObjectKind.USER, self._layout.user(alias), lambda: self._store.planted_user(alias)
            )
        else:
            return None
        return None if found is None else found.value

    async def _team(self, key: Key, asked: Asked) -> Team | None:
        if key.team_id is None:
            return None
        found = await asked.load(
            ObjectKind.TEAM,
            self._layout.team(key.team_id),
            lambda: self._store.team(key.team_id or ""),
        )
        if found is None or found.value is None:
            return None
        if self._repeated:
            # Upstream keeps a second copy of every team; up to 1.90 under the raw id, where it
            # overwrites a user of the same id.
            copy_key = self._layout.team_copy(key.team_id)
            await self._cache.put(Entry(ObjectKind.TEAM, copy_key, found.value, found.read_at))
        team: Team = found.value
        return team

    async def _load_team(self, team_id: str, asked: Asked) -> Team | None:
        found = await asked.load(
            ObjectKind.TEAM, self._layout.team(team_id), lambda: self._store.team(team_id)
        )
        return None if found is None else found.value

    async def _membership(
        self, cache_key: str, user_id: str, team_id: str, asked: Asked
    ) -> Membership | None:
        found = await asked.load(
            ObjectKind.MEMBERSHIP, cache_key, lambda: self._store.membership(user_id, team_id)
        )
        return None if found is None else found.value

    async def _reserve(self, cache_key: str, asked: Asked) -> None:
        """Read the membership untyped and build it without a net, as the budget reservation does.

        Up to 1.88 this turns a membership whose budget was cleared into a 401 on every request.
        """
        try:
            found = await self._cache.peek(
                ObjectKind.MEMBERSHIP, cache_key, asked.trace, OnFailure.RAISE
            )
        except DecodeError as error:
            raise AuthError(f"Authentication Error, {error}") from error
        if found is not None:
            asked.serve(ObjectKind.MEMBERSHIP, found)

    def _rewrite_later(self, found: Found, key: Key) -> None:
        assert key.token is not None
        entry = Entry(ObjectKind.KEY, self._layout.key(key.token), key, found.read_at)
        self._cache.recorder.background(+1)
        task = asyncio.create_task(self._write_back(entry))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _write_back(self, entry: Entry) -> None:
        try:
            await self._cache.put(entry)
        finally:
            self._cache.recorder.background(-1)


def _enter_scope(trace: Trace, key: Key) -> None:
    trace.scope = key_scope(key.user_id, key.team_id)


def _check_key(key: Key, model: str) -> None:
    _check_alive(key)
    _check_model("key", key.models, model)


def _check_alive(key: Key) -> None:
    if key.blocked:
        raise AuthError("This virtual key is blocked.")
    if key.expires is not None:
        expires = key.expires if key.expires.tzinfo else key.expires.replace(tzinfo=UTC)
        if expires < datetime.now(UTC):
            raise AuthError(f"This virtual key expired at {expires.isoformat()}.")


def _check_model(owner: str, allowed: list[str] | None, model: str) -> None:
    if allowed and model not in allowed:
        raise ModelNotAllowedError(
            f"The {owner} may not call the model [{model}]. Allowed: {', '.join(allowed)}."
        )


def _check_budget(owner: str, spend: float | None, budget: float | None) -> None:
    if budget is not None and (spend or 0.0) >= budget:
        raise BudgetExceededError(
            f"{owner} budget exceeded: spent {spend or 0.0:.6f} of {budget:.6f} US dollars."
        )
