"""Changes that a user makes in the tab, against a fake gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from harness.authcache.variants import load_variants
from harness.domain.changes import ChangeEvent, Outcome
from harness.domain.population import MOCK_MODEL, VirtualKey, make_changes
from harness.domain.samples import Sample
from harness.domain.served import WORKER_HEADER
from harness.experiment.by_hand import FOLLOWED_PROMISES, Followed, LiveChanges
from harness.experiment.changes import Made
from harness.plan.arms import reference_arm
from harness.plan.plan import PlannedChange, make_plan
from harness.process.sockets import free_port
from harness.process.waiting import wait_until
from harness.scenario.loader import load_scenario
from harness.stack.base import Fleet, WorkerAddress
from harness.stack.registry import EMBEDDED
from harness.targets.base import KeyTruth
from harness.ui.sources import ChangesClient
from tests.ui.pages import served

[KEY] = make_changes([("team-block", "member")], first=0, seed=1, model=MOCK_MODEL)
OLD = KeyTruth({"team": "old"}, 200)
BLOCKED = KeyTruth({"team": "new"}, 401, "team_blocked", since=(1.0, 2.0), earlier=(OLD,))
RAISED = KeyTruth({"team": "new"}, 200, since=(1.0, 2.0), earlier=(OLD,))
PROMISE_S = 4.0
PATIENCE_S = 60.0


def event(outcome: Outcome = "done") -> ChangeEvent:
    return ChangeEvent(
        1, "team-block", "member", "api", KEY.index, 0, "0.0", 1.0, 2.0, 200, outcome
    )


def followed(truth: KeyTruth = BLOCKED, start: float = 100.0) -> Followed:
    one = Followed("a", KEY, ("0.0", "0.1", "1.0"), PROMISE_S)
    one.changed(event(), truth, start)
    return one


def answer(worker: str, at_s: float, status: int, digest: str) -> Sample:
    """An answer to a request that was sent so long after the start."""
    sent = 100.0 + at_s
    named = f"team;memory;{digest};10"
    return Sample("", "member", 0, 0, sent, sent, sent + 0.1, status, "", 0, named, worker)


def test_a_worker_is_stale_until_it_answers_as_the_new_version_does() -> None:
    one = followed()
    assert {view.state for view in one.views.values()} == {"not asked"}
    one.answered(answer("0.0", 3.0, 200, "old"))
    one.answered(answer("1.0", 3.0, 401, "new"))
    assert [view.state for view in one.views.values()] == ["stale", "not asked", "gone"]
    one.answered(answer("0.0", 5.0, 401, "new"))
    view = one.views["0.0"]
    assert (view.state, view.old_s) == ("gone", 1.0)


def test_an_answer_that_was_asked_for_before_the_change_was_answered_tells_nothing() -> None:
    one = followed()
    one.answered(answer("0.0", 1.9, 200, "old"))
    assert one.views["0.0"].state == "not asked"


def test_a_worker_that_serves_the_old_version_again_is_stale_again() -> None:
    one = followed()
    for at_s, status, digest in ((3.0, 401, "new"), (4.0, 200, "old")):
        one.answered(answer("0.0", at_s, status, digest))
    assert (one.views["0.0"].state, one.views["0.0"].old_s) == ("stale", 2.0)


def test_an_admitted_new_version_is_fresh() -> None:
    one, states = followed(RAISED), []
    for at_s, digest in ((3.0, "old"), (3.5, "new")):
        one.answered(answer("0.0", at_s, 200, digest))
        states.append(one.views["0.0"].state)
    assert states == ["stale", "fresh"]


def test_beyond_the_promise_counts_from_the_answer_to_the_change() -> None:
    one = followed()
    one.answered(answer("0.0", 2.0 + PROMISE_S, 200, "old"))
    one.answered(answer("1.0", 2.1 + PROMISE_S, 200, "old"))
    beyond = {name: view["beyond"] for name, view in one.shown(110.0)["workers"].items()}
    assert beyond == {"0.0": False, "0.1": False, "1.0": True}


def test_a_replica_that_does_not_answer_is_not_stale() -> None:
    one = followed()
    for worker in ("0.0", "0.1", "1.0"):
        one.answered(answer(worker, 3.0, 200, "old"))
    one.unanswered(0)
    assert [view.state for view in one.views.values()] == ["no answer", "no answer", "stale"]


def test_it_is_followed_for_some_promises() -> None:
    one = followed()
    end = 100.0 + 2.0 + FOLLOWED_PROMISES * PROMISE_S
    assert one.shown(end - 0.1)["followed"]
    assert not one.shown(end + 0.1)["followed"]
    assert one.shown(end)["ago_s"] == FOLLOWED_PROMISES * PROMISE_S


class World:
    """Two replicas; the second learns of a change only by a message."""

    def __init__(self, outcome: Outcome = "done") -> None:
        self.outcome = outcome
        self.seeded: list[VirtualKey] = []
        self.changed = False
        self.knows = {"replica-0": True, "replica-1": False}
        self.asked_before: set[str] = set()
        self.may_change = asyncio.Event()
        self.may_change.set()

    async def seed(self, connection: Any, keys: Sequence[VirtualKey]) -> None:
        assert connection == "postgres"
        self.seeded += keys

    def answer(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        assert request.headers["authorization"] == f"Bearer {self.seeded[-1].secret}"
        if not self.changed:
            self.asked_before.add(host)
        blocked = self.changed and self.knows[host]
        worker = f"{host.removeprefix('replica-')}.0"
        return httpx.Response(401 if blocked else 200, headers={WORKER_HEADER: worker})

    @asynccontextmanager
    async def ready(self, observer: Any, planned: Sequence[PlannedChange]) -> AsyncIterator[World]:
        assert observer.postgres == "postgres"
        [self.planned] = planned
        yield self

    async def make(self, start: float) -> Made:
        await self.may_change.wait()
        assert self.asked_before == {"replica-0", "replica-1"}, "each worker has an old answer"
        self.changed = self.outcome == "done"
        now = time.monotonic() - start
        made = event(self.outcome)
        made = ChangeEvent(
            self.planned.number,
            *(made.action, made.scope, made.way, self.planned.key.index, 0, "0.0"),
            *(0.0, now, 200, self.outcome),
        )
        truth = KeyTruth({}, 401, "team_blocked", since=(0.0, now), earlier=(KeyTruth({}, 200),))
        return Made([made], {self.planned.key.index: truth})


@asynccontextmanager
async def harness(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[LiveChanges, httpx.AsyncClient]]:
    """The changes of one fleet, and a client of their port."""
    arm = reference_arm(load_variants()["recommended"])
    plan = make_plan(load_scenario("smoke"), [arm], stack=EMBEDDED)
    urls = ("http://replica-0", "http://replica-1")
    workers = tuple(WorkerAddress(n, 0, "") for n in range(2))
    fleet = Fleet(plan.fleet(arm), urls, workers, (), "", "", "redis://127.0.0.1")
    database = SimpleNamespace(seed=world.seed)
    monkeypatch.setattr(type(arm.target), "database", property(lambda _: database))
    monkeypatch.setattr("harness.experiment.by_hand.ready_to_change", world.ready)
    monkeypatch.setattr("harness.experiment.by_hand.EVERY_S", 0.001)
    observer: Any = SimpleNamespace(fleet=fleet, postgres="postgres")
    gateway = httpx.MockTransport(world.answer)
    async with httpx.AsyncClient(transport=gateway) as http:
        changes = LiveChanges(plan, [observer], http, "/secret")
        here = httpx.ASGITransport(changes)
        try:
            async with httpx.AsyncClient(transport=here, base_url="http://harness") as client:
                yield changes, client
        finally:
            await changes.close()


WANTED = {"action": "team-block", "scope": "member"}


async def states(client: httpx.AsyncClient) -> dict[str, str]:
    made = (await client.get("/secret")).json()["made"]
    return {name: view["state"] for one in made for name, view in one["workers"].items()}


async def see(client: httpx.AsyncClient, wanted: dict[str, str]) -> None:
    async def seen() -> bool:
        return await states(client) == wanted

    assert await wait_until(seen, PATIENCE_S), await states(client)


async def test_a_change_is_made_on_a_new_key_and_each_worker_is_followed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    async with harness(world, monkeypatch) as (_, client):
        assert (await client.post("/secret", json=WANTED)).status_code == 202
        await see(client, {"0.0": "gone", "1.0": "stale"})
        [made] = (await client.get("/secret")).json()["made"]
        assert (made["variant"], made["object"], made["number"]) == ("recommended", "team", 1)
        world.knows["replica-1"] = True
        await see(client, {"0.0": "gone", "1.0": "gone"})
        [made] = (await client.get("/secret")).json()["made"]
        assert made["workers"]["1.0"]["old_s"] is not None
        # Another change of the same object takes its place, with a key of its own.
        world.changed, world.asked_before = False, set()
        assert (await client.post("/secret", json=WANTED)).status_code == 202
        await wait_until(lambda: world.changed, PATIENCE_S)
        await see(client, {"0.0": "gone", "1.0": "gone"})
        [made] = (await client.get("/secret")).json()["made"]
        assert made["number"] == 2
        assert len({key.secret for key in world.seeded}) == 2
        page = (await client.get("/secret")).text
        for key in world.seeded:
            for secret in (key.secret, key.token, key.alias, key.user_id, key.team_id):
                assert secret is None or secret not in page


async def test_a_refused_change_has_no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World("refused")
    async with harness(world, monkeypatch) as (changes, client):
        await client.post("/secret", json=WANTED)
        await wait_until(lambda: changes.shown()["made"], PATIENCE_S)
        [made] = changes.shown()["made"]
        assert (made["outcome"], made["workers"], made["followed"]) == ("refused", {}, False)


async def test_one_change_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    world.may_change.clear()
    async with harness(world, monkeypatch) as (changes, client):
        assert (await client.post("/secret", json=WANTED)).status_code == 202
        assert changes.shown()["making"]
        reply = await client.post("/secret", json=WANTED)
        assert (reply.status_code, "being made" in reply.text) == (409, True)
        world.may_change.set()
        await wait_until(lambda: not changes.shown()["making"], PATIENCE_S)
        assert not changes.shown()["problem"]


async def test_a_postgres_that_fails_is_a_problem_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def fails(*_: Any) -> None:
        raise OSError("the server is gone")

    monkeypatch.setattr(world, "seed", fails)
    async with harness(world, monkeypatch) as (changes, client):
        await client.post("/secret", json=WANTED)
        await wait_until(lambda: changes.shown()["problem"], PATIENCE_S)
        assert "OSError: the server is gone" in changes.shown()["problem"]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"action": "team-blok", "scope": "member"}, "Did you mean [team-block]?"),
        ({"action": "team-block", "scope": "user"}, "keys of scope [user] have none"),
        ({"action": "team-block", "scope": "member", "way": "fax"}, "way"),
        ({"action": "team-block", "scope": "member", "handler": -1}, "handler"),
        ({"action": "team-block", "scope": "member", "handler": 2}, "from 0 to 1"),
        ({"action": "team-block", "scope": "member", "key": "sk-1"}, "key"),
        ({}, "action"),
    ],
)
async def test_bad_input_is_one_clear_message(
    monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any], message: str
) -> None:
    world = World()
    async with harness(world, monkeypatch) as (changes, client):
        reply = await client.post("/secret", json=wanted)
        assert reply.status_code == 400
        assert reply.text.startswith("This change cannot be made: ")
        assert message in reply.text
        assert not changes.shown()["making"]
    assert not world.seeded


async def test_only_the_web_ui_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with harness(World(), monkeypatch) as (_, client):
        for path in ("/", "/secre", "/secret/x"):
            assert (await client.get(path)).status_code == 404
            assert (await client.post(path, json=WANTED)).status_code == 404
        assert (await client.delete("/secret")).status_code == 404


def test_the_tab_says_what_the_harness_says() -> None:
    with served({"/x": (200, '{"made": []}'), "/y": (500, "")}) as url:
        assert ChangesClient(f"{url}/x").shown() == ({"made": []}, [])
        found, [problem] = ChangesClient(f"{url}/y").shown()
        assert (found, "status 500" in problem) == (None, True)


def test_without_a_harness_there_are_no_changes() -> None:
    assert ChangesClient("").shown() == (None, [])
    status, text = ChangesClient("").make(b"")
    assert (status, "make ui" in text) == (404, True)
    gone = ChangesClient(f"http://127.0.0.1:{free_port()}/x")
    found, [problem] = gone.shown()
    assert (found, "does not answer" in problem) == (None, True)
    assert gone.make(b"")[0] == 502
