"""Changes in a window, against a fake gateway and a fake Postgres."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import asyncpg
import httpx
import pytest

from harness.analysis.answers import judge_answers
from harness.archive.directory import LOGS, SAMPLES
from harness.authcache.variants import load_variants
from harness.domain.changes import ChangeEvent
from harness.domain.population import MOCK_MODEL, VirtualKey, make_changes
from harness.domain.served import WORKER_HEADER
from harness.errors import InvalidRunError
from harness.experiment.changes import ChangeMaker, Made, News
from harness.experiment.record import record
from harness.observe.counters import Counters
from harness.observe.ledger import reconcile
from harness.plan.arms import reference_arm
from harness.plan.plan import PlannedChange, make_plan
from harness.process.stop import Stop
from harness.scenario.loader import load_scenario
from harness.scenario.schema import Scenario
from harness.stack.base import Fleet, FleetSpec, Servers, Stack
from harness.stack.registry import EMBEDDED, make_stack
from harness.targets.base import Call, Database, KeyTruth
from harness.targets.schema.database import LiteLLMDatabase
from harness.targets.settings import RunSettings
from tests.observe.build import page, series
from tests.silence import Silence
from tests.stack.fakes import FakeTarget

URLS = ("http://replica-0", "http://replica-1")
KEYS = make_changes(
    [("key-block", "team"), ("key-limits", "user")], first=0, seed=1, model=MOCK_MODEL
)


class Rows:
    """The part of a `Database` that changes use: the status of each key, and its changes."""

    def __init__(self) -> None:
        self.status = {key.index: 200 for key in KEYS}
        self.changed = {key.index: 0 for key in KEYS}
        self.fails = False
        self.busy = 0

    def change(self, index: int, status: int) -> None:
        self.status[index] = status
        self.changed[index] += 1

    async def edit(
        self, connection: asyncpg.Connection, action: str, key: VirtualKey, number: int
    ) -> bool:
        del connection, number
        if self.fails:
            raise asyncpg.PostgresError("the server is gone")
        async with self._alone():
            if action == "key-block":
                self.change(key.index, 401)
            return action == "key-block"

    async def truth(
        self,
        connection: asyncpg.Connection,
        keys: Sequence[VirtualKey],
        *,
        planted_null_user: bool,
    ) -> dict[int, KeyTruth]:
        del connection, planted_null_user
        async with self._alone():
            return {
                k.index: KeyTruth({"key": str(self.changed[k.index])}, self.status[k.index])
                for k in keys
            }

    def _alone(self) -> Rows:
        return self

    async def __aenter__(self) -> None:
        self.busy += 1
        assert self.busy == 1, "a connection runs one statement at a time"
        await asyncio.sleep(0)

    async def __aexit__(self, *_: object) -> None:
        self.busy -= 1


@dataclass
class Gateway(FakeTarget):
    """Has the actions of ``answers``; each answer may change a row first."""

    rows: Rows = field(default_factory=Rows)
    answers: Mapping[str, Callable[[], httpx.Response]] = field(default_factory=dict)
    seen: list[httpx.Request] = field(default_factory=list)

    @property
    def database(self) -> Database:
        return cast("Database", self.rows)

    def call(self, action: str, key: VirtualKey, number: int) -> Call | None:
        if action not in self.answers:
            return None
        return Call("POST", f"/manage/{action}", {"key": key.secret, "tpm_limit": number})

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        action = request.url.path.removeprefix("/manage/")
        return self.answers[action]() if action in self.answers else httpx.Response(200)


def planned(*, way: str = "api", handler: int = 1) -> list[PlannedChange]:
    names = [key.kind.removeprefix("change:") for key in KEYS]
    return [
        PlannedChange(5 + n, name, cast("Any", way), key, handler, 0.001 * n)
        for n, (name, key) in enumerate(zip(names, KEYS, strict=True))
    ]


async def made_by(
    gateway: Gateway,
    changes: list[PlannedChange],
    urls: tuple[str, ...] = URLS,
    news: News | None = None,
) -> tuple[Made, Fleet]:
    spec = FleetSpec("a", gateway, 2, 1, RunSettings(ttl_s=1.0))
    fleet = Fleet(spec, urls, (), (), "", "", None)
    transport = httpx.MockTransport(gateway.answer)
    async with httpx.AsyncClient(transport=transport) as http:
        told: list[ChangeEvent] = []
        making = ChangeMaker(
            fleet, changes, http, cast("asyncpg.Connection", None), told.append, news=news
        )
        await making.begin()
        made = await making.make(time.monotonic())
        assert sorted(told, key=lambda event: event.number) == made.events
        return made, fleet


def blocks(rows: Rows, status: int = 200, text: str = "") -> Callable[[], httpx.Response]:
    def answer() -> httpx.Response:
        rows.change(0, 401)
        return httpx.Response(status, text=text, headers={WORKER_HEADER: "1.0"})

    return answer


def only(made: Made) -> ChangeEvent:
    (event,) = made.events
    return event


async def test_the_workers_that_dropped_a_copy_and_those_that_heard_are_of_the_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By what each counted since just before the call: of such an object, and no other."""
    monkeypatch.setattr("harness.experiment.changes.NEWS_S", 0.0)
    rows = Rows()
    pages = {name: Counters() for name in ("0.0", "1.0", "1.1")}

    def counted(kind: str, *events: str) -> Counters:
        name = "authcache_invalidations_total"
        return page(*(series(name, 1, event=event, object=kind) for event in events))

    def answer() -> httpx.Response:
        pages["0.0"] = counted("key", "applied", "sent")
        pages["1.0"] = counted("key", "applied", "received")
        pages["1.1"] = counted("team", "applied", "received")
        return blocks(rows)()

    async def news() -> dict[str, Counters]:
        return dict(pages)

    gateway = Gateway(rows=rows, answers={"key-block": answer})
    made, _ = await made_by(gateway, planned()[:1], news=news)
    assert (only(made).dropped, only(made).told) == (("0.0", "1.0"), ("1.0",))
    made, _ = await made_by(gateway, planned(way="sql")[:1], news=news)
    assert (only(made).dropped, only(made).told) == ((), ())


