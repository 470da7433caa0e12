"""Management calls: what each changes in Postgres, which copies it reports, and what it answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, cast

import asyncpg
import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.authcache.cache import SourceUnavailableError
from harness.authcache.digest import hash_token
from harness.authcache.invalidation import Changed, Invalidation
from harness.authcache.layout import LAYOUTS
from harness.authcache.switches import Switches
from harness.authcache.words import ObjectKind
from harness.domain.changes import ACTIONS
from harness.domain.population import VirtualKey
from harness.domain.served import WORKER_HEADER
from harness.observe.postgres import role_of, statement_counts
from harness.process.loopback import local_http
from harness.stack.base import Fleet
from harness.targets.base import KeyTruth
from harness.targets.reference import store
from harness.targets.reference.management import ROUTES, Management
from harness.targets.reference.problems import BadRequestError, UnavailableError
from harness.targets.reference.store import Store
from harness.targets.reference.target import ReferenceTarget
from tests.targets.world import (
    COST_MICRO,
    VARIANTS,
    Node,
    execute,
    node,
    one_key,
    seed,
    served_digests,
    set_budget,
    until,
)

MASTER = "sk-master-of-the-tests"
VARIANT = "litellm_1_84"
"""Its layout keeps a team under two cache keys, and so a membership."""
# Without its defect, which refuses every request of a member whose budget was cleared.
SWITCHES = VARIANTS[VARIANT].switches.model_copy(update={"membership_budget": "default_none"})
LAYOUT = LAYOUTS[SWITCHES.key_layout]
TARGET = ReferenceTarget(VARIANTS[VARIANT])

Json = Any


def live(test: Any) -> Any:
    """Marks a test that starts servers."""
    return pytest.mark.integration(pytest.mark.timeout(300)(test))


class Heard(Invalidation):
    """Keeps what it hears, and the version of the key that Postgres holds at that moment."""

    def __init__(self, dsn: str, key: VirtualKey) -> None:
        self.changes: list[Changed] = []
        self.deletions: list[Changed] = []
        self.truths: list[KeyTruth] = []
        self._dsn, self._key = dsn, key

    async def changed(self, objects: Iterable[Changed]) -> None:
        self.changes += objects
        self.truths.append(await truth(self._dsn, self._key))

    async def deleted(self, objects: Iterable[Changed]) -> None:
        self.deletions += objects


async def truth(dsn: str, key: VirtualKey) -> KeyTruth:
    connection = await asyncpg.connect(dsn)
    try:
        found = await TARGET.database.truth(connection, [key], planted_null_user=False)
    finally:
        await connection.close()
    return found[key.index]


@contextlib.asynccontextmanager
async def worker(fleet: Fleet, switches: Switches = SWITCHES, **given: Any) -> AsyncIterator[Node]:
    async with node(fleet, switches, **{"master_key": MASTER, **given}) as opened:
        yield opened


async def manage(
    one: Node, path: str, body: Json, *, secret: str | None = MASTER
) -> httpx.Response:
    headers = {} if secret is None else {"authorization": f"Bearer {secret}"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await one.http.post(path, content=content, headers=headers)


async def ready_for(dsn: str, action: str) -> VirtualKey:
    """A key, and its rows as they are before an action."""
    membership = "cleared" if action == "member-budget-set" else "budget"
    key = await one_key(dsn, "member", membership)
    if action == "key-new":
        await execute(dsn, 'DELETE FROM "LiteLLM_VerificationToken" WHERE token = $1', key.token)
    if action.endswith("unblock"):
        table, row = ("VerificationToken", "token")
        if action == "team-unblock":
            table, row = ("TeamTable", "team_id")
        one = key.token if row == "token" else key.team_id
        await execute(dsn, f'UPDATE "LiteLLM_{table}" SET blocked = true WHERE {row} = $1', one)
    if action.startswith("key-budget"):
        await execute(
            dsn, 'UPDATE "LiteLLM_VerificationToken" SET spend = 2 WHERE token = $1', key.token
        )
        if action == "key-budget-raised":
            await set_budget(dsn, key, "key", 1.0)
    if action == "member-budget":
        await execute(
            dsn, 'UPDATE "LiteLLM_TeamMembership" SET spend = 2 WHERE user_id = $1', key.user_id
        )
    return key


def copies(key: VirtualKey, *kinds: str) -> set[Changed]:
    """Every cache key of a key's objects."""
    assert key.user_id is not None
    assert key.team_id is not None
    member = key.user_id, key.team_id
    ways = {
        "key": {LAYOUT.key(key.token)},
        "user": {LAYOUT.user(key.user_id)},
        "team": {LAYOUT.team(key.team_id), LAYOUT.team_copy(key.team_id)},
        "membership": {LAYOUT.membership(*member), LAYOUT.member(*member)},
    }
    return {(ObjectKind(kind), one) for kind in kinds for one in ways[kind]}


