"""The dashboard *One fleet*: what its replicas, its Redis, its Postgres and its load are doing."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard as builders

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
from tools.dashboards.promql import (
    CHAT,
    OBJECT,
    SCOPE,
    VARIANT,
    WORKER,
    by,
    fleet_rate,
    over,
    worker_rate,
)

TIERS = (
    *(
        Graph(
            f"Outcomes, {tier} tier",
            f"Lookups in the {tier} tier by outcome.",
            "ops",
            [
                Query(
                    worker_rate(
                        "variant, outcome", series.LOOKUPS, f'tier="{tier}"', SCOPE, OBJECT
                    ),
                    "{{variant}} {{outcome}}",
                )
            ],
            stacked=True,
            colours=OUTCOME_COLOURS,
            span=8,
        )
        for tier in ("memory", "redis")
    ),
    Graph(
        "Source reads by object",
        "What is left for Postgres.",
        "ops",
        [
            Query(
                worker_rate("variant, object", series.READS, SCOPE, OBJECT),
                "{{variant}} {{object}}",
            )
        ],
        span=8,
    ),
    Graph(
        "Writes by tier",
        "Entries written, and writes that failed or were skipped.",
        "ops",
        [
            Query(
                worker_rate("variant, tier, outcome", series.WRITES, OBJECT),
                "{{variant}} {{tier}} {{outcome}}",
            )
        ],
    ),
    Graph(
        "Lookups that took another's answer",
        "Coalesced lookups: another one was already asking Redis or Postgres for the object.",
        "ops",
        [
            Query(
                worker_rate("variant, stage", series.WAITS, SCOPE, OBJECT),
                "{{variant}} {{stage}}",
            )
        ],
    ),
)
"""What each tier answers, and what is left for Postgres."""

AGE = tuple(
    Graph(
        f"Entry age, {tier} tier",
        "Time since the read from Postgres when the tier answers. The greatest age a design can "
        "reach is the sum of its TTLs; rewriting cached copies goes beyond.",
        "s",
        [
            Query(
                promql.quantile(share, series.ENTRY_AGE, "variant", f'tier="{tier}"', OBJECT),
                f"{{{{variant}}}} {name}",
            )
            for share, name in ((0.5, "median"), (0.99, "99th percentile"))
        ],
        dashed="median",
    )
    for tier in ("memory", "redis")
)
"""The age of the entries that each tier serves."""

SERVERS = (
    Graph(
        "Redis: keys asked",
        "As the fleet's own Redis counts them; the ledger compares them with the workers' counts.",
        "ops",
        [
            Query(
                fleet_rate("variant, outcome", series.REDIS_KEYSPACE),
                "{{variant}} {{outcome}}",
            )
        ],
        colours={"hit": "green", "miss": "yellow"},
        span=8,
    ),
    Graph(
        "Redis: commands",
        "Without those that only open, name or watch a connection.",
        "ops",
        [Query(fleet_rate("variant", series.REDIS_COMMANDS), "{{variant}}")],
        span=8,
    ),
    Graph(
        "Redis: memory",
        "Used by the server; it refuses writes at its limit and never evicts.",
        "bytes",
        [Query(by("variant", f"{series.REDIS_MEMORY}{{{VARIANT}}}", "max"), "{{variant}}")],
        span=8,
    ),
    Graph(
        "Postgres: statements by object",
        "Calls in pg_stat_statements under the fleet's own role.",
        "ops",
        [
            Query(
                fleet_rate("variant, object", series.STATEMENT_CALLS, OBJECT),
                "{{variant}} {{object}}",
            )
        ],
    ),
    Graph(
        "Postgres: time of one statement",
        "Mean execution time, without the network.",
        "s",
        [
            Query(
                over(
                    fleet_rate("variant, object", series.STATEMENT_SECONDS, OBJECT),
                    fleet_rate("variant, object", series.STATEMENT_CALLS, OBJECT),
                ),
                "{{variant}} {{object}}",
            )
        ],
    ),
)
"""The servers behind the replicas, by their own counters."""

FRESHNESS = (
    Graph(
        "Changes made",
        "Changes of objects that Postgres holds, in a window of changes.",
        "ops",
        [Query(fleet_rate("variant", series.CHANGES), "{{variant}}")],
        span=8,
    ),
    Graph(
        "Stale replies by object",
        "Replies that only a version older than the promise called for, by the object that was "
        "changed. The harness judges them when a window of changes has ended, so they show there, "
        f"all at once. {RUNBOOK}, AuthCacheStaleBeyondPromise.",
        "ops",
        [
            Query(
                fleet_rate("variant, object", series.STALE_SERVED, SCOPE, OBJECT),
                "{{variant}} {{object}}",
            )
        ],
        ColourLimits(red=ANY),
        span=8,
    ),
    Graph(
        "News of changes",
        "Cache keys that a change made untrue: sent by the worker that took the change, received "
        "by a worker, applied where memory held a copy, dropped where Redis did not answer.",
        "ops",
        [
            Query(
                worker_rate("variant, event", series.INVALIDATIONS, OBJECT),
                "{{variant}} {{event}}",
            )
        ],
        span=8,
    ),
)
"""What becomes of changes."""

UID = "authcache-fleet"
TITLE = "One fleet"
DESCRIPTION = (
    "The replicas of one variant, tier by tier and replica by replica, with the Redis and the "
    "Postgres behind them and the load in front."
)
MOST_DELAY_S = 0.25
"""A request that starts later than this counts as late; the default of scenarios."""
_UNEVEN = 1.25


def fleet() -> builders.Dashboard:
    """The dashboard."""
    board = new_dashboard(TITLE, UID, DESCRIPTION).variables(variables(all_variants=False))
    for title, panels in _ROWS:
        board = with_row(board, builders.Row(title), panels)
    return with_row(board, builders.Row("Replica $replica").repeat("replica"), _REPLICA)


_AT_A_GLANCE = (
    Number(
        "Replicas up and expected",
        f"Replicas of which every worker answers its scrapes. {RUNBOOK}, ReplicaMissing.",
        "none",
        [
            Query(promql.replicas_up(), "{{variant}} up"),
            Query(promql.replicas_expected(), "{{variant}} expected"),
        ],
        span=5,
        decimals=0,
    ),
    MISSING._replace(span=4),
    Number(
        "Requests answered",
        "By all chosen replicas together, now.",
        "reqps",
        [Query(worker_rate("variant", series.REQUESTS, CHAT, SCOPE), "{{variant}}")],
        span=5,
    ),
    Number(
        "Source reads per 1,000 requests",
        "Statements sent to Postgres for an object, per 1,000 answered requests, now.",
        "short",
        [Query(promql.reads_per_1000("variant", OBJECT), "{{variant}}")],
        ColourLimits(yellow=250),
        span=5,
    ),
    Number(
        "Work in hand",
        "Requests, spend writes and background writes that are not finished. Snapshots wait for 0.",
        "none",
        [Query(by("variant", f"{series.PENDING}{{{WORKER}}}"), "{{variant}}")],
        span=5,
        decimals=0,
    ),
)

_SPREAD_RATE = worker_rate("variant, replica", series.REQUESTS, CHAT)
_FLEET_MEAN = by("variant", fleet_rate("variant, replica", series.REQUESTS, CHAT), "avg")

_SPREAD = (
    Graph(
        "Requests by replica",
        "What the load balancer, or the generator in its place, sends to each replica.",
        "reqps",
        [Query(_SPREAD_RATE, "{{variant}} {{replica}}")],
    ),
    Graph(
        "Load of a replica, 1 is its fair share",
        "Requests of a replica over the mean of its fleet.",
        "none",
        [
            Query(
                over(_SPREAD_RATE, _FLEET_MEAN, "variant"),
                "{{variant}} {{replica}}",
            )
        ],
        ColourLimits(yellow=_UNEVEN),
    ),
)

_GENERATOR = (
    Graph(
        "Requests due and answered",
        "Requests that the plan calls for, and requests that were answered, of all key scopes. A "
        "lasting gap means that the generator or the fleet cannot keep up.",
        "reqps",
        [
            Query(fleet_rate("variant", series.GENERATOR_PLANNED), "{{variant}} due"),
            Query(fleet_rate("variant", series.GENERATOR_REQUESTS), "{{variant}} answered"),
        ],
        span=8,
        dashed="due",
    ),
    Graph(
        "Requests that started late",
        f"Share of the due requests that started more than 250 ms late. {RUNBOOK}, "
        "LoadGeneratorSaturated.",
        "percentunit",
        [
            Query(
                over(
                    fleet_rate("variant", series.GENERATOR_LATE),
                    fleet_rate("variant", series.GENERATOR_PLANNED),
                ),
                "{{variant}}",
            )
        ],
        ColourLimits(red=0.01),
        span=8,
    ),
    Graph(
        "Greatest delay of a start",
        "In the running window, or the latest.",
        "s",
        [
            Query(
                by("variant", f"{series.GENERATOR_DELAY}{{{VARIANT}}}", "max"),
                "{{variant}}",
            )
        ],
        ColourLimits(red=MOST_DELAY_S),
        span=8,
    ),
)

_REPLICA = (
    Graph(
        "Requests by key scope",
        "Answered by this replica.",
        "reqps",
        [
            Query(
                worker_rate("variant, replica, key_scope", series.REQUESTS, CHAT, SCOPE),
                "{{variant}} {{key_scope}}",
            )
        ],
        span=6,
        height=7,
    ),
    Graph(
        "Memory outcomes",
        "Lookups in this replica's own memory.",
        "ops",
        [
            Query(
                worker_rate(
                    "variant, replica, outcome", series.LOOKUPS, 'tier="memory"', SCOPE, OBJECT
                ),
                "{{variant}} {{outcome}}",
            )
        ],
        stacked=True,
        colours=OUTCOME_COLOURS,
        span=6,
        height=7,
    ),
    Graph(
        "Source reads",
        "Statements that this replica sent to Postgres for an object.",
        "ops",
        [
            Query(
                worker_rate("variant, replica, object", series.READS, SCOPE, OBJECT),
                "{{variant}} {{object}}",
            )
        ],
        span=6,
        height=7,
    ),
    Graph(
        "Latency, 95th percentile",
        "Of this replica's requests, as it sees them.",
        "s",
        [
            Query(
                promql.quantile(0.95, series.REQUEST_SECONDS, "variant, replica", CHAT),
                "{{variant}}",
            )
        ],
        span=6,
        height=7,
    ),
)

_ROWS = (
    ("At a glance", _AT_A_GLANCE),
    ("Tiers", TIERS),
    ("Entry age", AGE),
    ("Freshness", FRESHNESS),
    ("Redis and Postgres", SERVERS),
    ("Load balancer spread", _SPREAD),
    ("Generator health", _GENERATOR),
)
