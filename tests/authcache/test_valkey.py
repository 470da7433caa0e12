"""The Redis tier, and the caches above it, over a real server."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import RedisError, ResponseError

from harness.authcache.batching import BatchingClient
from harness.authcache.cache import Entry
from harness.authcache.objects import Team
from harness.authcache.switches import Switches
from harness.authcache.tiers import CountedBreaker, RedisTier, RedisUnavailableError, new_claim
from harness.authcache.variants import load_variants
from harness.authcache.words import Coalesced, ObjectKind, Outcome, Tier, WriteOutcome
from tests.authcache.crowd import TEAM, Crowd, balanced
from tests.authcache.fakes import FakeClient, Recording, Source, World, seen, switched, trace, until
from tests.authcache.test_fault_rules import GARBAGE
from tests.authcache.valkey import PATIENCE_S, Valkey, eventually, keys_read

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

SHARING = {
    name: variant.switches
    for name, variant in load_variants().items()
    if variant.switches.redis == "on" and variant.switches.codec != "raw"
}


Connect = Callable[[float], Any]


@pytest.fixture
async def connect(server: Valkey) -> AsyncIterator[Connect]:
    """Makes clients of a time-out in seconds."""
    opened: list[BatchingClient] = []

    def make(timeout_s: float) -> BatchingClient:
        opened.append(BatchingClient(server.url, timeout_s=timeout_s))
        return opened[-1]

    yield make
    for client in opened:
        await client.aclose()


@pytest.mark.parametrize("switches", SHARING.values(), ids=SHARING)
async def test_a_peer_reads_what_was_written(
    valkey: Any, connect: Connect, switches: Switches
) -> None:
    client = connect(PATIENCE_S)
    world, source, one = World(switches, client=client, namespace="fleet:"), Source(), trace()
    await world.cache.load(TEAM, "t", source, trace())
    assert [key async for key in valkey.scan_iter()] == [b"fleet:t"]
    peer = World(switches, client=connect(PATIENCE_S), namespace="fleet:")
    found = await peer.cache.load(TEAM, "t", source, one)

    assert found is not None
    assert found.value == source.value
    assert seen(one) == ["memory load miss", "redis load hit"]
    sent = sum((world.recorder.gets + peer.recorder.gets).values())
    assert await keys_read(valkey) == sent
    # Last, because the server counts it as a read.
    assert 0 < await valkey.pttl("fleet:t") <= 60_000


async def test_what_has_expired_is_a_miss(valkey: Any, connect: Connect) -> None:
    world, one = World(client=connect(PATIENCE_S)), trace()
    entry = Entry(TEAM, "t", Team(team_id="t"), time.time())
    await world.cache.put(entry, ttl_s=0.001)
    world.forget_memory()

    async def gone() -> bool:
        return not await valkey.exists("t")

    await eventually(gone)
    assert await world.cache.peek(TEAM, "t", one) is None

    assert seen(one) == ["memory peek miss", "redis peek miss"]


async def test_one_lookup_is_one_read_even_without_an_answer(
    server: Valkey, valkey: Any, connect: Connect
) -> None:
    world = World(client=connect(0.05))
    await world.cache.peek(TEAM, "t", trace())
    server.process.send_signal(signal.SIGSTOP)
    try:
        one = trace()
        await world.cache.peek(TEAM, "t", one)
    finally:
        server.process.send_signal(signal.SIGCONT)

    async def counted() -> bool:
        return await keys_read(valkey) >= 2

    await eventually(counted)
    await world.cache.peek(TEAM, "t", trace())

    assert seen(one) == ["memory peek miss", "redis peek backend_error"]
    assert await keys_read(valkey) == world.recorder.gets["lookup"] == 3


@pytest.mark.usefixtures("valkey")
async def test_a_server_that_hangs_is_asked_five_times_and_told_of_once(
    server: Valkey, connect: Connect
) -> None:
    world, source, one = World(client=connect(0.02)), Source(), trace()
    server.process.send_signal(signal.SIGSTOP)
    try:
        for i in range(20):
            assert await world.cache.load(TEAM, f"t{i}", source, one) is not None
    finally:
        server.process.send_signal(signal.SIGCONT)

    errors = [look for look in one.lookups if look.outcome is Outcome.BACKEND_ERROR]
    assert len(errors) == source.reads == 20
    asked = world.recorder.writes[Tier.REDIS, WriteOutcome.ERROR, TEAM]
    assert world.recorder.gets["lookup"] + asked == 5
    assert len(world.recorder.outages) == 1


async def test_replicas_that_share_a_server_read_once(valkey: Any, connect: Connect) -> None:
    lease = switched(coalescing="lease")
    worlds = [World(lease, client=connect(PATIENCE_S)) for _ in range(3)]
    source = Source()
    source.hold.clear()
    crowds = [Crowd(world, source, 4) for world in worlds]
    await until(lambda: sum(world.recorder.gets["lease_poll"] > 0 for world in worlds) == 2)
    source.hold.set()

    found = [answer for crowd in crowds for answer in await crowd.found()]

    assert len(found) == 12
    assert source.reads == 1
    waits = [wait for crowd in crowds for wait in crowd.waits]
    assert waits.count(Coalesced.BEFORE_SOURCE) == 2
    assert waits.count(Coalesced.BEFORE_REDIS) == 9
    assert all(balanced(crowd) for crowd in crowds)
    assert await keys_read(valkey) == sum(sum(world.recorder.gets.values()) for world in worlds)
    assert [key async for key in valkey.scan_iter()] == [b"t"]


async def test_a_claim_expires_by_itself(valkey: Any, connect: Connect) -> None:
    world = World(switched(coalescing="lease"), client=connect(PATIENCE_S))
    redis = world.cache.redis
    assert redis is not None
    assert await redis.get_or_claim("t", new_claim(), 30.0) is True
    assert await redis.get_or_claim("t", new_claim(), 30.0) is False
    await valkey.pexpire("t", 1)

    async def taken() -> bool:
        return await redis.get_or_claim("t", new_claim(), 30.0) is True

    await eventually(taken)
    assert 0 < await valkey.pttl("t") <= 30_000


CLAIMS = (b"claim:mine", b"claim:other")
NAMED = (b"5.000000;old five", b"7.000000;old seven")
HELD = (None, *CLAIMS, *NAMED, b"5.000000 five", b"7.000000 \0seven 7", b"foreign", b"", b"claim")


@pytest.mark.usefixtures("valkey")
async def test_the_scripts_do_what_their_fakes_do(connect: Connect) -> None:
    """Every state of a key, every command: the same answer and the same value afterwards."""
    real, fake = World(client=connect(PATIENCE_S)), World()
    commands = [("keep", life_s) for life_s in (0.0, 50.0)]
    commands += [("store", read_at) for read_at in (4.0, 5.0, 6.0, time.time())]
    for held, (command, number), claim in product(HELD, commands, (None, CLAIMS[0])):
        outcomes = []
        for world in (real, fake):
            redis, client = world.cache.redis, world.client
            assert redis is not None
            if held is None:
                await redis.keep_claim("t", (await get(client)) or b"", 0.0)
            else:
                await client.send("SET", "t", held, "PX", 60_000)
            before = await get(client)
            assert before == held
            answer: object
            if command == "keep":
                answer = await redis.keep_claim("t", claim or b"claim:none", number)
            else:
                answer = await redis.set_newer([("t", b"ours", number, claim)], 60.0)
            outcomes.append((answer, await get(client)))
        assert outcomes[0] == outcomes[1], (held, command, number, claim)


@pytest.mark.usefixtures("valkey")
async def test_the_newer_value_stays_from_either_writer(connect: Connect) -> None:
    """Old and new, each with and without a writer's name, on the server and on the fake."""
    outcomes = []
    clients: tuple[Any, ...] = (connect(PATIENCE_S), FakeClient())
    for client in clients:
        for held, ours in product(("", "old"), repeat=2):
            first, second = (
                RedisTier(
                    client, Recording(), namespace="", breaker=CountedBreaker(), writer=writer
                )
                for writer in (held, ours)
            )
            await first.set("t", b"theirs", 5.0, 60.0)
            older = await second.set_newer([("t", b"ours", 4.0, None)], 10.0**9)
            newer = await second.set_newer([("t", b"ours", 6.0, None)], 10.0**9)
            outcomes.append((older, newer, await get(client)))
    server, fake = outcomes[:4], outcomes[4:]
    assert server == fake
    assert [(older, newer) for older, newer, _ in server] == [([False], [True])] * 4