DELETED: Mapping[str, tuple[str, ...]] = {
    "key-delete": ("key",),
    "key-regenerate": ("key",),
    "team-delete": ("key", "membership", "team"),
    "user-delete": ("key", "membership", "user"),
    "member-remove": ("key", "membership"),
}
"""The objects whose rows are gone."""


@live
@pytest.mark.parametrize("action", ACTIONS)
async def test_an_action_changes_the_row_and_reports_every_copy(
    baseline: Fleet, action: str
) -> None:
    key = await ready_for(baseline.dsn, action)
    before = await truth(baseline.dsn, key)
    call = TARGET.call(action, key, 7)
    heard = Heard(baseline.dsn, key)
    async with worker(baseline) as one:
        one.worker.management._invalidation = heard
        answer = await manage(one, call.path, dict(call.body))
        after = await truth(baseline.dsn, key)
        # Nothing of the key is cached yet.
        served = await one.chat(key.secret)
        await one.settled()
        answered = one.counters()

    assert answer.status_code == 200, answer.text
    assert answer.headers[WORKER_HEADER]
    assert heard.truths == [after], "the copies are reported after COMMIT"
    assert served.status_code == after.status
    effect = ACTIONS[action].effect
    assert (before.status == 200, after.status == 200) == {
        "refuse": (True, False),
        "admit": (False, True),
        "differ": (True, True),
    }[effect]
    assert before.digests != after.digests
    if action in DELETED:
        assert set(heard.deletions) == copies(key, *DELETED[action])
    else:
        assert heard.deletions == []
        assert set(heard.changes) == copies(key, ACTIONS[action].object)
    if action == "member-remove":
        assert set(heard.changes) == copies(key, "team", "user")
    if action == "key-regenerate":
        new = LAYOUT.key(hash_token(answer.json()["key"]))
        assert heard.changes == [(ObjectKind.KEY, new)]
    counted = answered.by("http_requests_total", "route", "status")
    assert counted["other", "200"] == 1
    assert counted["/v1/chat/completions", str(served.status_code)] == 1


@live
@pytest.mark.parametrize("action", ACTIONS)
async def test_a_handler_that_evicts_serves_the_change_at_once(
    baseline: Fleet, action: str
) -> None:
    key = await ready_for(baseline.dsn, action)
    call = TARGET.call(action, key, 7)
    evicting = SWITCHES.model_copy(update={"invalidation": "handler"})
    async with worker(baseline, evicting) as one, worker(baseline) as other:
        for each in (one, other):
            before = await each.chat(key.secret)
            await each.settled()
        answer = await manage(one, call.path, dict(call.body))
        served = await one.chat(key.secret)
        kept = await other.chat(key.secret)
    right = await truth(baseline.dsn, key)

    assert answer.status_code == 200, answer.text
    assert served.status_code == right.status
    if right.status == 200:
        assert served_digests(served) == {kind: {one} for kind, one in right.digests.items()}
    # Where nothing is evicted, the old answer stays. That a key is unknown is not remembered.
    if action != "key-new":
        assert kept.status_code == before.status_code
        assert served_digests(kept) == served_digests(before)


