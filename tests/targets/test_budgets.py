"""Budgets hold, whatever workers, flushes, expiry and Redis do."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import RedisError

from harness.authcache.batching import BatchingClient
from harness.authcache.cache import SourceUnavailableError
from harness.authcache.switches import Switches
from harness.authcache.tiers import CountedBreaker, RedisTier
from harness.authcache.trace import NullRecorder, Trace
from harness.targets.reference.budgets import Allowance, Budgets, Recent, check
from harness.targets.reference.problems import BudgetExceededError
from harness.targets.reference.spend import SpendWriter
from harness.targets.reference.store import MICRO, Owner, Row
from tests.authcache.valkey import PATIENCE_S, Valkey, eventually

PRICE = 250
KEY: Owner = ("key", ("k",))
TEAM: Owner = ("team", ("t",))
COUNTER = b"spend:key:k"
LONG_S = 600.0


class Postgres:
    """The rows' spends in micro-units, in the place of a `Store`."""

    def __init__(self) -> None:
        self.rows: Counter[Owner] = Counter()
        self.reads = 0
        self.away = False
        self.reading: asyncio.Barrier | None = None
        """Reads answer once all of them have read."""
        self.answers = asyncio.Event()
        """Clear: a flush is written, and its worker does not know."""
        self.answers.set()

    async def add_spend(
        self,
        increments: Mapping[Owner, int],
        flush: Any = None,  # noqa: ARG002 - as `Store` has it
    ) -> dict[Row, int]:
        if self.away:
            raise SourceUnavailableError("away")
        self.rows.update(increments)
        totals: dict[Row, int] = {(owner, None): self.rows[owner] for owner in increments}
        await self.answers.wait()
        return totals

    async def spend(self, owner: Owner) -> int:
        if self.away:
            raise SourceUnavailableError("away")
        self.reads += 1
        found = self.rows[owner]
        if self.reading is not None:
            await self.reading.wait()
        return found


class OneWorker:
    """Budgets and spend of one worker, with copies of the objects that stay as old as they are."""

    def __init__(
        self,
        postgres: Postgres,
        switches: Switches,
        client: BatchingClient | None = None,
        life_s: float = LONG_S,
    ) -> None:
        stub: Any = postgres
        self.postgres = postgres
        self.writer = SpendWriter(stub, LONG_S, lambda _: None, last_s=LONG_S)
        tier = None
        if client is not None:
            # A breaker would skip commands for a time, which no test here is about.
            breaker = CountedBreaker(threshold=1_000_000)
            tier = RedisTier(client, NullRecorder(), namespace="", breaker=breaker)
        self.budgets = Budgets(
            switches, tier, stub, NullRecorder(), self.writer.spent, price=PRICE, life_s=life_s
        )
        self.copies: Counter[Owner] = Counter()
        self.open: list[tuple[Row, ...]] = []
        self.trace = Trace()

    async def begin(self, **replies: int) -> bool:
        """A request whose owners may have so many replies; whether it is admitted."""
        owners = {"key": KEY, "team": TEAM}
        limits = {owners[name]: n * PRICE / MICRO for name, n in replies.items()}
        allowances = [
            Allowance(owner[0], owner, self.copies[owner] / MICRO, limit)
            for owner, limit in limits.items()
        ]
        try:
            # As the auth path: copies first, then all counters at once.
            for one in allowances:
                check(one.label, self.budgets.seen(one.owner, one.copied), one.budget)
            reserved = await self.budgets.reserve(allowances, self.trace)
        except BudgetExceededError:
            return False
        self.open.append(reserved)
        return True

    def end(self) -> None:
        self.open.pop()
        self.writer.add(*KEY, PRICE)

    async def abort(self) -> None:
        await self.budgets.release(self.open.pop())

    async def reply(self, **replies: int) -> bool:
        admitted = await self.begin(**replies)
        if admitted:
            self.end()
        return admitted

    async def flush(self) -> None:
        await self.writer._flush()

    def refresh(self) -> None:
        """The copy in memory expires, and is read from Postgres."""
        self.copies[KEY] = self.postgres.rows[KEY]


def switches(counter: str, **others: Any) -> Switches:
    return Switches(spend_counter=counter, **{"spend_path": "write_behind", **others})