async def test_workers_that_cannot_be_asked_leave_a_change_as_it_is() -> None:
    async def news() -> dict[str, Counters]:
        raise InvalidRunError("a worker is gone")

    rows = Rows()
    made, _ = await made_by(
        Gateway(rows=rows, answers={"key-block": blocks(rows)}), planned()[:1], news=news
    )
    assert (only(made).outcome, only(made).dropped) == ("done", ())


async def test_a_change_is_a_version_from_its_call_to_its_answer() -> None:
    rows = Rows()
    gateway = Gateway(rows=rows, answers={"key-block": blocks(rows)})
    made, fleet = await made_by(gateway, planned())
    event, absent = made.events
    assert (event.number, event.action, event.scope, event.key) == (5, "key-block", "team", 0)
    assert (event.way, event.handler, event.worker) == ("api", 1, "1.0")
    assert (event.status, event.outcome, event.detail) == (200, "done", "")
    assert 0 <= event.sent_s <= event.answered_s
    truth = made.truths[0]
    assert (truth.status, truth.digests) == (401, {"key": "1"})
    assert truth.since == (event.sent_s, event.answered_s)
    assert truth.earlier == (KeyTruth({"key": "0"}, 200),)
    # Not there is not a change, and leaves one version.
    assert (absent.outcome, absent.handler) == ("not_there", None)
    assert made.truths[1] == KeyTruth({"key": "0"}, 200)
    *opened, call = gateway.seen
    assert [str(request.url) for request in opened] == [
        f"{url}{gateway.readiness_path}" for url in URLS
    ]
    assert str(call.url) == "http://replica-1/manage/key-block"
    assert call.headers["authorization"] == f"Bearer {fleet.spec.master_key}"
    assert call.content == b'{"key":"%s","tpm_limit":5}' % KEYS[0].secret.encode()


async def test_a_refused_change_shows_its_answer_without_secrets() -> None:
    text = f"no such thing: {KEYS[0].secret}, {KEYS[0].token}, sk-somebodyelses{'.' * 400}"
    answers = {"key-block": lambda: httpx.Response(404, text=text)}
    made, _ = await made_by(Gateway(answers=answers), planned()[:1])
    event = only(made)
    assert (event.status, event.outcome) == (404, "refused")
    assert event.detail.startswith("no such thing: …, …, ….")
    assert len(event.detail) == 300
    assert made.truths[0].earlier == ()


