"""Estimators of source reads: how long entries are kept, how often objects are read, what grows.

What expires is estimated from the time between two reads of one object, which does not depend on
where a window begins; what is read on every request, from the way that reads grow with requests.
Pure functions; docs/decisions/0023 has the simulations behind them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from heapq import heapify, heapreplace
from statistics import NormalDist, fmean, stdev

from harness.analysis.intervals import rate, student
from harness.domain.reads import ObjectRead
from harness.domain.result import Estimate

BURST_TTLS = 0.05
"""Reads of one object that follow each other more closely are one burst: several workers found the
same entry expired. More than what a read and its store take, less than any TTL under study."""
LEAST_INTERVALS = 8
"""With fewer, what a cache keeps is not judged."""
KEPT_QUANTILE = 0.1
"""An entry is read again when it has expired and the next request comes: the lower edge of the
intervals is the TTL, whatever the load and the number of workers."""
WASTEFUL_SLOPE = 0.5
"""Between 0, reads that a TTL causes, and 1, reads that requests cause."""
UNCACHED_TIMES = 2.0
"""Where no slope can be seen: reads over those of workers that share no Redis. Twice, because code
may keep an object for less than the TTL that was set."""
_UNCACHED_SHARE = 0.9
"""Of requests that read, at most: so many workers that even a correct cache reads as often."""
PLAIN_ERROR = 0.025
"""Of each end of an interval of 95 %, where no verdict asks for less."""
LEAST_PER_TTL = 20
"""An object that is served less often from a cache is not said to be kept alive."""
RARE_SHARE = 0.1
"""Of the reads of a correct cache: an object that is read less often is kept alive. In a window
longer than the promise a correct cache reads each object at least once."""
_SLOPE_CONFIDENCE = 0.99
"""One-sided; higher, because each object of a scope is judged."""
_STEEPEST = 5.0
_LEAST_KEYS = 2
_SIMULATED_READS = 4000


def intervals(
    stretches: Iterable[Sequence[ObjectRead]], ttl_s: float, *, per_worker: bool
) -> list[float]:
    """Times between two bursts of reads of one object, in TTLs.

    From the last read of a burst, which stored the entry, to the first of the next. What the edges
    of a stretch cut off is left out, and so is the time between two stretches, without load.

    Args:
        stretches: reads in order of time; each under load without a pause.
        ttl_s: time to live.
        per_worker: whether each worker has entries of its own: no Redis tier.
    """
    found = []
    for reads in stretches:
        last: dict[tuple[str, str, int], float] = {}
        for read in reads:
            place = (read.object, read.entry, read.worker if per_worker else 0)
            before = last.get(place)
            if before is not None and read.at_s - before > BURST_TTLS * ttl_s:
                found.append((read.at_s - before) / ttl_s)
            last[place] = read.at_s
    return found


def ttl_kept(
    found: Sequence[float], *, together: float = 1.0, error: float = PLAIN_ERROR
) -> Estimate | None:
    """The tenth percentile of the intervals between reads of one object: 1 if a TTL is kept.

    A correct cache lies between 0.99 and 1.03. The bounds are order statistics. Where none is as
    sure as asked there is no bound: with fewer than 36 intervals at 95 % even the least is not one.

    Args:
        found: by `intervals`.
        error: of each bound, as in `harness.analysis.intervals`.
        together: how many objects are read together, as those of one key are: they say as much as
            one of them does.

    Returns:
        None for fewer than `LEAST_INTERVALS` intervals.
    """
    if len(found) < LEAST_INTERVALS:
        return None
    ranked = sorted(found)
    independent = max(1, round(len(ranked) / together))

    def at(place: int, *, upper: bool) -> float | None:
        if not 1 <= place <= independent:
            return None
        # In whole numbers: 7 / 25 * 25 is more than 7. Between two intervals the outer one.
        whole, rest = divmod(place * len(ranked), independent)
        return ranked[whole + (upper and rest > 0) - 1]

    return Estimate(
        value=ranked[math.ceil(KEPT_QUANTILE * len(ranked)) - 1],
        low=at(_binomial_quantile(independent, KEPT_QUANTILE, error), upper=False),
        high=at(_binomial_quantile(independent, KEPT_QUANTILE, 1 - error) + 1, upper=True),
        n=len(ranked),
    )


def _binomial_quantile(n: int, p: float, share: float) -> int:
    """The least k with P(X <= k) >= ``share``."""
    term = below = (1 - p) ** n
    k = 0
    while below < share and k < n:
        k += 1
        term *= (n - k + 1) / k * p / (1 - p)
        below += term
    return k


def per_object_and_ttl(
    reads: Mapping[int, float], expected: Mapping[int, float], error: float = PLAIN_ERROR
) -> tuple[float, float | None, float | None]:
    """Reads over those expected, as a ratio of sums, with its interval by key.

    Args:
        reads: by key.
        expected: the same of a correct cache; every key has some.
        error: of each bound, as in `harness.analysis.intervals`.

    Returns:
        Ratio, lower and upper bound; no bounds for a single key. Keys are the unit, because the
        objects of one key are read together.
    """
    ratio = sum(reads.get(key, 0.0) for key in expected) / sum(expected.values())
    n = len(expected)
    if n < _LEAST_KEYS:
        return ratio, None, None
    mean = fmean(expected.values())
    residuals = [(reads.get(key, 0.0) - ratio * e) / mean for key, e in expected.items()]
    half = student(n - 1, error) * stdev(residuals) / math.sqrt(n)
    return ratio, max(0.0, ratio - half), ratio + half


def elasticity(requests: Sequence[float], reads: Sequence[int]) -> Estimate | None:
    """The slope of log reads on log requests over objects that are requested at different rates.

    0: an object that is requested more often is read no more often, so a TTL causes the reads. 1:
    requests cause them. The slope maximises the Poisson likelihood, and its bounds are those of a
    Poisson count: too wide for what expires, right for what is read at random.

    Args:
        requests: for each object; above 0.
        reads: of each object.

    Returns:
        None without reads, or where all objects are requested equally often.
    """
    logs = [math.log(count) for count in requests]
    total = sum(reads)
    if not total or _alike(requests):
        return None
    target = sum(n * x for n, x in zip(reads, logs, strict=True)) / total

    def moments(slope: float) -> tuple[float, float]:
        weights = [math.exp(slope * (x - max(logs))) for x in logs]
        mean = sum(w * x for w, x in zip(weights, logs, strict=True)) / sum(weights)
        square = sum(w * (x - mean) ** 2 for w, x in zip(weights, logs, strict=True))
        return mean, square / sum(weights)

    low, high = -_STEEPEST, _STEEPEST
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if moments(middle)[0] < target else (low, middle)
    half = NormalDist().inv_cdf(_SLOPE_CONFIDENCE) / math.sqrt(total * moments(low)[1])
    return Estimate(value=low, low=low - half, high=low + half, n=total)


def grows(slope: Estimate) -> bool:
    """Whether reads grow with requests: what is never cached, whatever the number of workers."""
    return slope.low is not None and slope.low > WASTEFUL_SLOPE


def _alike(requests: Sequence[float]) -> bool:
    return math.isclose(max(requests), min(requests), rel_tol=1e-6)


def uncached(requests: Sequence[float], reads: int, workers: int, ttls: float) -> float | None:
    """Reads per request, at least, of objects whose reads cannot be those of a TTL.

    For objects that are requested equally often, whose reads have no slope: their number decides.

    Args:
        requests: for each object; above 0.
        reads: of all of them.
        workers: of the fleet.
        ttls: how many TTLs they were requested for.

    Returns:
        None where the reads have a slope, or may be those of a TTL.
    """
    if not _alike(requests):
        return None
    per_ttl = requests[0] / ttls
    most = UNCACHED_TIMES * expected_reads(workers, per_ttl, shared=False) / per_ttl
    low = rate(reads, sum(requests), 1 - _SLOPE_CONFIDENCE).low
    return low if low > min(most, _UNCACHED_SHARE) else None


@lru_cache(maxsize=1024)
def expected_reads(workers: int, requests_per_ttl: float, *, shared: bool) -> float:
    """Reads per object and TTL of a correct cache: entries live one TTL, one reader at a time.

    Without Redis each worker reads after a TTL and the wait for its next request. With Redis a
    worker that finds its entry expired takes that of Redis for a whole TTL of its own, so the
    reader is the first worker that finds both expired: no formula, a simulation with a fixed seed
    (0.925 for 8 workers, TTL 2 s and 30 requests/s).

    Args:
        workers: of the fleet, each asked at random.
        requests_per_ttl: for the object, over all workers.
        shared: whether there is a Redis tier.
    """
    if not requests_per_ttl:
        return 0.0
    each = requests_per_ttl / workers
    if not shared or workers == 1:
        return workers / (1 + 1 / each)
    rng = random.Random(0)
    # The next request of each worker that its memory does not answer, in TTLs.
    asks = [rng.expovariate(each) for _ in range(workers)]
    heapify(asks)
    redis_until = start = end = 0.0
    reads = -_SIMULATED_READS // 10  # the first tenth are to forget how it began
    while reads < _SIMULATED_READS:
        at = asks[0]
        if at >= redis_until:
            redis_until = at + 1.0
            reads += 1
            if reads == 0:
                start = at
            end = at
        heapreplace(asks, at + 1.0 + rng.expovariate(each))
    return reads / (end - start)
