"""Queries, built from the names of metrics.

Two rules hold for all of them. A fleet at rest shows 0 and not "No data": a quotient falls back to
0 if its denominator is 0. And every rate is taken over ``$__rate_interval``,
which Grafana makes at least four scrapes long.
"""

from __future__ import annotations

from harness.domain.rates import PER
from harness.domain.series import (
    ALL,
    CHAT_ROUTE,
    READS,
    REFERENCE_LINE,
    REPLICAS_EXPECTED,
    REQUESTS,
)

CHAT = f'route="{CHAT_ROUTE}"'
VARIANT = 'variant=~"$variant"'
REPLICA = 'replica=~"$replica"'
SCOPE = 'key_scope=~"$key_scope"'
OBJECT = 'object=~"$object"'
WORKER = f"{VARIANT},{REPLICA}"
"""Matchers of a worker's series."""


def rate(metric: str, *matchers: str) -> str:
    """Per second, over the interval that Grafana chooses for the panel."""
    return f"rate({metric}{{{','.join(matchers)}}}[$__rate_interval])"


def by(labels: str, expr: str, operator: str = "sum") -> str:
    """Aggregated by labels."""
    return f"{operator} by ({labels}) ({expr})"


def worker_rate(labels: str, metric: str, *matchers: str) -> str:
    """Rate of a worker's counter, added up by labels."""
    return by(labels, rate(metric, WORKER, *matchers))


def fleet_rate(labels: str, metric: str, *matchers: str) -> str:
    """Rate of a counter of the whole fleet, whichever replicas are chosen."""
    return by(labels, rate(metric, VARIANT, *matchers))


def over(numerator: str, denominator: str, joined_on: str = "") -> str:
    """A quotient that is 0 where the denominator is 0.

    Args:
        numerator: has every label of the denominator.
        denominator: what to divide by.
        joined_on: labels of the denominator, where the numerator has more than those.
    """
    join = f" on ({joined_on}) group_left ()" if joined_on else ""
    return f"({numerator} /{join} ({denominator} > 0)) or ({numerator} * 0)"


def mean(histogram: str, labels: str, *matchers: str) -> str:
    """Mean of a histogram; 0 without observations."""
    total, count = (
        worker_rate(labels, f"{histogram}_{end}", *matchers) for end in ("sum", "count")
    )
    return over(total, count)


def quantile(share: float, histogram: str, labels: str, *matchers: str) -> str:
    """A quantile of a histogram; 0 without observations, where Prometheus gives NaN."""
    buckets = worker_rate(f"le, {labels}", f"{histogram}_bucket", *matchers)
    nothing = worker_rate(labels, f"{histogram}_count", *matchers)
    return f"(histogram_quantile({share:g}, {buckets}) >= 0) or ({nothing} * 0)"


def reads_per_1000(labels: str = "variant", *matchers: str) -> str:
    """Source reads per 1,000 answered requests, over the chosen key scopes.

    Args:
        labels: of the figures.
        matchers: further ones of the reads; requests have no object.
    """
    reads = worker_rate(labels, READS, SCOPE, *matchers)
    requests = worker_rate(labels, REQUESTS, CHAT, SCOPE)
    return over(f"{PER} * {reads}", requests)


def reference_line() -> str:
    """The reference line of the chosen key scopes.

    The line of several scopes together is not their mean: each counts by its share of the requests.
    At rest there are no shares, and it is their mean.
    """
    by_scope = f'{REFERENCE_LINE}{{{VARIANT},{SCOPE},key_scope!="{ALL}"}}'
    line = by("variant, key_scope", by_scope, "max")
    requests = worker_rate("variant, key_scope", REQUESTS, CHAT, SCOPE)
    weighted = f"sum by (variant) ({line} * {requests})"
    total = f"sum by (variant) ({requests})"
    return f"({weighted} / ({total} > 0)) or avg by (variant) ({line})"


def replicas_up() -> str:
    """Replicas of which every worker answers its scrapes, whichever are chosen.

    It is 0 and not "No data" where all are gone: a panel would keep the last number.
    """
    whole = by("variant, replica", f'up{{job="authcache",{VARIANT}}}', "min")
    return f"(sum by (variant) ({whole}) or 0 * {replicas_expected()})"


def replicas_expected() -> str:
    """Replicas that the fleet should have."""
    return by("variant", f"{REPLICAS_EXPECTED}{{{VARIANT}}}", "max")


def replicas_missing() -> str:
    """Replicas that the fleet should have and that are not up."""
    return f"clamp_min({replicas_expected()} - {replicas_up()}, 0)"
