"""Lookups of LiteLLM's two-tier caches, counted by wrapping the caches' own methods.

A `DualCache` asks its memory and then Redis; both are wrapped, and so is what decodes. The
outcome of a lookup is known when the outer call returns: the tiers show whether there was a value,
the codec whether it was the requested object.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from harness.authcache.words import ObjectKind, Op, Outcome, Tier
from harness.domain.series import HookPoint
from harness.targets.litellm.inside import kinds
from harness.targets.litellm.inside.guard import Watch
from harness.targets.litellm.inside.request import Requests

Get = Callable[..., Awaitable[Any]]


class OpenLookup:
    """One call of a cache's ``async_get_cache`` that has not returned yet."""

    __slots__ = ("backend_error", "failed", "kind", "memory", "op", "redis")

    def __init__(self, kind: ObjectKind, op: Op) -> None:
        self.kind = kind
        self.op = op
        self.memory: bool | None = None
        """Whether memory had a value; None where it was not asked."""
        self.redis: bool | None = None
        self.failed = False
        self.backend_error = False


LOOKUP: ContextVar[OpenLookup | None] = ContextVar("authcache_lookup", default=None)
GETTER: ContextVar[tuple[ObjectKind, Op] | None] = ContextVar("authcache_getter", default=None)
"""What the running getter of LiteLLM looks for, and whether it would go on to Postgres."""
UNSEEN = "a lookup found a value that its caller did not get, and no failure to decode was seen"


