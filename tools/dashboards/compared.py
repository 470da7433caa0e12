"""The dashboard *Codec variants compared*: all variants side by side."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders

from harness.authcache.words import Outcome
from harness.domain import series
from tools.dashboards import promql
from tools.dashboards.parts import (
    ANY,
    MISSING,
    OUTCOME_COLOURS,
    RUNBOOK,
    ColourLimits,
    Graph,
    Number,
    Query,
    new_dashboard,
    variables,
    with_row,
)
from tools.dashboards.promql import CHAT, OBJECT, SCOPE, fleet_rate, worker_rate

UID = "authcache-variants"
TITLE = "Codec variants compared"
DESCRIPTION = (
    "What each cache variant costs Postgres and what it does to the data, side by side. For "
    "exploration: the figures of a report come from snapshots at the edges of windows."
)

_FAILURES = f'outcome="{Outcome.DESERIALIZE_FAILURE}"'


def compared() -> builders.Dashboard:
    """The dashboard."""
    board = new_dashboard(TITLE, UID, DESCRIPTION).variables(variables(all_variants=True))
    for title, panels in _ROWS:
        board = with_row(board, builders.Row(title), panels)
    return board


_AT_A_GLANCE = (
    Number(
        "Deserialize failures, most in view",
        "Lookups whose payload did not become an object of the requested type, per second, in "
        f"either tier. Any is one too many: {RUNBOOK}, AuthCacheDeserializeFailures.",
        "ops",
        [Query(worker_rate("variant", series.LOOKUPS, _FAILURES, SCOPE, OBJECT), "{{variant}}")],
        ColourLimits(red=ANY),
        span=8,
        calc="max",
    ),
    Number(
        "Log records, most in view",
        "Records of level WARNING and above, per second. Every request succeeds while the log "
        "fills: that is how the issue was found.",
        "cps",
        [Query(worker_rate("variant", series.LOGS, SCOPE), "{{variant}}")],
        ColourLimits(red=ANY),
        span=8,
        calc="max",
    ),
    MISSING._replace(span=8),
)

_SOURCE_READS = (
    Graph(
        "Source reads per 1,000 requests, by variant",
        "The headline. The dashed reference line is one read for each object and TTL. It is no "
        "floor: rewriting cached copies goes below it by serving older data, so read it together "
        "with the entry age on the dashboard of one fleet. Both are of all objects, whichever are "
        "chosen.",
        "short",
        [
            Query(promql.reads_per_1000(), "{{variant}}"),
            Query(promql.reference_line(), "{{variant}} reference line"),
        ],
        span=16,
        height=10,
        axis="per 1,000 requests",
        dashed="reference line",
    ),
    Graph(
        "Source reads by reason",
        "Why Postgres was read. Reads for a deserialize failure are the ones that a cache should "
        "have avoided.",
        "ops",
        [
            Query(
                worker_rate("variant, reason", series.READS, SCOPE, OBJECT),
                "{{variant}} {{reason}}",
            )
        ],
        span=8,
        height=10,
    ),
    Graph(
        "Source reads per 1,000 requests, by key scope",
        "The same per key scope: a variant can be right for one scope and read Postgres at every "
        "request of another.",
        "short",
        [Query(promql.reads_per_1000("variant, key_scope", OBJECT), "{{variant}} {{key_scope}}")],
        axis="per 1,000 requests",
    ),
    Graph(
        "Requests answered",
        "Requests to the fleets. Windows of different variants are interleaved, so usually one of "
        "them is under load and the others are idle.",
        "reqps",
        [
            Query(
                worker_rate("variant, status", series.REQUESTS, CHAT, SCOPE),
                "{{variant}} {{status}}",
            )
        ],
    ),
)

_OUTCOMES = tuple(
    Graph(
        f"Outcomes, {tier} tier",
        f"Lookups in the {tier} tier by outcome. A deserialize failure is neither a hit nor a "
        "miss. The hit ratio alone does not show a broken codec.",
        "ops",
        [
            Query(
                worker_rate("variant, outcome", series.LOOKUPS, f'tier="{tier}"', SCOPE, OBJECT),
                "{{variant}} {{outcome}}",
            )
        ],
        stacked=True,
        colours=OUTCOME_COLOURS,
    )
    for tier in ("memory", "redis")
)

_FAILED = (
    Graph(
        "Deserialize failures by object and key scope",
        "Every combination is there from the start, at 0, so the first failure shows as a rise. "
        f"{RUNBOOK}, AuthCacheDeserializeFailures.",
        "ops",
        [
            Query(
                worker_rate("variant, object, key_scope", series.LOOKUPS, _FAILURES, SCOPE, OBJECT),
                "{{variant}} {{object}} {{key_scope}}",
            )
        ],
        ColourLimits(red=ANY),
    ),
    Graph(
        "Log records by signature",
        "Records of level WARNING and above, by their text: a closed list, and other. The log "
        "pair of the issue is a failed_decode with a failed_read.",
        "cps",
        [
            Query(
                worker_rate("variant, signature", series.LOGS, SCOPE),
                "{{variant}} {{signature}}",
            )
        ],
        ColourLimits(red=ANY),
    ),
)

_FRESHNESS = (
    Graph(
        "Stale replies by object and key scope",
        "Replies that only a version older than the promise called for: a blocked key that goes on "
        "working, or a new one that stays refused. The harness judges them when a window of "
        f"changes has ended. {RUNBOOK}, AuthCacheStaleBeyondPromise.",
        "ops",
        [
            Query(
                fleet_rate("variant, object, key_scope", series.STALE_SERVED, SCOPE, OBJECT),
                "{{variant}} {{object}} {{key_scope}}",
            )
        ],
        ColourLimits(red=ANY),
    ),
    Graph(
        "Changes made",
        "Changes of objects that Postgres holds. Without any, a variant's freshness is not tested.",
        "ops",
        [Query(fleet_rate("variant", series.CHANGES), "{{variant}}")],
    ),
)

_COST = (
    Graph(
        "Payload size",
        "Mean encoded size of one object, while objects are encoded.",
        "bytes",
        [
            Query(
                promql.mean(series.PAYLOAD_BYTES, "variant, object", OBJECT),
                "{{variant}} {{object}}",
            )
        ],
        span=8,
    ),
    Graph(
        "Codec time, mean",
        "Mean time of one encode or decode.",
        "s",
        [Query(promql.mean(series.CODEC_SECONDS, "variant, op", OBJECT), "{{variant}} {{op}}")],
        span=8,
    ),
    Graph(
        "Codec time, 99th percentile",
        "From the buckets of a histogram, so no finer than these: 5 µs to 10 ms.",
        "s",
        [
            Query(
                promql.quantile(0.99, series.CODEC_SECONDS, "variant, op", OBJECT),
                "{{variant}} {{op}}",
            )
        ],
        span=8,
    ),
)

_LATENCY = tuple(
    Graph(
        f"Latency, {name}",
        "From the request's head to the end of the reply, as the replicas see it, without "
        "queueing before them. Percentiles from the intended start are in the run's report.",
        "s",
        [
            Query(
                promql.quantile(share, series.REQUEST_SECONDS, "variant", CHAT),
                "{{variant}}",
            )
        ],
        span=8,
    )
    for share, name in ((0.5, "median"), (0.95, "95th percentile"), (0.99, "99th percentile"))
)

_ROWS = (
    ("At a glance", _AT_A_GLANCE),
    ("What Postgres is asked", _SOURCE_READS),
    ("Outcomes per tier", _OUTCOMES),
    ("Failures", _FAILED),
    ("Freshness", _FRESHNESS),
    ("What a codec costs", _COST),
    ("Latency", _LATENCY),
)
