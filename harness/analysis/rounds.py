"""Figures of one variant by window, and of all its windows together."""

from __future__ import annotations

from collections.abc import Callable

from harness.domain.rates import PER, answered, of_scope, per_answered
from harness.domain.result import VariantResult, Window
from harness.domain.series import ALL

Count = Callable[[Window], int | None]
"""Returns None if the window could not see what is counted."""
_JUDGED_TOO = frozenset({"refusals", "changes", "recovered"})


def measured(variant: VariantResult) -> list[Window]:
    """The measured windows, in order of time; no figure includes the cold fill."""
    return [window for window in variant.windows if window.phase == "measured"]


def judged_requests(variant: VariantResult, scope: str = ALL) -> int:
    """Answered requests whose answers were judged one by one (`harness.analysis.answers`).

    Those of the measured windows, and of the windows of refusals, of changes and after faults.
    """
    others = (window for window in variant.windows if window.phase in _JUDGED_TOO)
    return answered(variant.requests, scope) + sum(answered(w.requests, scope) for w in others)


def source_reads(window: Window, scope: str, kind: str | None = None) -> int | None:
    """Queries to Postgres for an object, or for all; scope ``all`` includes unresolved keys.

    None if they were not counted, or not by scope.
    """
    by_scope = window.source_reads
    if by_scope is None or (scope != ALL and scope not in window.source_reads_per_1000):
        return None
    tables = of_scope(by_scope, scope)
    return sum(n for objects in tables for k, n in objects.items() if kind in (None, k))


def log_pairs(window: Window, scope: str) -> int | None:
    """Log pairs of a scope, or of all scopes; None if they were not counted."""
    return None if window.log_pairs is None else sum(of_scope(window.log_pairs, scope))


def parts(variant: VariantResult, scope: str, count: Count) -> list[tuple[int, int]]:
    """A count and the answered requests of a scope, for each window that had any.

    Windows that could not see what is counted are left out.
    """
    return [
        (counted, requests)
        for window in measured(variant)
        if (counted := count(window)) is not None and (requests := answered(window.requests, scope))
    ]


def of_all(variant: VariantResult, scope: str, count: Count, per: float = PER) -> float | None:
    """The figure of all windows that `per_round` has: a ratio of sums; None without any."""
    seen = [(window, n) for window in measured(variant) if (n := count(window)) is not None]
    requests = sum(answered(window.requests, scope) for window, _ in seen)
    return per_answered(sum(n for _, n in seen), requests, per)


def per_round(variant: VariantResult, scope: str, count: Count, per: float = PER) -> list[float]:
    """The count of each of the `parts` per ``per`` answered requests."""
    return [counted / requests * per for counted, requests in parts(variant, scope, count)]
