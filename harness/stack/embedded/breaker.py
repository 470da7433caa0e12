"""Breaks a fleet of embedded processes on purpose, and counts what that did.

Each fault is one generator below, in the order of what happens: it breaks, yields, counts, mends
and yields the count. `STEPS` has them by the names of `harness.domain.faults.FAULTS`. The counts
come from what was broken: the relay between the fleet and its servers, the servers' own counters
and logs, the system's accounts of processes and connections.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
from redis.asyncio import Redis
from redis.exceptions import RedisError

from harness.domain.faults import FAULTS, PlannedFault
from harness.errors import HarnessError, InvalidRunError
from harness.process import guard
from harness.process.groups import to_the_end
from harness.process.processes import Processes
from harness.process.sockets import free_port, hold, unread
from harness.process.waiting import gather_all, wait_until
from harness.stack.base import Fleet
from harness.stack.embedded.postgres import PostgresServer
from harness.stack.embedded.relay_link import Counts, Relay
from harness.stack.embedded.replicas import Replicas
from harness.stack.embedded.valkey import ValkeyServer
from harness.stack.redis import connect
from harness.targets import clock

_KILL_GRACE_S = 5.0
_PATIENCE_S = 10.0
"""Seconds for the system, or a server, to do what it was asked."""
_POISONED = 1_000
_LARGE = 4
"""Entries that are written at most; of the large ones fewer, since a server holds 256 MB."""
_LARGE_BYTES = 10_000_000
_LEAST_STEP = 4_096
_LIMITS = 64
_EVICTS_S = 0.2
"""Steps in bytes by which memory is taken until something is evicted, and how long each is given.
A server evicts within milliseconds of a new limit."""
_SHORT_BYTES = 40
"""A value that is shorter is a counter, a claim or a generation, not an object."""
_FAILURES = (RedisError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

Steps = AsyncGenerator[int, None]


@dataclass(slots=True)
class Parts:
    """What a fleet runs on."""

    fleet: Fleet
    processes: Processes
    replicas: Replicas
    relay: Relay
    postgres: PostgresServer
    redis: ValkeyServer | None


class EmbeddedBreaker:
    """Breaks one fleet. See `harness.stack.base.Breaker`."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._planned: PlannedFault | None = None
        self._steps: Steps | None = None
        self._said: list[str] = []
        self._bit = 0

    @property
    def detail(self) -> str:
        """What was broken and counted."""
        return "; ".join(self._said)

    async def begin(self, planned: PlannedFault) -> None:
        """Break it. See `Breaker.begin`."""
        self._planned, self._bit = planned, 0
        self._said.clear()
        steps = STEPS[planned.what](self, planned)
        await self._step(steps, "begun")
        self._steps = steps

    async def end(self) -> int:
        """Mend it and count. See `Breaker.end`."""
        steps, self._steps = self._steps, None
        if steps is not None and self._planned is not None:
            self._bit = await self._step(steps, "ended")
            await steps.aclose()
            self.say(f"{self._bit} {FAULTS[self._planned.what].proof}")
        return self._bit

    def say(self, text: str) -> None:
        """Add to `detail`."""
        self._said.append(text)

    async def _step(self, steps: Steps, what: str) -> int:
        assert self._planned is not None
        try:
            return await anext(steps)
        except (*_FAILURES, HarnessError) as error:
            raise InvalidRunError(
                f"The fault [{self._planned.what}] of [{self.parts.fleet.name}] could not be "
                f"{what}: {type(error).__name__}: {error} Read the logs of its servers."
            ) from error

    # Redis

    @property
    def _redis(self) -> ValkeyServer:
        if self.parts.redis is None:
            raise InvalidRunError(
                "The fleet uses no Redis. Leave the variant out, or break another part."
            )
        return self.parts.redis

    async def redis_kill(self, _: PlannedFault, *, saved: bool) -> Steps:
        """Kill it; it starts again with what it had saved."""
        redis, links = self._redis, self.parts.relay.links("redis")
        if saved:
            async with connect(redis.address) as client:
                await client.save()
        before = await self.parts.relay.counts()
        with await self._killed(redis):
            yield 0
            refused = (await self.parts.relay.counts()).since(before, links, "refused")
        await redis.start_again()
        yield refused

    async def redis_late(self, _: PlannedFault) -> Steps:
        """All replicas end, Redis too; only then do their successors start, and find none."""
        redis, replicas = self._redis, self.parts.replicas
        links = self.parts.relay.links("redis")
        everyone = sorted(replicas.running)
        await gather_all(*(replicas.end(index, "term") for index in everyone))
        before = await self.parts.relay.counts()
        with await self._killed(redis):
            await gather_all(*(replicas.succeed(index) for index in everyone))
            yield 0
            refused = (await self.parts.relay.counts()).since(before, links, "refused")
        await redis.start_again()
        yield refused

    async def _killed(self, redis: ValkeyServer) -> contextlib.AbstractContextManager[Any]:
        """Kill Redis; the result keeps its port."""
        await self.parts.processes.end([redis.process], _KILL_GRACE_S, signal.SIGKILL)
        self.say(f"Redis ended by signal {-redis.process.popen.returncode}")
        return hold(redis.port)

    async def hang(self, _: PlannedFault, *, server: str) -> Steps:
        """Stop a server; the system still accepts its connections, and keeps what is sent."""
        relay, links = self.parts.relay, self.parts.relay.links(server)
        process = (self._redis if server == "redis" else self.parts.postgres).process
        with await _stopped(process.pid):
            before = await relay.counts()
            yield 0
            waited = (await relay.counts()).since(before, links, "unanswered")
        yield waited

    async def relayed(
        self, planned: PlannedFault, *, server: str, mode: str, count: str, one: bool = False
    ) -> Steps:
        """Have the relay do something to what passes, on the links of all replicas or of one."""
        relay = self.parts.relay
        links = [f"{server}-{planned.replica}"] if one else relay.links(server)
        how = {"delay_ms": planned.delay_ms, "jitter_ms": planned.jitter_ms}
        before = await relay.turn(links, mode, **how)
        try:
            yield 0
        finally:
            after = await to_the_end(relay.turn(links, "pass"))
        yield after.since(before, links, count)

    async def redis_flush(self, _: PlannedFault) -> Steps:
        """Delete every entry."""
        async with connect(self._redis.address) as client, client.pipeline() as asked:
            asked.dbsize()
            asked.flushall()
            deleted, _done = await asked.execute()
        yield 0
        yield int(deleted)

    async def redis_evict(self, _: PlannedFault) -> Steps:
        """Allow half of what the entries take, and have it evict those least recently used.

        Buffers of connections count too, and may be larger than a small working set: the limit is
        lowered until something is evicted. Where nothing is left to evict, writes are refused.
        """
        async with connect(self._redis.address) as client:
            before = await _stat(client, "stats", "evicted_keys")
            sizes = [
                int(await client.memory_usage(key) or 0)
                async for key in client.scan_iter(count=_POISONED)
            ]
            limit = await _stat(client, "memory", "used_memory")
            step = max(sum(sizes) // 2, _LEAST_STEP)

            async def evicted() -> int:
                return await _stat(client, "stats", "evicted_keys") - before

            async with (
                _configured(client, "maxmemory-policy", "allkeys-lru"),
                _configured(client, "maxmemory", limit),
            ):
                for _try in range(_LIMITS):
                    limit = max(1, limit - step)
                    await client.config_set("maxmemory", limit)
                    if await wait_until(evicted, _EVICTS_S):
                        break
                self.say(f"{limit} bytes allowed, {len(sizes)} entries of {sum(sizes)} bytes")
                yield 0
                found = await evicted()
        yield found

    async def redis_oom(self, _: PlannedFault) -> Steps:
        """Allow no memory at all, and evict nothing: it refuses every write."""
        async with connect(self._redis.address) as client:
            before = await _errors(client, "OOM")
            async with _configured(client, "maxmemory", 1):
                yield 0
                refused = await _errors(client, "OOM") - before
        yield refused

    async def redis_readonly(self, _: PlannedFault) -> Steps:
        """Make it the replica of a server that is not there: it keeps its data, takes no writes."""
        port = free_port()
        async with connect(self._redis.address) as client:
            before = await _errors(client, "READONLY")
            with hold(port):
                await client.replicaof("127.0.0.1", port)
                try:
                    yield 0
                finally:
                    await to_the_end(client.replicaof("NO", "ONE"))
            refused = await _errors(client, "READONLY") - before
        yield refused

    async def redis_no_del(self, _: PlannedFault) -> Steps:
        """Take DEL and UNLINK from the user as whom everyone comes."""
        async with connect(self._redis.address) as client:
            before = await _stat(client, "stats", "acl_access_denied_cmd")
            await client.acl_setuser("default", enabled=True, commands=["-del", "-unlink"])
            try:
                yield 0
            finally:
                await to_the_end(client.acl_setuser("default", enabled=True, commands=["+@all"]))
            refused = await _stat(client, "stats", "acl_access_denied_cmd") - before
        yield refused

    async def redis_poison(self, planned: PlannedFault) -> Steps:
        """Overwrite entries of objects with what is no entry; they keep their time to live."""
        poison = _POISONS[planned.entry]
        most = _LARGE if planned.entry == "large" else _POISONED
        written = 0
        async with connect(self._redis.address) as client:
            async for key in client.scan_iter(count=_POISONED, _type="STRING"):
                value = await client.get(key)
                if written < most and isinstance(value, bytes) and len(value) >= _SHORT_BYTES:
                    written += await poison(client, key, value)
        self.say(f"entries of kind {planned.entry}")
        yield 0
        yield written

    async def redis_unsubscribe(self, _: PlannedFault) -> Steps:
        """Close the connections that have subscribed to a channel."""
        async with connect(self._redis.address) as client:
            closed = await client.client_kill_filter(_type="pubsub")
        yield 0
        yield int(closed)

    # Postgres

    async def postgres_kill(self, _: PlannedFault) -> Steps:
        """Kill the server and its backends; it recovers from its log when it starts again."""
        postgres, relay = self.parts.postgres, self.parts.relay
        before = await relay.counts()
        # Stopped first, so that it starts no backend that is not killed. Backends lead groups of
        # their own, and the memory that they share must be free before the next server starts.
        with await _stopped(postgres.process.pid):
            children = list(_below(postgres.process.pid))
            await self.parts.processes.end([postgres.process], _KILL_GRACE_S, signal.SIGKILL)
            for pid, born in children:
                if guard.birth(pid) == born:
                    _signal(pid, signal.SIGKILL)
        await wait_until(
            lambda: all(guard.birth(pid) != born for pid, born in children), _PATIENCE_S
        )
        self.say(f"Postgres ended by signal {-postgres.process.popen.returncode}")
        with hold(postgres.port):
            yield 0
            after = await relay.counts()
        await postgres.start_again()
        yield self._cut(before, after)

    async def postgres_kill_backend(self, _: PlannedFault) -> Steps:
        """Kill one backend of the fleet; Postgres then ends all others, and recovers."""
        relay = self.parts.relay
        before = await relay.counts()
        async with self._admin() as admin:
            pid = await admin.fetchval(
                "SELECT min(pid) FROM pg_stat_activity WHERE usename = $1", self._role
            )
        if pid is None:
            raise InvalidRunError("The fleet has no connection to Postgres.")
        os.kill(pid, signal.SIGKILL)
        await wait_until(lambda: guard.birth(pid) is None, _PATIENCE_S)
        self.say(f"killed backend {pid}")
        yield 0
        await wait_until(self._answers, _PATIENCE_S, retry=_FAILURES)
        yield self._cut(before, await relay.counts())

    async def postgres_full(self, _: PlannedFault) -> Steps:
        """Forbid the fleet's role to connect, and end its connections."""
        log_file = self.parts.postgres.log_file
        async with self._admin() as admin:
            start = log_file.stat().st_size
            await admin.execute(f'ALTER ROLE "{self._role}" CONNECTION LIMIT 0')
            try:
                ended = await admin.fetchval(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE usename = $1",
                    self._role,
                )
                self.say(f"ended {ended} connections")
                yield 0
            finally:
                await to_the_end(admin.execute(f'ALTER ROLE "{self._role}" CONNECTION LIMIT -1'))
        yield _lines(log_file, start, "too many connections for role")

    def _cut(self, before: Counts, after: Counts) -> int:
        return after.since(before, self.parts.relay.links("postgres"), "cut")

    @property
    def _role(self) -> str:
        return urlsplit(self.parts.fleet.dsn).username or ""

    @contextlib.asynccontextmanager
    async def _admin(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        dsn = self.parts.postgres.admin_dsn
        connection = await asyncpg.connect(dsn, timeout=_PATIENCE_S, command_timeout=_PATIENCE_S)
        try:
            yield connection
        finally:
            await connection.close()

    async def _answers(self) -> bool:
        async with self._admin() as admin:
            return bool(await admin.fetchval("SELECT true"))

    # Replicas

    async def replica_end(self, planned: PlannedFault, *, how: Any) -> Steps:
        """End a replica; its successor starts some seconds after that, while the fault lasts."""
        replicas, index = self.parts.replicas, planned.replica
        process = replicas.running[index]

        async def replaced() -> None:
            await replicas.end(index, how)
            await replicas.succeed(index, planned.new_after_s)

        replacing = asyncio.create_task(replaced())
        try:
            if how == "kill":
                await wait_until(lambda: process.ended() or replacing.done(), _PATIENCE_S)
            yield 0
            await replacing
        finally:
            replacing.cancel()
            await asyncio.gather(replacing, return_exceptions=True)
        self.say(f"replica {index} {process.exit_report().partition(';')[0]}")
        yield int(process.ended())

    async def replica_hang(self, planned: PlannedFault) -> Steps:
        """Stop a replica with all its workers."""
        process = self.parts.replicas.running[planned.replica]
        with await _stopped(process.pid):
            yield 0
            waited = unread(self.parts.replicas.ports(planned.replica)[0])
        yield waited

    async def replica_clock(self, planned: PlannedFault) -> Steps:
        """Shift the clock of each worker of a replica."""
        folder = self.parts.replicas.places[planned.replica].clocks
        assert folder is not None, "a fleet that is broken has clocks"
        before = clock.shifted(folder)
        clock.shift(folder, planned.skew_s)
        try:
            yield 0
        finally:
            clock.shift(folder, 0.0)
        after = clock.shifted(folder)
        asked = sum(after.values()) - sum(before.values())
        self.say(f"time.time shifted by {planned.skew_s:g} s, asked for {asked} times")
        yield sum(count > before.get(process, 0) for process, count in after.items())


STEPS: Mapping[str, Callable[[EmbeddedBreaker, PlannedFault], Steps]] = {
    "redis-kill-empty": partial(EmbeddedBreaker.redis_kill, saved=False),
    "redis-kill-saved": partial(EmbeddedBreaker.redis_kill, saved=True),
    "redis-hang": partial(EmbeddedBreaker.hang, server="redis"),
    "redis-slow": partial(EmbeddedBreaker.relayed, server="redis", mode="slow", count="delayed"),
    "redis-reset": partial(EmbeddedBreaker.relayed, server="redis", mode="cut", count="cut"),
    "redis-blackhole": partial(
        EmbeddedBreaker.relayed, server="redis", mode="drop", count="dropped", one=True
    ),
    "redis-flush": EmbeddedBreaker.redis_flush,
    "redis-evict": EmbeddedBreaker.redis_evict,
    "redis-oom": EmbeddedBreaker.redis_oom,
    "redis-readonly": EmbeddedBreaker.redis_readonly,
    "redis-no-del": EmbeddedBreaker.redis_no_del,
    "redis-late": EmbeddedBreaker.redis_late,
    "redis-poison": EmbeddedBreaker.redis_poison,
    "redis-unsubscribe": EmbeddedBreaker.redis_unsubscribe,
    "postgres-kill": EmbeddedBreaker.postgres_kill,
    "postgres-kill-backend": EmbeddedBreaker.postgres_kill_backend,
    "postgres-hang": partial(EmbeddedBreaker.hang, server="postgres"),
    "postgres-slow": partial(
        EmbeddedBreaker.relayed, server="postgres", mode="reads", count="delayed"
    ),
    "postgres-full": EmbeddedBreaker.postgres_full,
    "replica-kill": partial(EmbeddedBreaker.replica_end, how="kill"),
    "replica-term": partial(EmbeddedBreaker.replica_end, how="term"),
    "replica-hang": EmbeddedBreaker.replica_hang,
    "replica-clock": EmbeddedBreaker.replica_clock,
}
"""How each fault is done."""


async def _other_type(client: Redis, key: bytes, _: bytes) -> bool:
    """A list under the name of a string."""
    async with client.pipeline() as asked:
        asked.pttl(key)
        asked.unlink(key)
        asked.rpush(key, "poison")
        left_ms, *_rest = await asked.execute()
    if left_ms > 0:
        await client.pexpire(key, left_ms)
    return True


def _instead(change: Callable[[bytes], bytes]) -> Callable[[Redis, bytes, bytes], Any]:
    async def write(client: Redis, key: bytes, value: bytes) -> bool:
        return bool(await client.set(key, change(value), xx=True, keepttl=True))

    return write


_POISONS: Mapping[str, Callable[[Redis, bytes, bytes], Any]] = {
    "other_type": _other_type,
    "truncated": _instead(lambda value: value[: len(value) // 2]),
    "empty": _instead(lambda _: b""),
    "foreign": _instead(lambda _: b'{"schema_version": 99, "kind": "thing", "payload": {"a": 1}}'),
    # Blanks at its end leave the value of JSON as it was; only its size is wrong.
    "large": _instead(lambda value: value.ljust(_LARGE_BYTES)),
}
"""What is written in place of an entry, by the names of `harness.domain.faults.ENTRIES`."""


@contextlib.asynccontextmanager
async def _configured(client: Redis, name: str, value: str | int) -> AsyncIterator[None]:
    """A setting of a server, for a while."""
    before = (await client.config_get(name))[name]
    assert before is not None, name
    await client.config_set(name, value)
    try:
        yield
    finally:
        await to_the_end(client.config_set(name, before))


async def _stat(client: Redis, section: str, name: str) -> int:
    info: dict[str, Any] = await client.info(section)
    return int(info.get(name, 0))


async def _errors(client: Redis, kind: str) -> int:
    """Replies of an error by its first word."""
    info: dict[str, Any] = await client.info("errorstats")
    found = info.get(f"errorstat_{kind}", {})
    return int(found["count"]) if found else 0


def _lines(log_file: Path, start: int, words: str) -> int:
    """Lines of a log with some words, from byte `start` on."""
    with log_file.open("rb") as log:
        log.seek(start)
        return sum(words.encode() in line for line in log)


def _below(pid: int) -> Iterator[tuple[int, str]]:
    """Every process below one, with its birth."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(pid).children(recursive=True):
            born = guard.birth(child.pid)
            if born is not None:
                yield child.pid, born


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


async def _stopped(pid: int) -> contextlib.ExitStack:
    """Stop a process and all below it; the result lets them go on at its end.

    Returns once the system says that each is stopped. The process itself first, so that it starts
    no other meanwhile. Raises InvalidRunError.
    """
    with contextlib.ExitStack() as resumed:
        await _stop(pid, resumed)
        for child, _ in list(_below(pid)):
            await _stop(child, resumed)
        return resumed.pop_all()


async def _stop(pid: int, resumed: contextlib.ExitStack) -> None:
    resumed.callback(_signal, pid, signal.SIGCONT)
    _signal(pid, signal.SIGSTOP)

    def still() -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(pid).status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
        return True

    if not await wait_until(still, _PATIENCE_S):
        raise InvalidRunError(f"Process [{pid}] did not stop within [{_PATIENCE_S:g} s].")
