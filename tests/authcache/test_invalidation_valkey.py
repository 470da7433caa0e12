"""Every mechanism over a real server: who is notified, what a lost connection costs, its counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from harness.authcache.batching import BatchingClient
from harness.authcache.invalidation import CHANNEL, MECHANISMS, Generation, Invalidation
from harness.authcache.objects import Team
from harness.authcache.switches import Switches
from harness.authcache.tiers import LOG_DEPTH, _is_claim
from harness.authcache.variants import load_variants
from harness.authcache.words import Invalidated, ObjectKind
from tests.authcache.fakes import Source, World, switched, trace, until
from tests.authcache.valkey import PATIENCE_S, Valkey, eventually, keys_read

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

TEAM = ObjectKind.TEAM
RECOMMENDED = load_variants()["recommended"].switches
TELLING = ("broadcast", "tracking", "generation")


class Peer:
    """A worker's cache over the real server, and how it learns of changes."""

    def __init__(self, server: Valkey, switches: Switches) -> None:
        self.server = server
        self.client = BatchingClient(server.url, timeout_s=PATIENCE_S)
        self.world = World(switches, client=self.client, namespace="fleet:")
        self.told: Invalidation = MECHANISMS[switches.invalidation](self.world.cache)
        self.told.pauses_s = (0.01, 0.1)  # type: ignore[misc]  # a test does not wait as a release does

    async def open(self) -> None:
        await self.told.open(
            self.server.url, self.client.sent, namespace="fleet:", timeout_s=PATIENCE_S
        )

    async def close(self) -> None:
        await self.told.close()
        await self.client.aclose()

    async def team(self, source: Source) -> str | None:
        found = await self.world.cache.load(TEAM, "t", source, trace())
        assert found is not None
        alias: str | None = found.value.team_alias
        return alias

    @property
    def holds(self) -> bool:
        return self.world.cache.memory.get("t") is not None

    def news(self, event: Invalidated) -> int:
        return self.world.recorder.news[event, TEAM]


Peers = Callable[[Switches], Awaitable[tuple[Peer, Peer]]]


@pytest.fixture
async def peers(server: Valkey, valkey: Any) -> AsyncIterator[Peers]:
    """Makes two workers of one fleet: the handler and another."""
    opened: list[Peer] = []

    async def make(switches: Switches) -> tuple[Peer, Peer]:
        pair = Peer(server, switches), Peer(server, switches)
        for peer in pair:
            await peer.open()
            opened.append(peer)
        await valkey.config_resetstat()
        for peer in pair:
            peer.client.sent.clear()
            peer.world.recorder.gets.clear()
        return pair

    yield make
    for peer in opened:
        await peer.close()


def row(alias: str) -> Source:
    return Source(Team(team_id="t", team_alias=alias))


async def settled(peer: Peer) -> None:
    """Until its memory keeps what it loads: tracking tells a worker of its own fill too."""

    async def kept() -> bool:
        await peer.team(row("old"))
        await asyncio.sleep(0.02)
        return peer.holds

    await eventually(kept)


@pytest.mark.parametrize("mechanism", TELLING)
async def test_another_worker_is_notified(peers: Peers, mechanism: str) -> None:
    handler, other = await peers(switched(RECOMMENDED, invalidation=mechanism))
    await settled(handler)
    await settled(other)

    await handler.told.changed([(TEAM, "t")])

    await until(lambda: not other.holds)
    assert await handler.team(row("new")) == "new"
    assert await other.team(row("new")) == "new"
    assert (handler.news(Invalidated.SENT), other.news(Invalidated.SENT)) == (1, 0)
    assert other.news(Invalidated.RECEIVED) >= 1
    assert other.news(Invalidated.APPLIED) >= 1


@pytest.mark.parametrize("mechanism", ["none", "handler"])
async def test_another_worker_is_not_told(peers: Peers, mechanism: str) -> None:
    handler, other = await peers(switched(RECOMMENDED, invalidation=mechanism))
    await handler.team(row("old"))
    await other.team(row("old"))

    await handler.told.changed([(TEAM, "t")])

    assert await other.team(row("new")) == "old"
    assert await handler.team(row("new")) == ("old" if mechanism == "none" else "new")


async def cut(valkey: Any) -> None:
    """End the connections that listen, and no others."""
    for client in await valkey.client_list():
        if int(client["sub"]) or "t" in client["flags"]:
            await valkey.client_kill_filter(_id=client["id"])


