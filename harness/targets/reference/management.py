"""Management calls: changes of keys, users, teams and members, in LiteLLM's shapes.

The subset that `harness.domain.changes.ACTIONS` needs. A call is one transaction; after its COMMIT
the copies of every object that it changed are reported to `Invalidation`, and then it is answered.
With ``source_outage = bounded`` they are reported after a COMMIT without an answer too: Postgres
may hold the change. A release reports nothing then.
What the calls do follows 1.94, and so do the answers, as far as this schema has their fields. These
things differ: a call with a key other than the master key is 403, whatever that key is (a release
answers 401 to a key whose user has no role); an update that changes nothing is 400, and one of an
unknown user 404; a new key's user and team need not exist; a member must be in the team to get a
budget; a budget that several members share changes for all of them; and deleting a team or a user
leaves the lists of members in other rows as they are, which the auth path does not read.

A key that gets another secret keeps what it has spent. Spend of the old secret that is not in
Postgres by then is lost, as in a release.
"""

from __future__ import annotations

import hmac
import secrets
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any

import asyncpg
import msgspec
from msgspec import UNSET, Meta, UnsetType

from harness.authcache.cache import SourceUnavailableError
from harness.authcache.digest import hash_token
from harness.authcache.invalidation import Changed, Invalidation
from harness.authcache.layout import KeyLayout
from harness.authcache.words import ObjectKind
from harness.targets.reference.problems import (
    AuthError,
    BadRequestError,
    NotFoundError,
    NotMasterError,
    UnavailableError,
)
from harness.targets.reference.store import (
    CHANGE_BUDGET,
    DROP_MEMBER,
    GIVE_BUDGET,
    LEAVE_TEAM,
    MEMBERS_OF_BUDGET,
    NEW_BUDGET,
    NEW_KEY,
    Connection,
    Store,
    delete_rows,
    update_row,
)
from harness.targets.settings import MASTER_KEY_VARIABLE

# Postgres' texts hold no NUL, and an index holds no text that is much longer.
Text = Annotated[str, Meta(min_length=1, max_length=256, pattern=r"\A[^\x00]*\Z")]
Texts = Annotated[list[Text], Meta(min_length=1)]
Dollars = Annotated[float, Meta(ge=0)]
Limit = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class TheKey(msgspec.Struct):
    """A key, by its secret or by its hash."""

    key: Text


class TheTeam(msgspec.Struct):
    """A team."""

    team_id: Text


class TheKeys(msgspec.Struct):
    """Keys, by secret or by hash."""

    keys: Texts


class TheUsers(msgspec.Struct):
    """Users."""

    user_ids: Texts


class TheTeams(msgspec.Struct):
    """Teams."""

    team_ids: Texts


class TheMember(msgspec.Struct):
    """A user of a team."""

    user_id: Text
    team_id: Text


class MemberBudget(TheMember):
    """A member's budget in US dollars; null clears it."""

    max_budget_in_team: Dollars | None


class NewLimits(msgspec.Struct, kw_only=True):
    """Columns that an update sets: those that are given. Null clears a limit."""

    models: list[Text] | UnsetType = UNSET
    """An empty list allows every model."""
    max_budget: Dollars | UnsetType | None = UNSET
    """In US dollars."""
    tpm_limit: Limit | UnsetType | None = UNSET
    rpm_limit: Limit | UnsetType | None = UNSET

    def columns(self) -> dict[str, Any]:
        """What is to be set, by column."""
        given = {
            name: getattr(self, name, UNSET) for name in (*NewLimits.__struct_fields__, "blocked")
        }
        return {name: value for name, value in given.items() if value is not UNSET}


class KeyUpdate(NewLimits, kw_only=True):
    """New limits of a key."""

    key: Text
    blocked: bool | UnsetType = UNSET


class Regeneration(NewLimits, kw_only=True):
    """A new secret for a key, which is made if it is not given."""

    key: Text
    new_key: Text | None = None
    blocked: bool | UnsetType = UNSET