@live
async def test_a_budget_that_members_share_is_new_for_all_of_them(baseline: Fleet) -> None:
    first, second = (await seed(baseline.dsn, {"member": 2}))["member"]
    share = 'UPDATE "LiteLLM_TeamMembership" SET budget_id = $1 WHERE user_id = $2'
    await execute(baseline.dsn, share, first.budget_id, second.user_id)
    switches = VARIANTS["recommended"].switches
    layout = LAYOUTS[switches.key_layout]
    shared = {"namespace": "shared-budget:"}
    async with (
        worker(baseline, switches, **shared) as one,
        worker(baseline, switches, **shared) as other,
    ):
        for key in (first, second):
            await one.ok(key)
            before = await other.ok(key)
        body = {"user_id": first.user_id, "team_id": first.team_id, "max_budget_in_team": 7.0}
        assert (await manage(one, "/team/member_update", body)).status_code == 200
        memory = other.worker.cache.memory
        assert first.user_id is not None
        assert first.team_id is not None
        copy = layout.membership(first.user_id, first.team_id)
        await until(lambda: memory.get(copy) is None)
        served = await other.ok(second)
    right = await truth(baseline.dsn, second)

    assert served_digests(before)["membership"] != {right.digests["membership"]}
    assert served_digests(served)["membership"] == {right.digests["membership"]}


@live
async def test_every_statement_of_a_call_is_named_and_none_reads_an_object(
    baseline: Fleet,
) -> None:
    calls = [TARGET.call(action, await ready_for(baseline.dsn, action), 7) for action in ACTIONS]
    database = TARGET.database
    async with worker(baseline) as one:
        connection = await asyncpg.connect(baseline.admin_dsn)
        counting = (connection, role_of(baseline.dsn), database.classify, database.name_other)
        try:
            before = await statement_counts(*counting)
            for call in calls:
                assert (await manage(one, call.path, dict(call.body))).status_code == 200
            sent = (await statement_counts(*counting)).since(before)
        finally:
            await connection.close()
        pending, counters = one.metrics.pending, one.counters()

    assert sent.unnamed == {}
    assert sum(count.calls for count in sent.reads.values()) == 0
    assert sent.named["transaction"] == 2 * len(calls)
    assert sent.named["management"] >= len(calls)
    assert pending == 0
    assert counters.sum("authcache_lookups_asked_total") == 0
    assert counters.sum("authcache_source_reads_total") == 0


STATEMENTS = [
    *(store.NEW_KEY, store.CHANGE_BUDGET, store.NEW_BUDGET, store.GIVE_BUDGET),
    *(store.DROP_MEMBER, store.LEAVE_TEAM, store.MEMBERS_OF_BUDGET),
    *(store.update_row(kind, ["spend", "models"]) for kind in ("key", "user", "team")),
    *(store.delete_rows(kind, "user_id = $1") for kind in store.ADD_SPEND),
]


@pytest.mark.parametrize("statement", STATEMENTS)
def test_a_statement_is_named(statement: str) -> None:
    assert TARGET.database.name_other(statement) == "management"
    assert TARGET.database.classify(statement) is None
    for other in (
        f"{statement}; SELECT 1",
        statement.rpartition("RETURNING")[0].strip(),
        f"WITH x AS ({statement}) TABLE x",
    ):
        assert TARGET.database.name_other(other) is None


@pytest.mark.parametrize("statement", store.ADD_SPEND.values())
def test_spend_is_no_management(statement: str) -> None:
    assert TARGET.database.name_other(statement) == "spend"