async def test_a_subscriber_that_is_cut_misses_a_broadcast(peers: Peers) -> None:
    handler, other = await peers(switched(RECOMMENDED, invalidation="broadcast"))
    await handler.team(row("old"))
    await other.team(row("old"))
    other.told.pauses_s = (PATIENCE_S, PATIENCE_S)  # type: ignore[misc]
    await other.told.close()

    await handler.told.changed([(TEAM, "t")])
    await other.open()
    await handler.told.changed([(TEAM, "another")])
    await until(lambda: other.news(Invalidated.RECEIVED) == 1)

    assert await other.team(row("new")) == "old"
    other.world.forget_memory()
    assert await other.team(row("new")) == "new", "the promise repairs it"


async def test_a_generation_survives_a_cut(peers: Peers) -> None:
    handler, other = await peers(switched(RECOMMENDED, invalidation="generation"))
    await handler.told.changed([(TEAM, "another")])
    await handler.team(row("old"))
    await other.team(row("old"))
    await until(lambda: other.news(Invalidated.RECEIVED) == 1)
    await other.told.close()

    await handler.told.changed([(TEAM, "t")])
    assert other.holds
    await other.open()

    await until(lambda: not other.holds)
    assert await other.team(row("new")) == "new"
    assert other.news(Invalidated.RECEIVED) == 2, "the log, not all of memory"


@pytest.mark.parametrize("mechanism", ["broadcast", "generation"])
@pytest.mark.parametrize("key", ["t", "a\nteam b"])
async def test_a_listener_survives_a_message_that_cannot_be_read(
    peers: Peers, valkey: Any, mechanism: str, key: str
) -> None:
    handler, other = await peers(switched(RECOMMENDED, invalidation=mechanism))
    await other.team(row("old"))

    await valkey.publish(f"fleet:{CHANNEL}", b"0\nteam a\nb\xff")

    await until(lambda: not other.holds)
    await other.team(row("old"))
    await handler.told.changed([(TEAM, key), (TEAM, "t")])
    await until(lambda: not other.holds)
    assert await other.team(row("new")) == "new"


async def test_a_worker_that_hears_nothing_asks_for_the_number(peers: Peers) -> None:
    handler, other = await peers(RECOMMENDED)
    await other.team(row("old"))
    await other.told.close()
    await handler.told.changed([(TEAM, "t")])
    assert other.holds
    other.world.cache.check_at = 0.0

    await other.team(row("new"))

    await until(lambda: not other.holds)
    assert other.world.recorder.pending >= 0
    await until(lambda: other.world.recorder.pending == 0)


async def test_numbers_go_on_after_a_server_has_lost_its_data(peers: Peers, valkey: Any) -> None:
    handler, other = await peers(RECOMMENDED)
    await handler.told.changed([(TEAM, "another")])
    await other.team(row("old"))
    await valkey.flushall()

    await handler.told.changed([(TEAM, "t")])

    await until(lambda: not other.holds)
    assert await other.team(row("new")) == "new"


async def test_the_log_does_not_reach_back_for_ever(peers: Peers, valkey: Any) -> None:
    handler, other = await peers(RECOMMENDED)
    redis = other.world.cache.redis
    assert redis is not None
    await handler.told.changed([(TEAM, "t")])
    number, _ = await redis.changes_since(0)
    assert await redis.changes_since(number) == (number, [])
    assert await redis.changes_since(number - 1) == (number, ["team t"])
    await valkey.incrby("fleet:authcache:changes", LOG_DEPTH)

    assert await redis.changes_since(number) == (number + LOG_DEPTH, None)
    await handler.told.changed([(TEAM, "u")])
    assert await valkey.zrange("fleet:authcache:change_log", 0, -1) == [b"team u"]