class NewKey(NewLimits, kw_only=True):
    """A new key; its secret is made if it is not given."""

    key: Text | None = None
    key_alias: Text | None = None
    user_id: Text | None = None
    team_id: Text | None = None
    blocked: bool | UnsetType = UNSET


class UserUpdate(NewLimits, kw_only=True):
    """New limits of a user."""

    user_id: Text


class TeamUpdate(NewLimits, kw_only=True):
    """New limits of a team."""

    team_id: Text
    blocked: bool | UnsetType = UNSET


class Edit:
    """One call's transaction, and the cache keys of what it changed.

    Args:
        connection: in a transaction.
        layout: how cache keys are built.
    """

    def __init__(self, connection: Connection, layout: KeyLayout) -> None:
        self.changed: list[Changed] = []
        """Of rows that have changed or are new."""
        self.deleted: list[Changed] = []
        """Of rows that are gone."""
        self._connection = connection
        self._layout = layout

    async def update(
        self, kind: str, row_id: str, columns: Mapping[str, Any], field: str
    ) -> dict[str, Any]:
        """Set columns of a row; the row. Raises BadRequestError, NotFoundError naming ``field``."""
        if not columns:
            raise BadRequestError("The body changes nothing. Name a field to change.")
        row = await self.row(update_row(kind, columns), row_id, *columns.values())
        if row is None:
            raise NotFoundError(f"There is no such {kind}. Check the field [{field}].", field)
        self.changed += self.copies(kind, row_id)
        return row

    async def delete(self, kind: str, where: str, *values: Any) -> set[tuple[str, ...]]:
        """Delete rows; the ids of those that there were."""
        rows = await self._connection.fetch(delete_rows(kind, where), *values)
        ids = {tuple(row) for row in rows}
        for one in ids:
            self.deleted += self.copies(kind, *one)
        return ids

    async def share(self, budget_id: str) -> None:
        """Note every membership of a budget that has changed."""
        for row in await self._connection.fetch(MEMBERS_OF_BUDGET, budget_id):
            self.changed += self.copies("membership", *row)

    async def row(self, statement: str, *values: Any) -> dict[str, Any] | None:
        """The row that a statement answers with, None without one."""
        row = await self._connection.fetchrow(statement, *values)
        return None if row is None else dict(row)

    def copies(self, kind: str, *ids: str) -> Sequence[Changed]:
        """Every cache key under which copies of an object are kept."""
        layout = self._layout
        ways: Mapping[str, tuple[Callable[..., str], ...]] = {
            "key": (layout.key,),
            "user": (layout.user,),
            "team": (layout.team, layout.team_copy),
            "membership": (layout.membership, layout.member),
        }
        # Where both copies of a team have one cache key, it is named once.
        return [(ObjectKind(kind), key) for key in dict.fromkeys(way(*ids) for way in ways[kind])]


def _token(key: str) -> str:
    """A key's hash, by its secret or by the hash."""
    return hash_token(key) if key.startswith("sk-") else key


def _new_secret(asked: str | None, field: str) -> str:
    if asked is None:
        return f"sk-{secrets.token_urlsafe(16)}"
    if not asked.startswith("sk-"):
        raise BadRequestError(f"A key starts with sk-. Check the field [{field}].", field)
    return asked


def _names(secret: str) -> dict[str, str]:
    """What a key's row holds of its secret."""
    return {"token": hash_token(secret), "key_name": f"sk-...{secret[-4:]}"}


def _with_secret(row: Mapping[str, Any], secret: str) -> dict[str, Any]:
    return {**row, "key": secret, "token_id": row["token"]}


def _block_key(*, blocked: bool) -> Callable[[Edit, TheKey], Awaitable[Any]]:
    return lambda edit, body: edit.update("key", _token(body.key), {"blocked": blocked}, "key")


def _block_team(*, blocked: bool) -> Callable[[Edit, TheTeam], Awaitable[Any]]:
    return lambda edit, body: edit.update("team", body.team_id, {"blocked": blocked}, "team_id")


