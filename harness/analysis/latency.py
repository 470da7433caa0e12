"""Percentiles from the raw samples of a variant's windows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.domain.result import Latency, Percentiles
from harness.domain.samples import read_samples

BEYOND = 10
"""A percentile is reported only with at least this many samples beyond it."""


def latency(files: Iterable[Path]) -> Latency:
    """Latency of all answered requests: from the intended start, and from the actual one."""
    intended: list[float] = []
    service: list[float] = []
    for file in files:
        for sample in read_samples(file):
            if sample.status:
                intended.append((sample.done_s - sample.intended_s) * 1000)
                service.append((sample.done_s - sample.sent_s) * 1000)
    return Latency(
        from_intended=percentiles(intended), service=percentiles(service), samples=len(service)
    )


def percentiles(values: Sequence[float]) -> Percentiles:
    """Nearest-rank percentiles in the unit of the values; None if the sample is too small."""
    ranked = sorted(values)
    return Percentiles(
        p50=_percentile(ranked, 0.50), p95=_percentile(ranked, 0.95), p99=_percentile(ranked, 0.99)
    )


def _percentile(ranked: Sequence[float], share: float) -> float | None:
    rank = int(share * len(ranked))
    if len(ranked) - rank - 1 < BEYOND:
        return None
    return round(ranked[rank], 3)
