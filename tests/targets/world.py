"""Postgres, Valkey, keys, and the reference proxy inside and outside this process."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from harness.authcache.digest import digest
from harness.authcache.events import Events
from harness.authcache.switches import Switches
from harness.authcache.trace import Trace
from harness.authcache.variants import load_variants
from harness.domain.changes import ACTIONS
from harness.domain.population import VirtualKey, make_population
from harness.domain.served import SERVED_HEADER, parse_served
from harness.observe.counters import Counters
from harness.stack.base import Fleet, FleetSpec
from harness.stack.embedded import EmbeddedStack
from harness.targets.base import KeyTruth
from harness.targets.metrics import LogCounter, Metrics
from harness.targets.page import PageWriter
from harness.targets.reference.app import App
from harness.targets.reference.settings import ProxySettings
from harness.targets.reference.store import MICRO
from harness.targets.reference.target import ReferenceTarget
from harness.targets.reference.worker import Worker, open_worker
from harness.targets.settings import RunSettings

PATIENCE_S = 60.0
MODEL = "mock-model"
COST_MICRO = 250
VARIANTS = load_variants()
ONE_OF_EACH = {"team": 1, "user": 1, "shared_id": 1, "member": 1}
WITH_BUDGET = {"member": "budget", "shared_id": "budget"}

_seeds = itertools.count(1)
_PAGE = PageWriter()
"""Of all nodes: they have the same series, whose names and labels are written once."""


class Servers:
    """Servers and fleets, started by a thread of their own so that any test may ask for them."""

    def __init__(self, stack: EmbeddedStack, run: Callable[[Any], Any]) -> None:
        self.stack = stack
        self._run = run
        self._fleets: dict[str, Fleet] = {}

    def fleet(self, name: str, variant: str, *, workers: int = 1) -> Fleet:
        """A fleet of one replica; the same one whenever it is asked for by the same name."""
        if name not in self._fleets:
            target = ReferenceTarget(VARIANTS[variant])
            settings = RunSettings(ttl_s=60.0, cost_micro=COST_MICRO)
            spec = FleetSpec(name, target, 1, workers, settings)
            self._fleets[name] = self._run(self.stack.start(spec))
        return self._fleets[name]

    def pids(self, group: str) -> list[int]:
        """Processes of a group that run: ``fleet:NAME``, ``redis:NAME`` or ``postgres``."""
        started = self.stack._running.started
        return [one.pid for one in started if one.command.group == group and not one.ended()]


@contextlib.contextmanager
def running_stack(
    folder: Path, *, faults: bool = False
) -> Iterator[tuple[EmbeddedStack, Callable[[Any], Any]]]:
    """An open stack, and a function that runs coroutines in a loop that outlives any test's."""
    stack = EmbeddedStack(folder, faults=faults)
    with ThreadPoolExecutor(1) as thread:
        runner = asyncio.Runner()

        def run(coroutine: Any) -> Any:
            return thread.submit(runner.run, coroutine).result()

        try:
            run(stack.open())
            yield stack, run
        finally:
            run(stack.close())
            thread.submit(runner.close).result()
            assert stack.problems == []


@contextlib.contextmanager
def running_servers(folder: Path) -> Iterator[Servers]:
    """One Postgres, for as long as the context lasts; fleets as they are asked for."""
    with running_stack(folder) as (stack, run):
        yield Servers(stack, run)


async def seed(
    dsn: str,
    counts: Mapping[str, int] | None = None,
    membership: Mapping[str, str] | None = None,
) -> dict[str, list[VirtualKey]]:
    """New keys in Postgres, by scope. No two calls of one process give the same ids."""
    rows: Any = WITH_BUDGET if membership is None else membership
    keys = make_population(
        ONE_OF_EACH if counts is None else counts,
        rows,
        seed=next(_seeds),
        model=MODEL,
    )
    connection = await asyncpg.connect(dsn)
    try:
        await ReferenceTarget.database.seed(connection, keys)
    finally:
        await connection.close()
    by_scope: dict[str, list[VirtualKey]] = {}
    for key in keys:
        by_scope.setdefault(key.scope, []).append(key)
    return by_scope


def new_seed() -> int:
    """A seed of a population that no other call of this process gets."""
    return next(_seeds)


def check_effect(action: str, before: KeyTruth, after: KeyTruth) -> None:
    """Assert that a change did to the truth of its key what the action says."""
    expected = {"refuse": (True, False), "admit": (False, True), "differ": (True, True)}
    done = ACTIONS[action]
    assert (before.status == 200, after.status == 200) == expected[done.effect], (before, after)
    assert before.digests[done.object] != after.digests[done.object]


async def one_key(dsn: str, scope: str, membership: str = "budget") -> VirtualKey:
    """One new key of a scope."""
    return (await seed(dsn, {scope: 1}, {scope: membership}))[scope][0]


async def execute(dsn: str, statement: str, *arguments: Any) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


BUDGETS: Mapping[str, str] = {
    "key": 'UPDATE "LiteLLM_VerificationToken" SET max_budget = $1 WHERE token = $2',
    "user": 'UPDATE "LiteLLM_UserTable" SET max_budget = $1 WHERE user_id = $2',
    "team": 'UPDATE "LiteLLM_TeamTable" SET max_budget = $1 WHERE team_id = $2',
    "membership": 'UPDATE "LiteLLM_BudgetTable" SET max_budget = $1 WHERE budget_id = $2',
}


async def set_budget(dsn: str, key: VirtualKey, owner: str, dollars: float) -> None:
    """Give one owner of a key another budget."""
    ids = {
        "key": key.token,
        "user": key.user_id,
        "team": key.team_id,
        "membership": key.budget_id,
    }
    await execute(dsn, BUDGETS[owner], dollars, ids[owner])