async def _delete_keys(edit: Edit, body: TheKeys) -> Any:
    if not await edit.delete("key", "token = ANY($1::text[])", [_token(key) for key in body.keys]):
        raise NotFoundError("There is none of these keys. Check the field [keys].", "keys")
    return {"deleted_keys": body.keys}


async def _new_key(edit: Edit, body: NewKey) -> Any:
    secret = _new_secret(body.key, "key")
    names, columns = _names(secret), body.columns()
    row = await edit.row(
        NEW_KEY,
        *(names["token"], names["key_name"], body.key_alias, body.user_id, body.team_id),
        columns.get("models", []),
        *(columns.get(name) for name in ("max_budget", "tpm_limit", "rpm_limit", "blocked")),
    )
    assert row is not None
    edit.changed += edit.copies("key", names["token"])
    return _with_secret(row, secret)


async def _regenerate_key(edit: Edit, body: Regeneration) -> Any:
    old, secret = _token(body.key), _new_secret(body.new_key, "new_key")
    row = await edit.update("key", old, {**_names(secret), **body.columns()}, "key")
    # The row of the old secret is gone, and the new secret may have been asked for before.
    edit.deleted, edit.changed = edit.changed, list(edit.copies("key", row["token"]))
    return _with_secret(row, secret)


async def _update_key(edit: Edit, body: KeyUpdate) -> Any:
    row = await edit.update("key", _token(body.key), body.columns(), "key")
    return {"key": body.key, **row}


async def _update_user(edit: Edit, body: UserUpdate) -> Any:
    row = await edit.update("user", body.user_id, body.columns(), "user_id")
    return {"user_id": body.user_id, "data": row}


async def _update_team(edit: Edit, body: TeamUpdate) -> Any:
    row = await edit.update("team", body.team_id, body.columns(), "team_id")
    return {"team_id": body.team_id, "data": row}


async def _delete_owners(edit: Edit, kind: str, field: str, ids: list[str]) -> None:
    """Delete users or teams, with their keys and memberships."""
    where = f"{kind}_id = ANY($1::text[])"
    for part in ("key", "membership"):
        await edit.delete(part, where, ids)
    found = await edit.delete(kind, where, ids)
    missing = sorted({one for one in ids if (one,) not in found})
    if missing:
        raise NotFoundError(f"There is no {kind} [{missing[0]}]. Nothing was deleted.", field)


async def _delete_users(edit: Edit, body: TheUsers) -> Any:
    await _delete_owners(edit, "user", "user_ids", body.user_ids)
    return len(set(body.user_ids))


async def _delete_teams(edit: Edit, body: TheTeams) -> Any:
    await _delete_owners(edit, "team", "team_ids", body.team_ids)
    return {"deleted_teams": body.team_ids}


async def _set_member_budget(edit: Edit, body: MemberBudget) -> Any:
    member, budget = (body.user_id, body.team_id), body.max_budget_in_team
    known = None if budget is None else await edit.row(CHANGE_BUDGET, *member, budget)
    if known is not None:
        await edit.share(known["budget_id"])
        return msgspec.structs.asdict(body)
    budget_id = None
    if budget is not None:
        budget_id = str(uuid.uuid4())
        await edit.row(NEW_BUDGET, budget_id, budget)
    if await edit.row(GIVE_BUDGET, *member, budget_id) is None:
        raise _no_member(body)
    edit.changed += edit.copies("membership", *member)
    return msgspec.structs.asdict(body)


async def _remove_member(edit: Edit, body: TheMember) -> Any:
    """As in a release, a member's keys of the team go with it."""
    member = body.user_id, body.team_id
    theirs = "user_id = $1 AND team_id = $2"
    await edit.delete("key", theirs, *member)
    if not await edit.delete("membership", theirs, *member):
        raise _no_member(body)
    team = await edit.row(DROP_MEMBER, body.team_id, body.user_id)
    edit.changed += edit.copies("team", body.team_id)
    await edit.row(LEAVE_TEAM, *member)
    edit.changed += edit.copies("user", body.user_id)
    return team


