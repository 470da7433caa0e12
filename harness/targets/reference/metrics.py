"""The counters of one worker, in one registry of its own. Every combination starts at 0."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from harness.authcache import logs
from harness.authcache.logs import Signature
from harness.authcache.trace import Lookup, SourceRead, Trace, Wait
from harness.authcache.words import (
    Coalesced,
    KeyScope,
    ObjectKind,
    Op,
    Outcome,
    ReadReason,
    Tier,
    WriteOutcome,
)

STATUSES = (200, 400, 401, 403, 404, 405, 429, 500, 503)
CHAT_ROUTE = "/v1/chat/completions"
ROUTES = (CHAT_ROUTE, "/v1/models", "other")
CODEC_BUCKETS = (5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2)
SIZE_BUCKETS = (64, 128, 256, 512, 1024, 2048, 4096, 16384)
AGE_BUCKETS = (0.1, 0.5, 1, 2, 4, 5, 10, 20, 60, 120, 300, 600)
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Implements `harness.authcache.trace.Recorder`, and counts requests and log records."""

    def __init__(self, variant: str, build: dict[str, str]) -> None:
        self.registry = CollectorRegistry()
        self._variant = variant
        self._lookups = self._counters(
            "authcache_lookups",
            "Lookups by tier and outcome.",
            {"tier": Tier, "op": Op, "outcome": Outcome, "object": ObjectKind},
        )
        self._reads = self._counters(
            "authcache_source_reads",
            "Statements sent to Postgres for an object.",
            {"object": ObjectKind, "reason": ReadReason},
        )
        self._waits = self._counters(
            "authcache_coalesced",
            "Lookups that took another's answer.",
            {"object": ObjectKind, "stage": Coalesced},
        )
        self._by_scope = {
            scope: _Scope(
                {Lookup(*k): c for k, c in self._lookups[scope].items()},
                {SourceRead(*k): c for k, c in self._reads[scope].items()},
                {Wait(*k): c for k, c in self._waits[scope].items()},
            )
            for scope in KeyScope
        }
        self._bind_unscoped()
        self._bind_http()
        Gauge(
            "authcache_build_info",
            "What this worker runs.",
            ["variant", *build],
            registry=self.registry,
        ).labels(variant, *build.values()).set(1)

    def commit(self, trace: Trace) -> None:
        """Count a finished trace under its scope."""
        counters = self._by_scope[trace.scope]
        for lookup in trace.lookups:
            counters.lookups[lookup].inc()
        for read in trace.source_reads:
            counters.reads[read].inc()
        for wait in trace.waits:
            counters.waits[wait].inc()

    def source_read_error(self, kind: ObjectKind) -> None:
        """A statement failed."""
        self._read_errors[kind].inc()

    def write(self, tier: Tier, outcome: WriteOutcome, kind: ObjectKind) -> None:
        """One write to one tier."""
        self._writes[tier, outcome, kind].inc()

    def encoded(self, kind: ObjectKind, size: int, seconds: float) -> None:
        """One encode."""
        self._codec["encode", kind].observe(seconds)
        self._sizes[kind].observe(size)

    def decoded(self, kind: ObjectKind, seconds: float) -> None:
        """One decode."""
        self._codec["decode", kind].observe(seconds)

    def served(self, tier: Tier, kind: ObjectKind, age_s: float) -> None:
        """A tier answered."""
        self._ages[tier, kind].observe(age_s)

    def redis_get(self, purpose: str) -> None:
        """One GET was sent."""
        self._gets[purpose].inc()

    def redis_outage(self, error: BaseException) -> None:
        """Redis stopped answering."""
        logs.redis_outage(error)

    def background(self, change: int) -> None:
        """A background task started or ended."""
        self._pending.inc(change)

    def request_started(self) -> None:
        """A request came in."""
        self._pending.inc()

    def request_done(self, route: str, status: int, scope: KeyScope, seconds: float) -> None:
        """A request was answered."""
        self._requests[route, status, scope].inc()
        self._latency[route].observe(seconds)
        self._pending.dec()

    def log_record(self, level: str, signature: Signature, scope: KeyScope) -> None:
        """A record was logged."""
        counter = self._logs.get((level, signature, scope))
        if counter is not None:
            counter.inc()

    def render(self, names: Iterable[str] = ()) -> tuple[bytes, str]:
        """Prometheus text and its content type; only the named series where any are named."""
        registry: Any = self.registry
        wanted = list(names)
        if wanted:
            registry = self.registry.restricted_registry(wanted)
        return generate_latest(registry), CONTENT_TYPE_LATEST

    def _counters(
        self, name: str, text: str, labels: dict[str, Any]
    ) -> dict[KeyScope, dict[tuple[Any, ...], Counter]]:
        names = [*labels, "key_scope", "variant"]
        counter = Counter(name, text, names, registry=self.registry)
        return {
            scope: {
                values: counter.labels(*values, scope.value, self._variant)
                for values in itertools.product(*labels.values())
            }
            for scope in KeyScope
        }

    def _bind_unscoped(self) -> None:
        variant, registry = self._variant, self.registry
        errors = Counter(
            "authcache_source_read_errors",
            "Source reads that failed.",
            ["object", "variant"],
            registry=registry,
        )
        self._read_errors = {kind: errors.labels(kind, variant) for kind in ObjectKind}
        writes = Counter(
            "authcache_writes",
            "Writes by tier.",
            ["tier", "outcome", "object", "variant"],
            registry=registry,
        )
        self._writes = {
            key: writes.labels(*key, variant)
            for key in itertools.product(Tier, WriteOutcome, ObjectKind)
        }
        codec = Histogram(
            "authcache_codec_seconds",
            "Time of one encode or decode.",
            ["op", "object", "variant"],
            buckets=CODEC_BUCKETS,
            registry=registry,
        )
        self._codec = {
            key: codec.labels(*key, variant)
            for key in itertools.product(("encode", "decode"), ObjectKind)
        }
        sizes = Histogram(
            "authcache_payload_bytes",
            "Encoded size of one object.",
            ["object", "variant"],
            buckets=SIZE_BUCKETS,
            registry=registry,
        )
        self._sizes = {kind: sizes.labels(kind, variant) for kind in ObjectKind}
        ages = Histogram(
            "authcache_entry_age_seconds",
            "Time since the read from Postgres, when a tier answers.",
            ["tier", "object", "variant"],
            buckets=AGE_BUCKETS,
            registry=registry,
        )
        self._ages = {
            key: ages.labels(*key, variant) for key in itertools.product(Tier, ObjectKind)
        }
        gets = Counter(
            "authcache_redis_gets", "GETs sent.", ["purpose", "variant"], registry=registry
        )
        self._gets = {p: gets.labels(p, variant) for p in ("lookup", "lease_poll")}
        self._pending = Gauge(
            "authcache_pending",
            "Requests, spend writes and background writes not finished.",
            ["variant"],
            registry=registry,
        ).labels(variant)
        records = Counter(
            "authcache_log_records",
            "Log records of level WARNING and above.",
            ["level", "signature", "key_scope", "variant"],
            registry=registry,
        )
        self._logs = {
            key: records.labels(*key, variant)
            for key in itertools.product(("warning", "error"), Signature, KeyScope)
        }

    def _bind_http(self) -> None:
        requests = Counter(
            "http_requests",
            "Requests answered.",
            ["route", "status", "key_scope", "variant"],
            registry=self.registry,
        )
        self._requests = {
            key: requests.labels(key[0], str(key[1]), key[2], self._variant)
            for key in itertools.product(ROUTES, STATUSES, KeyScope)
        }
        latency = Histogram(
            "http_request_duration_seconds",
            "Time from the request's head to the end of the reply.",
            ["route", "variant"],
            buckets=LATENCY_BUCKETS,
            registry=self.registry,
        )
        self._latency = {route: latency.labels(route, self._variant) for route in ROUTES}


class _Scope:
    """The counters of one key scope, bound once."""

    __slots__ = ("lookups", "reads", "waits")

    def __init__(
        self,
        lookups: dict[Lookup, Counter],
        reads: dict[SourceRead, Counter],
        waits: dict[Wait, Counter],
    ) -> None:
        self.lookups = lookups
        self.reads = reads
        self.waits = waits


class LogCounter(logging.Handler):
    """Counts every record of level WARNING and above, by its signature."""

    def __init__(self, metrics: Metrics) -> None:
        super().__init__(logging.WARNING)
        self._metrics = metrics

    def emit(self, record: logging.LogRecord) -> None:
        """Count one record."""
        level = "warning" if record.levelno < logging.ERROR else "error"
        try:
            signature = Signature(getattr(record, "signature", Signature.OTHER))
        except ValueError:
            signature = Signature.OTHER
        scope = KeyScope(getattr(record, "key_scope", KeyScope.UNKNOWN))
        self._metrics.log_record(level, signature, scope)