async def admitted_of(workers: list[OneWorker], requests: int, budget: int) -> int:
    """Replies to so many requests, one at a time and turn and turn about."""
    return sum([await workers[i % len(workers)].reply(key=budget) for i in range(requests)])


# --- without a server ---


async def test_a_worker_never_forgets_what_it_charged() -> None:
    """Memory is filled again from a copy that is older than what was charged."""
    worker = OneWorker(Postgres(), switches("none"))
    for _ in range(9):
        assert await worker.reply(key=10)
    assert worker.budgets.seen(KEY, 0.0) == 9 * PRICE

    await worker.flush()

    # Postgres has it, the copy has not.
    assert worker.budgets.seen(KEY, 0.0) == 9 * PRICE
    assert await worker.reply(key=10)
    assert not await worker.reply(key=10)


async def test_what_others_charged_is_known_after_a_flush_of_ones_own() -> None:
    postgres = Postgres()
    one, other = (OneWorker(postgres, switches("none")) for _ in range(2))
    for _ in range(5):
        await other.reply(key=10)
    await other.flush()

    await one.reply(key=10)
    assert one.budgets.seen(KEY, 0.0) == PRICE
    await one.flush()

    assert one.budgets.seen(KEY, 0.0) == 6 * PRICE


@pytest.mark.parametrize("counter", ["none", "per_worker"])
async def test_a_flush_under_way_is_not_counted_twice_for_good(counter: str) -> None:
    """Postgres has it, a copy shows it, and the worker still waits for the answer."""
    postgres = Postgres()
    worker = OneWorker(postgres, switches(counter))
    await worker.reply(key=2)
    postgres.answers.clear()
    flush = asyncio.create_task(worker.flush())
    while not postgres.rows:  # noqa: ASYNC110 - one turn of the loop or two
        await asyncio.sleep(0)
    assert counter != "none" or worker.budgets.seen(KEY, 0.0) == PRICE
    worker.refresh()
    # A counter is exact at every moment; without one the worker errs on the safe side.
    assert await worker.begin(key=2) == (counter != "none")

    least = worker.writer.spent(KEY, worker.copies[KEY], at_least=True)
    assert least == PRICE
    postgres.answers.set()
    await flush
    assert worker.budgets.seen(KEY, PRICE / MICRO) == PRICE


async def test_an_increment_that_was_not_written_is_still_counted() -> None:
    postgres = Postgres()
    postgres.away = True
    worker = OneWorker(postgres, switches("none"))
    await worker.reply(key=10)

    await worker.flush()

    assert worker.budgets.seen(KEY, 0.0) == PRICE


@pytest.mark.parametrize(("counter", "admitted"), [("per_worker", 20), ("none", 20)])
async def test_without_a_common_counter_each_worker_admits_the_budget(
    counter: str, admitted: int
) -> None:
    postgres = Postgres()
    workers = [OneWorker(postgres, switches(counter)) for _ in range(2)]

    assert await admitted_of(workers, 40, 10) == admitted


@pytest.mark.parametrize("counter", ["redis_add", "redis_nx"])
async def test_without_a_redis_tier_each_worker_counts_for_itself(counter: str) -> None:
    postgres = Postgres()
    workers = [OneWorker(postgres, switches(counter, redis="off")) for _ in range(2)]

    assert await admitted_of(workers, 40, 10) == 20


async def test_two_requests_at_once_do_not_share_the_last_reply_of_a_worker() -> None:
    worker = OneWorker(Postgres(), switches("per_worker"))

    assert [await worker.begin(key=1), await worker.begin(key=1)] == [True, False]
    await worker.abort()
    assert await worker.begin(key=1)


def test_copies_with_lost_updates_are_taken_as_they_are() -> None:
    """With `read_modify_write` a copy has what was charged; adding it again would refuse early."""
    worker = OneWorker(Postgres(), switches("none", spend_path="read_modify_write"))
    worker.writer.add(*KEY, PRICE)

    assert worker.budgets.seen(KEY, PRICE / MICRO) == PRICE


@pytest.mark.parametrize("budget", [float("inf"), 1e300, 2**53 / MICRO])
async def test_a_budget_that_no_counter_reaches(budget: float) -> None:
    worker = OneWorker(Postgres(), switches("per_worker"))

    assert await worker.budgets.reserve([Allowance("Key", KEY, 0.0, budget)], Trace()) == (
        (KEY, None),
    )