def _no_member(body: TheMember) -> BadRequestError:
    return BadRequestError(f"The team [{body.team_id}] has no member [{body.user_id}].", "user_id")


Route = tuple[msgspec.json.Decoder[Any], Callable[[Edit, Any], Awaitable[Any]]]


def _route(body: type[msgspec.Struct], run: Callable[[Edit, Any], Awaitable[Any]]) -> Route:
    return msgspec.json.Decoder(body), run


ROUTES: Mapping[str, Route] = {
    "/key/block": _route(TheKey, _block_key(blocked=True)),
    "/key/unblock": _route(TheKey, _block_key(blocked=False)),
    "/key/delete": _route(TheKeys, _delete_keys),
    "/key/generate": _route(NewKey, _new_key),
    "/key/regenerate": _route(Regeneration, _regenerate_key),
    "/key/update": _route(KeyUpdate, _update_key),
    "/team/block": _route(TheTeam, _block_team(blocked=True)),
    "/team/unblock": _route(TheTeam, _block_team(blocked=False)),
    "/team/update": _route(TeamUpdate, _update_team),
    "/team/delete": _route(TheTeams, _delete_teams),
    "/team/member_update": _route(MemberBudget, _set_member_budget),
    "/team/member_delete": _route(TheMember, _remove_member),
    "/user/update": _route(UserUpdate, _update_user),
    "/user/delete": _route(TheUsers, _delete_users),
}
"""Every management call, all by POST: what its body holds, and what it does."""


class Management:
    """Carries out management calls.

    Args:
        store: Postgres.
        layout: how cache keys are built.
        invalidation: learns which objects changed.
        master_key: what a call must authenticate with; empty refuses every call.
        reports_doubtful: whether objects are reported whose COMMIT got no answer.
    """

    def __init__(
        self,
        store: Store,
        layout: KeyLayout,
        invalidation: Invalidation,
        master_key: str,
        *,
        reports_doubtful: bool = False,
    ) -> None:
        self._store = store
        self._layout = layout
        self._invalidation = invalidation
        self._master_key = master_key.encode()
        self._reports_doubtful = reports_doubtful

    def admit(self, secret: str) -> None:
        """Check the bearer token of a call. Raises AuthError, NotMasterError."""
        if not self._master_key:
            raise AuthError(
                "This replica takes no management calls: it was started without a master key. "
                f"Start it with {MASTER_KEY_VARIABLE}."
            )
        if not hmac.compare_digest(secret.encode(), self._master_key):
            raise NotMasterError("A management call needs the master key of the fleet.")

    async def call(self, path: str, body: bytes) -> bytes:
        """Carry out one call.

        Args:
            path: one of `ROUTES`.
            body: JSON.

        Returns:
            The answer as JSON, after the change is committed and its objects are reported.

        Raises:
            ApiError: 400, 404 or 503. Nothing was changed, unless Postgres went away at the COMMIT.
        """
        decoder, run = ROUTES[path]
        try:
            asked = decoder.decode(body)
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            # Text that is not UTF-8 raises UnicodeDecodeError, deep nesting RecursionError.
            raise BadRequestError(f"The body is not a call of [{path}]: {error}.") from error
        done: Edit | None = None
        try:
            async with self._store.transaction() as connection:
                edit = Edit(connection, self._layout)
                answer = await run(edit, asked)
                done = edit
        except asyncpg.UniqueViolationError as error:
            raise BadRequestError("There is a key with this secret already.", "key") from error
        except SourceUnavailableError as error:
            if done is not None and self._reports_doubtful:
                # Only the COMMIT was left. An eviction too many costs one read.
                await self._report(done)
            raise UnavailableError(
                "The database does not answer, or it refused the change. Check the object, then "
                "try again."
            ) from error
        await self._report(edit)
        return msgspec.json.encode(answer)

    async def _report(self, edit: Edit) -> None:
        await self._invalidation.changed(edit.changed)
        await self._invalidation.deleted(edit.deleted)
