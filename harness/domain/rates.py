"""Answered requests, and what is counted per 1,000 of them.

Per 1,000 means per 1,000 answered requests of a key scope, whatever their status (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from harness.domain.series import ALL

PER = 1000
"""The number of requests that a rate refers to."""

_T = TypeVar("_T")


def of_scope(by_scope: Mapping[str, _T], scope: str) -> list[_T]:
    """The values of one scope, or of `ALL`, in a table by key scope; empty if there are none."""
    if scope == ALL:
        return list(by_scope.values())
    return [by_scope[scope]] if scope in by_scope else []


def answered(requests: Mapping[str, Mapping[str, int]], scope: str = ALL) -> int:
    """Answered requests of a scope, or of all scopes, whatever their status.

    Args:
        requests: by scope and status, of a window or of all windows.
        scope: a key scope or `ALL`.
    """
    return sum(sum(statuses.values()) for statuses in of_scope(requests, scope))


def per_answered(count: float, requests: float, per: float = PER) -> float | None:
    """A count per 1,000 answered requests, or per another number; None without a request."""
    return count / requests * per if requests else None