def test_a_sum_of_floats_reaches_its_budget() -> None:
    spent = 0.0
    for _ in range(10):
        spent += 0.1
    assert spent < 1.0  # by a rounding
    worker = OneWorker(Postgres(), switches("none"))

    with pytest.raises(BudgetExceededError, match=r"Key budget exceeded: spent 1\.0+ of 1\.0+ US"):
        check("Key", worker.budgets.seen(KEY, spent), 1.0)


def test_what_is_remembered_is_forgotten_in_time() -> None:
    now = 0.0
    recent = Recent(10.0, lambda: now)
    recent.put(KEY, 1)
    now = 5.0
    recent.put(TEAM, 2)
    assert (recent.get(KEY), recent.get(TEAM)) == (1, 2)

    now = 10.0
    assert (recent.get(KEY), recent.get(TEAM)) == (None, 2)
    recent.put(TEAM, 3)
    assert recent._amounts.keys() == {TEAM}  # nothing is kept for owners that never come again


# --- over a real server ---


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with closing(Valkey(tmp_path_factory.mktemp("valkey"))) as started:
        yield started


class Fleet:
    """Workers that share a Valkey and a Postgres."""

    def __init__(self, server: Valkey, direct: Any) -> None:
        self.server = server
        self.redis = direct
        self.postgres = Postgres()
        self.clients: list[BatchingClient] = []

    def worker(self, counter: str = "redis_nx", life_s: float = LONG_S, **others: Any) -> OneWorker:
        self.clients.append(BatchingClient(self.server.url, timeout_s=PATIENCE_S))
        return OneWorker(
            self.postgres, switches(counter, **others), self.clients[-1], life_s=life_s
        )

    async def counted(self, counter: bytes = COUNTER) -> int | None:
        value = await self.redis.get(counter)
        return None if value is None else int(value)


@contextlib.asynccontextmanager
async def fleet_of(server: Valkey) -> AsyncIterator[Fleet]:
    direct: Any = Redis.from_url(server.url, socket_timeout=PATIENCE_S)

    async def empty() -> bool:
        with contextlib.suppress(RedisError):
            return bool(await direct.flushall())
        return False

    await eventually(empty)
    made = Fleet(server, direct)
    try:
        yield made
    finally:
        for client in made.clients:
            await client.aclose()
        await direct.aclose()


@pytest.fixture
async def fleet(server: Valkey) -> AsyncIterator[Fleet]:
    async with fleet_of(server) as made:
        yield made


real = pytest.mark.integration


@real
@pytest.mark.parametrize("counter", ["redis_add", "redis_nx"])
async def test_one_at_a_time_admits_exactly_the_budget(fleet: Fleet, counter: str) -> None:
    workers = [fleet.worker(counter) for _ in range(3)]

    assert await admitted_of(workers, 30, 20) == 20


@real
@pytest.mark.parametrize("counter", ["redis_add", "redis_nx"])
async def test_all_at_once_admits_exactly_the_budget(fleet: Fleet, counter: str) -> None:
    workers = [fleet.worker(counter) for _ in range(8)]

    answers = await asyncio.gather(*(w.begin(key=20) for w in workers for _ in range(10)))

    assert sum(answers) == 20
    assert await fleet.counted() == 20 * PRICE


@real
async def test_an_owner_that_is_used_up_takes_nothing_from_the_others(fleet: Fleet) -> None:
    worker = fleet.worker()
    assert await worker.begin(key=5, team=1)
    assert not await worker.begin(key=5, team=1)

    assert await fleet.counted() == PRICE
    assert await fleet.counted(b"spend:team:t") == PRICE


@real
async def test_a_request_costs_one_command(fleet: Fleet) -> None:
    worker = fleet.worker()
    await worker.reply(key=100, team=100)
    await fleet.redis.config_resetstat()

    for _ in range(10):
        await worker.reply(key=100, team=100)

    stats = await fleet.redis.info("commandstats")
    assert {name: one["calls"] for name, one in stats.items() if "config" not in name} == {
        "cmdstat_evalsha": 10,
        # Within the script: for the server no commands of a client.
        "cmdstat_mget": 10,
        "cmdstat_incrby": 20,
        "cmdstat_pexpire": 20,
    }


