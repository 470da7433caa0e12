"""The cost of the users' requests in a run, with which lost spend is compared."""

from __future__ import annotations

from harness.analysis.rounds import measured
from harness.authcache.words import KeyScope
from harness.domain.result import Result, Window

_WITH_USER = (KeyScope.USER, KeyScope.SHARED_ID, KeyScope.MEMBER)
_KEY_SPEND = "key_spend"
"""The equation of the ledger whose left side is the cost of all 2xx replies of a window."""


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