@live
async def test_answers_have_litellms_shapes(baseline: Fleet) -> None:
    keys = (await seed(baseline.dsn, {"member": 3}))["member"]
    first, second, third = keys
    member = {"user_id": first.user_id, "team_id": first.team_id}
    async with worker(baseline) as one:

        async def answer(path: str, **body: Any) -> Json:
            got = await manage(one, path, body)
            assert got.status_code == 200, got.text
            return got.json()

        made = await answer("/key/generate", user_id=first.user_id, rpm_limit=3, models=["m"])
        again = await answer("/key/regenerate", key=made["key"], new_key="sk-new-secret-1234")
        blocked = await answer("/key/block", key=again["token"])
        changed = await answer("/key/update", key=again["key"], rpm_limit=None, models=[])
        user = await answer("/user/update", user_id=first.user_id, max_budget=3)
        team = await answer("/team/update", team_id=first.team_id, models=["m"])
        team_blocked = await answer("/team/block", team_id=first.team_id)
        budget = await answer("/team/member_update", **member, max_budget_in_team=2)
        left = await answer("/team/member_delete", **member)
        deleted = [
            await answer("/key/delete", keys=[second.secret, "sk-unknown"]),
            await answer("/team/delete", team_ids=[first.team_id, second.team_id]),
            await answer("/user/delete", user_ids=[first.user_id, third.user_id]),
        ]
        gone = [(await one.chat(key.secret)).status_code for key in keys]

    assert made["key"].startswith("sk-")
    assert made["token"] == made["token_id"] == hash_token(made["key"])
    assert (made["user_id"], made["rpm_limit"], made["models"]) == (first.user_id, 3, ["m"])
    assert (again["key"], again["token"]) == ("sk-new-secret-1234", hash_token(again["key"]))
    assert (again["rpm_limit"], again["key_name"]) == (3, "sk-...1234")
    assert (blocked["token"], blocked["blocked"]) == (again["token"], True)
    assert (changed["key"], changed["rpm_limit"], changed["models"]) == (again["key"], None, [])
    assert (user["user_id"], user["data"]["max_budget"]) == (first.user_id, 3.0)
    assert (team["team_id"], team["data"]["models"]) == (first.team_id, ["m"])
    assert (team_blocked["team_id"], team_blocked["blocked"]) == (first.team_id, True)
    assert budget == {**member, "max_budget_in_team": 2.0}
    assert left["team_id"] == first.team_id
    assert deleted == [
        {"deleted_keys": [second.secret, "sk-unknown"]},
        {"deleted_teams": [first.team_id, second.team_id]},
        2,
    ]
    assert gone == [401, 401, 401]


@live
async def test_a_regenerated_key_keeps_its_spend(baseline: Fleet) -> None:
    key = await one_key(baseline.dsn, "team")
    await set_budget(baseline.dsn, key, "key", 1.0)
    await execute(
        baseline.dsn, 'UPDATE "LiteLLM_VerificationToken" SET spend = 2 WHERE token = $1', key.token
    )
    async with worker(baseline) as one:
        made = (await manage(one, "/key/regenerate", {"key": key.secret})).json()
        statuses = [(await one.chat(secret)).status_code for secret in (made["key"], key.secret)]

    assert made["spend"] == 2.0
    assert statuses == [429, 401]


@live
@pytest.mark.parametrize("counter", ["redis_nx", "redis_add", "per_worker", "none"])
async def test_a_key_that_is_made_anew_has_spent_nothing(baseline: Fleet, counter: str) -> None:
    """Whatever workers and Redis counted for the row that had its secret before."""
    switches = VARIANTS["recommended"].switches.model_copy(update={"spend_counter": counter})
    cache_key = LAYOUTS[switches.key_layout].key
    secret = f"sk-made-anew-{counter}"
    body = {"key": secret, "max_budget": 4 * COST_MICRO / store.MICRO}
    shared = {"namespace": f"made-anew-{counter}:"}
    async with (
        worker(baseline, switches, **shared) as one,
        worker(baseline, switches, **shared) as other,
    ):

        async def statuses() -> list[int]:
            """Of as many requests as the budget has replies for each worker, and of one more."""
            answers = []
            for each in (one, other) * 5:
                answers.append((await each.chat(secret)).status_code)
                await each.settled()
            return answers

        assert (await manage(one, "/key/generate", body)).status_code == 200
        first = await statuses()
        assert (await manage(one, "/key/delete", {"keys": [secret]})).status_code == 200
        memory = other.worker.cache.memory
        await until(lambda: memory.get(cache_key(hash_token(secret))) is None)
        assert (await manage(one, "/key/generate", body)).status_code == 200
        second = await statuses()

    assert first[-2:] == [429, 429]
    assert second == first


