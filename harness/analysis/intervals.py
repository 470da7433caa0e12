"""Confidence intervals in pure Python: what a count, a share or some rounds can tell.

``error`` is the chance, at most, that the truth lies beyond one given end of an interval: an
interval of 95 % has an ``error`` of 0.025 at each end. `per_bound` shares 5 % over all bounds of a
run. docs/decisions/0024 says which interval is used where, and why without scipy.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

RUN_ERROR = 0.05
"""Chance, at most, that any bound of a whole run is wrong."""
LEAST_ROUNDS = 6
"""With fewer rounds their spread says nothing; 6 are the least whose signs can show 5 %."""
LEAST_EVENTS = 10
"""With fewer events in all rounds the spread over the rounds is no measure of the noise."""
_MANY = 10_000_000
"""A binomial of so many trials is a Poisson distribution, for counts up to about 100,000."""
_HALVINGS = 60
_TINY = 1e-300
_CLOSE = 1e-12


class Interval(NamedTuple):
    """Where the truth lies, but for the chance ``error`` at each end."""

    low: float
    high: float

    def times(self, factor: float) -> Interval:
        """The interval of a figure that is ``factor`` (not negative) times this one."""
        return Interval(self.low * factor, self.high * factor)


def per_bound(bounds: int, looks: int = 1) -> float:
    """The ``error`` of one bound, so that no verdict of the run is wrong in 95 of 100 runs.

    Bonferroni over the bounds and over the looks: it holds however they depend on each other.

    Args:
        bounds: limits that the run asserts.
        looks: how often the run may look whether it can stop.
    """
    return RUN_ERROR / (max(bounds, 1) * looks)


@lru_cache(maxsize=4096)
def proportion(events: float, trials: float, error: float) -> Interval:
    """Clopper and Pearson's exact interval of a share: ``events`` of ``trials`` (more than 0)."""
    assert 0 <= events <= trials, (events, trials)
    assert trials > 0, trials
    low = 0.0
    if events > 0:
        low = _solve(lambda p: _beta(p, events, trials - events + 1) - error)
    high = 1.0
    if events < trials:
        high = _solve(lambda p: _beta(p, events + 1, trials - events) - (1 - error))
    return Interval(low, high)


def poisson(events: float, error: float) -> Interval:
    """Garwood's exact interval of the mean of a count."""
    return proportion(events, _MANY, error).times(_MANY)


def rate(events: float, requests: float, error: float) -> Interval:
    """Events per request.

    At most one event a request is a share. More events than requests are a count, whose interval is
    wider than that of events which occur the same number of times in each request.
    """
    if events <= requests:
        return proportion(events, requests, error)
    return poisson(events, error).times(1 / requests)


def ratio_of_sums(parts: Sequence[tuple[float, float]], error: float) -> Interval | None:
    """The sum of the first over the sum of the second numbers, with parts that are independent.

    Jackknife over the parts (rounds, or keys) with Student's t. None for fewer than two parts, or
    without a second number.
    """
    above, below = (sum(part[i] for part in parts) for i in (0, 1))
    n = len(parts)
    if n < 2 or below <= 0 or any(below - part[1] <= 0 for part in parts):  # noqa: PLR2004
        return None
    without = [(above - part[0]) / (below - part[1]) for part in parts]
    middle = statistics.fmean(without)
    spread = math.sqrt((n - 1) / n * sum((value - middle) ** 2 for value in without))
    reach = student(n - 1, error) * spread
    return Interval(max(0.0, above / below - reach), above / below + reach)


def mean(values: Sequence[float], error: float) -> Interval | None:
    """Student's interval of the mean of independent values; None for fewer than two."""
    if len(values) < 2:  # noqa: PLR2004 - one value has no spread
        return None
    reach = student(len(values) - 1, error) * statistics.stdev(values) / math.sqrt(len(values))
    middle = statistics.fmean(values)
    return Interval(middle - reach, middle + reach)


def never_needs(error: float, share: float) -> float:
    """Requests without an event that show a share to be at most ``share``: 299 for 1 % at 95 %."""
    return math.log(error) / math.log1p(-share)


@cache
def student(degrees: int, error: float) -> float:
    """The value that Student's t exceeds with the chance ``error`` (less than a half)."""

    def chance_below(fraction: float) -> float:
        # t = x / (1 - x) maps the half-line to the unit interval, where bisection can search.
        t = fraction / (1 - fraction)
        return 1 - _beta(degrees / (degrees + t * t), degrees / 2, 0.5) / 2

    found = _solve(lambda fraction: chance_below(fraction) - (1 - error))
    return found / (1 - found)


def _solve(rising: Callable[[float], float]) -> float:
    """The zero of a rising function between 0 and 1."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function, whose values are tails of the binomial.

    The continued fraction of NIST's DLMF 8.17.22, evaluated from the front (Lentz).
    """
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta(1 - x, b, a)
    front = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    fraction, above, below = 1.0, 1.0, 0.0
    for step in range(1, _MANY):
        m = step // 2
        if step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        below = 1 / _not_zero(1 + term * below)
        above = _not_zero(1 + term / above)
        fraction *= above * below
        if abs(above * below - 1) < _CLOSE:
            break
    return front / (a * fraction)


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
