"""How a change of an object reaches the caches that hold copies of it.

The worker that takes a change (the handler) calls `Invalidation.changed` after its COMMIT. One
class per value of the switch ``invalidation``; what each costs and cannot repair is in
docs/decisions/0029. Whatever is lost, no copy outlives the promise: the TTL of both tiers.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote, unquote

from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from harness.authcache.cache import EVICTIONS_KEPT, AuthCache
from harness.authcache.tiers import RedisRefusedError, RedisUnavailableError
from harness.authcache.words import Invalidated, ObjectKind, Tier, WriteOutcome

Changed = tuple[ObjectKind, str]
"""An object and one of its cache keys, by the layout."""

CHANNEL = "authcache:changed"
CHECK_S = 1.0
"""How often a worker that serves from memory asks for the number of the last change, and one that
has news without a number tries to send it."""
LAST_TRIES = 10
"""How often it tries before it ends."""
_KEEPALIVE = {socket.TCP_KEEPIDLE: 5, socket.TCP_KEEPINTVL: 2, socket.TCP_KEEPCNT: 3}
"""A connection whose other end is silently gone is noticed after about 11 s."""


class Invalidation:
    """Evicts nothing: every copy is served until it expires. Base of the other mechanisms.

    A worker makes one, opens it before its first request, and closes it after its last.
    """

    listens = False
    """Whether news of other workers' changes comes over a connection of its own."""
    tracks = False
    """Whether it is Redis that names the keys, and not the handler."""
    pauses_s: ClassVar[tuple[float, float]] = (0.05, 1.0)
    """The first and the longest pause before a lost connection is opened again; it doubles."""

    def __init__(self, cache: AuthCache) -> None:
        self.cache = cache
        self._recorder = cache.recorder
        self._listener: Listener | None = None

    async def open(
        self,
        url: str | None = None,
        sent: MutableMapping[str, int] | None = None,
        *,
        namespace: str = "",
        timeout_s: float = 1.0,
    ) -> None:
        """Start to listen for changes that other workers take; returns after the first try.

        Args:
            url: of Redis, in redis-py's format.
            sent: counts the commands about data, by name.
            namespace: before every cache key and channel.
            timeout_s: for one try to connect.
        """
        if self.listens and url is not None:
            counts = {} if sent is None else sent
            self._listener = Listener(url, self, counts, namespace, timeout_s)
            await self._listener.start()

    async def close(self) -> None:
        """Stop to listen."""
        if self._listener is not None:
            await self._listener.stop()

    async def changed(self, objects: Iterable[Changed]) -> None:
        """Say that rows have changed, were made or are gone; returns when the handler has done so.

        Call it after COMMIT: whatever reads Postgres from then on reads the new row. A Redis that
        does not answer is no error of the caller: copies then live until they expire.

        Args:
            objects: the cache keys of all copies of each object: a team and its second copy, a
                membership and its member entry.
        """

    async def deleted(self, objects: Iterable[Changed]) -> None:
        """Say that rows are gone. Copies of a deleted row are evicted as those of a changed one."""
        await self.changed(objects)

    async def connected(self) -> None:
        """The listener hears from now on. Raises RedisUnavailableError: then it tries again."""

    def lost(self) -> None:
        """The listener hears nothing from now on."""

    def receive(self, push: Sequence[Any]) -> None:
        """One message from Redis: its type, then what it carries."""

    def _evict(self, objects: Iterable[Changed]) -> None:
        for kind, key in objects:
            if self.cache.evict(key):
                self._recorder.invalidation(Invalidated.APPLIED, kind)

    def _count(self, event: Invalidated, objects: Iterable[Changed]) -> None:
        for kind, _ in objects:
            self._recorder.invalidation(event, kind)