async def get(client: Any) -> bytes | None:
    value: bytes | None = await client.send("GET", "t")
    return value


async def test_the_server_counts_every_key_that_a_lease_asks_for(
    valkey: Any, connect: Connect
) -> None:
    """A script is one key read; one that stores is one SET, as is a claim."""
    world = World(switched(coalescing="lease"), client=connect(PATIENCE_S))
    await world.cache.load(TEAM, "t", Source(), trace())
    await world.cache.load(TEAM, "u", Source().absent(), trace())
    world.forget_memory()
    await world.cache.load(TEAM, "t", Source(), trace())

    gets, writes = world.recorder.gets, world.recorder.writes
    assert gets == {"claim": 3, "script": 2}
    assert await keys_read(valkey) == sum(gets.values())
    calls = await valkey.info("commandstats")
    stored = writes[Tier.REDIS, WriteOutcome.OK, TEAM]
    assert calls["cmdstat_set"]["calls"] == stored + gets["claim"] == 4
    assert calls["cmdstat_eval"]["calls"] == gets["script"]


@pytest.mark.alone
@pytest.mark.usefixtures("valkey")
async def test_a_slow_source_is_read_once_per_expiry(connect: Connect) -> None:
    """Eight workers, a tenth of 100, 500 and 2,000 ms; the three at the same time."""
    await asyncio.gather(*(_slow_source(connect, source_s) for source_s in (0.01, 0.05, 0.2)))


