"""Percentiles from the raw samples of a variant's windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from pathlib import Path

from harness.domain.result import Latency, Percentiles
from harness.domain.samples import Sample, read_samples

BEYOND = 10
"""A percentile is reported only with at least this many samples beyond it."""


def latency(files: Iterable[Path]) -> Latency:
    """Latency of all answered requests: from the intended start, and from the actual one.

    Each window opens its connections anew, and the first request of a connection waits for it: none
    of those is in a percentile.
    """
    intended: list[float] = []
    service: list[float] = []
    firsts = 0
    for file in files:
        for sample, opened in with_first(read_samples(file)):
            if not sample.status:
                continue
            if opened:
                firsts += 1
                continue
            intended.append((sample.done_s - sample.intended_s) * 1000)
            service.append((sample.done_s - sample.sent_s) * 1000)
    return Latency(
        from_intended=percentiles(intended),
        service=percentiles(service),
        samples=len(service),
        first_of_connection=firsts,
    )


def with_first(samples: Iterable[Sample]) -> Iterator[tuple[Sample, bool]]:
    """The samples of one window, in order of their start, and whether each opened its connection.

    The pool of a replica opens a connection exactly when all that it has are in use
    (`harness.load.session`); one whose request ended in an error is gone.
    """
    busy: dict[int, list[tuple[float, bool]]] = {}
    idle: Counter[int] = Counter()
    for sample in sorted(samples, key=lambda sample: sample.sent_s):
        replica, open_ones = sample.replica, busy.setdefault(sample.replica, [])
        while open_ones and open_ones[0][0] <= sample.sent_s:
            idle[replica] += heappop(open_ones)[1]
        opened = not idle[replica]
        idle[replica] -= not opened
        heappush(open_ones, (sample.done_s, sample.status != 0))
        yield sample, opened


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
