"""What a reply costs reaches Postgres, exactly and whatever happens on the way."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from harness.authcache.cache import SourceUnavailableError
from harness.authcache.switches import Switches
from harness.stack.base import Fleet
from harness.targets.reference.spend import SpendWriter
from tests.targets.gate import gate_to
from tests.targets.world import (
    COST_MICRO,
    PATIENCE_S,
    VARIANTS,
    node,
    one_key,
    seed,
    spent,
    until,
)

CHARGED: Mapping[str, tuple[str, ...]] = {
    "team": ("key", "team"),
    "user": ("key", "user"),
    "member": ("key", "user", "team", "membership"),
    "shared_id": ("key", "user", "team", "membership"),
}


class StubStore:
    """A store that takes increments, unless it is away."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.loses_answers = False
        self.flushes: list[tuple[str, int] | None] = []
        """Those that were committed."""
        self.tries = 0
        self.taken: Counter[Any] = Counter()

    async def add_spend(
        self, increments: Mapping[Any, int], flush: tuple[str, int] | None = None
    ) -> dict[Any, int]:
        self.tries += 1
        if self.away:
            raise SourceUnavailableError("Postgres is away")
        await asyncio.sleep(0)
        if flush is None or flush not in self.flushes:
            self.taken.update(increments)
            self.flushes.append(flush)
        if self.loses_answers:
            raise SourceUnavailableError("the answer to COMMIT is lost")
        return {(owner, None): self.taken[owner] for owner in increments}


class Pending:
    def __init__(self) -> None:
        self.now = 0

    def __call__(self, change: int) -> None:
        self.now += change


def writer(store: StubStore, interval_s: float = 0.001, **how: bool) -> tuple[SpendWriter, Pending]:
    pending = Pending()
    stub: Any = store
    return SpendWriter(stub, interval_s, pending, last_s=PATIENCE_S, **how), pending


async def test_increments_are_summed_and_written_together() -> None:
    store = StubStore()
    spend, pending = writer(store, 3600.0)
    spend.start()

    for _ in range(3):
        spend.add("key", ("k",), 5)
    spend.add("membership", ("u", "t"), 7)
    assert pending.now == 4
    await spend.close()

    assert store.tries == 1
    assert store.taken == {("key", ("k",)): 15, ("membership", ("u", "t")): 7}
    assert pending.now == 0


async def test_what_could_not_be_written_is_kept() -> None:
    store = StubStore(away=True)
    spend, pending = writer(store)
    spend.start()
    spend.add("key", ("k",), 5)

    await until(lambda: store.tries >= 2)
    assert pending.now == 1
    spend.add("key", ("k",), 6)
    store.away = False
    await until(lambda: pending.now == 0)

    assert store.taken == {("key", ("k",)): 11}
    await spend.close()
    assert store.taken == {("key", ("k",)): 11}


KEY = ("key", ("k",))


async def test_a_flush_whose_commit_got_no_answer_counts_once() -> None:
    store = StubStore()
    spend, pending = writer(store, once=True)
    store.loses_answers = True
    spend.start()
    spend.add(*KEY, 5)
    await until(lambda: store.tries >= 2)
    spend.add(*KEY, 6)  # is no part of the flush that is repeated
    assert spend.spent(KEY, 0) == 11

    store.loses_answers = False
    await until(lambda: pending.now == 0)

    assert store.taken == {KEY: 11}
    assert len({flush[0] for flush in store.flushes if flush}) == 1
    assert [flush[1] for flush in store.flushes if flush] == [1, 2]
    assert spend.spent(KEY, 0, at_least=True) == 11
    await spend.close()


async def test_flushed_again_without_its_number_it_counts_twice() -> None:
    """What ``spend_flush = once`` is for."""
    store = StubStore()
    spend, pending = writer(store)
    store.loses_answers = True
    spend.start()
    spend.add(*KEY, 5)
    await until(lambda: bool(store.flushes))
    store.loses_answers = False
    await until(lambda: pending.now == 0)
    await spend.close()

    assert store.taken[KEY] > 5