@live
async def test_a_member_leaves_the_lists_of_team_and_user(baseline: Fleet) -> None:
    key = await one_key(baseline.dsn, "member")
    members = [{"user_id": key.user_id, "role": "user"}, {"user_id": "other", "role": "admin"}]
    team_row = 'UPDATE "LiteLLM_TeamTable" SET members_with_roles = $1 WHERE team_id = $2'
    user_row = 'UPDATE "LiteLLM_UserTable" SET teams = $1 WHERE user_id = $2'
    await execute(baseline.dsn, team_row, json.dumps(members), key.team_id)
    await execute(baseline.dsn, user_row, ["other", key.team_id], key.user_id)
    async with worker(baseline) as one:
        body = {"user_id": key.user_id, "team_id": key.team_id}
        team = (await manage(one, "/team/member_delete", body)).json()
        user = await one.worker.store.user(key.user_id or "")

    assert team["members_with_roles"] == members[1:]
    assert user is not None
    assert user.teams == ["other"]


@live
@pytest.mark.parametrize(
    ("path", "body", "status", "param", "words"),
    [
        ("/key/block", {"key": "sk-unknown"}, 404, "key", "no such key"),
        ("/key/update", {"key": "sk-unknown", "tpm_limit": 1}, 404, "key", "no such key"),
        ("/key/regenerate", {"key": "sk-unknown"}, 404, "key", "no such key"),
        ("/key/delete", {"keys": ["sk-unknown"]}, 404, "keys", "none of these keys"),
        ("/team/unblock", {"team_id": "t"}, 404, "team_id", "no such team"),
        ("/team/delete", {"team_ids": ["{team}", "t"]}, 404, "team_ids", r"no team [t]"),
        ("/user/update", {"user_id": "u", "tpm_limit": 1}, 404, "user_id", "no such user"),
        ("/user/delete", {"user_ids": ["{user}", "u"]}, 404, "user_ids", "no user [u]"),
        (
            *("/team/member_update", {"user_id": "u", "team_id": "{team}"}),
            *(400, None, "missing required field `max_budget_in_team`"),
        ),
        (
            *("/team/member_update", {"user_id": "u", "team_id": "t", "max_budget_in_team": 1}),
            *(400, "user_id", "The team [t] has no member [u]"),
        ),
        (
            *("/team/member_update", {"user_id": "u", "team_id": "t", "max_budget_in_team": None}),
            *(400, "user_id", "The team [t] has no member [u]"),
        ),
        (
            *("/team/member_delete", {"user_id": "u", "team_id": "{team}"}),
            *(400, "user_id", "has no member [u]"),
        ),
        ("/key/update", {"key": "{secret}"}, 400, None, "changes nothing"),
        ("/key/update", {"key": "{secret}", "tpm_limit": "9"}, 400, None, "at `$.tpm_limit`"),
        ("/key/update", {"key": "{secret}", "tpm_limit": 2**63}, 400, None, "at `$.tpm_limit`"),
        ("/key/update", {"key": "{secret}", "max_budget": -1}, 400, None, "at `$.max_budget`"),
        ("/key/update", {"key": "{secret}", "models": None}, 400, None, "at `$.models`"),
        ("/key/generate", {"key": "{secret}"}, 400, "key", "key with this secret already"),
        ("/key/generate", {"key": "secret"}, 400, "key", "starts with sk-"),
        ("/key/generate", {"key_alias": "a\0b"}, 400, None, "at `$.key_alias`"),
        ("/key/regenerate", {"key": "{secret}", "new_key": "x"}, 400, "new_key", "with sk-"),
        ("/key/delete", {"keys": []}, 400, None, "at `$.keys`"),
        ("/key/block", [], 400, None, "The body is not a call of [/key/block]"),
        (
            "/key/block",
            b'{"x": ' + b"[" * 10_000,
            400,
            None,
            "The body is not a call of [/key/block]",
        ),
        ("/key/block", b"", 400, None, "The body is not a call of [/key/block]"),
        ("/key/block", b'{"key": "\xff"}', 400, None, "The body is not a call of [/key/block]"),
    ],
)
async def test_a_call_that_cannot_be_carried_out_changes_nothing(
    baseline: Fleet, path: str, body: Json, status: int, param: str | None, words: str
) -> None:
    key = await one_key(baseline.dsn, "member")
    before = await truth(baseline.dsn, key)
    if not isinstance(body, bytes):
        text = json.dumps(body)
        for name, value in (
            ("secret", key.secret),
            ("team", key.team_id),
            ("user", key.user_id),
        ):
            text = text.replace(f"{{{name}}}", value or "")
        body = text.encode()
    heard = Heard(baseline.dsn, key)
    async with worker(baseline) as one:
        one.worker.management._invalidation = heard
        answer = await manage(one, path, body)

    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert words in error["message"]
    assert key.secret not in answer.text
    assert heard.truths == []
    assert await truth(baseline.dsn, key) == before