class Handler(Invalidation):
    """The handler drops its memory and the Redis entry; the other workers' memory expires."""

    async def changed(self, objects: Iterable[Changed]) -> None:
        """As `Invalidation.changed`."""
        objects = list(dict.fromkeys(objects))
        self._evict(objects)
        if self.cache.redis is None or not objects:
            return
        try:
            await self.evict_redis(objects)
        except RedisUnavailableError:
            self._count(Invalidated.DROPPED, objects)
        # A lookup may have filled memory from Redis before Redis had evicted.
        self._evict(objects)

    async def evict_redis(self, objects: Sequence[Changed]) -> None:
        """Evict the entries in Redis, and tell the others. Raises RedisUnavailableError."""
        assert self.cache.redis is not None
        hold_s, keys = self.cache.redis_hold_s, [key for _, key in objects]
        if hold_s > 0:
            await self.cache.redis.forget(keys, hold_s)
            self._wrote(objects)
        else:
            await self.cache.redis.delete(*keys)

    def _wrote(self, objects: Iterable[Changed]) -> None:
        """A claim in place of an entry is a write to Redis, which the ledger compares."""
        for kind, _ in objects:
            self._recorder.write(Tier.REDIS, WriteOutcome.OK, kind)


class Broadcast(Handler):
    """And a message tells every worker, at most once, as releases from 1.97 on do.

    What is sent while a subscriber is away never reaches it: its memory expires.
    """

    listens = True
    pauses_s = (5.0, 60.0)
    """As in the releases."""

    async def evict_redis(self, objects: Sequence[Changed]) -> None:
        """As `Handler.evict_redis`."""
        await super().evict_redis(objects)
        assert self.cache.redis is not None
        await self.cache.redis.publish(CHANNEL, "0\n" + _news(objects))
        self._count(Invalidated.SENT, objects)

    def receive(self, push: Sequence[Any]) -> None:
        """As `Invalidation.receive`."""
        if push[0] == b"message":
            self.told(*_message(push[2]))

    def told(self, number: int, objects: list[Changed] | None) -> None:
        """A message has come; None for objects that it does not say: any may have changed."""
        del number
        if objects is None:
            self.cache.flush()
            return
        self._count(Invalidated.RECEIVED, objects)
        self._evict(objects)


