"""The rule that population and rate follow: enough requests for every object and TTL.

An object that is requested fewer than twenty times per TTL is absent from the cache for much of
it, and its source reads say more about the load than about the variant. A request asks for all
objects of its key, so an object gets as many requests as its key. The rule is about the key with
the fewest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from harness.domain.faults import FAULTS, PlannedFault
from harness.domain.population import (
    VirtualKey,
    make_changes,
    make_population,
    make_refusals,
    objects_in_scope,
)
from harness.domain.rates import key_shares, zipf_shares
from harness.domain.result import Sizing
from harness.errors import ScenarioError
from harness.scenario.schema import Change, ChangeWindow, Scenario

MODEL = "mock-model"
_OFF_BEAT = 0.38
"""The part of a whole number by which a TTL, or two, misses a number of regular requests."""


def population(scenario: Scenario) -> list[VirtualKey]:
    """The scenario's keys."""
    people = scenario.population
    rows = {"member": people.member_row, "shared_id": people.shared_id_row}
    keys = make_population(
        people.counts(), rows, seed=scenario.seed, model=MODEL, share_every=people.share_every
    )
    return [_within_reach(key, scenario) for key in keys]


def refusals(scenario: Scenario, keys: Sequence[VirtualKey]) -> list[VirtualKey]:
    """The keys beside the scenario's ``keys`` that test refusals, numbered after them.

    No budget within reach is theirs: each must be answered the same from first to last.
    """
    return make_refusals(
        scenario.population.counts().keys(), first=len(keys), seed=scenario.seed, model=MODEL
    )


def each_change(scenario: Scenario) -> list[Change]:
    """The scenario's changes, batch by batch; one with a rate as often as it is made."""
    return [
        change
        for batch in scenario.batches()
        for change in scenario.change
        if change.batch == batch
        for _ in range(scenario.copies(change))
    ]


def changing(scenario: Scenario, *, first: int) -> list[VirtualKey]:
    """A key for each of `each_change`, in that order, numbered from ``first``.

    After them one for each change of each fault, fault by fault.
    """
    actions = [(change.action, change.scope) for change in each_change(scenario)]
    actions += [(c.action, c.scope) for _ in scenario.fault for c in scenario.faults.changes]
    return make_changes(actions, first=first, seed=scenario.seed, model=MODEL)


def _within_reach(key: VirtualKey, scenario: Scenario) -> VirtualKey:
    """The key with the scenario's budgets; a shared owner gets the budget of its last key."""
    replies = scenario.population.replies(key.scope)
    dollars = {owner: n * scenario.mock.cost_micro / 1_000_000 for owner, n in replies.items()}
    changes: dict[str, Any] = {
        f"{owner}_limits": replace(limits, max_budget=dollars[owner])
        for owner in ("key", "user", "team")
        if owner in dollars and (limits := getattr(key, f"{owner}_limits")) is not None
    }
    if "membership" in dollars:
        changes["member_max_budget"] = dollars["membership"]
    return replace(key, **changes)


def sizing(scenario: Scenario, keys: Sequence[VirtualKey], ttl_s: float) -> list[Sizing]:
    """Requests per TTL and object of each scope; for a closed load 0, its rate is not known.

    With ``load.zipf``, requests per object are those of the scope's least popular key.
    """
    weights = scenario.load.mix
    total = sum(weights.values())
    rows = []
    for scope, weight in weights.items():
        objects = objects_in_scope(
            list(keys), scope, planted_null_user=scenario.premises.null_user_for_team_keys
        )
        requests = scenario.load.rate_per_s * ttl_s * weight / total
        count = sum(key.scope == scope for key in keys)
        rows.append(
            Sizing(
                scope=scope,
                keys=count,
                objects=objects,
                requests_per_ttl=round(requests, 1),
                requests_per_object=round(requests * least_share(scenario, keys, scope), 1),
            )
        )
    return rows