@real
async def test_a_reply_that_is_not_given_costs_nothing(fleet: Fleet) -> None:
    one, other = fleet.worker(), fleet.worker()
    assert await one.begin(key=1, team=1)
    assert not await other.begin(key=1, team=1)

    await one.abort()

    assert await fleet.counted() == 0
    assert await other.begin(key=1, team=1)
    await fleet.redis.flushall()
    await other.abort()  # of a counter that is gone
    assert await fleet.counted() is None


@real
async def test_a_counter_that_expired_is_seeded_from_what_postgres_has(fleet: Fleet) -> None:
    one, other = (fleet.worker(life_s=0.05) for _ in range(2))
    for _ in range(8):
        assert await one.reply(key=10)
    await one.flush()

    async def expired() -> bool:
        return await fleet.counted() is None

    await eventually(expired)
    other.refresh()

    assert await admitted_of([one, other], 10, 10) == 2
    assert fleet.postgres.reads == 0


@real
async def test_what_a_killed_worker_reserved_is_given_back_a_life_after_the_last_reply(
    fleet: Fleet,
) -> None:
    killed, other = fleet.worker(), fleet.worker()
    for _ in range(3):
        assert await killed.begin(key=10)
    assert await admitted_of([other], 10, 10) == 7
    await other.flush()
    other.refresh()
    await fleet.redis.pexpire(COUNTER, 50_000)

    assert not await other.reply(key=10)
    assert 0 < await fleet.redis.pttl(COUNTER) <= 50_000, "a refusal does not renew it"
    await fleet.redis.delete(COUNTER)  # its life ends

    assert await admitted_of([other], 10, 10) == 3


@real
async def test_what_was_flushed_is_not_counted_twice(fleet: Fleet) -> None:
    """The counter has what Postgres has too; copies that show it must not raise the counter."""
    one, other = fleet.worker(), fleet.worker()
    for _ in range(4):
        assert await one.reply(key=10)
        await one.flush()
        one.refresh()
        other.refresh()
        assert await other.begin(key=10)
        await other.abort()

    assert await fleet.counted() == 4 * PRICE


@real
async def test_a_counter_that_was_lost_is_right_again_after_a_flush(fleet: Fleet) -> None:
    one, other = fleet.worker(), fleet.worker()
    for worker in (one, other):
        for _ in range(3):
            assert await worker.reply(key=10)
    await fleet.redis.flushall()
    assert await one.reply(key=10)
    # What the other has not flushed is missing, for as long as it has not.
    assert await fleet.counted() == 4 * PRICE

    await other.flush()
    await one.flush()

    assert await admitted_of([one, other], 10, 10) == 3


@real
@pytest.mark.parametrize(
    ("spend_path", "counter"),
    [("write_behind", COUNTER + b":2026-03-01T00:00:00"), ("read_modify_write", COUNTER)],
)
async def test_a_counter_is_a_rows_and_with_releases_an_ids(
    fleet: Fleet, spend_path: str, counter: bytes
) -> None:
    worker = fleet.worker(spend_path=spend_path)
    rows = [Allowance("Key", KEY, 0.0, 1.0, datetime(2026, month, 1)) for month in (3, 4)]  # noqa: DTZ001 - as in Postgres

    for row in rows:
        assert await worker.budgets.reserve([row], Trace())

    assert await fleet.counted(counter) == (1 if spend_path == "write_behind" else 2) * PRICE


@real
async def test_each_that_misses_a_counter_adds_what_it_read(fleet: Fleet) -> None:
    """The race of 1.84.0rc1: two workers read 4 of 10, and the counter starts at 8."""
    one, other = fleet.worker("redis_add"), fleet.worker("redis_add")
    fleet.postgres.rows[KEY] = 4 * PRICE
    fleet.postgres.reading = asyncio.Barrier(2)

    await asyncio.gather(one.reply(key=10), other.reply(key=10))
    fleet.postgres.reading = None

    assert await fleet.counted() == 10 * PRICE
    assert await admitted_of([one, other], 10, 10) == 0
    assert len(one.trace.source_reads) == len(other.trace.source_reads) == 1