async def test_a_success_that_changes_nothing_is_refused() -> None:
    answers = {"key-block": lambda: httpx.Response(200)}
    made, _ = await made_by(Gateway(answers=answers), planned()[:1])
    assert only(made).outcome == "refused"
    assert "Postgres holds no change" in only(made).detail


@pytest.mark.parametrize("status", [400, 500])
async def test_a_change_may_be_committed_and_answered_with_an_error(status: int) -> None:
    rows = Rows()
    gateway = Gateway(rows=rows, answers={"key-block": blocks(rows, status, "what a pity")})
    made, _ = await made_by(gateway, planned()[:1])
    event = only(made)
    assert (event.outcome, event.status, event.detail) == ("committed", status, "what a pity")
    assert made.truths[0].since == (event.sent_s, event.answered_s)


async def test_without_an_answer_postgres_says_what_became_of_a_change() -> None:
    rows = Rows()

    def breaks() -> httpx.Response:
        rows.change(0, 401)
        raise httpx.ReadTimeout("too late")

    made, _ = await made_by(Gateway(rows=rows, answers={"key-block": breaks}), planned()[:1])
    event = only(made)
    assert (event.outcome, event.status, event.worker) == ("committed", 0, "")
    assert event.detail == "ReadTimeout: too late"


async def test_an_edit_by_sql_is_true_from_its_commit_and_has_no_handler() -> None:
    made, _ = await made_by(Gateway(), planned(way="sql"))
    event, absent = made.events
    assert (event.way, event.handler, event.status, event.outcome) == ("sql", None, 0, "done")
    assert made.truths[0].since == (event.sent_s, event.answered_s)
    assert absent.outcome == "not_there"


async def test_behind_a_balancer_only_the_worker_says_who_took_a_change() -> None:
    rows = Rows()
    gateway = Gateway(rows=rows, answers={"key-block": blocks(rows)})
    made, _ = await made_by(gateway, planned()[:1], URLS[:1])
    assert (only(made).handler, only(made).worker) == (None, "1.0")


async def test_two_changes_of_one_key_are_two_versions() -> None:
    rows = Rows()
    gateway = Gateway(rows=rows, answers={"key-block": blocks(rows)})
    first = planned()[0]
    again = PlannedChange(6, "key-block", "api", KEYS[0], 0, 0.05)
    made, _ = await made_by(gateway, [first, again])
    truth = made.truths[0]
    assert [version.digests["key"] for version in (*truth.earlier, truth)] == ["0", "1", "2"]
    assert [version.since for version in (*truth.earlier, truth)] == [
        None,
        *((event.sent_s, event.answered_s) for event in made.events),
    ]
    assert all(version.earlier == () for version in truth.earlier)


async def test_changes_of_one_moment_take_turns_at_postgres() -> None:
    at_once = [PlannedChange(n, "key-block", "sql", KEYS[0], 0, 0.0) for n in range(1, 4)]
    made, _ = await made_by(Gateway(), at_once)
    # `Rows` fails if two statements run at once.
    assert [event.number for event in made.events] == [1, 2, 3]


@pytest.mark.parametrize(("status", "known"), [(200, True), (500, False), (0, False)])
async def test_a_change_during_a_fault_is_judged_after_it(status: int, known: bool) -> None:
    """Postgres may not answer meanwhile; what was not answered 2xx may be committed late."""
    rows = Rows()

    def answer() -> httpx.Response:
        if not status:
            raise httpx.ReadTimeout("too late")
        return httpx.Response(status)

    gateway = Gateway(rows=rows, answers={"key-block": answer})
    spec = FleetSpec("a", gateway, 2, 1, RunSettings(ttl_s=1.0))
    fleet = Fleet(spec, URLS, (), (), "", "", None)
    told: list[ChangeEvent] = []
    start = time.monotonic()
    async with httpx.AsyncClient(transport=httpx.MockTransport(gateway.answer)) as http:
        making = ChangeMaker(
            fleet, planned(), http, cast("asyncpg.Connection", None), on_made=told.append
        )
        await making.begin()
        made = await making.make(start, judge=False)
        assert made.truths[0].earlier == ()
        assert told == []
        rows.change(0, 401)
        made = await making.judge(start, cast("asyncpg.Connection", None))
    event, absent = made.events
    assert told == made.events
    assert (event.outcome, absent.outcome) == ("done" if known else "committed", "not_there")
    truth = made.truths[0]
    assert truth.since is not None
    assert truth.since[0] == event.sent_s
    assert (truth.since[1] == event.answered_s) is known
    assert event.answered_s <= truth.since[1] <= time.monotonic() - start


