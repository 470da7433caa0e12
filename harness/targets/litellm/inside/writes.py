"""What LiteLLM's caches write, counted at the tiers, its size in Redis, and what they drop."""

from __future__ import annotations

import json
from contextvars import ContextVar
from typing import Any

from harness.authcache.words import Invalidated, ObjectKind, Op, Outcome, Tier, WriteOutcome
from harness.domain.series import HookPoint
from harness.targets.litellm.inside import kinds
from harness.targets.litellm.inside.guard import Watch
from harness.targets.litellm.inside.lookups import LOOKUP
from harness.targets.litellm.inside.request import Requests

WRITING: ContextVar[dict[str, ObjectKind] | None] = ContextVar("authcache_writing", default=None)
"""Kinds by cache key, while a cache writes."""

_GETS = frozenset({"GET", "MGET"})
_SETS = frozenset({"SET", "SETEX"})
_CHANNEL = "litellm_proxy.auth_cache_invalidation"
"""Of releases from 1.97 on, with the namespace before it (auth_cache_invalidation_pubsub.py)."""


class Writes:
    """Wraps a cache's setters, its memory and the Redis client's commands."""

    def __init__(self, requests: Requests, namespace: str) -> None:
        self._requests = requests
        self._guard = requests.guard
        self._prefix = f"{namespace}:" if namespace else ""

    def wrap_cache(self, point: HookPoint, cache: Any) -> None:
        """Record what a cache is about to write, and what a request read from Postgres."""
        one, many = cache.async_set_cache, cache.async_set_cache_pipeline

        def writing(key: Any, value: Any, *_: Any, **kwargs: Any) -> Watch:
            kind = kinds.of_entry(key, value, kwargs.get("model_type"))
            if kind is not None:
                self._requests.current.written(kind, value)
                yield from _while_writing({key: kind})

        def writing_many(cache_list: Any, *_: Any, **__: Any) -> Watch:
            found = {key: kinds.of_entry(key, value, None) for key, value in cache_list}
            yield from _while_writing({k: kind for k, kind in found.items() if kind is not None})

        cache.async_set_cache = self._guard.awaited(point, one, writing)
        cache.async_set_cache_pipeline = self._guard.awaited(point, many, writing_many)
        self._wrap_memory(point, cache.in_memory_cache)
        partition = getattr(cache, "key_object_cache", None)
        if partition is not None:
            self._wrap_memory(point, partition.in_memory_cache)

    def _wrap_memory(self, point: HookPoint, memory: Any) -> None:
        def setting(key: Any, *_: Any, **__: Any) -> Watch:
            kind = (WRITING.get() or {}).get(key)
            if kind is not None:
                self._requests.metrics.write(Tier.MEMORY, WriteOutcome.OK, kind)
            yield

        def deleting(key: Any, *_: Any, **__: Any) -> Watch:
            kind = kinds.of_key(key)
            if kind is not None and key in memory.cache_dict:
                self._requests.metrics.invalidation(Invalidated.APPLIED, kind)
            yield

        memory.set_cache = self._guard.sync(point, memory.set_cache, setting)
        memory.delete_cache = self._guard.sync(point, memory.delete_cache, deleting)

    def wrap_subscriber(self, point: HookPoint, subscriber: type[Any]) -> None:
        """Count the messages by which a worker hears of changes that others have taken."""

        def hearing(_: Any, message: Any, *__: Any, **___: Any) -> Watch:
            self._news(message.get("data"), Invalidated.RECEIVED)
            yield

        inner = subscriber._apply_message  # noqa: SLF001 - all ways of hearing end there
        subscriber._apply_message = self._guard.sync(point, inner, hearing)  # noqa: SLF001

    def _news(self, data: Any, event: Invalidated) -> None:
        """Count a message that names an object; the release takes no notice of any other text."""
        try:
            kind = kinds.of_key(json.loads(data).get("cache_key"))
        except (TypeError, ValueError, AttributeError):
            return
        if kind is not None:
            self._requests.metrics.invalidation(event, kind)

    def wrap_client(self, client: type[Any], pipeline: type[Any]) -> None:
        """Count what redis-py sends: GETs of objects, SETs of objects with their bytes."""

        def sending(_: Any, *args: Any, **__: Any) -> Watch:
            answer, error = yield
            if error is None:
                self._asked(args)
                self._wrote(args, WriteOutcome.OK)
                self._told(args, Invalidated.SENT)
                self._prefetched(args, answer)
            elif isinstance(error, Exception):
                lookup = LOOKUP.get()
                if lookup is not None:
                    lookup.backend_error = True
                self._wrote(args, WriteOutcome.ERROR)
                self._told(args, Invalidated.DROPPED)

        def queueing(_: Any, *args: Any, **__: Any) -> Watch:
            self._asked(args)
            self._wrote(args, WriteOutcome.OK)
            self._told(args, Invalidated.SENT)
            yield

        def running(this: Any, *_: Any, **__: Any) -> Watch:
            commands = [command for command, _ in this.command_stack]
            answers, error = yield
            if error is None:
                for command, answer in zip(commands, answers, strict=False):
                    self._prefetched(command, answer)

        send, queue, run = (
            client.execute_command,
            pipeline.pipeline_execute_command,
            pipeline.execute,
        )
        client.execute_command = self._guard.awaited(HookPoint.REDIS_CLIENT, send, sending)
        pipeline.pipeline_execute_command = self._guard.sync(
            HookPoint.REDIS_CLIENT, queue, queueing
        )
        pipeline.execute = self._guard.awaited(HookPoint.REDIS_CLIENT, run, running)

    def _asked(self, args: tuple[Any, ...]) -> None:
        if args[0] in _GETS:
            for name in args[1:]:
                if kinds.of_key(self._plain(name)) is not None:
                    self._requests.metrics.redis_get("lookup")

    def _prefetched(self, args: tuple[Any, ...], answer: Any) -> None:
        """Objects asked for in one MGET, outside any cache's lookup."""
        if args[0] != "MGET" or not isinstance(answer, list) or LOOKUP.get() is not None:
            return
        for name, value in zip(args[1:], answer, strict=False):
            kind = kinds.of_key(self._plain(name))
            if kind is not None:
                outcome = Outcome.MISS if value is None else Outcome.HIT
                self._requests.current.lookup(Tier.REDIS, Op.PEEK, outcome, kind)

    def _wrote(self, args: tuple[Any, ...], outcome: WriteOutcome) -> None:
        if args[0] not in _SETS:
            return
        key = self._plain(args[1])
        # What is not written through a cache, such as a prefetch, has only its key to go by.
        kind = (WRITING.get() or {}).get(key) or kinds.of_key(key)
        if kind is None:
            return
        metrics = self._requests.metrics
        metrics.write(Tier.REDIS, outcome, kind)
        payload = args[3] if args[0] == "SETEX" else args[2]
        if isinstance(payload, str | bytes):
            metrics.payload_size(
                kind, len(payload.encode() if isinstance(payload, str) else payload)
            )

    def _told(self, args: tuple[Any, ...], event: Invalidated) -> None:
        if args[0] == "PUBLISH" and self._plain(args[1]) == _CHANNEL:
            self._news(args[2], event)

    def _plain(self, name: Any) -> str:
        text = name.decode() if isinstance(name, bytes) else str(name)
        return text.removeprefix(self._prefix)


def _while_writing(written: dict[str, ObjectKind]) -> Watch:
    token = WRITING.set(written)
    try:
        yield
    finally:
        WRITING.reset(token)
