"""When requests arrive, and with which key at which replica.

The open model is a seeded Poisson process. Each arrival's scope and key are drawn independently
of all others: a Poisson process that is split by independent choices gives every key a Poisson
process of its own, at its share of the rate. That is what a cache meets in production, and what
the formulas for TTL caches assume. Dealing the keys out in rounds would balance their counts,
but it would also space each key's requests more evenly than chance, so that fewer entries
expire between two requests than really would.

The keys of a scope are requested alike, or by Zipf's law: a few often, most seldom. Which keys are
popular depends on nothing but their number and scope, so that it is the same in a warm-up, in all
windows of all variants, and in all Locust workers.

Replicas are different: a load balancer in round robin does deal them out. Each request takes the
next replica of a shuffled round, so that the counts of two replicas never differ by more than
one, and no replica is tied to a key.

Probes are regular: a clock reads no finer than the distance of two of them, and Poisson arrivals
leave gaps.

Times, scopes, keys and replicas come from random streams of their own: the times of a plan do
not depend on the number of keys or replicas.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from harness.domain.rates import check_zipf, key_shares, zipf_shares
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
    zipf: float = 0.0,
) -> Iterator[Arrival]:
    """Endless requests without intended times.

    Args:
        mix: weight by scope; only the proportions matter.
        keys: indices of the keys by scope.
        replicas: number of hosts.
        seed: of everything drawn but the order of the keys by popularity.
        weights: see `key_chooser`.
        zipf: see `key_chooser`.

    Raises:
        UsageError: for an empty mix, a weight that is not a positive number, a scope without keys,
            no replica, or an exponent that is negative or not finite.
    """
    check_mix(mix, keys)
    choose_key = key_chooser(keys, _stream(seed, "keys"), weights=weights, zipf=zipf)
    return _choices(mix, choose_key, shuffled_rounds(replicas, _stream(seed, "replicas")), seed)


def _choices(
    mix: Mapping[str, float],
    choose_key: Callable[[str], int],
    replicas: Iterator[int],
    seed: int,
) -> Iterator[Arrival]:
    scopes = list(mix)
    cumulative = list(itertools.accumulate(mix.values()))
    scope_rng = _stream(seed, "scopes")
    for replica in replicas:
        scope = scope_rng.choices(scopes, cum_weights=cumulative)[0]
        yield Arrival(None, scope, choose_key(scope), replica)


def key_chooser(
    keys: Mapping[str, Sequence[int]],
    rng: random.Random,
    *,
    weights: Sequence[float] = (),
    zipf: float = 0.0,
) -> Callable[[str], int]:
    """A function that draws a key of a scope.

    Args:
        keys: indices of the keys by scope.
        rng: what is drawn from.
        weights: of a scope's keys, by `harness.domain.rates.key_shares`.
        zipf: exponent of Zipf's law within each scope (`zipf_shares`), in place of weights.

    Raises:
        UsageError: for an exponent that is negative or not finite.
    """
    check_zipf(zipf)
    if not zipf and not weights:
        return lambda scope: rng.choice(keys[scope])
    shares = {scope: key_shares_of(scope, keys[scope], weights, zipf) for scope in keys}
    cumulative = {
        scope: list(itertools.accumulate(each.values())) for scope, each in shares.items()
    }
    ranked = {scope: list(each) for scope, each in shares.items()}
    return lambda scope: rng.choices(ranked[scope], cum_weights=cumulative[scope])[0]


def key_shares_of(
    scope: str, indices: Sequence[int], weights: Sequence[float], zipf: float
) -> dict[int, float]:
    """The share of its scope's requests that each key gets; arguments as of `key_chooser`."""
    if zipf:
        ranked, shares = by_popularity(scope, indices), zipf_shares(len(indices), zipf)
    else:
        ranked, shares = list(indices), key_shares(len(indices), weights)
    return dict(zip(ranked, shares, strict=True))


def by_popularity(scope: str, indices: Sequence[int]) -> list[int]:
    """The keys of a scope, the most popular first.

    Shuffled, because neighbours in the keys file may have something in common.
    """
    return random.Random(f"popularity:{scope}").sample(indices, len(indices))


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
    zipf: float = 0.0,
) -> list[Arrival]:
    """All arrivals of one window of the open model, in the order of their intended times.

    With ``stagger_s`` a key gets no requests before a moment of its own, drawn from this time. The
    same arguments make the same plan, in any process on any machine, so that every variant
    of a run meets the same requests.

    Raises:
        UsageError: see `choices` and `poisson_times`.
    """
    picks = choices(mix, keys, replicas=replicas, seed=seed, weights=weights, zipf=zipf)
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


def probe_plan(
    keys: Sequence[tuple[int, str]],
    *,
    every_s: float,
    duration_s: float,
    replicas: int,
    workers: int,
    seed: int,
) -> list[Arrival]:
    """Requests of each key at each replica, regularly, in the order of their intended times.

    A replica gets each key ``workers`` times in ``every_s`` seconds, at equal distances: its
    workers share an address, and each takes its part. So do the arrivals of a key over all
    replicas, and all arrivals together. Keys meet the replicas in different orders.

    Args:
        keys: index and scope of each key.
        every_s: distance of two requests of one key at one worker.
        duration_s: no arrival is later.
        replicas: number of hosts.
        workers: of each host.
        seed: of the order.

    Raises:
        UsageError: nothing would be requested, or all at once.
    """
    step = len(keys) * replicas * workers
    if not (step and math.isfinite(every_s) and every_s > 0):
        raise UsageError(
            f"Probes of [{len(keys)}] keys every [{every_s:g}] s at [{replicas}] hosts with "
            f"[{workers}] workers cannot be planned. Give all four positive numbers."
        )
    rng = _stream(seed, "probes")
    hosts, order = rng.sample(range(replicas), replicas), rng.sample(list(keys), len(keys))
    arrivals: list[Arrival] = []
    for number in itertools.count():
        # The middle of its part: no probe meets the very start of the window.
        moment = (number + 0.5) * every_s / step
        if moment >= duration_s:
            return arrivals
        turn, place = divmod(number, len(order))
        index, scope = order[place]
        arrivals.append(Arrival(moment, scope, index, hosts[(turn + place) % replicas]))
    raise AssertionError("the count has no end")


def open_stream(
    mix: Mapping[str, float],
    keys: Mapping[str, Sequence[int]],
    *,
    rate_per_s: float,
    replicas: int,
    seed: int,
    zipf: float = 0.0,
) -> Iterator[Arrival]:
    """Endless arrivals of the open model: `open_plan` for a load that runs until it is stopped.

    Raises:
        UsageError: see `choices`; a rate that is not a positive number.
    """
    check_rate(rate_per_s)
    picks = choices(mix, keys, replicas=replicas, seed=seed, zipf=zipf)
    times = _moments(rate_per_s, seed)
    return (pick._replace(intended_s=moment) for moment, pick in zip(times, picks, strict=False))


def _stream(seed: int, purpose: str) -> random.Random:
    return random.Random(f"{seed}:{purpose}")