class Generation(Broadcast):
    """And every change has a number in Redis, so a worker knows which it has missed.

    One script evicts the entries, gives the change the next number, logs it and sends it. A worker
    that finds a gap, whose connection was away, or that has served from memory for `CHECK_S` since
    it last asked, reads from the log what it has missed; it drops all of its memory where the log
    does not reach back. The number that an object had when a load began is compared at the store:
    in memory by what the worker has applied since, in Redis by the claim that a change deletes.
    With ``lost_news = kept`` a change that Redis did not take gets its number when Redis answers
    again; one that it refused to number is sent without a number at once. Until the number comes,
    the workers that know of the change take no copy of the object from Redis.
    """

    pauses_s = Invalidation.pauses_s

    def __init__(self, cache: AuthCache) -> None:
        super().__init__(cache)
        self._seen = 0
        """The number up to which this worker has applied every change."""
        self._unsent: dict[Changed, None] = {}
        """What has changed and has no number yet."""
        self._keeps = cache.switches.lost_news == "kept"
        self._tasks: set[asyncio.Task[None]] = set()
        self._resending: asyncio.Task[None] | None = None
        cache.check = self._check_soon
        cache.check_at = -math.inf

    async def close(self) -> None:
        """As `Invalidation.close`; for up to `CHECK_S` it tries to send what has no number yet."""
        await super().close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._resending is not None:
            self._resending.cancel()
            await asyncio.gather(self._resending, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CHECK_S):
                while self._unsent:
                    with contextlib.suppress(RedisUnavailableError):
                        await self._number(())
                        break
                    await asyncio.sleep(CHECK_S / LAST_TRIES)

    async def evict_redis(self, objects: Sequence[Changed]) -> None:
        """As `Handler.evict_redis`."""
        try:
            await self._number(objects)
        except RedisRefusedError:
            if self._keeps:
                await self._tell_without_number(objects)
            raise
        finally:
            self._resend_soon()

    async def _number(self, objects: Iterable[Changed]) -> None:
        """Number what has changed, and what could not be numbered before."""
        assert self.cache.redis is not None
        latest = list(objects)
        objects = [*dict.fromkeys([*self._unsent, *latest])]
        # Taken out before they are sent: the message comes back before the answer.
        self._unsent.clear()
        hold_s, keys = self.cache.redis_hold_s, [key for _, key in objects]
        try:
            await self.cache.redis.forget_numbered(keys, hold_s, CHANNEL, _news(objects))
        except (RedisUnavailableError, asyncio.CancelledError):
            if self._keeps:
                self._unsent.update(dict.fromkeys(objects))
                for oldest in list(self._unsent)[:-EVICTIONS_KEPT]:
                    del self._unsent[oldest]
                for _, key in latest:
                    self.cache.distrust(key)
            raise
        for key in keys:
            self.cache.trust(key)
        if hold_s > 0:
            self._wrote(objects)
        self._count(Invalidated.SENT, objects)

    async def _tell_without_number(self, objects: Sequence[Changed]) -> None:
        """Delete and publish, each if Redis lets it: a full Redis does both."""
        redis = self.cache.redis
        assert redis is not None
        with contextlib.suppress(RedisUnavailableError):
            await redis.delete(*(key for _, key in objects))
        with contextlib.suppress(RedisUnavailableError):
            await redis.publish(CHANNEL, "0\n" + _news(objects))

    def told(self, number: int, objects: list[Changed] | None) -> None:
        """As `Broadcast.told`; what was caught up with already is left out."""
        if self._keeps:
            self._learn(number, objects or ())
        if 0 < number <= self._seen:
            return
        super().told(number, objects)
        if number == self._seen + 1:
            self._seen = number
        elif number:
            self._check_soon()

    def _learn(self, number: int, objects: Iterable[Changed]) -> None:
        """Without a number a change has evicted nothing in Redis, or not for certain.

        The log does not say so: what it names may have changed again since, without a number.
        """
        for one in objects:
            if not number:
                self.cache.distrust(one[1])
            elif one not in self._unsent:
                self.cache.trust(one[1])

    async def connected(self) -> None:
        """As `Invalidation.connected`: read what was missed."""
        await self.catch_up()

    async def catch_up(self) -> None:
        """Apply what the log has and this worker has not. Raises RedisUnavailableError."""
        assert self.cache.redis is not None
        self.cache.check_in(CHECK_S)
        if self._unsent:
            try:
                with contextlib.suppress(RedisRefusedError):
                    await self._number(())
            finally:
                self._resend_soon()
        number, news = await self.cache.redis.changes_since(self._seen)
        if news is None or number > self._seen:
            super().told(number, None if news is None else _objects(news))
            self._seen = number

    def _check_soon(self) -> None:
        self.cache.check_in(CHECK_S)  # One at a time, whatever becomes of it.
        # Counted before the task runs: a snapshot in between would see a quiescent worker.
        self._recorder.background(+1)
        task = asyncio.create_task(self._check())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _resend_soon(self) -> None:
        """See to it that what has no number yet is sent, though nothing is looked up here."""
        if self._unsent and (self._resending is None or self._resending.done()):
            self._resending = asyncio.create_task(self._resend())

    async def _resend(self) -> None:
        while self._unsent:
            await asyncio.sleep(CHECK_S)
            # Not counted while it waits: an outage may outlast what waits for a quiescent worker.
            self._recorder.background(+1)
            await self._check()

    async def _check(self) -> None:
        try:
            with contextlib.suppress(RedisUnavailableError):  # It may answer the next time.
                await self.catch_up()
        finally:
            self._recorder.background(-1)


class Tracking(Handler):
    """Redis tells every worker which keys were written: client-side caching, broadcasting mode.

    Without its connection a worker knows nothing: it drops all of its memory and fills none.
    """

    listens = True
    tracks = True

    def __init__(self, cache: AuthCache) -> None:
        super().__init__(cache)
        cache.fills_memory = False
        cache.kinds = {}

    async def evict_redis(self, objects: Sequence[Changed]) -> None:
        """As `Handler.evict_redis`; the eviction itself is the news."""
        await super().evict_redis(objects)
        self._count(Invalidated.SENT, objects)

    async def connected(self) -> None:
        """As `Invalidation.connected`."""
        self.cache.flush()
        self.cache.fills_memory = True

    def lost(self) -> None:
        """As `Invalidation.lost`."""
        self.cache.fills_memory = False
        self.cache.flush()

    def receive(self, push: Sequence[Any]) -> None:
        """As `Invalidation.receive`. Redis does not say what a key is; memory knows its own."""
        if push[0] != b"invalidate":
            return
        if push[1] is None:  # FLUSHALL
            self.cache.flush()
            return
        kinds = self.cache.kinds
        assert kinds is not None
        # Other users of this Redis may have keys that are no text.
        for key in (name.decode(errors="replace") for name in push[1]):
            if (kind := kinds.pop(key, None)) is None:
                self.cache.evict(key)
            else:
                self._count(Invalidated.RECEIVED, [(kind, key)])
                self._evict([(kind, key)])


