"""Names of all series, and the label values for which the cache has no enum.

Every module that counts, reads, draws or queries a series takes its name from here; a test finds
names that are written out elsewhere. The module also runs inside the environments of LiteLLM
releases: it may import the standard library and `harness.authcache` only.
"""

from __future__ import annotations

from typing import Annotated

from harness.authcache.logs import Signature
from harness.authcache.words import Outcome

LOOKUPS = "authcache_lookups_total"
READS = "authcache_source_reads_total"
READ_ERRORS = "authcache_source_read_errors_total"
WAITS = "authcache_coalesced_total"
WRITES = "authcache_writes_total"
CODEC_SECONDS = "authcache_codec_seconds"
PAYLOAD_BYTES = "authcache_payload_bytes"
ENTRY_AGE = "authcache_entry_age_seconds"
REDIS_GETS = "authcache_redis_gets_total"
LOGS = "authcache_log_records_total"
PENDING = "authcache_pending"
BUILD_INFO = "authcache_build_info"
REQUESTS = "http_requests_total"
REQUEST_SECONDS = "http_request_duration_seconds"

INSTRUMENTED = "authcache_instrumented"
"""This series and the next exist for LiteLLM releases only."""
BACKFILL_TTL = "authcache_backfill_ttl_seconds"

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

Scope = Annotated[str, "scope"]
"""From here on: types of label values, by which docs/result-schema.md names the keys of maps."""
ScopeOrAll = Annotated[str, "scope or all"]
Status = Annotated[str, "status"]
ObjectName = Annotated[str, "object"]
TierName = Annotated[str, "tier"]
OutcomeName = Annotated[str, "outcome"]
Stage = Annotated[str, "stage"]
SignatureName = Annotated[str, "signature"]
CodecOp = Annotated[str, "encode or decode"]
Switch = Annotated[str, "switch"]
Group = Annotated[str, "group"]
ErrorKind = Annotated[str, "kind"]
VariantName = Annotated[str, "name"]
