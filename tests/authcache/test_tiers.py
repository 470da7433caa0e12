from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from harness.authcache.batching import BatchingClient
from harness.authcache.tiers import (
    CountedBreaker,
    MemoryTier,
    RedisTier,
    RedisUnavailableError,
    WrittenBy,
    _frame,
    _is_claim,
    _unframe,
    new_claim,
)
from tests.authcache.fakes import Clock, FakeClient, Recording


def tier(size: int = 3) -> tuple[MemoryTier[str], Clock]:
    clock = Clock()
    return MemoryTier(size, clock), clock


def held(memory: MemoryTier[str], *keys: str) -> list[str | None]:
    slots = [memory.get(key) for key in keys]
    return [None if slot is None else slot.value for slot in slots]


def test_an_entry_expires_at_its_deadline_and_not_before() -> None:
    memory, clock = tier()
    memory.set("a", "first", 1.0, ttl_s=10)

    clock.now += 9.999
    assert held(memory, "a") == ["first"]
    clock.now += 0.001
    assert held(memory, "a") == [None]
    assert len(memory) == 0


def test_a_rewrite_keeps_the_first_deadline_and_replaces_value_and_read_time() -> None:
    memory, clock = tier()
    memory.set("a", "first", 1.0, ttl_s=10)
    clock.now += 9

    memory.set("a", "second", 2.0, ttl_s=600)

    slot = memory.get("a")
    assert slot is not None
    assert (slot.value, slot.read_at) == ("second", 2.0)
    clock.now += 1
    assert held(memory, "a") == [None]


def test_after_its_deadline_an_entry_gets_a_new_one() -> None:
    memory, clock = tier()
    memory.set("a", "first", 1.0, ttl_s=10)
    clock.now += 10

    memory.set("a", "second", 2.0, ttl_s=10)

    clock.now += 9
    assert held(memory, "a") == ["second"]


def test_a_full_tier_evicts_what_expires_first() -> None:
    memory, _ = tier(size=2)
    memory.set("late", "1", 0.0, ttl_s=60)
    memory.set("soon", "2", 0.0, ttl_s=5)

    memory.set("later", "3", 0.0, ttl_s=600)
    assert held(memory, "late", "soon", "later") == ["1", None, "3"]
    memory.set("soonest", "4", 0.0, ttl_s=1)
    assert held(memory, "late", "later", "soonest") == [None, "3", "4"]


def test_what_is_there_is_rewritten_without_eviction() -> None:
    memory, _ = tier(size=2)
    memory.set("a", "1", 0.0, ttl_s=5)
    memory.set("b", "2", 0.0, ttl_s=60)

    memory.set("b", "3", 0.0, ttl_s=60)

    assert held(memory, "a", "b") == ["1", "3"]


def test_a_size_of_0_holds_nothing() -> None:
    memory, _ = tier(size=0)

    memory.set("a", "1", 0.0, ttl_s=60)

    assert held(memory, "a") == [None]
    assert len(memory) == 0


def test_bookkeeping_stays_in_proportion_to_the_size() -> None:
    memory, clock = tier(size=3)
    for i in range(1000):
        memory.set(f"{i % 4}", "1", 0.0, ttl_s=1)
        clock.now += 0.5
        memory.delete(f"{i % 3}")

    assert len(memory._deadlines) <= 4 * 3 + 1


class MemoryRules(RuleBasedStateMachine):
    """The tier against a plain statement of its rules."""

    keys = st.sampled_from("abcd")

    def __init__(self) -> None:
        super().__init__()
        self.memory, self.clock = tier(size=3)
        self.told: dict[str, tuple[str, float]] = {}

    def _live(self) -> dict[str, tuple[str, float]]:
        return {key: one for key, one in self.told.items() if one[1] > self.clock.now}

    @rule(key=keys, value=st.text(max_size=2), ttl=st.integers(0, 4))
    def set(self, key: str, value: str, ttl: int) -> None:
        live = self._live().get(key)
        self.memory.set(key, value, 0.0, ttl)
        if live is not None:
            self.told[key] = (value, live[1])
            return
        self.told.pop(key, None)
        # What has expired but was not asked for since still takes up room.
        while len(self.told) >= 3:
            self.told.pop(min(self.told, key=lambda one: (self.told[one][1], one)))
        self.told[key] = (value, self.clock.now + ttl)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        self.memory.delete(key)
        self.told.pop(key, None)

    @rule(key=keys)
    def get(self, key: str) -> None:
        slot = self.memory.get(key)
        live = self._live().get(key)
        assert (None if slot is None else (slot.value, slot.deadline)) == live
        if live is None:
            self.told.pop(key, None)

    @rule(seconds=st.integers(0, 3))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def never_more_than_its_size(self) -> None:
        assert len(self.memory) == len(self.told) <= 3


