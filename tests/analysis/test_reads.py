"""The estimators of source reads, tried on simulated caches."""

from __future__ import annotations

import math
import random
from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harness.analysis.cells import judge
from harness.analysis.expectations import applicable, bounds
from harness.analysis.intervals import per_bound
from harness.analysis.reads import (
    BURST_TTLS,
    KEPT_QUANTILE,
    LEAST_INTERVALS,
    WASTEFUL_SLOPE,
    elasticity,
    expected_reads,
    intervals,
    per_object_and_ttl,
    ttl_kept,
    uncached,
)
from harness.domain.rates import key_shares
from harness.domain.reads import ObjectRead
from harness.domain.result import Estimate
from harness.load.plan import open_plan
from harness.scenario.loader import load_scenario
from harness.scenario.schema import FaultExpectation
from tests.analysis.simulated import Asked, cached, poisson

TTL_S = 2.0
SCENARIO = load_scenario("issue-27874")
BAND = (0.98, 1.04)
"""As in the default scenario."""
ASSERTED = per_bound(
    bounds(
        [
            e
            for e in applicable(SCENARIO.expect, SCENARIO.variants, premises=True)
            if not isinstance(e, FaultExpectation)
        ]
    )
)
"""The ``error`` of each of its bounds."""
RATES = {
    f"{scope} {key}": 400 * weight / 13 * share
    for scope, weight in (("team", 3), ("user", 2), ("shared_id", 4), ("member", 4))
    for key, share in enumerate(key_shares(3, [1, 4]))
}
"""Requests per second for each key of the default scenario."""


def read(at_s: float, name: str = "a", worker: int = 0, entry: str = "") -> ObjectRead:
    return ObjectRead(at_s, worker, name, "key", entry, "team")


def window(factor: float, seed: int, *, workers: int = 8, times: float = 1.0) -> list[float]:
    """Intervals of one object of each key, in a warm-up of 2.5 TTLs and in a window."""
    rng = random.Random(seed)
    rates = {name: rate * times for name, rate in RATES.items()}
    starts = {name: rng.random() * TTL_S for name in RATES}
    asked = poisson(rates, workers, (2.5 + SCENARIO.load.window_ttls) * TTL_S, rng)
    begun = (one for one in asked if one.at_s >= starts[one.object])
    reads = cached(begun, factor * TTL_S, shared=True)
    middle = 2.5 * TTL_S
    halves = ([r for r in reads if r.at_s < middle], [r for r in reads if r.at_s >= middle])
    return intervals(halves, TTL_S, per_worker=False)


# Intervals.


def test_reads_that_follow_closely_are_one_burst() -> None:
    gap = BURST_TTLS * TTL_S
    reads = [read(0.0), read(0.9 * gap), read(1.8 * gap), read(2.5)]
    assert intervals([reads], TTL_S, per_worker=False) == [pytest.approx((2.5 - 1.8 * gap) / TTL_S)]


def test_there_is_no_interval_across_a_pause_objects_or_entries() -> None:
    stretches = [[read(0.0), read(1.0, "b"), read(2.0, entry="member")], [read(3.0), read(5.0)]]
    assert intervals(stretches, TTL_S, per_worker=False) == [1.0]


def test_without_redis_each_worker_has_a_clock_of_its_own() -> None:
    reads = [read(0.0), read(1.0, worker=1), read(2.0), read(3.5, worker=1)]
    assert intervals([reads], TTL_S, per_worker=True) == [1.0, 1.25]
    assert intervals([reads], TTL_S, per_worker=False) == [0.5, 0.5, 0.75]


@given(
    gaps=st.lists(st.floats(0.0, 5.0), max_size=30),
    cut=st.integers(0, 30),
    ttl_s=st.floats(0.5, 10.0),
)
def test_intervals_are_as_long_as_the_time_between_the_reads_that_they_join(
    gaps: list[float], cut: int, ttl_s: float
) -> None:
    reads = [read(at) for at in accumulate(gaps, initial=0.0)]
    found = intervals([reads], ttl_s, per_worker=False)
    assert all(one > BURST_TTLS for one in found)
    gap_s = BURST_TTLS * ttl_s
    assert len(found) == sum(b.at_s - a.at_s > gap_s for a, b in pairwise(reads))
    assert sum(found) * ttl_s <= sum(gaps) + 1e-9
    parts = intervals([reads[:cut], reads[cut:]], ttl_s, per_worker=False)
    assert len(parts) in (len(found), len(found) - 1), "a cut loses the interval that it cuts"


