"""The auth path: which objects one request looks up, in which order, and what it checks.

The order is that of LiteLLM 1.84: the key (from the cache alone, then with Postgres), the team (a
peek), the user, the membership, the team again and its second copy, the key written back in the
background; then the common checks with team, user and membership once more, and the budget
reservation, which builds the membership from the cached value without error handling.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec

from harness.authcache.cache import AuthCache, Entry, Found, OnFailure, SourceUnavailableError
from harness.authcache.digest import hash_token
from harness.authcache.events import SourceRead
from harness.authcache.layout import KeyLayout
from harness.authcache.objects import Key, Membership, Team, User
from harness.authcache.switches import Switches
from harness.authcache.trace import Trace
from harness.authcache.words import ObjectKind, Op, ReadReason, key_scope
from harness.domain.population import VirtualKey
from harness.domain.served import Served
from harness.errors import DecodeError
from harness.targets.reference.budgets import Allowance, Budgets, check
from harness.targets.reference.problems import (
    ApiError,
    AuthError,
    BudgetExceededError,
    ModelNotAllowedError,
    UnavailableError,
)
from harness.targets.reference.request_lookups import ABSENT, RequestLookups
from harness.targets.reference.store import Row, Store
from harness.targets.settings import RunSettings

_KEY, _USER, _TEAM = ObjectKind.KEY, ObjectKind.USER, ObjectKind.TEAM
_READ_AGAIN = (AuthError, ModelNotAllowedError)


def reads_again(switches: Switches) -> frozenset[int]:
    """Statuses after which the key is read from Postgres once more, for the log."""
    repeated = switches.lookups == "repeated"
    return frozenset(error.status for error in _READ_AGAIN) if repeated else frozenset()


def lookups_of(
    switches: Switches, key: VirtualKey, settings: RunSettings
) -> dict[tuple[str, str], int]:
    """Lookups of an admitted request by object and op, the spend path's included.

    A refused request makes no more than these. A pair that depends on what was found is missing:
    with repeated lookups, the load of a key that the peek did not find, and the peek at the team
    of one that it found.
    """
    repeated, load, peek = switches.lookups == "repeated", Op.LOAD.value, Op.PEEK.value
    times = 2 if repeated else 1
    has_user, has_team = key.user_id is not None, key.team_id is not None
    planted = settings.planted_null_user and has_team and not has_user
    in_team = has_user and has_team
    # Upstream looks a membership up for the key's check, if the key's row found it spending, then
    # twice for the common checks, and peeks at it for the reservation, if there is a user.
    member = (key.membership != "none") + 2 if repeated else 1
    reserved = repeated and key.user_limits is not None
    updates = settings.spend_tracking and switches.spend_path == "read_modify_write"
    counts = {
        (_KEY, load): 1,
        (_KEY, peek): repeated + updates,
        (_USER, load): times * (has_user or planted),
        (_USER, peek): 2 * (has_user and updates),
        (_TEAM, load): times * has_team,
        (_TEAM, peek): int(has_team and updates),
        (ObjectKind.MEMBERSHIP, load): member * in_team,
        (ObjectKind.MEMBERSHIP, peek): int(reserved and in_team),
    }
    unknown = {(_KEY, load), (_TEAM, peek)} if repeated else set()
    return {(pair[0].value, pair[1]): n for pair, n in counts.items() if pair not in unknown}


class Grant(msgspec.Struct, frozen=True):
    """The objects of an admitted request."""

    key: Found
    user_id: str | None
    team_id: str | None
    user: User | None
    team: Team | None
    membership: Membership | None
    reserved: tuple[Row, ...] = ()
    """What `Budgets.release` gives back if the reply is not given."""


class Authenticator:
    """Checks a virtual key and the objects behind it.

    Args:
        cache: the cache under study.
        layout: how its keys are built.
        store: Postgres.
        budgets: what owners have spent.
        planted_null_user: whether to look up a user for a team key without one (the premise).
    """

    def __init__(
        self,
        cache: AuthCache,
        layout: KeyLayout,
        store: Store,
        budgets: Budgets,
        *,
        planted_null_user: bool,
    ) -> None:
        self._cache = cache
        self._layout = layout
        self._store = store
        self._budgets = budgets
        self._planted_null_user = planted_null_user
        self._repeated = cache.switches.lookups == "repeated"
        self._rewrite = cache.switches.republish == "on"
        self._copies_team = cache.switches.republish != "off"
        self._tasks: set[asyncio.Task[None]] = set()
        self.admit = self._admit_or_log if self._repeated else self._admit

    async def _admit_or_log(
        self, secret: str, model: str, trace: Trace, served: list[Served] | None
    ) -> Grant:
        """As `_admit`. Like upstream, a refused request is logged with its key's owners.

        The log looks them up under another cache key than the auth path, so it always reads
        Postgres (1.84.0rc1, `_enrich_failure_metadata_with_key_info`). For a budget it need not: by
        then the release has the key with its owners (none of 233 refusals read, decision 26).
        """
        try:
            return await self._admit(secret, model, trace, served)
        except BudgetExceededError:
            raise
        except ApiError as error:
            if error.status != UnavailableError.status:
                await self._read_for_the_log(secret, trace)
            raise

    async def _read_for_the_log(self, secret: str, trace: Trace) -> None:
        if not secret.startswith("sk-"):
            return
        trace.source_reads.append(SourceRead(_KEY, ReadReason.DIRECT))
        try:
            await self._store.key(hash_token(secret))
        except SourceUnavailableError:
            self._cache.recorder.source_read_error(_KEY)

    async def _admit(
        self, secret: str, model: str, trace: Trace, served: list[Served] | None
    ) -> Grant:
        """Admit a request.

        Args:
            secret: the bearer token, ``sk-…``.
            model: the requested model.
            trace: collects the lookups; its scope is set as soon as the key is known.
            served: collects what was served; None leaves it out.

        Raises:
            ApiError: 401, 403, 429 or 503.
        """
        asked = RequestLookups(self._cache, trace, served)
        found_key = self._key(secret, asked) or await asked.beyond()
        key = _known(found_key, trace)
        user_id, team_id = key.user_id, key.team_id
        _check_alive(key)
        _check_model("key", key.models, model)
        user: User | None = (self._user(key, asked) or await asked.beyond()).value
        if key.team_member_spend is not None:
            await self._check_team_member(key, key.team_member_spend, asked)
        allowances = [_allowance("Key", "key", (key.token or "",), key, key.max_budget)]
        self._check_budget(allowances[0])
        found_team = self._team(key, asked) or await asked.beyond()
        team: Team | None = found_team.value
        if self._copies_team and team is not None:
            await self._copy_team(team, found_team.read_at)
        if self._rewrite:
            self._rewrite_later(found_key, key)
        if self._repeated:
            team = (self._team(key, asked) or await asked.beyond()).value
            user = (self._user(key, asked) or await asked.beyond()).value
        if team is not None:
            _check_team(team, model)
            allowances.append(_allowance("Team", "team", (team.team_id,), team, team.max_budget))
            self._check_budget(allowances[-1])
        if user is not None:
            _check_model("user", user.models, model)
            allowances.append(_allowance("User", "user", (user_id or "",), user, user.max_budget))
            self._check_budget(allowances[-1])
        membership = None
        if user_id is not None and team_id is not None:
            membership = await self._check_membership(user_id, team_id, user, asked)
            if membership is not None:
                allowances.append(_member_allowance(membership, membership.spend))
        reserved = await self._budgets.reserve(allowances, trace)
        return Grant(found_key, user_id, team_id, user, team, membership, reserved)

    async def _check_team_member(self, key: Key, spend: float, asked: RequestLookups) -> None:
        if key.user_id is None or key.team_id is None:
            return
        cache_key = self._layout.member(key.user_id, key.team_id)
        member = await self._membership(cache_key, key.user_id, key.team_id, asked, "member")
        if member is not None:
            self._check_budget(_member_allowance(member, spend))

    def _check_budget(self, allowance: Allowance) -> None:
        """Check a budget against the owner's copy. Raises BudgetExceededError."""
        if allowance.budget is not None:
            check(
                allowance.label,
                self._budgets.seen(allowance.owner, allowance.copied, allowance.made),
                allowance.budget,
            )

    async def _check_membership(
        self, user_id: str, team_id: str, user: User | None, asked: RequestLookups
    ) -> Membership | None:
        cache_key = self._layout.membership(user_id, team_id)
        membership = await self._membership(cache_key, user_id, team_id, asked)
        if membership is not None:
            self._check_budget(_member_allowance(membership, membership.spend))
        if self._repeated:
            # Upstream looks it up again for the member's models, which no population restricts.
            membership = await self._membership(cache_key, user_id, team_id, asked)
            if user is not None:
                await self._reserve(cache_key, asked)
        return membership

    async def known_key(self, secret: str, trace: Trace) -> Key:
        """The key of a secret; a blocked or expired one is refused. Raises ApiError."""
        asked = RequestLookups(self._cache, trace, None)
        key = _known(self._key(secret, asked) or await asked.beyond(), trace)
        _check_alive(key)
        return key

    async def close(self) -> None:
        """Wait for background writes."""
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _key(self, secret: str, asked: RequestLookups) -> Found | None:
        if not secret.startswith("sk-"):
            raise AuthError("A virtual key must start with sk-.")
        token = hash_token(secret)
        if self._repeated:
            asked.rest = self._peek_and_load_key(token, asked)
            return None
        return asked.load(_KEY, self._layout.key(token), self._store.key, token)

    async def _peek_and_load_key(self, token: str, asked: RequestLookups) -> Found:
        cache_key = self._layout.key(token)
        found = await self._cache.peek(_KEY, cache_key, asked.trace)
        if found is None:
            return asked.load(_KEY, cache_key, self._store.key, token) or await asked.beyond()
        asked.serve(_KEY, found)
        _known(found, asked.trace)
        if found.value.team_id is not None:
            team_key = self._layout.team(found.value.team_id)
            await self._cache.peek(_TEAM, team_key, asked.trace)
        return found

    def _user(self, key: Key, asked: RequestLookups) -> Found | None:
        user_id = key.user_id
        if user_id is not None:
            return asked.load(_USER, self._layout.user(user_id), self._store.user, user_id)
        if self._planted_null_user and key.team_id is not None and key.key_alias is not None:
            alias = key.key_alias
            return asked.load(_USER, self._layout.user(alias), self._store.planted_user, alias)
        return ABSENT

    def _team(self, key: Key, asked: RequestLookups) -> Found | None:
        team_id = key.team_id
        if team_id is None:
            return ABSENT
        return asked.load(_TEAM, self._layout.team(team_id), self._store.team, team_id)

    async def _copy_team(self, team: Team, read_at: float) -> None:
        """Upstream keeps a second copy of every team.

        Up to 1.90 its cache key is the raw id, where it overwrites a user of the same id.
        """
        copy_key = self._layout.team_copy(team.team_id)
        await self._cache.put(Entry(_TEAM, copy_key, team, read_at))

    async def _membership(
        self, cache_key: str, user_id: str, team_id: str, asked: RequestLookups, entry: str = ""
    ) -> Membership | None:
        found = asked.membership
        if found is None or self._repeated:
            ids = (user_id, team_id, entry)
            found = asked.load(ObjectKind.MEMBERSHIP, cache_key, self._store.membership, *ids)
            asked.membership = found = found or await asked.beyond()
        member: Membership | None = found.value
        return member

    async def _reserve(self, cache_key: str, asked: RequestLookups) -> None:
        """Read the membership untyped and build it unguarded, as the budget reservation does.

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


def _known(found: Found, trace: Trace) -> Key:
    key: Key | None = found.value
    if key is None:
        raise AuthError("This virtual key is not known. Create it, or check its spelling.")
    trace.scope = key_scope(key.user_id, key.team_id)
    return key


def _check_alive(key: Key) -> None:
    if key.blocked:
        raise AuthError("This virtual key is blocked.")
    if key.expires is not None:
        expires = key.expires if key.expires.tzinfo else key.expires.replace(tzinfo=UTC)
        if expires < datetime.now(UTC):
            raise AuthError(f"This virtual key expired at {expires.isoformat()}.")


def _check_team(team: Team, model: str) -> None:
    if team.blocked:
        raise AuthError("The team of this key is blocked.")
    _check_model("team", team.models, model)


def _check_model(owner: str, allowed: list[str] | None, model: str) -> None:
    if allowed and model not in allowed:
        raise ModelNotAllowedError(
            f"The {owner} may not call the model [{model}]. Allowed: {', '.join(allowed)}."
        )


def _allowance(
    label: str, kind: str, ids: tuple[str, ...], copy: Key | User | Team, budget: float | None
) -> Allowance:
    return Allowance(label, (kind, ids), copy.spend, budget, copy.created_at)


def _member_allowance(member: Membership, spend: float | None) -> Allowance:
    owner = ("membership", (member.user_id, member.team_id))
    return Allowance("Team member", owner, spend, member.budget_max)
