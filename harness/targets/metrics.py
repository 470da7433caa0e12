"""The counters of one worker, in one registry of its own. Every combination starts at 0."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import product
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from harness.authcache import logs
from harness.authcache.events import Asked, Events, Lookup, SourceRead, Wait
from harness.authcache.logs import Signature
from harness.authcache.words import (
    Coalesced,
    Invalidated,
    KeyScope,
    ObjectKind,
    Op,
    Outcome,
    ReadReason,
    Tier,
    WriteOutcome,
)
from harness.domain import series
from harness.domain.series import OTHER_STATUS, ROUTES, STATUSES
from harness.targets.counters import CommandFamily, CounterFamily, Gauge, Histograms
from harness.targets.page import PageWriter

CODEC_BUCKETS = (5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 1e-2)
SIZE_BUCKETS = (64, 128, 256, 512, 1024, 2048, 4096, 16384)
AGE_BUCKETS = (0.1, 0.5, 1, 2, 4, 5, 10, 20, 60, 120, 300, 600)
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Implements `harness.authcache.trace.Recorder`, and counts requests and log records."""

    def __init__(self, variant: str, build: dict[str, str]) -> None:
        self.registry = CollectorRegistry()
        self._page = PageWriter()
        self._variant = variant
        self._scopes = self._bind_scopes()
        self._bind_cache()
        self._bind_http()
        self._pending = Gauge(
            self.registry,
            series.PENDING,
            "Requests, spend writes and background writes not finished.",
            {"variant": variant},
        )
        Gauge(
            self.registry,
            series.BUILD_INFO,
            "What this worker runs.",
            {"variant": variant, **build},
            value=1,
        )

    @property
    def pending(self) -> int:
        """Requests, spend writes and background writes that are not finished."""
        return self._pending.value

    def commit(self, trace: Events) -> None:
        """Count a finished trace under its scope."""
        asked, lookups, reads, waits = self._scopes[trace.scope]
        for one in trace.asked:
            asked[one] += 1
        for lookup in trace.lookups:
            lookups[lookup] += 1
        for read in trace.source_reads:
            reads[read] += 1
        for wait in trace.waits:
            waits[wait] += 1

    def source_read_error(self, kind: ObjectKind) -> None:
        """A statement failed."""
        self._read_errors[kind] += 1

    def write(self, tier: Tier, outcome: WriteOutcome, kind: ObjectKind) -> None:
        """One write to one tier."""
        self._writes[tier, outcome, kind] += 1

    def encoded(self, kind: ObjectKind, size: int, seconds: float) -> None:
        """One encode."""
        self.encode_time(kind, seconds)
        self.payload_size(kind, size)

    def encode_time(self, kind: ObjectKind, seconds: float) -> None:
        """Time of one encode, where it is measured apart from the size."""
        self._encodes[kind].observe(seconds)

    def payload_size(self, kind: ObjectKind, size: int) -> None:
        """Bytes of one payload, where they are measured apart from the encode."""
        self._sizes[kind].observe(size)

    def decoded(self, kind: ObjectKind, seconds: float) -> None:
        """One decode."""
        self._decodes[kind].observe(seconds)

    def failed_read(self, kind: ObjectKind, logged: str, scope: KeyScope) -> None:
        """A value was not the object that was looked up."""
        self._failed_reads[kind, logged, scope] += 1

    def ages(self, tier: Tier) -> dict[ObjectKind, Callable[[float], None]]:
        """Callbacks by object that record the seconds since an answer's read from Postgres."""
        return {kind: ages.observe for kind, ages in self._ages[tier].items()}

    def redis_get(self, purpose: str) -> None:
        """Redis was asked for one key."""
        self._gets[purpose] += 1

    def invalidation(self, event: Invalidated, kind: ObjectKind) -> None:
        """One event of the news that an object has changed."""
        self._invalidations[event, kind] += 1

    def redis_sends(self, sent: Mapping[str, int]) -> None:
        """Export the commands that the worker's Redis client counts, by name."""
        CommandFamily(
            self.registry, series.REDIS_SENT, "Commands sent to Redis.", self._variant, sent
        )

    def redis_outage(self, error: BaseException, *, refused: bool = False) -> None:
        """Redis stopped answering, or refuses commands."""
        logs.redis_outage(error, refused=refused)

    def redis_back(self) -> None:
        """Redis answers again."""
        logs.redis_back()

    def background(self, change: int) -> None:
        """A background task started or ended."""
        self._pending.value += change

    def request_started(self) -> None:
        """A request came in."""
        self._pending.value += 1

    def request_done(self, route: str, status: int, scope: KeyScope, seconds: float) -> None:
        """A request was answered."""
        try:
            self._requests[route, status, scope] += 1
        except KeyError:
            self._requests[route, OTHER_STATUS, scope] += 1
        self._latency[route].observe(seconds)
        self._pending.value -= 1

    def log_record(self, level: str, signature: Signature, scope: KeyScope) -> None:
        """A record was logged."""
        key = (level, signature, scope)
        if key in self._logs:
            self._logs[key] += 1

    def render(self, names: Iterable[str] = ()) -> tuple[bytes, str]:
        """Prometheus text and its content type; all series, or only the named ones."""
        registry: Any = self.registry
        wanted = list(names)
        if wanted:
            registry = self.registry.restricted_registry(wanted)
        return self._page.write(registry.collect()), CONTENT_TYPE_LATEST

    def _counters(self, name: str, text: str, *labels: str) -> CounterFamily:
        return CounterFamily(self.registry, name, text, (*labels, "variant"))

    def _histograms(
        self, name: str, text: str, *labels: str, bounds: tuple[float, ...]
    ) -> Histograms:
        return Histograms(self.registry, name, text, (*labels, "variant"), bounds)

    def _bind_scopes(self) -> dict[KeyScope, _Scope]:
        asked = self._counters(
            series.ASKED,
            "Lookups, counted when they begin.",
            *("op", "object", "key_scope"),
        )
        lookups = self._counters(
            series.LOOKUPS,
            "Lookups by tier and outcome.",
            *("tier", "op", "outcome", "object", "key_scope"),
        )
        reads = self._counters(
            series.READS,
            "Statements sent to Postgres for an object.",
            *("object", "reason", "key_scope"),
        )
        waits = self._counters(
            series.WAITS,
            "Lookups that took another's answer.",
            *("object", "stage", "key_scope"),
        )
        variant = self._variant
        return {
            scope: _Scope(
                asked.table(
                    {Asked(*key): (*key, scope, variant) for key in product(Op, ObjectKind)}
                ),
                lookups.table(
                    {
                        Lookup(*key): (*key, scope, variant)
                        for key in product(Tier, Op, Outcome, ObjectKind)
                    }
                ),
                reads.table(
                    {
                        SourceRead(*key): (*key, scope, variant)
                        for key in product(ObjectKind, ReadReason)
                    }
                ),
                waits.table(
                    {Wait(*key): (*key, scope, variant) for key in product(ObjectKind, Coalesced)}
                ),
            )
            for scope in KeyScope
        }

    def _bind_cache(self) -> None:
        variant = self._variant
        errors = self._counters(series.READ_ERRORS, "Source reads that failed.", "object")
        self._read_errors = errors.table({kind: (kind, variant) for kind in ObjectKind})
        failed = self._counters(
            series.FAILED_READS,
            "Values that were not the object looked up, by what is logged of them.",
            *("object", "logged", "key_scope"),
        )
        self._failed_reads = failed.table(
            {
                key: (*key, variant)
                for key in product(ObjectKind, ("pair", "warning", "nothing"), KeyScope)
            }
        )
        writes = self._counters(series.WRITES, "Writes by tier.", "tier", "outcome", "object")
        self._writes = writes.table(
            {key: (*key, variant) for key in product(Tier, WriteOutcome, ObjectKind)}
        )
        codec = self._histograms(
            series.CODEC_SECONDS,
            "Time of one encode or decode.",
            *("op", "object"),
            bounds=CODEC_BUCKETS,
        )
        self._encodes = codec.table({kind: ("encode", kind, variant) for kind in ObjectKind})
        self._decodes = codec.table({kind: ("decode", kind, variant) for kind in ObjectKind})
        sizes = self._histograms(
            series.PAYLOAD_BYTES,
            "Encoded size of one object.",
            "object",
            bounds=SIZE_BUCKETS,
        )
        self._sizes = sizes.table({kind: (kind, variant) for kind in ObjectKind})
        ages = self._histograms(
            series.ENTRY_AGE,
            "Time since the read from Postgres, when a tier answers.",
            *("tier", "object"),
            bounds=AGE_BUCKETS,
        )
        self._ages = {
            tier: ages.table({kind: (tier, kind, variant) for kind in ObjectKind}) for tier in Tier
        }
        gets = self._counters(series.REDIS_GETS, "Keys that Redis was asked for.", "purpose")
        purposes = ("lookup", "claim", "lease_poll", "script", "spend", "generation")
        self._gets = gets.table({p: (p, variant) for p in purposes})
        invalidations = self._counters(
            series.INVALIDATIONS,
            "News of changed objects, by what became of it.",
            *("event", "object"),
        )
        self._invalidations = invalidations.table(
            {key: (*key, variant) for key in product(Invalidated, ObjectKind)}
        )
        records = self._counters(
            series.LOGS,
            "Log records of level WARNING and above.",
            *("level", "signature", "key_scope"),
        )
        self._logs = records.table(
            {key: (*key, variant) for key in product(("warning", "error"), Signature, KeyScope)}
        )

    def _bind_http(self) -> None:
        variant = self._variant
        requests = self._counters(
            series.REQUESTS, "Requests answered.", *("route", "status", "key_scope")
        )
        self._requests = requests.table(
            {key: (*key, variant) for key in product(ROUTES, (*STATUSES, OTHER_STATUS), KeyScope)}
        )
        latency = self._histograms(
            series.REQUEST_SECONDS,
            "Time from the request's head to the end of the reply.",
            "route",
            bounds=LATENCY_BUCKETS,
        )
        self._latency = latency.table({route: (route, variant) for route in ROUTES})


class _Scope(NamedTuple):
    """What is counted under one key scope."""

    asked: dict[Asked, int]
    lookups: dict[Lookup, int]
    reads: dict[SourceRead, int]
    waits: dict[Wait, int]


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