@real
async def test_the_first_that_misses_a_counter_sets_it(fleet: Fleet) -> None:
    one, other = fleet.worker("redis_nx"), fleet.worker("redis_nx")
    fleet.postgres.rows[KEY] = 4 * PRICE
    one.refresh()
    other.refresh()

    await asyncio.gather(one.reply(key=10), other.reply(key=10))

    assert await admitted_of([one, other], 10, 10) == 4


@real
async def test_a_worker_reads_a_missing_counter_once(fleet: Fleet) -> None:
    worker = fleet.worker("redis_add")
    fleet.postgres.rows[KEY] = 4 * PRICE

    answers = await asyncio.gather(*(worker.begin(key=10) for _ in range(20)))

    assert sum(answers) == 6
    assert fleet.postgres.reads == 1


@real
async def test_without_postgres_a_missing_counter_starts_from_the_copy(fleet: Fleet) -> None:
    worker = fleet.worker("redis_add")
    fleet.postgres.away = True
    worker.copies[KEY] = 8 * PRICE

    assert await admitted_of([worker], 10, 10) == 2


@real
@pytest.mark.parametrize("counter", ["redis_add", "redis_nx"])
async def test_without_redis_a_worker_goes_on_from_what_it_knows(
    tmp_path: Path, counter: str
) -> None:
    server = Valkey(tmp_path)
    try:
        async with fleet_of(server) as fleet:
            one, other = fleet.worker(counter), fleet.worker(counter)
            assert await admitted_of([one, other], 6, 10) == 6
            server.close()

            # The last answer to the first was 5. What the other admits from now on, it learns from
            # a flush of its own.
            assert [await one.reply(key=10) for _ in range(6)] == [True] * 5 + [False]
            assert await other.reply(key=10)
            await one.flush()
            await other.flush()
            assert not await other.reply(key=10)

            # A new server has no counter.
            server.start()

            async def up() -> bool:
                with contextlib.suppress(RedisError):
                    return bool(await fleet.redis.ping())
                return False

            await eventually(up)
            assert not await other.reply(key=10)
            await one.reply(key=10)
            await one.flush()
            assert not await one.reply(key=10)
            assert fleet.postgres.rows[KEY] <= 13 * PRICE
    finally:
        server.close()


class Story:
    """Two workers and whatever happens to them, one step at a time."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.workers = [fleet.worker(), fleet.worker()]
        self.flushes: dict[int, asyncio.Task[None]] = {}
        self.admitted = 0

    async def begin(self, number: int) -> None:
        left = self.admitted < BUDGET
        # Never one more; and never one less, whatever was flushed or read meanwhile.
        assert await self.workers[number].begin(key=BUDGET) == left
        self.admitted += left

    async def end(self, number: int) -> None:
        if self.workers[number].open:
            self.workers[number].end()

    async def abort(self, number: int) -> None:
        if self.workers[number].open:
            await self.workers[number].abort()
            self.admitted -= 1

    async def write(self, number: int) -> None:
        """A flush that is in Postgres, and of which the worker learns later."""
        if number not in self.flushes:
            self.fleet.postgres.answers.clear()
            self.flushes[number] = asyncio.create_task(self.workers[number].flush())
            await asyncio.sleep(0)

    async def learn(self, _: int = 0) -> None:
        self.fleet.postgres.answers.set()
        await asyncio.gather(*self.flushes.values())
        self.flushes.clear()

    async def refresh(self, number: int) -> None:
        self.workers[number].refresh()

    async def expire(self, _: int) -> None:
        """The counter ends: nothing is open, all is flushed, and every copy was read since.

        That is what its life is for.
        """
        if any(worker.open for worker in self.workers):
            return
        await self.learn()
        for worker in self.workers:
            await worker.flush()
        for worker in self.workers:
            worker.refresh()
        await self.fleet.redis.delete(COUNTER)


BUDGET = 5
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                *(Story.begin, Story.end, Story.abort, Story.write, Story.learn, Story.refresh),
                *(Story.begin, Story.end, Story.expire),
            ]
        ),
        st.integers(0, 1),
    ),
    min_size=25,
    max_size=60,
)


@real
@pytest.mark.timeout(300)
@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_no_order_of_events_admits_more_or_less(server: Valkey, steps: list[Any]) -> None:
    async def follow() -> None:
        async with fleet_of(server) as fleet:
            story = Story(fleet)
            for step, number in steps:
                await step(story, number)
            await story.learn()

    asyncio.run(follow())