def least_share(scenario: Scenario, keys: Sequence[VirtualKey], scope: str) -> float:
    """The share of a scope's requests that its least requested key gets."""
    count = sum(key.scope == scope for key in keys)
    load = scenario.load
    return min(zipf_shares(count, load.zipf) if load.zipf else key_shares(count, load.key_weights))


def check_sizing(scenario: Scenario, rows: Sequence[Sizing]) -> None:
    """Raises ScenarioError for an open load that requests the objects of a scope too seldom."""
    least = scenario.limits.min_requests_per_object
    if scenario.load.model == "closed":
        return
    for row in rows:
        if row.requests_per_object < least:
            raise ScenarioError(
                f"Scope [{row.scope}] of scenario [{scenario.name}] gets [{row.requests_per_ttl}] "
                f"requests a TTL for [{row.keys}] keys, and the objects of one of them "
                f"[{row.requests_per_object}]; [{least:g}] are needed. "
                "Raise load.rate_per_s or its share of the mix, use fewer keys, or a longer TTL."
            )


def off_beat(every_s: float, ttl_s: float) -> float:
    """The distance of regular requests, in s, longer if need be, that is not in step with the TTL.

    Where a TTL is a whole number of distances, each entry expires while a request is on its way
    that found it. A variant whose requests store what they hold then keeps a key for another TTL,
    or does not, by milliseconds. A distance with fewer than 1.38 in a TTL stays as it is: out of
    step it could be more than two TTLs.
    """
    per_ttl = math.floor(ttl_s / every_s - _OFF_BEAT) + _OFF_BEAT
    return every_s if per_ttl < 1 else ttl_s / per_ttl


def probe_every_s(
    window: ChangeWindow, ttl_s: float, probes: int = 0, rate_per_s: float = 0.0
) -> float:
    """The distance of two probes of one key on one worker, in s, in a window that changes keys.

    Args:
        window: how many probes there are in a TTL.
        ttl_s: as it is driven.
        probes: of all keys on all workers, one each.
        rate_per_s: what they must not exceed together; 0 for no limit.
    """
    every_s = ttl_s / window.probes_per_ttl
    return off_beat(max(every_s, probes / rate_per_s) if rate_per_s else every_s, ttl_s)


def users_needed(scenario: Scenario, fault: PlannedFault, probes_per_s: float) -> int:
    """Users for an open load that goes on while a fault holds every request.

    Args:
        scenario: with rate and time-out.
        fault: how long it lasts.
        probes_per_s: requests beside the load.
    """
    held_s = scenario.load.timeout_s + (0.0 if FAULTS[fault.what].at_once else fault.for_s)
    return math.ceil((scenario.load.rate_per_s + probes_per_s) * held_s)


def check_users(scenario: Scenario, fault: PlannedFault, probes_per_s: float) -> None:
    """Raises ScenarioError where a load would stop because all of its users wait.

    Arguments as of `users_needed`.
    """
    needed = users_needed(scenario, fault, probes_per_s)
    if scenario.load.users < needed:
        raise ScenarioError(
            f"Scenario [{scenario.name}] has [{scenario.load.users}] users, and the fault "
            f"[{fault.name}] can hold [{needed}] requests at once: "
            f"[{scenario.load.rate_per_s + probes_per_s:g}] a second with the probes, times the "
            f"[{fault.for_s:g}] s of the fault and the [{scenario.load.timeout_s:g}] s of "
            "load.timeout_s. Raise load.users (2,000 at most), or lower load.rate_per_s, "
            "load.timeout_s or the fault's for_s."
        )


def least_rate(scenario: Scenario, keys: Sequence[VirtualKey], ttl_s: float) -> float:
    """The lowest arrival rate, per second, at which every object is requested often enough."""
    weights = scenario.load.mix
    total = sum(weights.values())
    return max(
        scenario.limits.min_requests_per_object
        * total
        / (weight * least_share(scenario, keys, scope) * ttl_s)
        for scope, weight in weights.items()
    )
