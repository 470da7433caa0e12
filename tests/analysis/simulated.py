"""Caches simulated request by request: what the estimators are tried on.

Independent of the code under test: `harness.analysis.reads.expected_reads` skips from miss to miss.
"""

from __future__ import annotations

import random
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
    weights = list(rates.values())
    while (at := at + rng.expovariate(sum(weights))) < end_s:
        yield Asked(at, rng.randrange(workers), rng.choices(names, weights)[0])


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