async def _slow_source(connect: Connect, source_s: float) -> None:
    ttl_s, expiries, key = 1.5, 2, f"slow by {source_s}"
    switches = load_variants()["recommended"].switches
    began: list[float] = []
    stored: list[float] = []
    ages_s: list[float] = []

    async def read() -> Team:
        assert len(began) == len(stored), "a second worker reads"
        began.append(time.monotonic())
        await asyncio.sleep(source_s)
        stored.append(time.monotonic())
        return Team(team_id=key)

    async def ask() -> None:
        world = World(switches, client=connect(PATIENCE_S), clock=time.monotonic, ttl_s=ttl_s)
        while len(stored) <= expiries:
            found = await world.cache.load(TEAM, key, read, trace())
            assert found is not None
            ages_s.append(time.time() - found.read_at)
            await asyncio.sleep(0.005)

    await asyncio.gather(*(ask() for _ in range(8)))

    pauses_s = [later - before for before, later in zip(stored, began[1:], strict=False)]
    assert min(pauses_s) >= ttl_s - 0.01
    assert max(ages_s) <= 2 * ttl_s + source_s + 0.2


async def test_a_dead_server_costs_no_answer(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    client = BatchingClient(server.url, timeout_s=PATIENCE_S)
    world, source = World(client=client), Source()
    server.close()

    for i in range(20):
        assert await world.cache.load(ObjectKind.TEAM, f"t{i}", source, trace()) is not None

    assert len(world.recorder.outages) == 1
    await client.aclose()


async def test_commands_of_one_turn_are_one_batch_and_answered_in_order(
    valkey: Any, connect: Connect
) -> None:
    client, before = connect(PATIENCE_S), len(await valkey.client_list())
    sets = [client.send("SET", f"k{i}", str(i), "PX", 60_000) for i in range(50)]
    answers = [client.send("GET", f"k{i}") for i in range(50)]

    assert [await answer for answer in sets] == [b"OK"] * 50
    assert [await answer for answer in answers] == [str(i).encode() for i in range(50)]
    assert len(await valkey.client_list()) == before + 1


@pytest.mark.usefixtures("valkey")
async def test_an_error_of_one_command_is_its_own(connect: Connect) -> None:
    client = connect(PATIENCE_S)
    good, bad, after = client.send("GET", "a"), client.send("NONSENSE"), client.send("GET", "b")

    assert await good is None
    with pytest.raises(ResponseError):
        await bad
    assert await after is None


async def test_a_lost_connection_is_made_anew(valkey: Any, connect: Connect) -> None:
    client = connect(PATIENCE_S)
    await client.send("SET", "a", "1", "PX", 60_000)
    await valkey.client_kill_filter(skipme=True, _type="normal")

    async def answered() -> bool:
        try:
            return bool(await client.send("GET", "a") == b"1")
        except (RedisError, OSError):
            return False

    await eventually(answered)


async def test_one_that_gives_up_takes_no_other_along(connect: Connect) -> None:
    client = connect(PATIENCE_S)
    given_up, other = client.send("GET", "a"), client.send("GET", "b")
    given_up.cancel()

    assert await other is None
    assert await client.send("GET", "c") is None


async def test_a_closed_client_fails_what_is_under_way(server: Valkey) -> None:
    client = BatchingClient(server.url, timeout_s=PATIENCE_S)
    answer = client.send("GET", "a")
    await asyncio.sleep(0)
    await client.aclose()

    with pytest.raises((OSError, RedisError)):
        await answer


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_an_entry_that_cannot_be_read_is_replaced_and_counted(
    valkey: Any, connect: Connect, garbage: str
) -> None:
    """As its Python fake does it, and as the server counts it."""
    recommended = load_variants()["recommended"].switches
    planted: Any = GARBAGE[garbage]
    if isinstance(planted, list):
        await valkey.rpush("fleet:t", *planted)
    else:
        await valkey.set("fleet:t", planted)
    one, other = (
        World(recommended, client=connect(PATIENCE_S), namespace="fleet:") for _ in range(2)
    )
    source, traces = Source(), [trace(), trace()]
    before = await keys_read(valkey)

    for world, each in zip((one, other), traces, strict=True):
        assert await world.cache.load(TEAM, "t", source, each) is not None

    assert source.reads == 1
    assert seen(traces[1]) == ["memory load miss", "redis load hit"]
    assert one.recorder.outages == []
    gets = sum(sum(world.recorder.gets.values()) for world in (one, other))
    assert await keys_read(valkey) - before == gets


@pytest.mark.parametrize("setting", [{"replicaof": "127.0.0.1 1"}, {"maxmemory": "1"}])
async def test_a_server_that_takes_no_writes_is_read_and_noticed_once(
    valkey: Any, connect: Connect, setting: dict[str, str]
) -> None:
    recommended = load_variants()["recommended"].switches
    writer, reader = (
        World(recommended, client=connect(PATIENCE_S), namespace="fleet:") for _ in range(2)
    )
    await writer.cache.load(TEAM, "t", Source(), trace())
    back = {"replicaof": "no one", "maxmemory": "0"}
    ((name, value),) = setting.items()

    async def put(value: str) -> None:
        if name == "replicaof":
            await valkey.execute_command("REPLICAOF", *value.split())
        else:
            await valkey.config_set(name, value)

    await valkey.config_set("maxmemory-policy", "noeviction")
    await put(value)
    try:
        held, absent = trace(), trace()
        await reader.cache.load(TEAM, "t", Source(), held)
        await reader.cache.load(TEAM, "u", Source(), absent)
    finally:
        await put(back[name])

    assert seen(held) == ["memory load miss", "redis load hit"]
    assert seen(absent) == ["memory load miss", "redis load miss"]
    assert (len(reader.recorder.outages), reader.recorder.refused) == (1, 1)
    again = trace()
    await reader.cache.load(TEAM, "v", Source(), again)
    assert reader.recorder.writes[Tier.REDIS, WriteOutcome.OK, TEAM] == 1


async def test_a_server_that_hangs_costs_one_time_out_and_is_used_again(
    server: Valkey, valkey: Any, connect: Connect
) -> None:
    recommended = load_variants()["recommended"].switches
    world = World(recommended, client=connect(0.05), namespace="fleet:", clock=time.monotonic)
    await world.cache.load(TEAM, "t", Source(), trace())
    server.process.send_signal(signal.SIGSTOP)
    try:
        for i in range(20):
            assert await world.cache.load(TEAM, f"u{i}", Source(), trace()) is not None
        assert world.client.sent["set"] <= 3  # the first, its store, and one that got no answer
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert await valkey.ping()
    redis = world.cache.redis
    assert redis is not None

    async def answered() -> bool:
        try:
            await redis.get("asked")
        except RedisUnavailableError:
            return False
        return True

    await eventually(answered)
    assert len(world.recorder.outages) == 1
    await redis.close()
