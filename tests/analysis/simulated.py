"""Caches simulated request by request: what the estimators are tried on.

Independent of the code under test: `harness.analysis.reads.expected_reads` skips from miss to miss.
"""

from __future__ import annotations

import itertools
import random
from bisect import bisect
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from harness.domain.reads import ObjectRead


class Asked(NamedTuple):
    """One request for one object."""

    at_s: float
    worker: int
    object: str


def poisson(
    rates: dict[str, float], workers: int, end_s: float, rng: random.Random
) -> Iterator[Asked]:
    """Requests for objects at their rates per second, each to a worker at random."""
    at, names = 0.0, list(rates)
    cumulative = list(itertools.accumulate(rates.values()))
    while (at := at + rng.expovariate(cumulative[-1])) < end_s:
        worker, drawn = rng.randrange(workers), rng.random() * cumulative[-1]
        yield Asked(at, worker, names[bisect(cumulative, drawn)])


def regular(rates: dict[str, float], end_s: float, rng: random.Random) -> Iterator[Asked]:
    """Requests for objects at equal distances, each from a moment of its own on."""
    moments = [
        Asked(begin + number / rate, 0, name)
        for name, rate in rates.items()
        for begin in (rng.random(),)
        for number in range(int((end_s - begin) * rate))
    ]
    yield from sorted(moments)


def read_late(
    asked: Iterable[Asked], ttl_s: float, *, read_s: float, rng: random.Random
) -> list[float]:
    """The moments of the source reads of a worker that handles and reads with random delays.

    A request that comes before another's read has ended reads too. Two sides that are asked alike
    differ by this alone.

    Args:
        asked: in order of time, at most.
        ttl_s: from the end of a read on.
        read_s: mean time of a read; a fourth of it is the mean time until a request is handled.
        rng: of the delays.
    """
    stored: dict[str, float] = {}
    """When the entry was, or will be, stored."""
    reads = []
    for at, _, name in asked:
        at += rng.expovariate(4 / read_s)  # noqa: PLW2901 - handled a little later
        there_from = stored.get(name, -ttl_s)
        if there_from <= at < there_from + ttl_s:
            continue
        reads.append(at)
        if at >= there_from:
            stored[name] = at + rng.expovariate(1 / read_s)
    return reads


def cached(
    asked: Iterable[Asked], ttl_s: float, *, shared: bool, never: bool = False
) -> list[ObjectRead]:
    """The source reads of caches in which entries live one TTL.

    Args:
        asked: in order of time.
        ttl_s: of each tier.
        shared: whether there is a Redis, from which memory is filled for a whole TTL.
        never: nothing is cached.
    """
    memory: dict[tuple[int, str], float] = {}
    redis: dict[str, float] = {}
    reads = []
    for at, worker, name in asked:
        if not never:
            if memory.get((worker, name), 0.0) > at:
                continue
            memory[worker, name] = at + ttl_s
            if shared and redis.get(name, 0.0) > at:
                continue
            redis[name] = at + ttl_s
        reads.append(ObjectRead(at, worker, name, "key", "", "team"))
    return reads