TestMemoryRules = MemoryRules.TestCase


@given(payload=st.binary(), read_at=st.floats(0, 4e9))
def test_the_read_time_travels_beside_the_payload(payload: bytes, read_at: float) -> None:
    back, stamp = _unframe(_frame(payload, read_at))

    assert back == payload
    assert stamp == pytest.approx(read_at, abs=1e-6)


@given(
    payload=st.binary(),
    read_at=st.floats(0, 4e9),
    writer=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1),
)
def test_a_writer_travels_with_the_read_time(payload: bytes, read_at: float, writer: str) -> None:
    back, stamp = _unframe(_frame(payload, read_at, writer))

    assert back == payload
    assert stamp == pytest.approx(read_at, abs=1e-6)
    assert isinstance(stamp, WrittenBy)
    assert stamp.writer == writer


async def test_a_tier_without_a_writer_reads_what_another_wrote_under_its_name() -> None:
    client: Any = FakeClient()
    named = RedisTier(client, Recording(), namespace="", breaker=CountedBreaker(), writer="old")
    plain, _, _, _ = redis(client)
    await named.set("a", b"payload", 5.0, ttl_s=60)

    assert await plain.get("a") == (b"payload", 5.0)


@pytest.mark.parametrize(
    "foreign",
    [b'{"user_id": null}', b"", b"x", b"\xff 1", b" ", b"1700000000.0", b"nan 1", b"inf 1"],
)
def test_a_value_without_a_read_time_is_all_payload(foreign: bytes) -> None:
    back, stamp = _unframe(foreign)

    assert back == foreign
    assert stamp > 1_700_000_000


def test_the_breaker_opens_once_and_tries_again() -> None:
    clock = Clock()
    breaker = CountedBreaker(threshold=3, open_s=2.0, clock=clock)

    assert [breaker.failed() for _ in range(3)] == [False, False, True]
    assert not breaker.allows()
    assert not breaker.failed()  # one that was under way when it opened
    clock.now += 2.0
    assert breaker.allows()
    assert not breaker.failed()  # the trial: still the same outage
    assert not breaker.allows()
    clock.now += 2.0
    breaker.succeeded()
    assert breaker.allows()
    assert [breaker.failed() for _ in range(3)] == [False, False, True]


def test_a_success_between_failures_keeps_the_breaker_closed() -> None:
    breaker = CountedBreaker(threshold=3, clock=Clock())
    for _ in range(5):
        assert not breaker.failed()
        assert not breaker.failed()
        breaker.succeeded()

    assert breaker.allows()


def redis(
    client: Any = None, namespace: str = ""
) -> tuple[RedisTier, FakeClient, Recording, Clock]:
    client, recorder, clock = client or FakeClient(), Recording(), Clock()
    breaker = CountedBreaker(threshold=3, open_s=2.0, clock=clock)
    return (
        RedisTier(client, recorder, namespace=namespace, breaker=breaker),
        client,
        recorder,
        clock,
    )


@pytest.mark.parametrize("ahead_s", [0.0, 5.0])
async def test_what_was_read_before_a_change_is_not_stored_where_the_clock_was_set_back(
    ahead_s: float,
) -> None:
    tier, client, _, _ = redis()
    item = ("a", b"old row", time.time() + ahead_s, None)
    assert await tier.set_newer([item], 60.0, fills_s=0.0) == [False]
    assert client.held == {}


async def test_one_lookup_is_one_get() -> None:
    tier, client, recorder, _ = redis(namespace="fleet:")
    await tier.set("a", b"payload", 5.0, ttl_s=1.5)

    assert await tier.get("a") == (b"payload", 5.0)
    assert await tier.poll("b") is True

    assert client.sent["GET"] == 2
    assert recorder.gets == {"lookup": 1, "lease_poll": 1}
    assert client.ttl_ms == {"fleet:a": 1500}


