"""Names of the series that the tab is made of; see the list of metrics in docs/web-ui.md."""

from __future__ import annotations

LOOKUPS = "authcache_lookups_total"
READS = "authcache_source_reads_total"
LOGS = "authcache_log_records_total"
REQUESTS = "http_requests_total"
PENDING = "authcache_pending"

LOG_PAIR = {"level": "error", "signature": "typed_read_failed"}
"""A log pair is counted by its ERROR."""
CHAT = {"route": "/v1/chat/completions"}
FAILURE = {"outcome": "deserialize_failure"}