@live
async def test_only_the_master_key_may_call(baseline: Fleet) -> None:
    key = await one_key(baseline.dsn, "user")
    body = {"key": key.secret}
    async with worker(baseline) as one, worker(baseline, master_key="") as without:
        unsigned = await manage(one, "/key/block", body, secret=None)
        of_a_user = await manage(one, "/key/block", body, secret=key.secret)
        longer = await manage(one, "/key/block", body, secret=f"{MASTER}x")
        empty = await manage(without, "/key/block", body, secret="")
        refused = await manage(without, "/key/block", body, secret=MASTER)
        served = await one.chat(key.secret)
        got = await one.http.get("/key/block")
        await one.settled()
        shown = repr(one.worker.settings)
        settled = one.metrics.pending, without.metrics.pending
        counted = one.counters().by("http_requests_total", "route", "status")

    assert (unsigned.status_code, unsigned.json()["error"]["code"]) == (401, "invalid_api_key")
    for answer in (of_a_user, longer):
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "master_key_required"
    for answer in (empty, refused):
        assert answer.status_code == 401
        assert "LITELLM_MASTER_KEY" in answer.json()["error"]["message"]
    assert served.status_code == 200
    assert got.status_code == 405
    assert MASTER not in shown
    assert settled == (0, 0)
    assert (counted["other", "401"], counted["other", "403"]) == (1, 2)


@live
async def test_a_body_over_the_limit(baseline: Fleet) -> None:
    async with worker(baseline, body_limit_bytes=100) as one:
        answer = await manage(one, "/key/delete", {"keys": ["sk-" + "x" * 100]})
        pending = one.metrics.pending

    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert pending == 0


class Away(Store):
    """A Postgres that does not answer."""

    def __init__(self) -> None: ...

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[store.Connection]:
        raise SourceUnavailableError("away")
        yield


class Told(Invalidation):
    def __init__(self) -> None: ...

    async def changed(self, objects: Iterable[Changed]) -> None:
        raise AssertionError(f"nothing was changed, not even {objects}")