@given(
    st.lists(st.sampled_from(["add", "flush", "away", "answer lost", "well"]), max_size=30),
)
def test_whatever_happens_to_flushes_each_increment_counts_once(steps: list[str]) -> None:
    async def play() -> None:
        store, added = StubStore(), 0
        spend, pending = writer(store, once=True)  # and not started: it flushes when told to
        for step in steps:
            if step == "add":
                spend.add(*KEY, 1)
                added += 1
            elif step == "flush":
                await spend._flush()
            else:
                store.away, store.loses_answers = step == "away", step == "answer lost"
            assert spend.spent(KEY, 0) in (added, added + store.taken[KEY])
        store.away = store.loses_answers = False
        await spend.close()
        assert (store.taken[KEY], pending.now) == (added, 0)

    asyncio.run(play())


async def test_the_last_flush_is_repeated_until_postgres_takes_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = StubStore(away=True)
    spend, pending = writer(store, once=True)
    spend.start()
    spend.add(*KEY, 5)
    closing = asyncio.create_task(spend.close())
    await until(lambda: store.tries >= 2)
    store.away = False
    await closing

    assert (store.taken, pending.now) == ({KEY: 5}, 0)
    assert caplog.records == []


async def test_a_writer_that_ends_as_a_release_does_drops_what_it_has() -> None:
    store = StubStore()
    spend, _ = writer(store, 3600.0, flushes_at_end=False)
    spend.start()
    await asyncio.sleep(0)  # it runs
    spend.add(*KEY, 5)

    await spend.close()

    assert store.taken == {}


async def test_an_increment_that_comes_while_another_is_written_is_not_lost() -> None:
    store, late = StubStore(), [7]
    spend, pending = writer(store)
    write = store.add_spend

    async def and_one_more(
        increments: Mapping[Any, int], flush: tuple[str, int] | None = None
    ) -> dict[Any, int]:
        if late:
            spend.add("key", ("k",), late.pop())
        return await write(increments, flush)

    store.add_spend = and_one_more  # type: ignore[method-assign]  # comes in between
    spend.start()
    spend.add("key", ("k",), 5)
    await until(lambda: pending.now == 0)
    await spend.close()

    assert store.taken == {("key", ("k",)): 12}


async def test_what_is_lost_at_the_end_is_said(caplog: pytest.LogCaptureFixture) -> None:
    store = StubStore(away=True)
    spend, pending = writer(store)
    spend.start()
    spend.add("key", ("k",), 5)
    spend.add("team", ("t",), 6)

    await spend.close()

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "Spend of 11 micro-units is lost" in record.getMessage()
    assert record.__dict__["signature"] == "spend_update_failed"
    assert pending.now == 2


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize("variant", ["all_prefixed", "memory_only", "litellm_1_94", "recommended"])
async def test_every_reply_is_charged_exactly(baseline: Fleet, variant: str) -> None:
    keys = await seed(baseline.dsn)
    if variant == "memory_only":  # a team in the place of the user: a test of its own
        del keys["shared_id"]
    async with node(baseline, VARIANTS[variant].switches) as one:
        for scope, (key,) in keys.items():
            answers = await asyncio.gather(*(one.chat(key.secret) for _ in range(30)))
            assert {answer.status_code for answer in answers} == {200}
            await one.settled()

            assert await spent(baseline.dsn, key) == charged(scope, 30), scope


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_a_flush_that_is_sent_again_under_its_number_adds_nothing(baseline: Fleet) -> None:
    key = await one_key(baseline.dsn, "team")
    owner = ("key", (key.token,))
    async with node(baseline, VARIANTS["recommended"].switches) as one:
        store = one.worker.store
        first = await store.add_spend({owner: 5}, ("a writer", 1))
        again = await store.add_spend({owner: 5}, ("a writer", 1))
        other = await store.add_spend({owner: 5}, ("another", 1))
        late = await store.add_spend({owner: 5}, ("a writer", 2))

    assert [list(totals.values()) for totals in (first, again, other, late)] == [
        [5],
        [5],
        [10],
        [15],
    ]
    assert {ids for totals in (first, again, other, late) for ids, _ in totals} == {owner}


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_only_what_was_answered_is_charged(baseline: Fleet) -> None:
    key = await one_key(baseline.dsn, "team")
    async with node(baseline, VARIANTS["recommended"].switches) as one:
        assert (await one.chat(key.secret, model="another")).status_code == 403
        assert (await one.chat(key.secret, messages=None)).status_code == 400
        assert (await one.chat("sk-unknown")).status_code == 401
        assert (await one.chat(key.secret, stream=True)).status_code == 200
        await one.settled()

    assert await spent(baseline.dsn, key) == {"key": COST_MICRO, "team": COST_MICRO}