class Lookups:
    """Wraps caches, tiers and the codec. One instance per worker."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._guard = requests.guard
        self.backfill_ttl_s: dict[ObjectKind, float] = {}
        """TTL in memory, in seconds, of the last entry taken from Redis."""

    def wrap_cache(self, point: HookPoint, cache: Any, *, may_load: bool = True) -> None:
        """Count the lookups of one `DualCache`.

        Args:
            point: which of them it is.
            cache: its instance attributes are replaced; its class stays as it is.
            may_load: False for a cache whose misses never lead to Postgres.
        """
        inner = cache.async_get_cache

        def looking(key: Any, *_: Any, **kwargs: Any) -> Watch:
            kind = kinds.of_key(key)
            if kind is None:
                return
            lookup = OpenLookup(kind, self._op(kind, key) if may_load else Op.PEEK)
            token = LOOKUP.set(lookup)
            try:
                value, error = yield
            finally:
                LOOKUP.reset(token)
            if error is not None:
                return
            if kwargs.get("model_type") is None and kinds.of_value(value) not in (None, kind):
                lookup.failed = True
            self._note(lookup, value)
            self._guard.seen.add(point)
            # What another cache keeps of a shared Redis says nothing about the auth cache.
            if lookup.redis and may_load:
                self._note_backfill(kind, cache, key)

        # The tiers first: with the outer call alone, nothing would be counted right.
        self._wrap_memory(point, cache)
        # From 1.102 on key objects have a memory of their own behind the same cache.
        partition = getattr(cache, "key_object_cache", None)
        if partition is not None:
            self._wrap_memory(point, partition)
        cache.async_get_cache = self._guard.awaited(point, inner, looking)

    def _wrap_memory(self, point: HookPoint, cache: Any) -> None:
        def asked(*_: Any, **__: Any) -> Watch:
            value, error = yield
            lookup = LOOKUP.get()
            if error is None and lookup is not None and lookup.memory is None:
                lookup.memory = value is not None

        memory = cache.in_memory_cache
        memory.async_get_cache = self._guard.awaited(point, memory.async_get_cache, asked)

    def wrap_redis(self, redis_cache: Any) -> None:
        """Record whether Redis had a value. The instance is shared with caches not under study."""

        def asked(*_: Any, **__: Any) -> Watch:
            lookup = LOOKUP.get()
            if lookup is None:
                return
            value, error = yield
            lookup.redis = value is not None
            if error is not None:
                lookup.backend_error = True

        inner = redis_cache.async_get_cache
        redis_cache.async_get_cache = self._guard.awaited(HookPoint.REDIS_CACHE, inner, asked)

    def wrap_codec(self, codec: Any) -> None:
        """Time encode and decode of LiteLLM's `CacheCodec`, and record which decodes fail."""
        metrics = self._requests.metrics

        def encoding(value: Any, model_type: Any = None, *_: Any, **__: Any) -> Watch:
            start = time.perf_counter()
            error = (yield).error
            kind = kinds.of_model(model_type) or kinds.of_model(type(value))
            if kind is not None and error is None:
                metrics.encode_time(kind, time.perf_counter() - start)
                self._guard.seen.add(HookPoint.CODEC)

        def decoding(cached: Any, model_type: Any, *_: Any, **__: Any) -> Watch:
            start = time.perf_counter()
            value, error = yield
            kind = kinds.of_model(model_type)
            if kind is None or cached is None or error is not None:
                return
            metrics.decoded(kind, time.perf_counter() - start)
            self._guard.seen.add(HookPoint.CODEC)
            lookup = LOOKUP.get()
            if lookup is not None and value is None:
                lookup.failed = True

        serialize, deserialize = codec.serialize, codec.deserialize
        codec.serialize = staticmethod(self._guard.sync(HookPoint.CODEC, serialize, encoding))
        codec.deserialize = staticmethod(self._guard.sync(HookPoint.CODEC, deserialize, decoding))

    def wrap_getter(self, getter: Get, kind: ObjectKind) -> Get:
        """Record what the lookups within one of LiteLLM's getters are for.

        A getter called with ``check_cache_only`` never goes on to Postgres: its lookups are peeks.
        """

        def getting(*_: Any, **kwargs: Any) -> Watch:
            self._guard.seen.add(HookPoint.GETTERS)
            token = GETTER.set((kind, Op.PEEK if kwargs.get("check_cache_only") else Op.LOAD))
            try:
                error = (yield).error
            finally:
                GETTER.reset(token)
            if isinstance(error, Exception):
                self._requests.current.load_failed(kind)

        return self._guard.awaited(HookPoint.GETTERS, getter, getting)

    def _op(self, kind: ObjectKind, key: str) -> Op:
        getter = GETTER.get()
        if getter is not None and getter[0] is kind:
            return getter[1]
        # The one load that no getter wraps: the check of a member's budget within the auth path.
        inline = kind is ObjectKind.MEMBERSHIP and not key.startswith("team_membership:")
        return Op.LOAD if inline and not self._requests.current.done else Op.PEEK

    def _note(self, lookup: OpenLookup, value: object) -> None:
        if value is None and (lookup.memory or lookup.redis) and not lookup.failed:
            # A tier had a value, the caller got none, and no failure was seen: what decodes is not
            # the codec that was wrapped. Neither hit nor failure is known, so nothing is counted,
            # and the read that follows has no lookup before it.
            self._guard.doubt(HookPoint.CODEC, UNSEEN)
            return
        request = self._requests.current
        memory, redis = _outcomes(lookup)
        if memory is not None:
            request.lookup(Tier.MEMORY, lookup.op, memory, lookup.kind)
        if redis is not None:
            request.lookup(Tier.REDIS, lookup.op, redis, lookup.kind)
        answered = value is not None and not lookup.failed
        if answered:
            request.found(lookup.kind, value, Tier.MEMORY if lookup.memory else Tier.REDIS)
        elif lookup.op is Op.LOAD and (last := redis or memory) is not None:
            # Where a release asks no tier that we wrap, no outcome gives its read a reason.
            request.left_open(lookup.kind, last)

    def _note_backfill(self, kind: ObjectKind, cache: Any, key: Any) -> None:
        memory_of = getattr(cache, "in_memory_cache_for", lambda _: cache.in_memory_cache)
        deadline = getattr(memory_of(key), "ttl_dict", {}).get(key)
        if deadline is not None:
            self.backfill_ttl_s[kind] = deadline - time.time()


def _outcomes(lookup: OpenLookup) -> tuple[Outcome | None, Outcome | None]:
    """Outcomes of memory and Redis; None for a tier that was not asked."""
    found = Outcome.DESERIALIZE_FAILURE if lookup.failed else Outcome.HIT
    memory = redis = None
    if lookup.memory is not None:
        memory = found if lookup.memory else Outcome.MISS
    if lookup.redis is not None:
        redis = found if lookup.redis else Outcome.MISS
        if lookup.backend_error:
            redis = Outcome.BACKEND_ERROR
    return memory, redis
