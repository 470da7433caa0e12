"""Faults planted in a worker of the reference proxy, and the equation that notices each of them.

The worker is real, and so are its Postgres and its Valkey; it runs in this process, where a fault
is a replaced method. The numbers are those of the issue's table of planted faults.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from harness.authcache import logs
from harness.authcache.trace import Trace
from harness.authcache.words import KeyScope, ObjectKind, Outcome, Tier
from harness.domain.population import VirtualKey
from harness.domain.served import COST_HEADER, SERVED_HEADER
from harness.domain.window import WindowResult
from harness.load.plan import Arrival
from harness.load.recorder import RequestOutcome, RequestRecorder
from harness.observe.counters import Counters
from harness.observe.evidence import Evidence
from harness.observe.ledger import reconcile
from harness.observe.snapshots import Observer, watch
from harness.stack.base import Fleet
from harness.targets.reference.target import ReferenceTarget
from harness.targets.settings import RunSettings
from tests.targets.world import COST_MICRO, VARIANTS, Node, node, seed

pytestmark = pytest.mark.integration

ROUNDS = 3


@dataclass
class Planted:
    """A worker to spoil, and what a plant may need besides."""

    node: Node
    patch: pytest.MonkeyPatch

    def wrap(self, target: object, name: str, before: Callable[..., Awaitable[None]]) -> None:
        """Await something before each call of an asynchronous method."""
        inner = getattr(target, name)

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            await before(*args)
            return await inner(*args, **kwargs)

        self.patch.setattr(target, name, wrapped)

    def edit_traces(self, edit: Callable[[Trace], None]) -> None:
        """Change every trace before it is counted."""
        metrics, inner = self.node.metrics, self.node.metrics.commit

        def commit(trace: Trace) -> None:
            edit(trace)
            inner(trace)

        self.patch.setattr(metrics, "commit", commit)


def nothing(planted: Planted) -> None:
    """The control: no fault, no equation."""
    del planted


def half_of_the_memory_hits(planted: Planted) -> None:
    turn = itertools.count()

    def edit(trace: Trace) -> None:
        trace.lookups[:] = [
            one
            for one in trace.lookups
            if one[0] is not Tier.MEMORY or one[2] is not Outcome.HIT or next(turn) % 2
        ]

    planted.edit_traces(edit)


def lookups_are_not_begun(planted: Planted) -> None:
    def edit(trace: Trace) -> None:
        if trace.scope is KeyScope.MEMBER:
            trace.asked.clear()

    planted.edit_traces(edit)


def one_more_lookup(planted: Planted) -> None:
    async def peek(_secret: str, _model: str, trace: Trace, *_: Any) -> None:
        await planted.node.worker.cache.peek(ObjectKind.TEAM, "no such key", trace)

    planted.wrap(planted.node.worker.auth, "admit", peek)


def no_header(planted: Planted) -> None:
    planted.patch.setattr(planted.node.worker, "tells_served", False)


def owners_are_not_billed(planted: Planted) -> None:
    spend = planted.node.worker.spend
    assert spend is not None

    def queue(grant: Any, micro: int, *, user_too: bool) -> None:
        del user_too
        spend._writer.add("key", (grant.key.value.token,), micro)

    planted.patch.setattr(spend, "_queue", queue)


def _billed_to_the_previous(planted: Planted, kind: str) -> None:
    writer = planted.node.worker._writer
    add = writer.add
    previous: dict[str, tuple[str, ...]] = {}

    def add_to_previous(of: str, ids: tuple[str, ...], micro: int) -> None:
        add(of, previous.get(of, ids) if of == kind else ids, micro)
        previous[of] = ids

    planted.patch.setattr(writer, "add", add_to_previous)


def previous_key_is_billed(planted: Planted) -> None:
    _billed_to_the_previous(planted, "key")


def previous_team_is_billed(planted: Planted) -> None:
    _billed_to_the_previous(planted, "team")


def one_increment_is_lost(planted: Planted) -> None:
    writer, turn = planted.node.worker._writer, itertools.count()
    add = writer.add

    def add_most(kind: str, ids: tuple[str, ...], micro: int) -> None:
        if kind != "key" or next(turn) != 5:
            add(kind, ids, micro)

    planted.patch.setattr(writer, "add", add_most)


def _one_more_statement(text: str) -> Callable[[Planted], None]:
    def plant(planted: Planted) -> None:
        async def send(*_: Any) -> None:
            await planted.node.worker._pool.fetchval(text)

        planted.wrap(planted.node.worker.auth, "admit", send)

    return plant


def ten_more_sets(planted: Planted) -> None:
    client: Any = planted.node.worker._redis

    async def send(*_: Any) -> None:
        for i in range(10):
            await client.send("SET", f"planted-{i}", b"x" * 2000)

    planted.wrap(planted.node.worker.auth, "admit", send)


def every_tenth_get(planted: Planted) -> None:
    metrics, turn = planted.node.metrics, itertools.count()
    inner = metrics.redis_get

    def redis_get(purpose: str) -> None:
        if next(turn) % 10:
            inner(purpose)

    planted.patch.setattr(metrics, "redis_get", redis_get)


def reads_counted_twice(planted: Planted) -> None:
    planted.edit_traces(lambda trace: trace.source_reads.extend(list(trace.source_reads)))


def a_direct_read_more(planted: Planted) -> None:
    auth = planted.node.worker.auth
    inner = auth._read_for_the_log

    async def twice(secret: str, trace: Trace) -> None:
        await inner(secret, trace)
        await inner(secret, trace)

    planted.patch.setattr(auth, "_read_for_the_log", twice)


def no_error_record(planted: Planted) -> None:
    planted.patch.setattr(logs, "typed_read_failed", lambda *_: None)


def failures_as_misses(planted: Planted) -> None:
    def edit(trace: Trace) -> None:
        trace.lookups[:] = [
            one._replace(outcome=Outcome.BACKEND_ERROR)
            if one.outcome is Outcome.DESERIALIZE_FAILURE
            else one
            for one in trace.lookups
        ]

    planted.edit_traces(edit)


NEW, OLD = "recommended", "litellm_1_84"
FROM_USERS = 'FROM "LiteLLM_UserTable"'
"""Each statement below has a column of its own: Postgres counts what differs in case and comments
alone as one statement, under the text that came first."""
FAULTS: tuple[tuple[Callable[[Planted], None], str, set[str]], ...] = (
    (nothing, NEW, set()),
    (nothing, OLD, set()),
    (every_tenth_get, OLD, {"redis_gets"}),  # 1
    (reads_counted_twice, NEW, {"source_reads", "statements"}),  # 2
    (half_of_the_memory_hits, NEW, {"memory"}),  # 3
    (lookups_are_not_begun, NEW, {"memory"}),
    (one_more_lookup, NEW, {"memory"}),
    (no_header, NEW, {"served"}),  # 5
    (owners_are_not_billed, NEW, {"spend_by_row"}),  # 8
    (previous_key_is_billed, NEW, {"key_spend"}),  # 9
    (previous_team_is_billed, NEW, {"spend_by_row"}),  # 10
    (_one_more_statement(f"SELECT max(spend) {FROM_USERS}"), NEW, {"statements"}),  # 13
    # Postgres leaves out what comes before a statement.
    (_one_more_statement(f"/* hidden */ SELECT max(rpm_limit) {FROM_USERS}"), NEW, {"statements"}),
    *(
        (_one_more_statement(text), NEW, {"all_statements"})
        for text in (
            f"WITH u AS (SELECT user_id {FROM_USERS}) SELECT count(*) FROM u",  # 12
            f"select max(tpm_limit) {FROM_USERS}",
            'SELECT max(max_budget) FROM "LiteLLM_BudgetTable"',
            'UPDATE "LiteLLM_UserTable" SET spend = 0 WHERE user_id IS NULL',
        )
    ),
    (ten_more_sets, NEW, {"redis_writes"}),  # 14
    (one_increment_is_lost, NEW, {"key_spend"}),  # 20
    (a_direct_read_more, OLD, {"direct"}),
    (no_error_record, OLD, {"pairs"}),
    (failures_as_misses, OLD, {"pairs"}),
)


@pytest.mark.parametrize(
    ("plant", "variant", "spoiled"),
    FAULTS,
    ids=[f"{number}-{fault[1]}" for number, fault in enumerate(FAULTS)],
)
async def test_a_fault_spoils_its_equation_and_no_other(
    plant: Callable[[Planted], None],
    variant: str,
    spoiled: set[str],
    recommended: Fleet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeded = await seed(recommended.dsn, dict.fromkeys(("team", "user", "shared_id", "member"), 2))
    keys = list(itertools.chain.from_iterable(seeded.values()))
    async with (
        watch(recommended) as observer,
        node(recommended, VARIANTS[variant].switches, planted_null_user=True) as worker,
    ):
        plant(Planted(worker, monkeypatch))
        evidence = await _window(observer, worker, keys, ReferenceTarget(VARIANTS[variant]))
    equations = {equation.name: equation for equation in reconcile(evidence)}
    found = {name for name, equation in equations.items() if equation.status == "unbalanced"}
    assert found == spoiled, [equations[name] for name in found ^ spoiled]
    unchecked = {name for name, e in equations.items() if e.status == "not_checked"}
    assert unchecked == {"reads_by_scope"}, "no run, so no log of reads to compare with"


async def _window(
    observer: Observer, worker: Node, keys: list[VirtualKey], target: ReferenceTarget
) -> Evidence:
    """A few requests of every key, and one of a key that does not exist."""

    async def pages(names: tuple[str, ...]) -> list[Counters]:
        del names
        return [worker.counters()]

    observer._pages = pages  # type: ignore[method-assign]  # the worker has no page of its own
    recorder = RequestRecorder("planted", replicas=1, late_ms=1000, samples=None)
    before = await observer.at_rest()
    for number, key in enumerate(keys * ROUNDS):
        answer = await worker.chat(key.secret)
        place = number % len(keys)
        header = answer.headers.get
        outcome = RequestOutcome(answer.status_code, "", header(COST_HEADER), header(SERVED_HEADER))
        recorder.record(Arrival(0.0, key.scope, place, 0), 0.0, 0.1, outcome)
    refused = await worker.chat("sk-unknown")
    recorder.record(Arrival(0.0, "unknown", -1, 0), 0.0, 0.1, RequestOutcome(refused.status_code))
    after = await observer.at_rest()
    settings = RunSettings(ttl_s=60.0, cost_micro=COST_MICRO, planted_null_user=True)
    truths = await target.database.truth(observer.postgres, keys, planted_null_user=True)
    places = {key.index: place for place, key in enumerate(keys)}
    return Evidence(
        name="planted",
        variant="test",
        phase="measured",
        round=1,
        started_s=0.0,
        duration_s=1.0,
        generator=WindowResult(
            window="planted",
            planned=recorder.sent,
            sent=recorder.sent,
            answered=recorder.answered,
            unanswered=dict(recorder.unanswered),
            late=0,
            delay_ms_max=0.0,
            statuses=recorder.statuses(),
            cost_micro=recorder.cost_micro,
            served=recorder.served(),
            keys=recorder.by_key(),
            replicas=recorder.replicas,
            elapsed_s=1.0,
            cpu_s=0.0,
        ),
        before=before,
        after=after,
        truths={places[index]: truth for index, truth in truths.items()},
        has_redis=target.uses_redis,
        not_checked=target.not_checked,
        findings=target.findings,
        loses_spend=target.loses_spend,
        reads_again=target.reads_again,
        paths={places[key.index]: target.path(key, settings) for key in keys},
    )
