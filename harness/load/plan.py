"""When requests arrive, and with which key at which replica.

The open model is a seeded Poisson process. Each arrival's scope and key are drawn independently
of all others: a Poisson process that is split by independent choices gives every key a Poisson
process of its own, at its share of the rate. That is what a cache meets in production, and what
the formulas for TTL caches assume. Dealing the keys out in rounds would balance their counts,
but it would also space each key's requests more evenly than chance, so that fewer entries
expire between two requests than really would.

Replicas are different: a load balancer in round robin does deal them out. Each request takes the
next replica of a shuffled round, so that the counts of two replicas never differ by more than
one, and no replica is tied to a key.

Times, scopes, keys and replicas come from random streams of their own: the times of a plan do
not depend on the number of keys or replicas.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from harness.domain.rates import key_shares
from harness.errors import UsageError

OPEN = "open"
CLOSED = "closed"
MODELS = (CLOSED, OPEN)
"""Who sets the pace of an endless load: the plan, or the users by waiting for their replies."""


class Arrival(NamedTuple):
    """One request to be made."""

    intended_s: float | None
    """Seconds since the start of the window; None means as soon as the user asks."""
    scope: str
    key: int
    """Index into the keys file."""
    replica: int
    """Index into the hosts."""


def shuffled_rounds(count: int, rng: random.Random) -> Iterator[int]:
    """Endless rounds of the numbers from 0 to ``count - 1``, each round in a new order."""
    if count < 1:
        raise UsageError(f"A load needs at least one host; it got [{count}]. Name the replicas.")
    return _rounds(count, rng)


def _rounds(count: int, rng: random.Random) -> Iterator[int]:
    order = list(range(count))
    while True:
        rng.shuffle(order)
        yield from order


def choices(
    mix: Mapping[str, float],
    keys: Mapping[str, Sequence[int]],
    *,
    replicas: int,
    seed: int,
    weights: Sequence[float] = (),
) -> Iterator[Arrival]:
    """Endless requests without intended times.

    Args:
        mix: weight by scope; only the proportions matter.
        keys: indices of the keys by scope.
        replicas: number of hosts.
        seed: of everything drawn.
        weights: of a scope's keys, by `harness.domain.rates.key_shares`.

    Raises:
        UsageError: for an empty mix, a weight that is not a positive number, a scope without keys,
            or no replica.
    """
    check_mix(mix, keys)
    places = shuffled_rounds(replicas, _stream(seed, "replicas"))
    return _choices(mix, keys, places, seed, weights)


def _choices(
    mix: Mapping[str, float],
    keys: Mapping[str, Sequence[int]],
    replicas: Iterator[int],
    seed: int,
    weights: Sequence[float],
) -> Iterator[Arrival]:
    scopes = list(mix)
    shares = {
        scope: list(itertools.accumulate(key_shares(len(keys[scope]), weights))) for scope in mix
    }
    cumulative = list(itertools.accumulate(mix.values()))
    scope_rng = _stream(seed, "scopes")
    key_rng = _stream(seed, "keys")
    for replica in replicas:
        scope = scope_rng.choices(scopes, cum_weights=cumulative)[0]
        key = (
            key_rng.choices(keys[scope], cum_weights=shares[scope])[0]
            if weights
            else key_rng.choice(keys[scope])
        )
        yield Arrival(None, scope, key, replica)


def check_mix(mix: Mapping[str, float], keys: Mapping[str, Sequence[int]]) -> None:
    """Raise UsageError for a mix that cannot be driven with these keys."""
    if not mix:
        raise UsageError("The mix is empty []. Give at least one scope a weight, e.g. team=1.")
    for scope, weight in mix.items():
        if not (math.isfinite(weight) and weight > 0):
            raise UsageError(
                f"The weight of scope [{scope}] is [{weight}]. "
                "Give it a positive number, or leave the scope out."
            )
        if not keys.get(scope):
            raise UsageError(
                f"The mix drives scope [{scope}], but the keys file has no key of it. "
                "Leave the scope out of the mix, or add keys."
            )


def check_rate(rate_per_s: float) -> None:
    """Raise UsageError for a rate that is not a positive number."""
    if not (math.isfinite(rate_per_s) and rate_per_s > 0):
        raise UsageError(f"The rate of an open load is [{rate_per_s}]/s. Give a positive number.")


def poisson_times(rate_per_s: float, duration_s: float, *, seed: int) -> Iterator[float]:
    """Moments of a Poisson process in seconds, ascending, all within ``[0, duration_s)``.

    Raises:
        UsageError: for a rate that is not a positive number or a duration that is not finite.
    """
    check_rate(rate_per_s)
    if not math.isfinite(duration_s):
        raise UsageError(f"The load lasts [{duration_s}] s. Give a finite number.")
    return itertools.takewhile(lambda moment: moment < duration_s, _moments(rate_per_s, seed))


def _moments(rate_per_s: float, seed: int) -> Iterator[float]:
    rng = _stream(seed, "times")
    moment = 0.0
    while True:
        moment += rng.expovariate(rate_per_s)
        yield moment


def open_plan(
    mix: Mapping[str, float],
    keys: Mapping[str, Sequence[int]],
    *,
    rate_per_s: float,
    duration_s: float,
    replicas: int,
    seed: int,
    weights: Sequence[float] = (),
    stagger_s: float = 0.0,
) -> list[Arrival]:
    """All arrivals of one window of the open model, in the order of their intended times.

    With ``stagger_s`` a key gets no requests before a moment of its own, drawn from this time. The
    same arguments make the same plan, in any process on any machine, so that every variant
    of a run meets the same requests.

    Raises:
        UsageError: see `choices` and `poisson_times`.
    """
    picks = choices(mix, keys, replicas=replicas, seed=seed, weights=weights)
    times = poisson_times(rate_per_s, duration_s, seed=seed)
    starts = _stream(seed, "starts")
    begins = {
        key: starts.uniform(0.0, stagger_s) if stagger_s else 0.0
        for scope in mix
        for key in keys[scope]
    }
    return [
        pick._replace(intended_s=moment)
        for moment, pick in zip(times, picks, strict=False)
        if moment >= begins[pick.key]
    ]


def open_stream(
    mix: Mapping[str, float],
    keys: Mapping[str, Sequence[int]],
    *,
    rate_per_s: float,
    replicas: int,
    seed: int,
) -> Iterator[Arrival]:
    """Endless arrivals of the open model: `open_plan` for a load that runs until it is stopped.

    Raises:
        UsageError: see `choices`; a rate that is not a positive number.
    """
    check_rate(rate_per_s)
    picks = choices(mix, keys, replicas=replicas, seed=seed)
    times = _moments(rate_per_s, seed)
    return (pick._replace(intended_s=moment) for moment, pick in zip(times, picks, strict=False))


def _stream(seed: int, purpose: str) -> random.Random:
    return random.Random(f"{seed}:{purpose}")
