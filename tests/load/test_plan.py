"""The arrival plan."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.domain.rates import key_shares, zipf_shares
from harness.errors import UsageError
from harness.load.plan import (
    Arrival,
    by_popularity,
    choices,
    open_plan,
    open_stream,
    poisson_times,
    probe_plan,
    shuffled_rounds,
)

Load = dict[str, Any]
SCOPES = ("team", "user", "shared_id", "member")


@st.composite
def loads(draw: st.DrawFn) -> Load:
    scopes = draw(st.lists(st.sampled_from(SCOPES), min_size=1, unique=True))
    first = 0
    keys: dict[str, list[int]] = {}
    for scope in scopes:
        count = draw(st.integers(1, 5))
        keys[scope] = list(range(first, first + count))
        first += count
    return {
        "mix": {scope: draw(st.floats(0.1, 10)) for scope in scopes},
        "keys": keys,
        "replicas": draw(st.integers(1, 9)),
        "seed": draw(st.integers(0, 2**40)),
        "zipf": draw(st.sampled_from([0.0, 0.5, 1.1, 10.0])),
    }


def plan_of(load: Load, rate: float = 200.0, duration: float = 1.0) -> list[Arrival]:
    return open_plan(
        load["mix"],
        load["keys"],
        rate_per_s=rate,
        duration_s=duration,
        replicas=load["replicas"],
        seed=load["seed"],
        zipf=load["zipf"],
    )


@given(loads())
def test_an_arrival_is_within_the_window_in_order_and_names_a_key_of_its_scope(load: Load) -> None:
    plan = plan_of(load)
    times = [a.intended_s for a in plan if a.intended_s is not None]
    assert len(times) == len(plan)
    assert times == sorted(times)
    assert all(0 <= t < 1.0 for t in times)
    assert all(a.key in load["keys"][a.scope] for a in plan)


@given(loads())
def test_replicas_differ_by_one_request_at_most(load: Load) -> None:
    counts = Counter(a.replica for a in plan_of(load))
    per_replica = [counts[r] for r in range(load["replicas"])]
    assert sum(per_replica) == sum(counts.values())
    assert max(per_replica) - min(per_replica) <= 1


@given(loads())
def test_the_same_seed_makes_the_same_plan_and_another_seed_another(load: Load) -> None:
    assert plan_of(load) == plan_of(load)
    assert plan_of(load) != plan_of({**load, "seed": load["seed"] + 1})


@given(loads(), st.integers(1, 9))
def test_the_number_of_replicas_changes_neither_times_nor_keys(load: Load, replicas: int) -> None:
    other = plan_of({**load, "replicas": replicas})
    assert [a[:3] for a in other] == [a[:3] for a in plan_of(load)]


@given(loads())
def test_a_shorter_window_is_the_beginning_of_a_longer_one(load: Load) -> None:
    short, long = plan_of(load, duration=0.5), plan_of(load, duration=1.0)
    assert long[: len(short)] == short
    assert all(a.intended_s is not None and a.intended_s >= 0.5 for a in long[len(short) :])


def test_the_plan_is_the_same_on_every_machine_and_python() -> None:
    plan = open_plan(
        {"team": 3, "user": 1},
        {"team": [0, 1], "user": [2]},
        rate_per_s=10,
        duration_s=1,
        replicas=3,
        seed=42,
    )
    assert [(round(a.intended_s or 0, 6), *a[1:]) for a in plan[:4]] == [
        (0.074276, "team", 1, 2),
        (0.438532, "team", 1, 0),
        (0.578923, "team", 0, 1),
        (0.668444, "team", 1, 0),
    ]


def test_times_are_those_of_a_poisson_process() -> None:
    # variance of the counts per 10 ms over their mean is 1 for a Poisson process (and 0 for
    # evenly spaced arrivals); 3000 bins put 1 +- 0.1 at about four standard errors
    times = list(poisson_times(500, 30, seed=7))
    counts = Counter(int(t * 100) for t in times)
    bins = [counts[i] for i in range(3000)]
    mean = sum(bins) / len(bins)
    variance = sum((n - mean) ** 2 for n in bins) / (len(bins) - 1)
    assert mean == pytest.approx(5.0, rel=0.05)
    assert variance / mean == pytest.approx(1.0, abs=0.1)


def test_one_key_gets_a_poisson_process_of_its_own() -> None:
    keys = {"team": list(range(10))}
    plan = open_plan({"team": 1}, keys, rate_per_s=1000, duration_s=60, replicas=4, seed=3)
    times = [a.intended_s or 0.0 for a in plan if a.key == 4]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    # of an exponential distribution, the share above the mean is 1/e
    share = sum(g > 0.01 for g in gaps) / len(gaps)
    assert share == pytest.approx(0.368, abs=0.03)


def test_scopes_come_by_weight_and_keys_alike() -> None:
    picks = choices({"team": 3, "user": 1}, {"team": [0, 1], "user": [2]}, replicas=1, seed=1)
    counts = Counter((a.scope, a.key) for a in itertools.islice(picks, 8000))
    assert counts["user", 2] / 8000 == pytest.approx(0.25, abs=0.02)
    assert counts["team", 0] / 8000 == pytest.approx(0.375, abs=0.025)
    assert counts["team", 1] / 8000 == pytest.approx(0.375, abs=0.025)


@given(
    st.floats(0, 3),
    st.dictionaries(st.sampled_from(SCOPES), st.integers(1, 60), min_size=1),
    st.integers(0, 2**40),
)
def test_each_key_gets_its_share_by_zipfs_law(
    exponent: float, counts: dict[str, int], seed: int
) -> None:
    keys = {scope: list(range(1000, 1000 + n)) for scope, n in counts.items()}
    picks = choices(dict.fromkeys(keys, 1.0), keys, replicas=2, seed=seed, zipf=exponent)
    found = Counter((a.scope, a.key) for a in itertools.islice(picks, 3000))
    for scope, indices in keys.items():
        drawn = sum(found[scope, key] for key in indices)
        weights = [rank**-exponent for rank in range(1, len(indices) + 1)]
        for key, weight in zip(by_popularity(scope, indices), weights, strict=True):
            mean = drawn * weight / sum(weights)
            # By Chernoff's bounds fewer than one count in 1e8 is farther off.
            assert abs(found[scope, key] - mean) <= math.sqrt(60 * mean) + 60, (scope, key)


def test_the_shares_are_sharp_in_a_long_plan() -> None:
    keys = {"team": list(range(100)), "user": list(range(100, 110))}
    picks = choices({"team": 1, "user": 1}, keys, replicas=1, seed=5, zipf=1.1)
    found = Counter(a.key for a in itertools.islice(picks, 100_000))
    for scope, indices in keys.items():
        shares = zipf_shares(len(indices), 1.1)
        assert sum(shares) == pytest.approx(1)
        assert shares[0] / shares[3] == pytest.approx(4**1.1)
        for key, share in zip(by_popularity(scope, indices), shares, strict=True):
            mean = 50_000 * share
            assert found[key] == pytest.approx(mean, abs=5 * math.sqrt(mean) + 5)


@given(st.integers(2, 30), st.integers(0, 2**40))
def test_the_popular_key_is_the_same_with_every_seed(count: int, seed: int) -> None:
    keys = {"team": list(range(count))}
    picks = choices({"team": 1}, keys, replicas=1, seed=seed, zipf=10)
    found = Counter(a.key for a in itertools.islice(picks, 99))
    assert found.most_common(1)[0][0] == by_popularity("team", keys["team"])[0]


@given(loads())
def test_popularity_changes_neither_times_nor_scopes_nor_replicas(load: Load) -> None:
    alike = plan_of({**load, "zipf": 0.0})
    assert [(a[:2], a[3]) for a in plan_of(load)] == [(a[:2], a[3]) for a in alike]


@pytest.mark.parametrize("exponent", [-0.1, math.nan, math.inf])
def test_an_exponent_that_no_load_can_follow_is_refused(exponent: float) -> None:
    with pytest.raises(UsageError, match=rf"popularity is \[{exponent}\]. Give 0"):
        choices({"team": 1}, {"team": [0]}, replicas=1, seed=1, zipf=exponent)


def test_choices_have_no_time_of_their_own() -> None:
    picks = choices({"team": 1}, {"team": [0]}, replicas=2, seed=1)
    assert {a.intended_s for a in itertools.islice(picks, 10)} == {None}


@given(st.integers(1, 20), st.integers(0, 5))
def test_every_round_has_every_number_once(count: int, seed: int) -> None:
    numbers = list(itertools.islice(shuffled_rounds(count, random.Random(seed)), 3 * count))
    for start in range(0, 3 * count, count):
        assert sorted(numbers[start : start + count]) == list(range(count))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mix": {}}, r"mix is empty \[\]"),
        ({"mix": {"team": 0}}, r"scope \[team\] is \[0\]"),
        ({"mix": {"team": float("nan")}}, r"\[nan\]"),
        ({"mix": {"user": 1}}, r"drives scope \[user\], but the keys file has no key"),
        ({"replicas": 0}, r"at least one host; it got \[0\]"),
        ({"rate_per_s": 0}, r"rate of an open load is \[0\]"),
        ({"rate_per_s": float("inf")}, r"\[inf\]"),
        ({"duration_s": float("inf")}, r"lasts \[inf\] s"),
    ],
)
def test_what_cannot_be_driven_is_refused(change: Load, message: str) -> None:
    load = {
        "mix": {"team": 1},
        "keys": {"team": [0], "user": []},
        "rate_per_s": 1,
        "duration_s": 1,
        "replicas": 1,
        "seed": 1,
        **change,
    }
    mix, keys = load.pop("mix"), load.pop("keys")
    with pytest.raises(UsageError, match=message):
        open_plan(mix, keys, **load)


@pytest.mark.parametrize("replicas", [0, -1])
def test_choices_are_refused_before_anyone_draws(replicas: int) -> None:
    with pytest.raises(UsageError):
        choices({"team": 1}, {"team": [0]}, replicas=replicas, seed=1)


@given(loads())
def test_a_stream_is_a_plan_without_end(load: Load) -> None:
    plan = plan_of(load)
    stream = open_stream(
        load["mix"],
        load["keys"],
        rate_per_s=200.0,
        replicas=load["replicas"],
        seed=load["seed"],
        zipf=load["zipf"],
    )
    assert list(itertools.islice(stream, len(plan))) == plan
    assert (next(stream).intended_s or 0.0) >= 1.0


@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan"), float("inf")])
def test_a_stream_without_a_rate_is_refused_at_once(rate: float) -> None:
    with pytest.raises(UsageError, match="Give a positive number"):
        open_stream({"team": 1.0}, {"team": [0]}, rate_per_s=rate, replicas=1, seed=1)


WEIGHTS = st.lists(st.floats(0.1, 10), min_size=1, max_size=3)


@given(loads(), WEIGHTS)
def test_keys_get_the_share_that_their_weights_give_them(load: Load, weights: list[float]) -> None:
    scope = next(iter(load["keys"]))
    keys = load["keys"][scope]
    picks = choices({scope: 1.0}, {scope: keys}, replicas=1, seed=load["seed"], weights=weights)
    counts = Counter(pick.key for pick in itertools.islice(picks, 2000))
    for key, share in zip(keys, key_shares(len(keys), weights), strict=True):
        # Six standard deviations, over some thousand draws of this test.
        assert abs(counts[key] - 2000 * share) <= 6 * (2000 * share * (1 - share)) ** 0.5 + 1e-6


@given(st.integers(1, 9), st.one_of(st.just([]), WEIGHTS))
def test_shares_repeat_the_weights_in_order_and_add_up(count: int, weights: list[float]) -> None:
    shares = key_shares(count, weights)
    assert sum(shares) == pytest.approx(1.0)
    each = weights or [1.0]
    for place, share in enumerate(shares):
        assert share / shares[0] == pytest.approx(each[place % len(each)] / each[0])


@given(loads(), st.floats(0.1, 1.0))
def test_staggered_keys_begin_one_by_one_and_then_get_what_they_get_anyway(
    load: Load, stagger_s: float
) -> None:
    options = {"rate_per_s": 500.0, "duration_s": 1.0, "replicas": load["replicas"]}
    args = (load["mix"], load["keys"])
    whole = open_plan(*args, **options, seed=load["seed"])
    plan = open_plan(*args, **options, seed=load["seed"], stagger_s=stagger_s)
    began: dict[int, float] = {}
    for arrival in plan:
        assert arrival.intended_s is not None
        began.setdefault(arrival.key, arrival.intended_s)
    assert plan == [a for a in whole if a.key in began and (a.intended_s or 0.0) >= began[a.key]]
    late = [a for a in whole if (a.intended_s or 0.0) >= stagger_s]
    assert [a for a in plan if (a.intended_s or 0.0) >= stagger_s] == late


def test_the_beginnings_of_many_keys_are_spread_over_the_whole_time() -> None:
    keys = {"team": list(range(50))}
    plan = open_plan(
        {"team": 1.0}, keys, rate_per_s=20_000, duration_s=1.0, replicas=1, seed=1, stagger_s=1.0
    )
    began: dict[int, float] = {}
    for arrival in plan:
        began.setdefault(arrival.key, arrival.intended_s or 0.0)
    starts = sorted(began.values())
    assert len(starts) >= 48
    assert all(abs(start - i / 50) < 0.25 for i, start in enumerate(starts))


@given(
    keys=st.integers(1, 5),
    replicas=st.integers(1, 4),
    workers=st.integers(1, 3),
    turns=st.integers(1, 4),
    seed=st.integers(0, 3),
)
@settings(deadline=None)
def test_probes_are_regular_for_each_key_at_each_replica_and_over_all(
    keys: int, replicas: int, workers: int, turns: int, seed: int
) -> None:
    arrivals = probe_plan(
        [(10 + n, f"scope {n}") for n in range(keys)],
        every_s=2.0,
        duration_s=2.0 * turns,
        replicas=replicas,
        workers=workers,
        seed=seed,
    )
    assert len(arrivals) == keys * replicas * workers * turns

    def gaps(mine: list[Arrival]) -> set[float]:
        times = [arrival.intended_s or 0.0 for arrival in mine]
        return {round(later - former, 9) for former, later in pairwise(times)}

    def expected(n: int) -> set[float]:
        return {round(2.0 / n, 9)} if n * turns > 1 else set()

    assert gaps(arrivals) == expected(keys * replicas * workers)
    for key in range(keys):
        mine = [a for a in arrivals if a.key == 10 + key]
        assert {a.scope for a in mine} == {f"scope {key}"}
        assert gaps(mine) == expected(replicas * workers)
        for replica in range(replicas):
            assert gaps([a for a in mine if a.replica == replica]) == expected(workers)
    assert (arrivals[0].intended_s or 0.0) > 0


def test_probes_of_nothing_are_refused() -> None:
    good: Load = {
        "keys": [(0, "team")],
        "every_s": 1.0,
        "duration_s": 1.0,
        "replicas": 1,
        "workers": 1,
        "seed": 1,
    }
    for name, nothing in {"workers": 0, "every_s": 0.0, "keys": []}.items():
        with pytest.raises(UsageError, match="cannot be planned"):
            probe_plan(**{**good, name: nothing})