async def test_the_fakes_number_changes_as_the_scripts_do(peers: Peers, valkey: Any) -> None:
    """Relative to the first number, which is the server's clock."""
    real, _ = await peers(RECOMMENDED)
    said = []
    for world in (real.world, World(RECOMMENDED)):
        redis = world.cache.redis
        assert redis is not None
        await valkey.delete("fleet:authcache:changes")
        begun, nothing = await redis.changes_since(0)
        one: list[Any] = [nothing, await redis.changes_since(begun) == (begun, [])]
        for keys, hold_s in ((["t"], 0.0), (["t", "u"], 1.0), (["v"], 0.0)):
            await world.client.send("SET", f"{world.namespace}t", b"held", "PX", 60_000)
            news = "\n".join(f"team {key}" for key in keys)
            await redis.forget_numbered(keys, hold_s, CHANNEL, news)
            held = await world.client.send("GET", f"{world.namespace}t")
            one.append((hold_s, held is None, held is not None and _is_claim(held)))
        for behind in range(5):
            number, told = await redis.changes_since(begun + 3 - behind)
            one.append((number - begun, told))
        one.append((await redis.changes_since(begun + 4))[1])
        said.append(one)
    assert said[0] == said[1]
    assert said[0][-2] == (3, ["team t", "team u", "team v"])
    assert said[0][-1] is None, "a number that was never given: the server has lost its data"


async def test_a_log_that_was_evicted_empties_memory(peers: Peers, valkey: Any) -> None:
    handler, other = await peers(RECOMMENDED)
    redis = other.world.cache.redis
    assert redis is not None
    await handler.told.changed([(TEAM, "t")])
    number, _ = await redis.changes_since(0)
    await valkey.delete("fleet:authcache:change_log")
    assert await redis.changes_since(number - 1) == (number, None)

    await handler.told.changed([(TEAM, "u")])

    last, news = await redis.changes_since(number)
    assert (last - number, news) == (LOG_DEPTH + 1, None)
    assert (await redis.changes_since(last - 1))[1] == ["team u"]


async def test_a_user_without_del_changes_all_the_same(peers: Peers, valkey: Any) -> None:
    handler, other = await peers(RECOMMENDED)
    await other.team(row("old"))
    await valkey.acl_setuser("default", enabled=True, commands=["-del", "-unlink"])
    try:
        await handler.told.changed([(TEAM, "t")])
        await until(lambda: not other.holds)
        assert await other.team(row("new")) == "new"
    finally:
        await valkey.acl_setuser("default", enabled=True, commands=["+del", "+unlink"])
    assert handler.world.recorder.outages == []


async def test_tracking_without_its_connection_holds_nothing(peers: Peers, valkey: Any) -> None:
    _, other = await peers(switched(RECOMMENDED, invalidation="tracking"))
    await settled(other)
    other.told.pauses_s = (PATIENCE_S, PATIENCE_S)  # type: ignore[misc]
    await cut(valkey)
    # The first pause was chosen before: it may have come back.
    await until(lambda: not other.holds)


async def test_tracking_fills_no_memory_until_it_hears(server: Valkey, valkey: Any) -> None:
    del valkey
    other = Peer(server, switched(RECOMMENDED, invalidation="tracking"))
    await other.team(row("old"))
    assert not other.holds
    await other.open()
    await settled(other)
    await other.told.close()
    other.told.lost()
    assert not other.holds
    await other.team(row("old"))
    assert not other.holds
    await other.close()


@pytest.mark.parametrize("mechanism", ["handler", *TELLING])
@pytest.mark.parametrize("coalescing", ["none", "lease"])
async def test_the_server_counts_what_the_workers_do(
    peers: Peers, valkey: Any, mechanism: str, coalescing: str
) -> None:
    """The ledger compares keys read, and calls command by command."""
    handler, other = await peers(
        switched(RECOMMENDED, invalidation=mechanism, coalescing=coalescing)
    )
    for alias in ("old", "new"):
        await handler.team(row(alias))
        await other.team(row(alias))
        await handler.told.changed([(TEAM, "t"), (TEAM, "u")])
    if isinstance(other.told, Generation):
        await other.told.close()
        await handler.told.changed([(TEAM, "t")])
        await other.told.catch_up()
        other.world.cache.check_at = 0.0
        await other.team(row("new"))
        await other.team(row("new"))
        await until(lambda: other.world.recorder.pending == 0)
    both = (handler, other)
    assert await keys_read(valkey) == sum(sum(p.world.recorder.gets.values()) for p in both)
    stats = await valkey.info("commandstats")
    for name in {name for p in both for name in p.client.sent}:
        assert stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] == sum(
            p.client.sent.get(name, 0) for p in both
        ), name
    counted = {name.removeprefix("cmdstat_").partition("|")[0] for name in stats}
    ours = {name for p in both for name in p.client.sent}
    assert counted - ours <= {"config", "info", "client", "hello", "ping", "select"}
