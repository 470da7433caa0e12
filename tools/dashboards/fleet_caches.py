"""Of *One fleet*: the tiers of its cache, and the servers behind them."""

from __future__ import annotations

from harness.domain import series
from tools.dashboards import promql
from tools.dashboards.parts import OUTCOME_COLOURS, Graph, Query
from tools.dashboards.promql import OBJECT, SCOPE, VARIANT, by, fleet_rate, over, worker_rate

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
        "Coalesced lookups: somebody else was asking Redis or Postgres for the same object.",
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
"""How old what is served is."""

SERVERS = (
    Graph(
        "Redis: keys asked",
        "As the fleet's own Redis counts them; the ledger holds them against what the workers say.",
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
        "Mean execution time, without the way there and back.",
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
"""The servers behind the replicas, as they count for themselves."""