@pytest.mark.integration
@pytest.mark.timeout(300)
async def test_without_spend_tracking_nothing_is_charged(baseline: Fleet) -> None:
    key = await one_key(baseline.dsn, "member")
    switches = VARIANTS["litellm_1_84"].switches
    async with node(baseline, switches, spend_tracking=False) as one:
        await one.ok(key)

    assert set((await spent(baseline.dsn, key)).values()) == {0}


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize("variant", ["litellm_1_84", "recommended"])
async def test_spend_outlives_an_outage_of_postgres(baseline: Fleet, variant: str) -> None:
    key = await one_key(baseline.dsn, "member")
    address = httpx.URL(baseline.dsn)
    assert address.port is not None
    async with gate_to(address.port) as gate:
        through = str(address.copy_with(port=gate.port))
        async with node(baseline, VARIANTS[variant].switches, dsn=through) as one:
            await one.ok(key)
            await gate.shut()
            for _ in range(3):
                assert (await one.chat(key.secret)).status_code == 200
            assert await spent(baseline.dsn, key) == charged("member", 1)
            await gate.open()
            await one.settled()

            assert await spent(baseline.dsn, key) == charged("member", 4)


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("variant", "lost"), [("litellm_1_84", 1), ("fix_optional_user_id", 0), ("all_prefixed", 0)]
)
async def test_a_team_in_the_place_of_the_user_loses_the_users_spend(
    baseline: Fleet,
    variant: str,
    lost: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One request is charged while the next has written its team, but not yet its user again."""
    key = await one_key(baseline.dsn, "shared_id")
    async with node(baseline, VARIANTS[variant].switches) as one:
        await one.ok(key)
        spend, store = one.worker.spend, Held(one.worker.store.user)
        assert spend is not None
        charge, first = spend.charge, []
        monkeypatch.setattr(spend, "charge", lambda *charged: first.append(charged))
        assert (await one.chat(key.secret)).status_code == 200
        monkeypatch.setattr(spend, "charge", charge)
        monkeypatch.setattr(one.worker.store, "user", store)
        second = asyncio.create_task(one.chat(key.secret))
        await (store.reached.wait() if lost else second)
        await until(lambda: one.metrics.pending == lost)
        caplog.clear()

        charge(*first[0])
        await until(lambda: one.metrics.pending == lost)
        # The warning is of the cached copy; that the increment is lost, no line says.
        assert [record.levelname for record in caplog.records] == ["WARNING"] * lost
        store.go_on.set()
        await second
        await one.settled()

    assert await spent(baseline.dsn, key) == {
        **charged("shared_id", 3),
        "user": (3 - lost) * COST_MICRO,
    }


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("spend_ttl", "seconds"), [("fixed_60s", 30), ("entry_ttl", 500)])
async def test_how_long_redis_keeps_what_was_charged(
    baseline: Fleet, spend_ttl: str, seconds: int
) -> None:
    key = await one_key(baseline.dsn, "user")
    switches = {**VARIANTS["litellm_1_84"].switches.model_dump(), "spend_ttl": spend_ttl}
    scaled = {"ttl_s": 500.0, "time_scale": 0.5}
    async with node(baseline, Switches(**switches), namespace=f"{spend_ttl}:", **scaled) as one:
        await one.ok(key)
        client: Any = Redis.from_url(baseline.redis_url or "", socket_timeout=30.0)
        left_ms = await client.pttl(f"{spend_ttl}:{key.user_id}")
        await client.aclose()

    assert (seconds - 25) * 1000 < left_ms <= seconds * 1000


class Held:
    """A coroutine function that waits on the way in."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, *arguments: Any) -> Any:
        self.reached.set()
        await self.go_on.wait()
        return await self._function(*arguments)


def charged(scope: str, requests: int) -> dict[str, int]:
    return dict.fromkeys(CHARGED[scope], requests * COST_MICRO)
