"""Figures of one variant window by window: what medians and ranges over the rounds are made of."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from harness.report.matrix import ALL
from harness.result import VariantResult, Window

Count = Callable[[Window], int]


def measured(variant: VariantResult) -> list[Window]:
    """The measured windows, in order of time; the cold fill is no part of any median."""
    return [window for window in variant.windows if window.phase == "measured"]


def answered(window: Window, scope: str) -> int:
    """Answered requests of a scope, or of ``all``, whatever their status."""
    wanted = window.requests.values() if scope == ALL else [window.requests.get(scope, {})]
    return sum(sum(statuses.values()) for statuses in wanted)


def source_reads(window: Window, scope: str, kind: str) -> int:
    """Queries to Postgres for an object; of scope ``all`` those of unresolved keys too."""
    wanted = window.source_reads.values() if scope == ALL else [window.source_reads.get(scope, {})]
    return sum(objects.get(kind, 0) for objects in wanted)


def per_round(variant: VariantResult, scope: str, count: Count, per: float = 1000) -> list[float]:
    """A count per so many answered requests of a scope, for each window that had any."""
    return [
        count(window) / requests * per
        for window in measured(variant)
        if (requests := answered(window, scope))
    ]


def median(values: list[float]) -> float | None:
    """The median, None of nothing."""
    return statistics.median(values) if values else None
