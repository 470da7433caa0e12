"""Wraps a release's proxy from outside. Nothing of LiteLLM is changed.

Every point is wrapped by name (`HookPoint`). A release that lacks it goes without that counter, and
so does one in which a point does not count a known event (`Controls`); ``authcache_instrumented``
shows that.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
from typing import Any
from weakref import WeakSet

from harness.authcache.logs import Signature
from harness.authcache.words import ObjectKind
from harness.domain.series import BACKFILL_TTL, ORIGIN_INFO, HookPoint
from harness.targets.counters import Gauges
from harness.targets.litellm.inside import real_prisma
from harness.targets.litellm.inside.controls import Controls
from harness.targets.litellm.inside.lookups import Lookups
from harness.targets.litellm.inside.origin import reported
from harness.targets.litellm.inside.pending import SpendQueues, Tasks
from harness.targets.litellm.inside.request import Requests
from harness.targets.litellm.inside.settings import Settings
from harness.targets.litellm.inside.writes import Writes
from harness.targets.metrics import Metrics
from harness.targets.schema.statements import classify

GETTERS = {
    "get_key_object": ObjectKind.KEY,
    "get_user_object": ObjectKind.USER,
    "get_team_object": ObjectKind.TEAM,
    "get_team_membership": ObjectKind.MEMBERSHIP,
}
"""LiteLLM's getters in ``litellm.proxy.auth.auth_checks``: cache first, then Postgres."""

SUBSCRIBER = "litellm.proxy.common_utils.auth_cache_invalidation_pubsub"
"""Module of the class that hears of changes in releases from 1.97 on."""
_BEGINNINGS: tuple[tuple[str, Signature], ...] = (
    ("CacheCodec.deserialize: validation failed", Signature.CODEC_VALIDATION_FAILED),
    ("UserApiKeyCache.async_get_cache failed to deserialize", Signature.TYPED_READ_FAILED),
    ("UserApiKeyCache.get_cache failed to deserialize", Signature.TYPED_READ_FAILED),
    ("LiteLLM Redis Caching: async set() - Got exception", Signature.ENCODE_FAILED),
    ("Spend tracking - failed", Signature.SPEND_UPDATE_FAILED),
)
LOGGERS = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")
"""LiteLLM's own loggers; in some releases they do not propagate."""


class Instruments:
    """Everything that was wrapped in one worker, and its counters."""

    def __init__(self, settings: Settings) -> None:
        build = {
            "codec": "litellm",
            "layout": "litellm",
            "target": "litellm",
            "version": settings.version,
        }
        self.metrics = Metrics(settings.variant, build)
        self.requests = Requests(self.metrics, settings.variant)
        self._guard = self.requests.guard
        self._tasks = Tasks(self._guard)
        self._variant = settings.variant
        self._lookups = Lookups(self.requests)
        self._writes = Writes(self.requests, settings.redis_namespace)
        self._queues: SpendQueues | None = None
        self._counted = 0
        self._proxy: Any = None
        self._backfill = Gauges(
            self.metrics.registry,
            BACKFILL_TTL,
            "How long the last entry taken from Redis was to stay in memory.",
            ("object", "variant"),
        )
        self._laid = settings.laid.keys()
        self._origin = Gauges(
            self.metrics.registry,
            ORIGIN_INFO,
            "Where the worker's LiteLLM came from.",
            ("folder", "native", "digest", "variant"),
        )

    def wrap(self, *, stand_in: bool) -> Any:
        """Import the proxy and wrap it.

        Args:
            stand_in: whether our own `prisma` sends the statements and can be observed.

        Returns:
            ``litellm.proxy.proxy_server.app``.
        """
        wrap = self._guard.wrap
        wrap(HookPoint.REDIS_CLIENT, self._wrap_redis_client)
        proxy = self._proxy = importlib.import_module("litellm.proxy.proxy_server")
        origin = reported(self._laid)
        self._origin.values = {(*origin.values(), self._variant): 1}
        wrap(HookPoint.CODEC, self._wrap_codec)
        wrap(HookPoint.GETTERS, self._wrap_getters)
        wrap(HookPoint.AUTH_CACHE, self._wrap_cache)
        wrap(HookPoint.INTERNAL_USAGE_CACHE, self._wrap_internal_cache)
        observe = self._observe_statements if stand_in else self._observe_real_prisma
        wrap(HookPoint.STATEMENTS, observe)
        wrap(HookPoint.LOG_RECORDS, ScopedLogCounter(self.requests).install)
        return proxy.app

    def on_loop(self) -> None:
        """Wrap the running event loop."""
        self._guard.wrap(HookPoint.TASKS, self._tasks.install)

    async def after_startup(self) -> None:
        """Wrap what LiteLLM makes when it starts; then every point counts a known event."""
        self._guard.wrap(HookPoint.REDIS_CACHE, self._wrap_redis_cache)
        self._guard.wrap(HookPoint.SPEND_QUEUES, self._find_queues)
        await Controls(self.requests, self._proxy, self._tasks, self._queues).run()

    def flush_spend(self) -> None:
        """Flush waiting spend now, by LiteLLM's own job, unless requests are under way."""
        self._guard.run(HookPoint.SPEND_QUEUES, self._flush_spend)

    def _flush_spend(self) -> None:
        queues = self._queues
        if queues is not None and not self.metrics.pending - self._counted and queues.waiting():
            queues.flush()

    def refresh(self) -> None:
        """Update the gauges."""
        waiting = self._guard.run(HookPoint.TASKS, self._tasks.unfinished) or 0
        if self._queues is not None:
            waiting += self._guard.run(HookPoint.SPEND_QUEUES, self._queues.waiting) or 0
        self.metrics.background(waiting - self._counted)
        self._counted = waiting
        self._guard.refresh()
        self._backfill.values = {
            (kind.value, self._variant): ttl for kind, ttl in self._lookups.backfill_ttl_s.items()
        }

    def _wrap_redis_client(self) -> None:
        client = importlib.import_module("redis.asyncio.client")
        self._writes.wrap_client(client.Redis, client.Pipeline)

    def _wrap_codec(self) -> None:
        module = importlib.import_module("litellm.proxy.common_utils.cache_pydantic_utils")
        self._lookups.wrap_codec(module.CacheCodec)

    def _wrap_getters(self) -> None:
        module = importlib.import_module("litellm.proxy.auth.auth_checks")
        originals = {name: getattr(module, name) for name in GETTERS}
        for name, kind in GETTERS.items():
            original = originals[name]
            _rebind(name, original, self._lookups.wrap_getter(original, kind))

    def _wrap_cache(self) -> None:
        cache = self._proxy.user_api_key_cache
        self._lookups.wrap_cache(HookPoint.AUTH_CACHE, cache)
        self._writes.wrap_cache(HookPoint.AUTH_CACHE, cache)
        with contextlib.suppress(ModuleNotFoundError):  # Before 1.97 no worker hears of a change.
            heard = importlib.import_module(SUBSCRIBER)
            point = HookPoint.AUTH_CACHE
            self._writes.wrap_subscriber(point, heard.AuthCacheInvalidationSubscriber)

    def _wrap_internal_cache(self) -> None:
        # LiteLLM asks it for a team before the auth cache; it shares the Redis and its keys.
        cache = _internal_cache(self._proxy)
        self._lookups.wrap_cache(HookPoint.INTERNAL_USAGE_CACHE, cache, may_load=False)

    def _observe_statements(self) -> None:
        observing = importlib.import_module("prisma.observing")
        observing.set_observer(StatementObserver(self.requests))

    def _observe_real_prisma(self) -> None:
        client = importlib.import_module("prisma").Prisma
        real_prisma.observe(client, StatementObserver(self.requests), self._guard)

    def _wrap_redis_cache(self) -> None:
        redis_cache = self._proxy.redis_usage_cache
        if redis_cache is not None:
            self._lookups.wrap_redis(redis_cache)

    def _find_queues(self) -> None:
        worker = importlib.import_module("litellm.litellm_core_utils.logging_worker")
        self._queues = SpendQueues(self._proxy, worker.GLOBAL_LOGGING_WORKER)