TEXTS = st.sampled_from(["sk-known", "sk-x", "x", "", "a\0b", "x" * 257]) | st.text(max_size=8)
NUMBERS = st.integers(-1, 2**64) | st.floats() | st.none() | st.just(2**63 - 1)
FIELDS: Mapping[str, st.SearchStrategy[Json]] = {
    **dict.fromkeys(("key", "new_key", "user_id", "team_id", "key_alias"), TEXTS | st.none()),
    **dict.fromkeys(("keys", "user_ids", "team_ids", "models"), st.lists(TEXTS, max_size=3)),
    **dict.fromkeys(("max_budget", "tpm_limit", "rpm_limit", "max_budget_in_team"), NUMBERS),
    "blocked": st.booleans() | st.none(),
}
SCALARS = st.none() | st.booleans() | NUMBERS | st.text(max_size=4)
JSONS = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(TEXTS, part, max_size=3)
)


def bodies(path: str) -> st.SearchStrategy[tuple[str, bytes]]:
    """Of a route: bodies of its shape, with values that fit or do not, and any others."""
    fields = msgspec.structs.fields(ROUTES[path][0].type)
    parts: list[dict[str, st.SearchStrategy[Json]]] = [
        {one.name: FIELDS[one.name] for one in fields if one.required is required}
        for required in (True, False)
    ]
    shaped = st.fixed_dictionaries(parts[0], optional=cast("Any", parts[1])) | JSONS
    # A lone surrogate has no UTF-8: it becomes a question mark.
    texts = shaped.map(lambda value: json.dumps(value, ensure_ascii=False).encode(errors="replace"))
    return st.tuples(st.just(path), texts | st.binary(max_size=40))


CALLS = st.sampled_from(sorted(ROUTES)).flatmap(bodies)


@given(call=CALLS)
def test_without_postgres_any_body_is_refused(call: tuple[str, bytes]) -> None:
    management = Management(Away(), LAYOUT, Told(), MASTER)

    with pytest.raises((BadRequestError, UnavailableError)):
        asyncio.run(management.call(*call))


@live
@pytest.mark.parametrize("outage", ["bounded", "waits"])
async def test_a_commit_without_an_answer_is_reported(
    baseline: Fleet, monkeypatch: pytest.MonkeyPatch, outage: str
) -> None:
    """Postgres holds the change, and the caller cannot know. A release reports nothing."""
    switches = SWITCHES.model_copy(update={"source_outage": outage})
    blocked, deleted, failed = (await seed(baseline.dsn, {"team": 3}))["team"]
    heard = Heard(baseline.dsn, blocked)
    async with worker(baseline, switches) as one:
        one.worker.management._invalidation = heard
        carry_out = one.worker.store.transaction

        @contextlib.asynccontextmanager
        async def silent() -> AsyncIterator[store.Connection]:
            async with carry_out() as connection:
                yield connection
            raise SourceUnavailableError("no answer to the COMMIT")

        monkeypatch.setattr(one.worker.store, "transaction", silent)
        answers = [
            await manage(one, "/key/block", {"key": blocked.secret}),
            await manage(one, "/key/delete", {"keys": [deleted.secret]}),
        ]
        reported = list(heard.changes), list(heard.deletions)

        @contextlib.asynccontextmanager
        async def away() -> AsyncIterator[store.Connection]:
            async with carry_out() as connection:
                await connection.execute("SET LOCAL statement_timeout = 1")
                yield connection

        # What fails before its COMMIT has changed nothing.
        monkeypatch.setattr(one.worker.store, "transaction", away)
        lock = await asyncpg.connect(baseline.dsn)
        try:
            async with lock.transaction():
                await lock.execute(
                    'SELECT 1 FROM "LiteLLM_VerificationToken" WHERE token = $1 FOR UPDATE',
                    failed.token,
                )
                answers.append(await manage(one, "/key/block", {"key": failed.secret}))
        finally:
            await lock.close()

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert (await truth(baseline.dsn, blocked)).status == 401
    assert (await truth(baseline.dsn, deleted)).status == 401
    assert (await truth(baseline.dsn, failed)).status == 200
    expected = (
        (
            [(ObjectKind.KEY, LAYOUT.key(blocked.token))],
            [(ObjectKind.KEY, LAYOUT.key(deleted.token))],
        )
        if outage == "bounded"
        else ([], [])
    )
    assert reported == expected
    assert (heard.changes, heard.deletions) == reported


