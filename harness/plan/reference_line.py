"""The reference line: the number of source reads at one per object and TTL.

A correct cache of one worker would read this much; docs/method.md explains why it is not a floor.
The same rule serves measured load (requests and seconds of all windows), planned load (requests per
second, and one second), and the web UI, which knows objects but not keys.
`tools.dashboards.promql.reference_line` joins the lines of several scopes as `reference_line` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harness.domain.population import VirtualKey, objects_in_scope
from harness.domain.rates import per_answered
from harness.domain.series import ALL

if TYPE_CHECKING:
    # The web UI computes lines in Locust's process, which needs no stacks or targets.
    from harness.plan.plan import RunPlan


def line_reads(objects: float, seconds: float, ttl_s: float) -> float:
    """Source reads in a number of seconds, at one per object and TTL."""
    return objects * seconds / ttl_s


def reference_line(
    keys: Sequence[VirtualKey],
    requests: Mapping[str, float],
    *,
    seconds: float,
    ttl_s: float,
    planted: bool,
) -> dict[str, float]:
    """Source reads of the line per 1,000 answered requests, by scope and for `ALL`.

    Args:
        keys: the population.
        requests: answered within ``seconds``, by scope; scopes without requests are left out.
        seconds: length of all windows together; 1 if ``requests`` are requests per second.
        ttl_s: time to live of the caches' entries.
        planted: whether the fleet looks up a user for team keys without one.
    """
    reads = {
        scope: line_reads(
            objects_in_scope(list(keys), scope, planted_null_user=planted), seconds, ttl_s
        )
        for scope, count in requests.items()
        if count
    }
    whole = per_answered(sum(reads.values()), sum(requests.values()))
    line = {scope: per_answered(n, requests[scope]) for scope, n in reads.items()}
    line |= {ALL: whole}
    return {scope: value for scope, value in line.items() if value is not None}


def planned_line(plan: RunPlan, *, planted: bool) -> dict[str, float]:
    """The line at the planned rate and mix of an open load; empty for a closed load.

    Args:
        plan: of the run.
        planted: whether the fleet looks up a user for team keys without one.
    """
    load = plan.scenario.load
    total = sum(load.mix.values())
    rates = {str(scope): load.rate_per_s * weight / total for scope, weight in load.mix.items()}
    return reference_line(plan.keys, rates, seconds=1.0, ttl_s=plan.ttl_s, planted=planted)
