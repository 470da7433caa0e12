"""Shares of requests: how many a key gets, how many were answered, and what is counted per 1,000.

Per 1,000 means per 1,000 answered requests of a key scope, whatever their status (docs/method.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

from harness.domain.series import ALL
from harness.errors import UsageError

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


def key_shares(count: int, weights: Sequence[float]) -> list[float]:
    """The share of its scope's requests that each key gets; they add up to 1.

    Args:
        count: keys of the scope.
        weights: of the keys in order, over and over; empty for equal shares.
    """
    each = [weights[place % len(weights)] if weights else 1.0 for place in range(count)]
    return [weight / sum(each) for weight in each]


def zipf_shares(count: int, exponent: float) -> list[float]:
    """The share of the requests that each of ``count`` keys gets, the most popular first.

    By Zipf's law the k-th key has weight 1 / k ** exponent; 0 makes all shares equal.
    """
    weights = [float(rank) ** -exponent for rank in range(1, count + 1)]
    total = sum(weights)
    return [weight / total for weight in weights]


def check_zipf(exponent: float) -> None:
    """Raise UsageError for an exponent that no load can follow."""
    if not (math.isfinite(exponent) and exponent >= 0):
        raise UsageError(
            f"The exponent of the keys' popularity is [{exponent}]. Give 0 for keys that are "
            "requested alike, or a positive number, e.g. 0.8."
        )
