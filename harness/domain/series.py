"""Names of all series, and the label values for which the cache has no enum.

Every module that counts, reads, draws or queries a series takes its name from here; a test finds
names that are written out elsewhere. The module also runs inside the environments of LiteLLM
releases: it may import the standard library and `harness.authcache` only.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from harness.authcache.logs import Signature
from harness.authcache.words import Outcome

LOOKUPS = "authcache_lookups_total"
ASKED = "authcache_lookups_asked_total"
FAILED_READS = "authcache_failed_reads_total"
READS = "authcache_source_reads_total"
READ_ERRORS = "authcache_source_read_errors_total"
WAITS = "authcache_coalesced_total"
WRITES = "authcache_writes_total"
CODEC_SECONDS = "authcache_codec_seconds"
PAYLOAD_BYTES = "authcache_payload_bytes"
ENTRY_AGE = "authcache_entry_age_seconds"
REDIS_GETS = "authcache_redis_gets_total"
INVALIDATIONS = "authcache_invalidations_total"
REDIS_SENT = "authcache_redis_sent_total"
LOGS = "authcache_log_records_total"
PENDING = "authcache_pending"
BUILD_INFO = "authcache_build_info"
REQUESTS = "http_requests_total"
REQUEST_SECONDS = "http_request_duration_seconds"

INSTRUMENTED = "authcache_instrumented"
"""This series and the next four exist for LiteLLM only."""
INSTRUMENT_ERRORS = "authcache_instrument_errors_total"
INSTRUMENT_ERROR_TYPES = "authcache_instrument_error_types"
BACKFILL_TTL = "authcache_backfill_ttl_seconds"
ORIGIN_INFO = "authcache_origin_info"

STATEMENT_CALLS = "authcache_statement_calls_total"
"""From here on: series of the exporter, documented in `harness.exporter`."""
STATEMENT_SECONDS = "authcache_statement_seconds_total"
REDIS_KEYSPACE = "authcache_redis_keyspace_total"
REDIS_COMMANDS = "authcache_redis_commands_total"
REDIS_MEMORY = "authcache_redis_memory_bytes"
SERVER_UP = "authcache_server_up"
REPLICAS_EXPECTED = "authcache_replicas_expected"
REFERENCE_LINE = "authcache_reference_line_per_1000"
WINDOW_ACTIVE = "authcache_window_active"
GENERATOR_PLANNED = "authcache_generator_planned_total"
GENERATOR_REQUESTS = "authcache_generator_requests_total"
GENERATOR_LATE = "authcache_generator_late_total"
GENERATOR_DELAY = "authcache_generator_max_delay_seconds"
CHANGES = "authcache_changes_total"
STALE_SERVED = "authcache_stale_served_total"

ALL = "all"
"""All key scopes of a variant together; where a load chooses fleets, all fleets."""

CHAT_ROUTE = "/v1/chat/completions"
MODELS_ROUTE = "/v1/models"
OTHER_ROUTE = "other"
ROUTES = (CHAT_ROUTE, MODELS_ROUTE, OTHER_ROUTE)
STATUSES = (200, 400, 401, 402, 403, 404, 405, 422, 429, 500, 502, 503, 504)
OTHER_STATUS = "other"
"""Any other status: the statuses of a release are not a closed list."""

CHAT = {"route": CHAT_ROUTE}
FAILURE = {"outcome": Outcome.DESERIALIZE_FAILURE.value}
LOG_PAIR = {"level": "error", "signature": Signature.TYPED_READ_FAILED.value}
"""A log pair is counted by its ERROR."""


class HookPoint(StrEnum):
    """A place where the instrumentation wraps a release: the values of the label ``point``.

    Which measures depend on it: `harness.analysis.points`. A control runs once in each worker,
    after LiteLLM has started and before the first request. A point whose control does not count
    its event, or that counts nothing although a request was answered, is not instrumented.
    """

    wraps: str
    """What is wrapped in the release."""
    proof: str
    """The known event that the point must count."""

    def __new__(cls, name: str, wraps: str, proof: str) -> Self:
        """A member with its columns; its value is the name."""
        point = str.__new__(cls, name)
        point._value_, point.wraps, point.proof = name, wraps, proof
        return point

    REQUESTS = (
        "requests",
        "the ASGI application",
        "no control: the ledger's equation `requests` compares it with the generator",
    )
    TASKS = (
        "tasks",
        "the task factory of the event loop",
        "control: one task of a request that was answered is pending, and no longer at its end",
    )
    AUTH_CACHE = (
        "auth_cache",
        "lookups and writes of the proxy's `user_api_key_cache`, and its memory",
        "control: one lookup of an absent team, in memory only; and its first lookup under load",
    )
    INTERNAL_USAGE_CACHE = (
        "internal_usage_cache",
        "lookups of the internal usage cache, and its memory",
        "control: one lookup of an absent team, in memory only",
    )
    REDIS_CACHE = (
        "redis_cache",
        "lookups of the `RedisCache` that the caches share",
        "control: one lookup of an absent team",
    )
    CODEC = (
        "codec",
        "`CacheCodec.serialize` and `CacheCodec.deserialize`",
        "control: a user is encoded and decoded, a text fails to; and its first object under load",
    )
    REDIS_CLIENT = (
        "redis_client",
        "commands and pipelines of redis-py's asynchronous client",
        "control: the GET of an absent team; a SETEX in a pipeline that is never sent",
    )
    STATEMENTS = (
        "statements",
        "the observer of the Prisma stand-in, or `Prisma._execute`",
        "control: one SELECT of an absent user",
    )
    GETTERS = (
        "getters",
        "`get_key_object`, `get_user_object`, `get_team_object`, `get_team_membership`",
        "no control, since a getter fills the caches: its first call under load",
    )
    LOG_RECORDS = (
        "log_records",
        "the root logger and LiteLLM's loggers",
        "control: one ERROR that begins as a typed read's and says that it is a control",
    )
    SPEND_QUEUES = (
        "spend_queues",
        "the queues of spend, of log rows and of logging coroutines",
        "control: an update in a copy of each queue is seen waiting",
    )


Scope = Annotated[str, "scope"]
"""From here on: types of label values, by which docs/result-schema.md names the keys of maps."""
ScopeOrAll = Annotated[str, "scope or all"]
Status = Annotated[str, "status"]
ObjectName = Annotated[str, "object"]
RefusalName = Annotated[str, "refusal"]
TierName = Annotated[str, "tier"]
OutcomeName = Annotated[str, "outcome"]
Stage = Annotated[str, "stage"]
SignatureName = Annotated[str, "signature"]
CodecOp = Annotated[str, "encode or decode"]
Switch = Annotated[str, "switch"]
Group = Annotated[str, "group"]
PointName = Annotated[str, "point"]
ErrorKind = Annotated[str, "kind"]
FaultName = Annotated[str, "fault"]
ActionName = Annotated[str, "action"]
AgeName = Annotated[str, "time after the change"]
VariantName = Annotated[str, "name"]
