from __future__ import annotations

import time

import pytest

from harness.authcache import coalescing
from harness.authcache.switches import Switches
from harness.authcache.trace import Trace
from harness.authcache.words import KeyScope, ReadReason
from tests.authcache.crowd import TEAM
from tests.authcache.fakes import Source, World, seen, switched, trace, until

pytestmark = pytest.mark.timeout(60)

EARLY = switched(coalescing="early_refresh")


def always_early(world: World, *, beta: float) -> None:
    assert isinstance(world.cache, coalescing.EarlyRefresh)
    world.cache.beta = beta


async def warm(switches: Switches = EARLY) -> tuple[World, Source]:
    world, source = World(switches), Source()
    # Its time-outs use the same clock as its entries.
    world.clock.now = time.monotonic()
    await world.cache.load(TEAM, "t", source, trace())
    return world, source


@pytest.mark.parametrize("memory_payload", ["encoded", "object"])
async def test_what_expires_soon_is_read_again_in_the_background(memory_payload: str) -> None:
    world, source = await warm(switched(EARLY, memory_payload=memory_payload))
    always_early(world, beta=1e9)
    slot = world.cache.memory.get("t")
    assert slot is not None
    first, one = slot.deadline, Trace(KeyScope.UNKNOWN)
    world.clock.now += 1.0

    found = await world.cache.load(TEAM, "t", source, one)
    assert world.recorder.pending == 1
    one.scope = KeyScope.MEMBER  # known by the time that the refresh is counted
    await until(lambda: world.recorder.pending == 0)

    assert found is not None
    assert found.tier == "memory"
    assert source.reads == 2
    renewed = world.cache.memory.get("t")
    assert renewed is not None
    assert renewed.deadline == pytest.approx(first + 1.0)
    (refresh,) = world.recorder.traces
    assert refresh.scope is KeyScope.MEMBER
    assert refresh.source_reads == [(TEAM, ReadReason.REFRESH)]
    assert not refresh.lookups
    assert not one.source_reads


async def test_what_expires_late_is_left_alone() -> None:
    world, source = await warm()
    always_early(world, beta=0.0)

    await world.cache.load(TEAM, "t", source, trace())

    assert world.recorder.pending == 0
    assert source.reads == 1


async def test_one_refresh_at_a_time() -> None:
    world, source = await warm()
    always_early(world, beta=1e9)
    source.hold.clear()

    for _ in range(5):
        await world.cache.load(TEAM, "t", source, trace())
    assert world.recorder.pending == 1
    source.hold.set()
    await until(lambda: world.recorder.pending == 0)

    assert source.reads == 2


async def test_a_refresh_that_fails_leaves_the_entry_as_it_is() -> None:
    world, source = await warm()
    always_early(world, beta=1e9)
    source.away()

    await world.cache.load(TEAM, "t", source, trace())
    await until(lambda: world.recorder.pending == 0)

    assert world.recorder.read_errors == {TEAM: 1}
    one = trace()
    always_early(world, beta=0.0)
    assert await world.cache.load(TEAM, "t", source, one) is not None
    assert seen(one) == ["memory load hit"]