@live
def test_no_body_makes_an_error_of_the_server(baseline: Fleet) -> None:
    with asyncio.Runner() as runner:
        opened = worker(baseline)
        one = runner.run(opened.__aenter__())
        runner.run(manage(one, "/key/generate", {"key": "sk-known"}))

        @settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
        @given(call=CALLS)
        def holds(call: tuple[str, bytes]) -> None:
            answer = runner.run(manage(one, *call))
            assert answer.status_code in {200, 400, 404}, answer.text

        try:
            holds()
            assert one.metrics.pending == 0
        finally:
            runner.run(opened.__aexit__(None, None, None))


@live
async def test_a_deletion_locks_rows_in_the_order_of_the_spend_writer(baseline: Fleet) -> None:
    """The holder of the first row may still lock the last: the deletion waits with none."""
    first, last = sorted((await seed(baseline.dsn, {"team": 2}))["team"], key=lambda key: key.token)
    connection = await asyncpg.connect(baseline.dsn)
    tokens = 'UPDATE "LiteLLM_VerificationToken" SET spend = 1 WHERE token = $1'
    move = 'UPDATE "LiteLLM_VerificationToken" SET team_id = $1 WHERE token = $2'
    try:
        # In the table, the last of both comes first.
        await connection.execute(move, first.team_id, last.token)
        await connection.execute(move, first.team_id, first.token)
        async with worker(baseline) as one:
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY(pg_blocking_pids(pid))"
            watch = await asyncpg.connect(baseline.admin_dsn)
            pid = connection.get_server_pid()
            async with connection.transaction():
                await connection.execute(tokens, first.token)
                body = {"team_ids": [first.team_id]}
                deleting = asyncio.create_task(manage(one, "/team/delete", body))
                async with asyncio.timeout(60):
                    while not await watch.fetchval(waiting, pid):  # noqa: ASYNC110 - no event
                        await asyncio.sleep(0.01)
                await connection.execute("SET LOCAL lock_timeout = '500ms'")
                await connection.execute(tokens, last.token)
            await watch.close()
            answer = await deleting
            gone = [(await one.chat(key.secret)).status_code for key in (first, last)]
    finally:
        await connection.close()

    assert answer.status_code == 200, answer.text
    assert gone == [401, 401]


@live
async def test_every_reply_names_its_worker(baseline: Fleet) -> None:
    """Also refusals and streams; of both workers of a replica, which share an address."""
    key = await one_key(baseline.dsn, "team")
    url, master = baseline.replica_urls[0], baseline.spec.master_key
    chats, hello = f"{url}/v1/chat/completions", [{"role": "user", "content": "hello"}]
    seen: set[str] = set()
    limits = httpx.Limits(max_keepalive_connections=0)
    async with local_http(timeout=60.0, limits=limits) as http:

        async def ask(path: str, secret: str, **body: Any) -> int:
            headers = {"authorization": f"Bearer {secret}"}
            answer = await http.post(path, json=body, headers=headers)
            seen.add(answer.headers[WORKER_HEADER])
            return answer.status_code

        said = {"model": "mock-model", "messages": hello}
        async with asyncio.timeout(60):
            while seen != {"0.0", "0.1"}:
                assert await ask(chats, key.secret, **said) == 200
        assert await ask(chats, key.secret, **said, stream=True) == 200
        assert await ask(chats, "sk-unknown", **said) == 401
        assert await ask(chats, key.secret, **{**said, "model": "another"}) == 403
        assert await ask(chats, key.secret) == 400
        assert await ask(chats, key.secret, text="x" * 1_100_000) == 413
        assert await ask(f"{url}/key/block", master, key=key.secret) == 200
        assert await ask(f"{url}/key/block", key.secret, key=key.secret) == 403
    assert seen == {"0.0", "0.1"}
