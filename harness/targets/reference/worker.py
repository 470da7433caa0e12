"""The state of one worker: connections, caches, counters. Built when the server starts."""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import quote

import asyncpg

from harness.authcache.batching import BatchingClient
from harness.authcache.cache import AuthCache, MemoryValue
from harness.authcache.coalescing import CACHES
from harness.authcache.codecs import load_codec
from harness.authcache.invalidation import MECHANISMS, Invalidation
from harness.authcache.layout import LAYOUTS
from harness.authcache.objects import Membership, MembershipDefaultNone
from harness.authcache.tiers import CountedBreaker, MemoryTier, ProbedBreaker, RedisTier
from harness.authcache.trace import NullRecorder, Recorder
from harness.domain.served import COST_HEADER, WORKER_HEADER
from harness.errors import SetupError
from harness.targets.metrics import LogCounter, Metrics
from harness.targets.reference.auth import Authenticator
from harness.targets.reference.budgets import Budgets
from harness.targets.reference.management import Management
from harness.targets.reference.mock_model import MockModel
from harness.targets.reference.settings import ProxySettings
from harness.targets.reference.spend import SpendPath, SpendWriter
from harness.targets.reference.store import MICRO, Store, open_pool
from harness.targets.workers import worker_name

CONNECT_S = 2.0
"""For one try to listen to Redis: on a busy machine it can exceed a command's time-out."""
FLUSHES_KEPT = 10
"""How many flushes a spend counter outlives the oldest copy of its owner's object."""


class Worker:
    """One process of a replica. Make it with `open_worker`, end it with `close`."""

    def __init__(
        self,
        settings: ProxySettings,
        metrics: Metrics | None,
        pool: asyncpg.Pool,
        redis: BatchingClient | None,
    ) -> None:
        self.settings = settings
        self.metrics = metrics
        self.tells_served = settings.served_header
        self.body_limit = settings.body_limit_bytes
        self.cost_header = (COST_HEADER.encode(), f"{settings.cost_micro / MICRO:.6f}".encode())
        self.name_header = (WORKER_HEADER.encode(), worker_name(settings.replica).encode())
        self.model = MockModel(settings.mock_latency_ms, settings.mock_completion_tokens)
        self._pool = pool
        self._redis = redis
        switches = settings.switches
        recorder: Recorder = NullRecorder() if metrics is None else metrics
        defaulting = switches.membership_budget == "default_none"
        bounded = switches.source_outage == "bounded"
        self.store = Store(
            pool,
            MembershipDefaultNone if defaulting else Membership,
            latency_s=settings.source_latency_ms / 1000,
            read_s=settings.read_s if bounded else None,
            transaction_s=settings.transaction_s if bounded else None,
        )
        self._layout = LAYOUTS[switches.key_layout]
        memory: MemoryTier[MemoryValue] = MemoryTier(switches.memory_entries)
        self.cache: AuthCache = CACHES[switches.coalescing](
            switches=switches,
            codec=load_codec(switches.codec),
            memory=memory,
            redis=self._redis_tier(recorder),
            recorder=recorder,
            ttl_s=settings.ttl_s,
            time_scale=settings.time_scale,
        )
        self.cache.writer = self._writer_name
        self.invalidation: Invalidation = MECHANISMS[switches.invalidation](self.cache)
        """Called by the handler of a change."""
        self.management = Management(
            self.store,
            self._layout,
            self.invalidation,
            settings.master_key,
            reports_doubtful=bounded,
        )
        self._writer = SpendWriter(
            self.store,
            settings.spend_flush_s,
            recorder.background,
            self.cache.copies_live_s,
            last_s=settings.last_flush_s,
            once=switches.spend_flush == "once",
            flushes_at_end=switches.spend_at_end == "flushed",
        )
        self._writer.start()
        budgets = Budgets(
            switches,
            self.cache.redis,
            self.store,
            recorder,
            self._writer.spent,
            price=settings.cost_micro if settings.spend_tracking else 0,
            life_s=self.cache.copies_live_s + FLUSHES_KEPT * settings.spend_flush_s,
        )
        self.auth = Authenticator(
            self.cache,
            self._layout,
            self.store,
            budgets,
            planted_null_user=settings.planted_null_user,
        )
        self.spend: SpendPath | None = None
        if settings.spend_tracking:
            self.spend = SpendPath(
                self.cache, self._layout, self._writer, budgets, time_scale=settings.time_scale
            )

    @property
    def _writer_name(self) -> str:
        """What entries name in a fleet of two variants: a word, in a frame and in a header."""
        return quote(self.settings.variant, safe="") if self.settings.mixed else ""

    async def close(self) -> None:
        """Finish background writes, flush spend, close connections."""
        await self.invalidation.close()
        await self.auth.close()
        if self.spend is not None:
            await self.spend.close()
        await self._writer.close()
        if self.cache.redis is not None:
            await self.cache.redis.close()
        if self._redis is not None:
            await self._redis.aclose()
        await self.store.close()
        try:
            async with asyncio.timeout(self.settings.pool_closes_s):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    def _redis_tier(self, recorder: Recorder) -> RedisTier | None:
        if self._redis is None:
            return None
        probed = self.settings.switches.redis_outage == "probed"
        return RedisTier(
            self._redis,
            recorder,
            namespace=self.settings.redis_namespace,
            breaker=ProbedBreaker() if probed else CountedBreaker(),
            writer=self._writer_name,
        )


async def open_worker(settings: ProxySettings) -> Worker:
    """Open connections and count from 0. Raises SetupError, or what a codec raises."""
    metrics: Metrics | None = None
    if settings.metrics:
        switches = settings.switches
        metrics = Metrics(
            settings.variant,
            {
                "codec": switches.codec,
                "layout": switches.key_layout,
                "target": "reference",
                "version": settings.version,
            },
        )
        logging.getLogger().addHandler(LogCounter(metrics))
    try:
        pool = await open_pool(settings.dsn, settings.pool_size)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise SetupError(
            f"Cannot connect to Postgres [{type(error).__name__}: {error}]. Check the DSN of the "
            "replica and that the server runs."
        ) from error
    redis: BatchingClient | None = None
    if settings.switches.redis == "on" and settings.redis_url is not None:
        redis = BatchingClient(
            settings.redis_url,
            timeout_s=settings.redis_timeout_s,
            fails_together=settings.switches.redis_outage == "probed",
        )
        await redis.open()
        if metrics is not None:
            metrics.redis_sends(redis.sent)
    worker = Worker(settings, metrics, pool, redis)
    if redis is not None:
        await worker.invalidation.open(
            settings.redis_url,
            redis.sent,
            namespace=settings.redis_namespace,
            timeout_s=max(settings.redis_timeout_s, CONNECT_S),
        )
    return worker
