"""Connections that are lent to one read after another, over a pool that a test can look into."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from harness.authcache.objects import Membership
from harness.stack.base import Fleet
from harness.targets.reference.readers import Readers, lost
from harness.targets.reference.store import Store, open_pool
from tests.authcache.virtual import virtually
from tests.targets.gate import gate_to
from tests.targets.world import one_key, until


class FakeConnection:
    def __init__(self) -> None:
        self.closed = False
        self.reads: list[str] = []
        self.failure: Exception | None = None
        self.hold = asyncio.Event()
        self.hold.set()

    def is_closed(self) -> bool:
        if self.closed:  # as asyncpg, which takes back what the server has closed
            raise asyncpg.InterfaceError("connection has been released back to the pool")
        return False

    async def fetchrow(self, statement: str, *arguments: str) -> Any:
        self.reads.append(statement)
        await asyncio.sleep(0)
        await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        return (statement, *arguments)


class FakePool:
    def __init__(self, size: int) -> None:
        self._size = size
        self.out: list[FakeConnection] = []
        self.made: list[FakeConnection] = []
        self.refuses = False
        self.most: int | None = None
        """Connections that the server gives at a time."""
        self.holds = False
        """Whether reads wait in the connections that it makes."""

    def get_max_size(self) -> int:
        return self._size

    async def acquire(self) -> FakeConnection:
        await asyncio.sleep(0)
        if self.refuses:
            raise ConnectionRefusedError
        if self.most is not None and len(self.out) >= self.most:
            raise asyncpg.TooManyConnectionsError
        assert len(self.out) < self._size
        one = FakeConnection()
        if self.holds:
            one.hold.clear()
        self.made.append(one)
        self.out.append(one)
        return one

    async def release(self, connection: FakeConnection) -> None:
        await asyncio.sleep(0)
        self.out.remove(connection)


def test_a_slow_source_answers_late_with_what_it_found_at_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[float] = []

    async def fetchrow(_self: FakeConnection, *_words: str) -> None:
        sent.append(asyncio.get_running_loop().time())

    async def read() -> float:
        pool: Any = FakePool(2)
        await Store(pool, Membership, latency_s=0.5).planted_user("alias")
        return asyncio.get_running_loop().time()

    monkeypatch.setattr(FakeConnection, "fetchrow", fetchrow)
    assert virtually(read()) == 0.5
    assert sent == [0.0]


def readers(size: int = 3) -> tuple[Readers, FakePool]:
    pool = FakePool(size)
    given: Any = pool
    return Readers(given), pool


async def held(pool: FakePool, one: Readers, reads: int) -> list[asyncio.Task[Any]]:
    """Reads that wait in their connections, or for one."""
    pool.holds = True
    tasks = [asyncio.create_task(read(one, f"read {i}")) for i in range(reads)]
    await until(lambda: any(connection.reads for connection in pool.made))
    pool.holds = False
    return tasks


async def read(one: Readers, statement: str = "read", *arguments: str) -> Any:
    return await one.fetchrow(statement, *arguments)


async def test_one_connection_serves_one_read_after_another() -> None:
    one, pool = readers()

    answers = [await read(one, "read", str(i)) for i in range(5)]

    assert answers == [("read", str(i)) for i in range(5)]
    assert len(pool.made) == 1


async def test_one_connection_is_always_left_for_writes() -> None:
    one, pool = readers(size=3)

    answers = await asyncio.gather(*(read(one, "read", str(i)) for i in range(20)))

    assert answers == [("read", str(i)) for i in range(20)]
    assert len(pool.made) == len(pool.out) == 2


async def test_a_read_that_fails_gives_its_connection_back() -> None:
    one, pool = readers()
    await read(one, "read")
    pool.made[0].failure = OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await read(one, "read")

    assert pool.out == []
    await read(one, "read")
    assert len(pool.made) == 2


async def test_a_connection_that_was_lost_while_idle_costs_no_read() -> None:
    one, pool = readers()
    await asyncio.gather(read(one, "read"), read(one, "read"))
    for connection in pool.made:
        connection.closed = True

    assert await read(one, "again") == ("again",)

    assert len(pool.made) == 3
    assert pool.out == [pool.made[2]]


async def test_those_that_wait_are_served_in_their_order() -> None:
    one, pool = readers(size=2)
    tasks = await held(pool, one, 4)
    order: list[Any] = []
    for task in tasks:
        task.add_done_callback(order.append)

    pool.made[0].hold.set()
    await asyncio.gather(*tasks)

    assert order == tasks
    assert len(pool.made) == 1


async def test_who_gives_up_waiting_keeps_nothing_from_the_next() -> None:
    one, pool = readers(size=2)
    tasks = await held(pool, one, 3)

    tasks[1].cancel()
    pool.made[0].hold.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(answers[1], asyncio.CancelledError)
    assert answers[2] == ("read 2",)
    assert await read(one, "again") == ("again",)


async def test_who_gives_up_just_when_it_is_served_passes_it_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, pool = readers(size=2)
    tasks = await held(pool, one, 3)
    lend = one._lend

    def lend_and_cancel(connection: Any) -> None:
        lend(connection)
        monkeypatch.undo()
        tasks[1].cancel()

    monkeypatch.setattr(one, "_lend", lend_and_cancel)
    pool.made[0].hold.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert answers[2] == ("read 2",)
    assert await read(one, "again") == ("again",)
    assert len(pool.out) == 1


async def test_while_the_pool_refuses_each_read_fails_and_none_hangs() -> None:
    one, pool = readers(size=2)
    pool.refuses = True

    answers = await asyncio.gather(*(read(one, "read") for _ in range(4)), return_exceptions=True)

    assert [type(answer) for answer in answers] == [ConnectionRefusedError] * 4
    pool.refuses = False
    assert await read(one, "read") == ("read",)


async def test_with_fewer_connections_than_it_may_have_no_read_fails() -> None:
    one, pool = readers(size=6)
    pool.most = 2

    answers = await asyncio.gather(*(read(one, "read", str(i)) for i in range(20)))

    assert answers == [("read", str(i)) for i in range(20)]
    assert len(pool.made) == len(pool.out) == 2


async def test_without_any_connection_each_read_fails_and_none_hangs() -> None:
    one, pool = readers(size=4)
    pool.most = 0

    answers = await asyncio.gather(*(read(one, "read") for _ in range(5)), return_exceptions=True)

    assert [type(answer) for answer in answers] == [asyncpg.TooManyConnectionsError] * 5
    pool.most = None
    assert await read(one, "read") == ("read",)


async def test_closing_gives_everything_back_when_its_read_ends() -> None:
    one, pool = readers()
    tasks = await held(pool, one, 1)
    assert await read(one, "idle") == ("idle",)
    assert len(pool.out) == 2

    await one.close()
    assert len(pool.out) == 1
    pool.made[0].hold.set()
    await asyncio.gather(*tasks)

    assert pool.out == []


@pytest.mark.integration
@pytest.mark.timeout(120)
async def test_a_store_reads_again_after_its_idle_connections_were_lost(baseline: Fleet) -> None:
    key = await one_key(baseline.dsn, "member")
    assert key.user_id is not None
    address = httpx.URL(baseline.dsn)
    assert address.port is not None
    async with gate_to(address.port) as gate:
        pool = await open_pool(str(address.copy_with(port=gate.port)), 4)
        membership: Any = None
        store = Store(pool, membership)
        await asyncio.gather(*(store.user(key.user_id) for _ in range(3)))
        free = list(store._readers._free)
        assert len(free) > 1

        await gate.shut()
        await until(lambda: all(lost(connection) for connection in free))
        await gate.open()

        found = await store.user(key.user_id)
        assert found is not None
        assert found.user_id == key.user_id
        await store.close()
        await asyncio.wait_for(pool.close(), 30)


class SilentConnection(FakeConnection):
    """Waits for ever, and returns to its pool only once it is cut."""

    def __init__(self) -> None:
        super().__init__()
        self.hold.clear()
        self.cut = asyncio.Event()

    def terminate(self) -> None:
        self.cut.set()


class SilentPool(FakePool):
    """A server that is stopped: what is connected waits, and nothing new is accepted."""

    async def acquire(self) -> FakeConnection:
        if len(self.made) >= self.connected:
            await asyncio.Event().wait()
        one = SilentConnection()
        self.made.append(one)
        self.out.append(one)
        return one

    async def release(self, connection: FakeConnection) -> None:
        assert isinstance(connection, SilentConnection)
        await connection.cut.wait()  # as asyncpg, which waits for the server to cancel
        await super().release(connection)

    connected = 2


def test_a_silent_server_holds_no_read_longer_than_its_time() -> None:
    async def play() -> list[float]:
        pool: Any = SilentPool(3)
        one, ended = Readers(pool, 2.0), []

        async def timed(start_s: float) -> None:
            await asyncio.sleep(start_s)
            with pytest.raises(TimeoutError):
                await one.fetchrow("read")
            ended.append(asyncio.get_running_loop().time() - start_s)

        # Two in their connections, the others wait for one.
        await asyncio.gather(*(timed(0.1 * i) for i in range(20)))
        assert pool.out == []
        return ended

    assert max(virtually(play())) <= 2.0


@pytest.mark.parametrize(
    "cut", [asyncpg.ConnectionDoesNotExistError("gone"), asyncpg.AdminShutdownError("killed")]
)
async def test_a_read_whose_connection_is_cut_is_sent_once_more(cut: Exception) -> None:
    pool: Any = FakePool(3)
    one = Readers(pool, 2.0)
    await read(one)
    pool.made[0].failure = cut

    assert await read(one, "again") == ("again",)
    assert len(pool.made) == 2


def test_a_server_that_starts_again_is_waited_for_and_one_that_stays_away_is_not() -> None:
    async def play() -> tuple[list[float], float]:
        loop = asyncio.get_running_loop()
        pool: Any = FakePool(3)
        one, waited = Readers(pool, 2.0), []
        pool.refuses = True
        loop.call_later(1.5, setattr, pool, "refuses", False)
        assert await read(one) == ("read",)
        back = loop.time()
        await one.close()
        one, pool.refuses = Readers(pool, 2.0), True
        for _ in range(5):
            began = loop.time()
            with pytest.raises((TimeoutError, ConnectionRefusedError)):
                await read(one)
            waited.append(loop.time() - began)
        return waited, back

    waited, back = virtually(play())
    assert 1.5 <= back <= 1.6
    assert waited[0] == pytest.approx(2.0, abs=0.06)
    assert max(waited[1:]) <= 0.06


async def test_a_server_that_had_no_more_connections_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, pool = readers(size=4)
    pool.most = 1
    await asyncio.gather(*(read(one) for _ in range(6)))
    assert len(pool.made) == 1

    pool.most = None
    monkeypatch.setattr("harness.targets.reference.readers.GROWS_AFTER_S", 0.0)
    one._grows_at = 0.0
    await asyncio.gather(*(read(one) for _ in range(6)))

    assert len(pool.made) == 3