# TTL kept.


def test_fewer_than_eight_intervals_are_not_judged() -> None:
    assert ttl_kept([1.0] * (LEAST_INTERVALS - 1)) is None
    assert ttl_kept([1.0] * LEAST_INTERVALS) == Estimate(value=1.0, low=None, high=1.0, n=8)


@pytest.mark.parametrize(("least", "error"), [(36, 0.025), (61, 0.05 / 30)])
def test_the_least_interval_is_a_bound_only_of_as_many_as_make_it_sure(
    least: int, error: float
) -> None:
    found = [float(i) for i in range(1, least + 1)]
    kept, fewer = ttl_kept(found, error=error), ttl_kept(found[:-1], error=error)
    assert kept is not None
    assert fewer is not None
    assert (kept.low, fewer.low) == (1.0, None)


@pytest.mark.parametrize(("independent", "known"), [(1, False), (2, False), (3, True)])
def test_objects_that_are_read_together_may_be_too_few_for_an_upper_bound(
    independent: int, known: bool
) -> None:
    kept = ttl_kept([1.0] * 12, together=12 / independent, error=0.0019)
    assert kept is not None
    assert (kept.low, kept.high is not None) == (None, known)


@pytest.mark.parametrize("n", [8, 16, 30, 60, 80])
def test_a_shorter_ttl_of_an_eighth_of_the_intervals_is_not_missed_by_luck(n: int) -> None:
    """The true tenth percentile is 0.85: a lower bound above it is wrong."""
    rng, error = random.Random(n), 0.05 / 26
    wrong = 0
    for _ in range(1000):
        kept = ttl_kept([0.85 if rng.random() < 0.12 else 1.0 for _ in range(n)], error=error)
        assert kept is not None
        wrong += kept.low is not None and kept.low >= BAND[0]
    assert wrong <= 3 * error * 1000


@pytest.mark.parametrize("seed", range(20))
def test_a_correct_cache_keeps_its_ttl(seed: int) -> None:
    """One round of the default scenario says so, for all that it asserts."""
    kept = ttl_kept(window(1.0, seed), error=ASSERTED)
    assert kept is not None
    assert 1.0 <= kept.value <= 1.03
    assert kept.low is not None
    assert kept.high is not None
    assert BAND[0] <= kept.low <= kept.value <= kept.high <= BAND[1]


@pytest.mark.parametrize("factor", [0.9, 0.95, 1.05, 1.1])
@pytest.mark.parametrize("seed", range(5))
def test_a_ttl_that_is_off_by_a_twentieth_is_found(factor: float, seed: int) -> None:
    kept = ttl_kept(window(factor, seed))
    assert kept is not None
    assert not BAND[0] <= kept.value <= BAND[1]
    assert kept.value == pytest.approx(factor, abs=0.03)


@pytest.mark.parametrize(("workers", "times"), [(1, 1.0), (2, 1.0), (8, 0.5), (16, 1.0), (8, 4.0)])
def test_neither_workers_nor_rate_move_it(workers: int, times: float) -> None:
    kept = ttl_kept(window(1.0, 1, workers=workers, times=times))
    assert kept is not None
    assert 0.99 <= kept.value <= 1.03


def test_without_redis_it_is_the_workers_ttl() -> None:
    rng = random.Random(3)
    reads = cached(poisson({"a": 60.0, "b": 60.0}, 4, 20.0, rng), TTL_S, shared=False)
    kept = ttl_kept(intervals([reads], TTL_S, per_worker=True))
    assert kept is not None
    assert 0.99 <= kept.value <= 1.03
    mixed = ttl_kept(intervals([reads], TTL_S, per_worker=False))
    assert mixed is not None
    assert mixed.value < 0.5, "of several clocks at once it says nothing"


