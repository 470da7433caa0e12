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
from harness.targets.litellm.inside import kinds
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


class Lookups:
    """Wraps caches, tiers and the codec. One instance per worker."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self.backfill_ttl_s: dict[ObjectKind, float] = {}
        """TTL in memory, in seconds, of the last entry taken from Redis."""

    def wrap_cache(self, cache: Any, *, may_load: bool = True) -> None:
        """Count the lookups of one `DualCache`.

        Args:
            cache: its instance attributes are replaced; its class stays as it is.
            may_load: False for a cache whose misses never lead to Postgres.
        """
        inner = cache.async_get_cache

        async def async_get_cache(key: Any, *args: Any, **kwargs: Any) -> Any:
            kind = kinds.of_key(key)
            if kind is None:
                return await inner(key, *args, **kwargs)
            model = kwargs.get("model_type")
            lookup = OpenLookup(kind, self._op(kind, key) if may_load else Op.PEEK)
            token = LOOKUP.set(lookup)
            try:
                value = await inner(key, *args, **kwargs)
            finally:
                LOOKUP.reset(token)
            if model is None and kinds.of_value(value) not in (None, kind):
                lookup.failed = True
            self._note(lookup, value)
            # What another cache keeps of a shared Redis says nothing about the auth cache.
            if lookup.redis and may_load:
                self._note_backfill(kind, cache, key)
            return value

        # The tiers first: with the outer call alone, nothing would be counted right.
        self._wrap_memory(cache)
        # From 1.102 on key objects have a memory of their own behind the same cache.
        partition = getattr(cache, "key_object_cache", None)
        if partition is not None:
            self._wrap_memory(partition)
        cache.async_get_cache = async_get_cache

    def _wrap_memory(self, cache: Any) -> None:
        inner = cache.in_memory_cache.async_get_cache

        async def async_get_cache(key: Any, *args: Any, **kwargs: Any) -> Any:
            value = await inner(key, *args, **kwargs)
            lookup = LOOKUP.get()
            if lookup is not None and lookup.memory is None:
                lookup.memory = value is not None
            return value

        cache.in_memory_cache.async_get_cache = async_get_cache

    def wrap_redis(self, redis_cache: Any) -> None:
        """Record whether Redis had a value. The instance is shared with caches not under study."""
        inner = redis_cache.async_get_cache

        async def async_get_cache(key: Any, *args: Any, **kwargs: Any) -> Any:
            lookup = LOOKUP.get()
            try:
                value = await inner(key, *args, **kwargs)
            except BaseException:
                if lookup is not None:
                    lookup.redis, lookup.backend_error = False, True
                raise
            if lookup is not None:
                lookup.redis = value is not None
            return value

        redis_cache.async_get_cache = async_get_cache

    def wrap_codec(self, codec: Any) -> None:
        """Time encode and decode of LiteLLM's `CacheCodec`, and record which decodes fail."""
        serialize, deserialize = codec.serialize, codec.deserialize
        metrics = self._requests.metrics

        def timed_serialize(value: Any, model_type: Any = None) -> Any:
            start = time.perf_counter()
            payload = serialize(value, model_type=model_type)
            kind = kinds.of_model(model_type) or kinds.of_model(type(value))
            if kind is not None:
                metrics.encode_time(kind, time.perf_counter() - start)
            return payload

        def timed_deserialize(cached: Any, model_type: Any) -> Any:
            start = time.perf_counter()
            value = deserialize(cached, model_type)
            kind = kinds.of_model(model_type)
            if kind is not None and cached is not None:
                metrics.decoded(kind, time.perf_counter() - start)
                lookup = LOOKUP.get()
                if lookup is not None and value is None:
                    lookup.failed = True
            return value

        codec.serialize = staticmethod(timed_serialize)
        codec.deserialize = staticmethod(timed_deserialize)

    def wrap_getter(self, getter: Get, kind: ObjectKind) -> Get:
        """Record what the lookups within one of LiteLLM's getters are for.

        A getter called with ``check_cache_only`` never goes on to Postgres: its lookups are peeks.
        """

        async def wrapped(*args: Any, **kwargs: Any) -> Any:
            op = Op.PEEK if kwargs.get("check_cache_only") else Op.LOAD
            token = GETTER.set((kind, op))
            try:
                return await getter(*args, **kwargs)
            except Exception:
                self._requests.current.load_failed(kind)
                raise
            finally:
                GETTER.reset(token)

        wrapped.__name__ = getattr(getter, "__name__", "getter")
        return wrapped

    def _op(self, kind: ObjectKind, key: str) -> Op:
        getter = GETTER.get()
        if getter is not None and getter[0] is kind:
            return getter[1]
        # The one load that no getter wraps: the check of a member's budget within the auth path.
        inline = kind is ObjectKind.MEMBERSHIP and not key.startswith("team_membership:")
        return Op.LOAD if inline and not self._requests.current.done else Op.PEEK

    def _note(self, lookup: OpenLookup, value: object) -> None:
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