async def test_many_values_are_one_round_trip() -> None:
    tier, client, _, _ = redis()

    await tier.set_many([("a", b"1", 1.0), ("b", b"2", 2.0)], ttl_s=0.0001)

    assert client.sent["batch"] == 1
    assert client.ttl_ms == {"a": 1, "b": 1}
    assert await tier.get("b") == (b"2", 2.0)


async def test_a_claim_has_one_holder() -> None:
    tier, client, recorder, _ = redis(namespace="fleet:")
    claim, other = new_claim(), new_claim()

    assert await tier.get_or_claim("a", claim, 1.0) is True
    assert await tier.get_or_claim("a", other, 1.0) is False
    assert await tier.poll("a") is False
    assert client.ttl_ms == {"fleet:a": 1000}
    assert client.sent["SET GET"] == recorder.gets["claim"] == 2
    assert await tier.keep_claim("a", claim, 2.0)
    assert client.ttl_ms == {"fleet:a": 2000}
    assert await tier.keep_claim("a", claim, 0.0)
    assert await tier.poll("a") is True
    assert await tier.get_or_claim("a", other, 1.0) is True
    assert client.sent["EVAL"] == recorder.gets["script"] == 2


async def test_a_claim_is_kept_and_ended_by_its_holder_only() -> None:
    tier, client, *_ = redis()
    await tier.get_or_claim("a", new_claim(), 1.0)
    held = dict(client.held)

    for life_s in (60.0, 0.0):
        assert not await tier.keep_claim("a", new_claim(), life_s)

    assert client.held == held
    assert client.ttl_ms == {"a": 1000}


async def test_a_claim_is_nothing_to_a_reader() -> None:
    tier, *_ = redis()
    await tier.get_or_claim("a", new_claim(), 1.0)

    assert await tier.get("a") is None


async def test_who_would_claim_finds_what_is_stored_and_leaves_it() -> None:
    tier, client, *_ = redis()
    await tier.get_or_claim("a", new_claim(), 1.0)
    await tier.set("a", b"payload", 5.0, 60.0)

    assert await tier.get_or_claim("a", new_claim(), 1.0) == (b"payload", 5.0)
    assert client.ttl_ms == {"a": 60_000}


@given(payload=st.binary(), read_at=st.floats(0, 4e9))
def test_no_value_is_taken_for_a_claim(payload: bytes, read_at: float) -> None:
    assert not _is_claim(_frame(payload, read_at))
    assert _is_claim(new_claim())
    assert new_claim() != new_claim()


async def test_an_outage_is_logged_once_and_not_probed_while_the_breaker_is_open() -> None:
    tier, client, recorder, clock = redis()
    client.away = True
    for asked in (True, True, True, False, False):
        with pytest.raises(RedisUnavailableError) as error:
            await tier.get("a")
        assert error.value.asked is asked
    assert client.sent["GET"] == recorder.gets["lookup"] == 3
    assert [str(one) for one in recorder.outages] == ["connection refused"]

    clock.now += 2.0
    client.away = False
    assert await tier.get("a") is None
    assert len(recorder.outages) == 1


@pytest.mark.parametrize(
    "command",
    ["get", "set", "set_many", "get_or_claim", "poll", "keep_claim", "set_newer", "delete"],
)
async def test_every_command_can_fail(command: str) -> None:
    tier, client, recorder, _ = redis()
    client.away = True
    commands: dict[str, Callable[[], Awaitable[object]]] = {
        "get": lambda: tier.get("a"),
        "set": lambda: tier.set("a", b"", 0.0, 1.0),
        "set_many": lambda: tier.set_many([("a", b"", 0.0), ("b", b"", 0.0)], 1.0),
        "get_or_claim": lambda: tier.get_or_claim("a", b"claim:1", 1.0),
        "poll": lambda: tier.poll("a"),
        "keep_claim": lambda: tier.keep_claim("a", b"claim:1", 1.0),
        "delete": lambda: tier.delete("a"),
        "set_newer": lambda: tier.set_newer([("a", b"", 0.0, None)], 1.0),
    }

    for asked in (True, True, True, False):
        with pytest.raises(RedisUnavailableError) as error:
            await commands[command]()
        assert error.value.asked is asked
    assert len(recorder.outages) == 1


async def test_an_address_without_a_server_is_unavailable() -> None:
    client: Any = BatchingClient("redis://127.0.0.1:1/0", timeout_s=5.0)
    tier, *_ = redis(client)

    with pytest.raises(RedisUnavailableError, match="ConnectionError"):
        await tier.get("a")
    await client.aclose()