async def test_a_postgres_that_fails_ends_the_run_as_invalid() -> None:
    rows = Rows()
    rows.fails = True
    with pytest.raises(InvalidRunError, match=r"its Postgres failed: PostgresError: the server"):
        await made_by(Gateway(rows=rows), planned(way="sql"))


async def _edit(
    self: LiteLLMDatabase, connection: asyncpg.Connection, action: str, key: VirtualKey, number: int
) -> bool:
    """Three actions, for as long as the target has none."""
    del self
    keys, teams = '"LiteLLM_VerificationToken"', '"LiteLLM_TeamTable"'
    limit = 5_000_000 + number
    if action == "key-delete":
        await connection.execute(f"DELETE FROM {keys} WHERE token = $1", key.token)
    elif action == "key-limits":
        change = f"UPDATE {keys} SET tpm_limit = $2 WHERE token = $1"
        await connection.execute(change, key.token, limit)
    else:
        change = f"UPDATE {teams} SET blocked = true, tpm_limit = $2 WHERE team_id = $1"
        await connection.execute(change, key.team_id, limit)
    return True


@pytest.mark.integration
@pytest.mark.alone
@pytest.mark.long
async def test_an_edit_behind_the_gateway_is_seen_by_a_variant_whose_entries_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "edit" not in vars(LiteLLMDatabase):
        monkeypatch.setattr(LiteLLMDatabase, "edit", _edit)
    raw = load_scenario("smoke").model_dump(by_alias=True)
    raw["load"] |= {"cold_fill": False, "warmup_ttls": 0, "window_ttls": 3}
    raw["limits"] |= {"min_requests_per_object": 0}
    raw["change"] = [change | {"way": "sql"} for change in raw["change"]]
    arms = [reference_arm(load_variants()[name]) for name in ("litellm_1_84", "recommended")]
    plan = make_plan(Scenario.model_validate(raw), arms, stack=EMBEDDED)
    (tmp_path / LOGS).mkdir()
    (tmp_path / SAMPLES).mkdir()

    def new_stack() -> Stack:
        return make_stack(EMBEDDED, tmp_path / LOGS, Servers())

    recording = await record(plan, new_stack, tmp_path, Silence(), Stop())
    assert recording.complete, recording.problem
    windows = {w.variant: w for w in recording.windows if w.phase == "changes"}
    stale: dict[str, int] = {}
    for name, window in windows.items():
        made = {event.action: event for event in window.changes}
        assert {event.outcome for event in made.values()} == {"done"}
        assert list(made) == [c.action for c in plan.planned_changes(1)]
        statuses = {
            action: [v.status for v in (*truth.earlier, truth)]
            for action, event in made.items()
            if (truth := window.truths[event.key])
        }
        assert statuses == {
            "key-delete": [200, 401], "key-limits": [200, 200], "team-block": [200, 401]
        }  # fmt: skip
        unbalanced = [(e.name, e.reason) for e in reconcile(window) if e.status == "unbalanced"]
        assert unbalanced == [], name
        answers = judge_answers([window], plan.all_keys, tmp_path / SAMPLES)
        assert not answers.wrong
        stale[name] = sum(answers.stale.values())
    # Each request gives an entry of 1.84 another life; one of recommended ends with its TTL.
    assert stale["litellm_1_84"] > 0
    assert stale["recommended"] == 0


@pytest.mark.parametrize(("asked_s", "idle_s"), [(None, None), (4.5, 4.499)])
async def test_an_event_says_when_the_one_worker_of_an_idle_key_was_to_be_asked(
    asked_s: float | None, idle_s: float | None
) -> None:
    rows = Rows()
    gateway = Gateway(rows=rows, answers={"key-block": blocks(rows)})
    change = PlannedChange(1, "key-block", "api", KEYS[0], 0, 0.001, asked_s)
    made, _ = await made_by(gateway, [change])
    assert only(made).idle_s == (None if idle_s is None else pytest.approx(idle_s))
