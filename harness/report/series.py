"""Source reads over time: the windows of each variant in order of time."""

from __future__ import annotations

from dataclasses import dataclass

from harness.domain.rates import answered, per_answered
from harness.domain.result import Result, Window
from harness.domain.series import ALL


@dataclass(frozen=True, slots=True)
class Point:
    """One window. ``per_1000`` has source reads by scope, and ``all`` for the whole window."""

    at_s: float
    """Middle of the window, in seconds since the start of the run."""
    name: str
    cold: bool
    per_1000: dict[str, float]


@dataclass(frozen=True, slots=True)
class VariantSeries:
    """The windows of one variant, in order of time."""

    variant: str
    points: tuple[Point, ...]


_SHOWN = ("cold_fill", "measured")


def series_of(result: Result) -> list[VariantSeries]:
    """A series for every variant of a run, in the order of its tables; empty without windows.

    Windows of changes and of refusals are left out: their keys are read for other reasons.
    """
    return [
        VariantSeries(
            name,
            tuple(
                sorted((_point(w) for w in v.windows if w.phase in _SHOWN), key=lambda p: p.at_s)
            ),
        )
        for name, v in result.variants.items()
    ]


def _point(window: Window) -> Point:
    per_1000 = dict(window.source_reads_per_1000)
    if ALL not in per_1000 and window.source_reads is not None:
        reads = sum(sum(objects.values()) for objects in window.source_reads.values())
        rate = per_answered(reads, answered(window.requests))
        if rate is not None:
            per_1000[ALL] = rate
    middle = window.started_s + window.duration_s / 2
    return Point(middle, window.name, window.phase == "cold_fill", per_1000)