SPENT: Mapping[str, str] = {
    "key": 'SELECT spend FROM "LiteLLM_VerificationToken" WHERE token = $1',
    "user": 'SELECT spend FROM "LiteLLM_UserTable" WHERE user_id = $1',
    "team": 'SELECT spend FROM "LiteLLM_TeamTable" WHERE team_id = $1',
    "membership": (
        'SELECT spend FROM "LiteLLM_TeamMembership" WHERE user_id = $1 AND team_id = $2'
    ),
}


async def spent(dsn: str, key: VirtualKey) -> dict[str, int]:
    """Spend in Postgres of a key and what stands behind it, in micro-units."""
    ids: dict[str, Sequence[str | None]] = {
        "key": [key.token],
        "user": [key.user_id],
        "team": [key.team_id],
        "membership": [key.user_id, key.team_id],
    }
    connection = await asyncpg.connect(dsn)
    try:
        sums = {kind: await connection.fetchval(SPENT[kind], *ids[kind]) for kind in SPENT}
    finally:
        await connection.close()
    return {kind: round(spend * MICRO) for kind, spend in sums.items() if spend is not None}


def right_digests(key: VirtualKey) -> dict[str, str]:
    """The digests of what Postgres holds of a key and what stands behind it."""
    shared = {"user_id": key.user_id, "team_id": key.team_id, "models": list(key.models)}
    rows: dict[str, Mapping[str, Any]] = {
        "key": {
            "token": key.token,
            "key_alias": key.alias,
            "metadata": {"note": f"key {key.index}"},
            **shared,
            **_limits(key.key_limits),
        }
    }
    if key.user_id is not None:
        rows["user"] = {**shared, **_limits(key.user_limits)}
    if key.team_id is not None:
        rows["team"] = {**shared, **_limits(key.team_limits)}
    if key.membership != "none":
        budget = {"budget_id": key.budget_id, "budget_max": key.member_max_budget}
        rows["membership"] = {**shared, **budget}
    return {kind: digest(kind, row) for kind, row in rows.items()}


def _limits(limits: Any) -> dict[str, Any]:
    names = ("max_budget", "tpm_limit", "rpm_limit")
    return {name: getattr(limits, name) for name in names}


def served_digests(answer: httpx.Response) -> dict[str, set[str]]:
    """What a reply was served with: digests by object."""
    found: dict[str, set[str]] = {}
    for one in parse_served(answer.headers[SERVED_HEADER]):
        found.setdefault(one.object, set()).add(one.digest)
    return found


def served_tiers(answer: httpx.Response) -> dict[str, list[str]]:
    """Where the objects of a reply came from, in their order."""
    found: dict[str, list[str]] = {}
    for one in parse_served(answer.headers[SERVED_HEADER]):
        found.setdefault(one.object, []).append(one.tier)
    return found


class Node:
    """One worker of the reference proxy in this process, asked as over HTTP."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.traces: list[Trace] = []
        """Of finished requests and of finished background work, in the order of their ends."""
        app = App(_never)
        app._worker = worker
        transport: Any = httpx.ASGITransport(app)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://proxy")
        if worker.metrics is None:
            return
        metrics = worker.metrics
        metrics._page = _PAGE
        commit = metrics.commit

        def keep(trace: Events) -> None:
            assert isinstance(trace, Trace)
            self.traces.append(trace)
            commit(trace)

        metrics.commit = keep  # type: ignore[method-assign]  # a spy

    @property
    def metrics(self) -> Metrics:
        assert self.worker.metrics is not None
        return self.worker.metrics

    async def chat(self, secret: str, **body: Any) -> httpx.Response:
        """One chat completion."""
        request = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], **body}
        headers = {"authorization": f"Bearer {secret}"}
        return await self.http.post("/v1/chat/completions", json=request, headers=headers)

    async def ok(self, key: VirtualKey) -> httpx.Response:
        """One chat completion that is answered, and all that follows from it."""
        answer = await self.chat(key.secret)
        assert answer.status_code == 200, answer.text
        await self.settled()
        return answer

    def counters(self) -> Counters:
        return Counters.parse(self.metrics.render()[0].decode())

    async def settled(self) -> None:
        """Wait until no request, spend write or background write is under way."""
        await until(lambda: self.metrics.pending == 0)

    async def close(self) -> None:
        await self.http.aclose()
        await self.worker.close()
        root = logging.getLogger()
        for handler in list(root.handlers):
            if isinstance(handler, LogCounter) and handler._metrics is self.worker.metrics:
                root.removeHandler(handler)


async def _never() -> Worker:
    raise AssertionError("the worker is there already")


@contextlib.asynccontextmanager
async def node(
    fleet: Fleet, switches: Switches, *, namespace: str = "", **settings: Any
) -> AsyncIterator[Node]:
    """A worker over a fleet's Postgres and Redis; close to nothing is cached under a new name."""
    opened = Node(await open_worker(node_settings(fleet, switches, namespace, **settings)))
    try:
        yield opened
    finally:
        await opened.close()


def node_settings(
    fleet: Fleet, switches: Switches, namespace: str = "", **settings: Any
) -> ProxySettings:
    """Settings of a worker beside a fleet, over its servers."""
    given: dict[str, Any] = {
        "variant": "test",
        "version": "1",
        "switches": switches,
        "dsn": fleet.dsn,
        "redis_url": fleet.redis_url,
        "redis_namespace": namespace or f"test-{next(_seeds)}:",
        "ttl_s": 60.0,
        "cost_micro": COST_MICRO,
        "spend_flush_s": 0.05,
        "redis_timeout_s": 10.0,
    }
    return ProxySettings(**given | settings)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.01)