def _internal_cache(proxy: Any) -> Any:
    return proxy.proxy_logging_obj.internal_usage_cache.dual_cache


def _rebind(name: str, original: Any, replacement: Any) -> None:
    """Replace a function in every module of LiteLLM that has imported it."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("litellm") and vars(module).get(name) is original:
            setattr(module, name, replacement)


class StatementObserver:
    """Counts source reads: gets every statement before it goes to Postgres, and every failure."""

    def __init__(self, requests: Requests) -> None:
        self._requests = requests
        self._kinds: dict[str, ObjectKind | None] = {}

    def sent(self, statement: Any) -> None:
        """A statement is about to be sent."""
        self._requests.guard.run(HookPoint.STATEMENTS, self._sent, statement)

    def failed(self, statement: Any, error: BaseException) -> None:
        """A statement failed."""
        del error
        self._requests.guard.run(HookPoint.STATEMENTS, self._failed, statement)

    def _sent(self, statement: Any) -> None:
        kind = self._kind(statement.sql)
        if kind is not None:
            self._requests.current.source_read(kind)

    def _failed(self, statement: Any) -> None:
        kind = self._kind(statement.sql)
        if kind is not None:
            self._requests.metrics.source_read_error(kind)

    def _kind(self, sql: str) -> ObjectKind | None:
        # A replica sends a few dozen different statements; the combined view alone is 3 kB long.
        if sql not in self._kinds:
            if len(self._kinds) > 1000:  # noqa: PLR2004 - a bound, should a release build texts
                self._kinds.clear()
            self._kinds[sql] = classify(sql)
        return self._kinds[sql]


class ScopedLogCounter(logging.Handler):
    """Counts LiteLLM's log records from WARNING up, by the signatures of the reference proxy.

    Each is counted under the key scope of its request.
    """

    def __init__(self, requests: Requests) -> None:
        super().__init__(logging.WARNING)
        self._requests = requests
        # Not by id(): the id of a deleted record is given to a later one.
        self._counted: WeakSet[logging.LogRecord] = WeakSet()

    def emit(self, record: logging.LogRecord) -> None:
        """Count one record, once, however many loggers it passes."""
        self._requests.guard.run(HookPoint.LOG_RECORDS, self._count, record)

    def _count(self, record: logging.LogRecord) -> None:
        if record in self._counted:
            return
        self._counted.add(record)
        level = "warning" if record.levelno < logging.ERROR else "error"
        scope = self._requests.current.scope
        self._requests.metrics.log_record(level, signature(record), scope)

    def install(self) -> None:
        """Listen at the root and at every logger of LiteLLM's."""
        for name in (None, *LOGGERS):
            logging.getLogger(name).addHandler(self)


def signature(record: logging.LogRecord) -> Signature:
    """The signature of a record, by the beginning of its unformatted message."""
    text = str(record.msg)
    for beginning, found in _BEGINNINGS:
        if text.startswith(beginning):
            return found
    return Signature.OTHER
