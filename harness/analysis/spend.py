"""Spend: what budgets let through, and the users' cost, with which lost spend is compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.analysis.rounds import measured
from harness.authcache.words import KeyScope
from harness.domain.population import VirtualKey
from harness.domain.result import OwnerBudget, Result, Window
from harness.domain.samples import Sample, read_samples
from harness.scenario.schema import Scenario

_WITH_USER = (KeyScope.USER, KeyScope.SHARED_ID, KeyScope.MEMBER)
_OK, _REDIRECT = 200, 300
_KEY_SPEND = "key_spend"
"""The equation of the ledger whose left side is the cost of all 2xx replies of a window."""


_IDS: Mapping[str, tuple[str, ...]] = {
    "key": ("token",),
    "user": ("user_id",),
    "team": ("team_id",),
    "membership": ("user_id", "team_id"),
}


def owner_budgets(
    scenario: Scenario, keys: Iterable[VirtualKey], files: Iterable[Path]
) -> list[OwnerBudget]:
    """What each budget within reach let through.

    Args:
        scenario: names the budgets.
        keys: the population.
        files: the raw samples of all windows of one variant, the cold fill included.
    """
    groups: dict[tuple[str, str, tuple[str, ...]], list[int]] = {}
    for key in keys:
        for owner in scenario.population.replies(key.scope):
            ids = tuple(getattr(key, name) for name in _IDS[owner])
            groups.setdefault((key.scope, owner, ids), []).append(key.index)
    if not groups:
        return []
    windows = [list(read_samples(file)) for file in files]
    rows = []
    for (scope, owner, _), members in groups.items():
        mine = [[s for s in window if s.key in members] for window in windows]
        statuses = [sample.status for window in mine for sample in window if sample.status]
        admitted = sum(_OK <= status < _REDIRECT for status in statuses)
        rows.append(
            OwnerBudget(
                owner=owner,
                scope=scope,
                keys=members,
                affordable=scenario.population.replies(scope)[owner],
                admitted=admitted,
                refused=len(statuses) - admitted,
                open_at_once=max(map(open_at_once, mine), default=0),
            )
        )
    return rows


def open_at_once(samples: Iterable[Sample]) -> int:
    """The greatest number of requests of one window that were under way at the same moment.

    A request that starts in the microsecond in which another ends does not overlap it.
    """
    moments = sorted(moment for s in samples for moment in ((s.sent_s, 1), (s.done_s, -1)))
    now = most = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


def users_cost_micro(result: Result, variant: str) -> float | None:
    """Cost of the 2xx replies to keys with a user, in millionths of a dollar.

    All replies of a window cost the same, so the users' part is their share of the replies. None
    if the ledger has no cost for a measured window.
    """
    costs = {
        equation.window: equation.left
        for equation in result.ledger.equations
        if equation.name == _KEY_SPEND and equation.variant == variant
    }
    total = 0.0
    for window in measured(result.variants[variant]):
        cost = costs.get(window.name)
        if cost is None:
            return None
        replies = sum(_paid(window, scope) for scope in window.requests)
        users = sum(_paid(window, scope) for scope in _WITH_USER)
        total += cost * users / replies if replies else 0.0
    return total


def _paid(window: Window, scope: str) -> int:
    statuses = window.requests.get(scope, {})
    return sum(n for status, n in statuses.items() if status.startswith("2"))