@example([0.5, *[1.0] * 39], 1.125)
@given(st.lists(st.floats(0.1, 3.0), min_size=LEAST_INTERVALS, max_size=200), st.floats(1.0, 4.0))
def test_bounds_enclose_the_estimate_and_are_wider_where_objects_are_read_together(
    found: list[float], together: float
) -> None:
    alone, grouped = ttl_kept(found), ttl_kept(found, together=together)
    assert alone is not None
    assert grouped is not None
    assert alone.value == grouped.value == sorted(found)[-(-len(found) // 10) - 1]
    for one in (alone, grouped):
        assert one.low is None or one.low <= one.value
        assert one.high is None or one.value <= one.high
    if grouped.low is not None and grouped.high is not None:
        assert alone.low is not None
        assert alone.high is not None
        assert grouped.low <= alone.low
        assert alone.high <= grouped.high


def test_four_objects_that_are_read_together_say_as_much_as_one() -> None:
    once = [1.0 + i / 100 for i in range(40)]
    alone, as_many = ttl_kept(once), ttl_kept(once * 4)
    assert alone is not None
    assert ttl_kept(once * 4, together=4.0) == alone.model_copy(update={"n": 160})
    assert as_many is not None
    assert alone.low is not None
    assert as_many.low is not None
    assert as_many.low > alone.low


def test_the_bounds_hold_the_true_quantile_nineteen_times_of_twenty() -> None:
    rng = random.Random(5)
    held = 0
    for _ in range(400):
        kept = ttl_kept([rng.random() for _ in range(60)])
        assert kept is not None
        assert kept.low is not None
        assert kept.high is not None
        held += kept.low <= KEPT_QUANTILE <= kept.high
    assert held >= 0.94 * 400


def test_bounds_are_order_statistics_whatever_a_fraction_rounds_to() -> None:
    """7 / 100 * 100 is more than 7."""
    found = [float(i) for i in range(1, 101)]
    for error in (0.2, 0.05, 0.01):
        kept = ttl_kept(found, error=error)
        assert kept is not None
        assert kept.low is not None
        chance = sum(
            math.comb(100, k) * KEPT_QUANTILE**k * (1 - KEPT_QUANTILE) ** (100 - k)
            for k in range(int(kept.low))
        )
        assert chance < error


def test_bounds_are_as_sure_as_they_are_asked_to_be() -> None:
    rng = random.Random(6)
    beyond = {0.1: 0, 0.01: 0}
    for _ in range(400):
        found = [rng.random() for _ in range(60)]
        for error in beyond:
            kept = ttl_kept(found, error=error)
            assert kept is not None
            assert kept.high is not None
            beyond[error] += kept.high < KEPT_QUANTILE
    assert 0.01 * 400 < beyond[0.1] <= 0.1 * 400
    assert beyond[0.01] <= 0.015 * 400


# Reads per object and TTL.


@pytest.mark.parametrize(
    ("workers", "rate", "shared"),
    [(8, 30.0, True), (8, 10.0, True), (2, 30.0, True), (1, 30.0, True), (8, 30.0, False)],
)
def test_what_is_expected_is_what_a_cache_asked_one_by_one_reads(
    workers: int, rate: float, shared: bool
) -> None:
    rng = random.Random(2)
    ttls = 1500
    reads = cached(poisson({"a": rate}, workers, ttls * TTL_S, rng), TTL_S, shared=shared)
    expected = expected_reads(workers, rate * TTL_S, shared=shared)
    assert expected == pytest.approx(len(reads) / ttls, rel=0.015)


def test_what_is_expected_of_eight_workers_at_thirty_requests_a_second() -> None:
    """docs/decisions/0023 quotes it."""
    assert expected_reads(8, 60.0, shared=True) == pytest.approx(0.925, abs=0.005)
    assert expected_reads(8, 0.0, shared=True) == 0.0


def test_reads_over_expected_is_a_ratio_of_sums_with_bounds_by_key() -> None:
    assert per_object_and_ttl({0: 5, 1: 20}, {0: 10, 1: 10})[0] == 1.25
    assert per_object_and_ttl({0: 5}, {0: 10}) == (0.5, None, None)
    assert per_object_and_ttl({}, {0: 10, 1: 10}) == (0.0, 0.0, 0.0)
    ratio, low, high = per_object_and_ttl({0: 9, 1: 10, 2: 11}, {0: 10, 1: 10, 2: 10})
    assert low is not None
    assert high is not None
    # Student's t for two degrees of freedom is 4.30; the standard error is 0.1 / 3 ** 0.5.
    assert ratio == 1.0
    assert high - ratio == pytest.approx(4.303 * 0.1 / 3**0.5, rel=0.001)
    assert ratio - low == pytest.approx(high - ratio)
    # It is 9.92 where each bound may be wrong in 0.5 of 100 runs.
    surer = per_object_and_ttl({0: 9, 1: 10, 2: 11}, {0: 10, 1: 10, 2: 10}, 0.005)[2]
    assert surer == pytest.approx(1 + 9.925 * 0.1 / 3**0.5, rel=0.001)


# Elasticity.


def slope_of(reads: list[ObjectRead], requests: dict[str, float]) -> Estimate:
    counts = [sum(r.object == name for r in reads) for name in requests]
    slope = elasticity(list(requests.values()), counts)
    assert slope is not None
    return slope


def cell(slope: Estimate) -> str:
    return judge(
        requests=1000,
        failures={},
        unexpected={},
        wrong={},
        let_through={},
        stale={},
        reads_per_1000=40.0,
        reference_per_1000=50.0,
        elasticity={"key": slope},
        uncached={},
    ).cells[0]


def arrivals(scope_rate: float, replicas: int, seed: int) -> list[Asked]:
    """One scope of the default scenario, as the load driver plans it: three keys, weights 1 : 4."""
    plan = open_plan(
        {"team": 1},
        {"team": [0, 1, 2]},
        rate_per_s=scope_rate,
        duration_s=7 * TTL_S,
        replicas=replicas,
        seed=seed,
        weights=[1, 4],
        stagger_s=TTL_S,
    )
    return [Asked(a.intended_s or 0.0, a.replica, str(a.key)) for a in plan]


@pytest.mark.parametrize("replicas", [4, 5, 8])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
@pytest.mark.parametrize("scope_rate", [61.5, 92.3, 123.1])
def test_a_cache_without_redis_is_wasteful_with_no_number_of_replicas_and_no_seed(
    replicas: int, seed: int, scope_rate: float
) -> None:
    """`memory_only`, whose cells flipped with both while wasteful was 5 times the line."""
    asked = arrivals(scope_rate, replicas, seed)
    requests = {str(key): share for key, share in enumerate(key_shares(3, [1, 4]))}
    reads = cached(asked, TTL_S, shared=False)
    assert len(reads) > 3 * 4 * 6, "more than five times the line of one read per object and TTL"
    assert cell(slope_of(reads, requests)) == "healthy"
    assert cell(slope_of(cached(asked, TTL_S, shared=True), requests)) == "healthy"
    assert cell(slope_of(cached(asked, TTL_S, shared=True, never=True), requests)) == "wasteful"


@pytest.mark.parametrize("replicas", [1, 4, 8, 32])
@pytest.mark.parametrize("per_ttl", [20.0, 120.0])
def test_one_key_is_uncached_if_every_request_reads_it_and_else_never(
    replicas: int, per_ttl: float
) -> None:
    rng = random.Random(replicas)
    ttls = 10.0
    asked = list(poisson({"key": per_ttl / TTL_S}, replicas, ttls * TTL_S, rng))

    def share(*, shared: bool = True, never: bool = False, ttl_s: float = TTL_S) -> float | None:
        reads = cached(asked, ttl_s, shared=shared, never=never)
        return uncached([float(len(asked))], len(reads), replicas, ttls)

    assert share() is None
    assert share(shared=False) is None
    assert share(ttl_s=TTL_S / 2) is None, "code may keep it for less than what was set"
    found = share(never=True)
    assert found is not None
    assert 0.8 < found < 1


def test_keys_of_different_weight_have_a_slope_instead() -> None:
    assert uncached([10.0, 40.0], 50, 8, 2.0) is None


def test_there_is_no_slope_without_reads_or_without_different_weights() -> None:
    assert elasticity([1, 4], [0, 0]) is None
    assert elasticity([2, 2, 2], [1, 5, 3]) is None
    assert elasticity([2], [5]) is None


def test_the_slope_of_two_keys_is_that_of_the_line_through_them() -> None:
    for slope in (0.0, 0.5, 1.0, 2.0):
        found = elasticity([1, 4], [1000, round(1000 * 4**slope)])
        assert found is not None
        assert found.value == pytest.approx(slope, abs=1e-3)


@pytest.mark.parametrize("counts", [[0, 50], [50, 0]])
def test_reads_of_one_key_alone_have_a_slope_too(counts: list[int]) -> None:
    found = elasticity([1, 4], counts)
    assert found is not None
    assert abs(found.value) == pytest.approx(5.0)


@given(st.integers(0, 10_000))
def test_the_lower_bound_of_random_reads_is_below_their_slope(seed: int) -> None:
    rng = random.Random(seed)
    requests = [1.0, 4.0, 1.0, 4.0]
    counts = [sum(rng.random() < 0.5 for _ in range(int(60 * n))) for n in requests]
    found = elasticity(requests, counts)
    assert found is not None
    assert found.low is not None
    assert found.low < found.value
    assert found.low < 1.0 + WASTEFUL_SLOPE