class Listener:
    """A connection of its own that hears what Redis pushes, by RESP3.

    Args:
        url: of Redis.
        hears: what it hears goes there.
        sent: counts the commands about data, by name.
        namespace: before the channel and all keys.
        timeout_s: for one try to connect.
    """

    def __init__(
        self,
        url: str,
        hears: Invalidation,
        sent: MutableMapping[str, int],
        namespace: str,
        timeout_s: float,
    ) -> None:
        pool = ConnectionPool.from_url(
            url,
            protocol=3,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            socket_keepalive=True,
            socket_keepalive_options=_KEEPALIVE,
            health_check_interval=0,
        )
        self._connection: Any = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py has no annotation for it
        self._hears = hears
        self._sent = sent
        self._namespace = namespace
        self._timeout_s = timeout_s
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start; returns after the first try to connect, whatever its outcome."""
        self._task = asyncio.create_task(self._run())
        await self._tried.wait()

    async def stop(self) -> None:
        """Stop, and close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._connection.disconnect(nowait=True)

    async def _run(self) -> None:
        first_s, longest_s = self._hears.pauses_s
        pause_s = first_s
        while True:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._connect()
                await self._hears.connected()
                self._tried.set()
                pause_s = first_s
                while True:
                    self._hears.receive(self._unprefixed(await self._push()))
            except (RedisError, RedisUnavailableError, OSError, TimeoutError):
                await self._connection.disconnect(nowait=True)
                self._hears.lost()
                self._tried.set()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)

    async def _connect(self) -> None:
        connection = self._connection
        await connection.connect()
        connection._parser.set_invalidation_push_handler(_pass_on)  # noqa: SLF001 - redis-py has no other way to it
        if self._hears.tracks:
            prefix = ("PREFIX", self._namespace) if self._namespace else ()
            await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *prefix)
            await connection.read_response()
        else:
            await connection.send_command("SUBSCRIBE", self._namespace + CHANNEL)
            self._sent["subscribe"] = self._sent.get("subscribe", 0) + 1
            await self._push()

    async def _push(self) -> Any:
        return await self._connection.read_response(timeout=math.inf, push_request=True)

    def _unprefixed(self, push: Any) -> Any:
        if push[0] != b"invalidate" or push[1] is None:
            return push
        return [push[0], [key[len(self._namespace.encode()) :] for key in push[1]]]


async def _pass_on(push: Any) -> Any:
    return push


def _news(objects: Iterable[Changed]) -> str:
    """A line for each object, of letters that neither a script nor a reader takes for its end."""
    return "\n".join(f"{kind} {quote(key, safe=':')}" for kind, key in objects)


def _objects(news: Iterable[str]) -> list[Changed] | None:
    """What the lines name; None if one of them cannot be read."""
    try:
        pairs = [line.split(" ") for line in news]
        return [(ObjectKind(kind), unquote(key, errors="strict")) for kind, key in pairs]
    except ValueError:
        return None


def _message(data: bytes) -> tuple[int, list[Changed] | None]:
    """Its number and what it names; 0 for a number and None for objects that cannot be read."""
    number, *news = data.decode(errors="replace").split("\n")
    try:
        return int(number), _objects(news)
    except ValueError:
        return 0, None


MECHANISMS: dict[str, type[Invalidation]] = {
    "none": Invalidation,
    "handler": Handler,
    "broadcast": Broadcast,
    "tracking": Tracking,
    "generation": Generation,
}
"""Classes by value of the switch ``invalidation``."""
