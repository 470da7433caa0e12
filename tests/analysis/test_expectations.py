"""What holds, what fails, and what the noise leaves undecided."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.expectations import (
    METRICS,
    Decision,
    Estimated,
    Level,
    MeasuredFigure,
    applicable,
    bounds,
    hold,
    never,
    within,
)
from harness.analysis.intervals import per_bound, rate
from harness.domain.result import Clock, Estimate, ExpectationResult, Freshness, VariantResult
from harness.scenario.schema import (
    CellExpectation,
    LimitExpectation,
    RatioExpectation,
    Scenario,
)
from tests.analysis.test_points import seen

LEVEL = Level(error=0.05, bad_share_max=0.01)


def estimate(value: float, low: float, high: float, rounds: int = 3) -> MeasuredFigure:
    return MeasuredFigure(value, low, high, rounds)


@pytest.mark.parametrize(
    ("low", "value", "high", "state", "more"),
    [
        (0.9, 1.0, 1.1, "holds", None),
        (0.8, 0.9, 1.0, "holds", None),  # the limits belong to the band
        (0.5, 0.6, 0.7, "fails", None),
        (1.3, 1.4, 1.5, "fails", None),
        # 0.2 from the limit, an interval of 0.3: 2.25 times the rounds bring it within 0.2.
        (0.7, 1.0, 1.1, "undecided", 4),
        (0.9, 1.0, 1.5, "undecided", 16),
        # outside by 0.1: four times the rounds to exclude the limit
        (1.1, 1.3, 1.5, "undecided", 9),
        (1.1, 1.2, 1.3, "undecided", None),  # the estimate is on the limit
    ],
)
def test_a_band(low: float, value: float, high: float, state: str, more: int | None) -> None:
    found = within(estimate(value, low, high), 0.8, 1.2)
    assert (found.state, found.more_rounds) == (state, more)
    assert bool(found.reason) == (state == "undecided")


@given(st.floats(0, 10), st.floats(0, 5), st.floats(0, 5), st.floats(0, 10), st.floats(0, 5))
def test_a_wider_interval_never_decides_what_a_narrower_one_does_not(
    value: float, down: float, up: float, least: float, width: float
) -> None:
    narrow = within(estimate(value, value - down, value + up), least, least + width)
    wide = within(estimate(value, value - 2 * down, value + 2 * up), least, least + width)
    assert wide.state in (narrow.state, "undecided")


@pytest.mark.parametrize(
    ("events", "requests", "state", "more"),
    [
        (0, 299, "holds", None),
        (0, 298, "undecided", 1),
        (0, 100, "undecided", 6),
        (1, 100_000, "undecided", None),  # suspect
        (2, 100_000, "fails", None),
        (50, 100, "fails", None),
    ],
)
def test_what_must_never_happen(events: int, requests: int, state: str, more: int | None) -> None:
    figure = MeasuredFigure(events / requests, 0.0, 1.0, 3, events, requests)
    found = never(figure, LEVEL)
    assert (found.state, found.more_rounds) == (state, more)
    assert ("suspect" in found.reason) == (events == 1)


def test_as_many_more_rounds_as_it_says_decide() -> None:
    undecided = never(MeasuredFigure(0, 0, 1, 3, 0, 120), LEVEL)
    assert undecided.more_rounds is not None
    per_round = 120 / 3
    rounds = 3 + undecided.more_rounds
    assert never(MeasuredFigure(0, 0, 1, rounds, 0, per_round * rounds), LEVEL) == Decision("holds")
    assert (
        never(MeasuredFigure(0, 0, 1, 7, 0, per_round * (rounds - 1)), LEVEL).state == "undecided"
    )


def cell(asked: str, **changes: object) -> ExpectationResult:
    """The cells of a scope of 1,000 requests with changes, as an expectation finds them.

    The expectation is ``healthy`` for ``is healthy``, or ``has healthy``.
    """
    has, _, name = asked.rpartition(" ")
    clean = {"deserialize_failures": {}, "wrong_values": {}, "requests": {"team": {"200": 1000}}}
    variant = VariantResult.model_validate(seen().model_dump() | clean | changes)
    expectation = CellExpectation.model_validate(
        {"kind": "cell", "variant": "v", "scope": "team", has or "is": name}
    )
    (found,) = hold([expectation], {"v": variant}, error=0.05, bad_share_max=0.01)
    return found


FEW = {"team": {"200": 200}}
WRONG = {"cells": {"team": "hidden"}}
BROKEN = {"cells": {"team": "broken"}}
STALE = {"cells": {"team": ["stale"]}}
MANY = {
    "cells": {"team": ["hidden", "broken", "wasteful"]},
    "deserialize_failures": {"team": {"key": 4000}},
}


@pytest.mark.parametrize(
    ("is_", "changes", "state"),
    [
        ("healthy", {}, "holds"),
        ("broken", {}, "fails"),
        ("hidden", {}, "fails"),
        ("healthy", {"requests": FEW}, "undecided"),
        ("broken", {"requests": FEW}, "undecided"),
        # one bad reply in a whole scope: a time-out on a busy machine, or a fault
        ("healthy", {**WRONG, "wrong_values": {"team": {"user": 1}}}, "undecided"),
        ("hidden", {**WRONG, "wrong_values": {"team": {"user": 1}}}, "undecided"),
        ("healthy", {**BROKEN, "unexpected_statuses": {"team": {"503": 1}}}, "undecided"),
        # plant 6b: 1 in 1,000 swapped, twice seen
        ("healthy", {**WRONG, "wrong_values": {"team": {"user": 2}}}, "fails"),
        ("hidden", {**WRONG, "wrong_values": {"team": {"user": 2}}}, "holds"),
        ("broken", {**WRONG, "wrong_values": {"team": {"user": 2}}}, "fails"),
        ("healthy", {**WRONG, "let_through": {"team": {"expired": 1}}}, "undecided"),
        ("healthy", {**WRONG, "let_through": {"team": {"expired": 2}}}, "fails"),
        ("hidden", {**WRONG, "let_through": {"team": {"expired": 2}}}, "holds"),
        ("healthy", {**STALE, "stale": {"team": {"key": 1}}}, "undecided"),
        ("healthy", {**STALE, "stale": {"team": {"key": 2}}}, "fails"),
        ("stale", {**STALE, "stale": {"team": {"key": 2}}}, "holds"),
        # Several cells: the worst counts, and one suspect reply does not excuse many bad ones.
        ("hidden", {**MANY, "wrong_values": {"team": {"user": 2}}}, "holds"),
        ("hidden", {**MANY, "wrong_values": {"team": {"user": 1}}}, "undecided"),
        ("broken", {**MANY, "wrong_values": {"team": {"user": 2}}}, "fails"),
        ("broken", {**MANY, "wrong_values": {"team": {"user": 1}}}, "undecided"),
        ("healthy", {**MANY, "wrong_values": {"team": {"user": 1}}}, "fails"),
        ("broken", {**BROKEN, "deserialize_failures": {"team": {"key": 4000}}}, "holds"),
        ("hidden", {**BROKEN, "deserialize_failures": {"team": {"key": 4000}}}, "fails"),
        ("wasteful", {"cells": {"team": "wasteful"}}, "holds"),
        ("healthy", {"cells": {"team": "wasteful"}}, "fails"),
        # a release whose failures were seen, but not how many
        ("broken", {**BROKEN, "deserialize_failures": None}, "holds"),
        ("healthy", {**BROKEN, "deserialize_failures": None}, "fails"),
        ("broken", {**BROKEN, "deserialize_failures": None, "requests": FEW}, "holds"),
        ("healthy", {"cells": {}}, "undecided"),
    ],
)
def test_a_cell(is_: str, changes: dict[str, object], state: str) -> None:
    assert cell(is_, **changes).state == state


@pytest.mark.parametrize(
    ("has", "changes", "state"),
    [
        ("hidden", {**MANY, "wrong_values": {"team": {"user": 2}}}, "holds"),
        ("hidden", {**MANY, "wrong_values": {"team": {"user": 1}}}, "undecided"),
        ("broken", {**MANY, "wrong_values": {"team": {"user": 1}}}, "holds"),
        ("broken", {**MANY, "deserialize_failures": None}, "holds"),
        ("wasteful", {**MANY, "wrong_values": {"team": {"user": 1}}}, "holds"),
        ("wasteful", {"requests": FEW}, "fails"),
        ("stale", MANY, "fails"),
        ("stale", {**MANY, "requests": FEW}, "undecided"),
        ("healthy", MANY, "fails"),
        ("healthy", {}, "holds"),
        ("healthy", {"requests": FEW}, "undecided"),
        ("hidden", {"cells": {}}, "undecided"),
    ],
)
def test_one_cell_among_others(has: str, changes: dict[str, object], state: str) -> None:
    assert cell(f"has {has}", **changes).state == state


def test_a_cell_s_figure_is_its_bad_replies_per_1_000() -> None:
    healthy = cell("healthy")
    assert (healthy.estimate, healthy.low) == (0.0, 0.0)
    assert healthy.high == pytest.approx(2.99, abs=0.01)
    broken = cell("broken", **BROKEN, deserialize_failures={"team": {"key": 4000}})
    assert (broken.estimate, broken.high) == (1000.0, 1000.0), "at most one a request"


def test_a_ratio_is_as_sure_as_both_of_its_sides() -> None:
    ratio = RatioExpectation.model_validate(
        {"kind": "ratio", "variant": "a", "to": "b", "scope": "team", "max": 0.5,
         "metric": "source_reads_per_1000"}
    )  # fmt: skip
    few, many = with_rounds([(20, 1000)] * 3), with_rounds([(100, 1000)] * 3)
    (found,) = hold([ratio], {"a": few, "b": many}, error=0.05, bad_share_max=0.01)
    assert found.state == "holds"
    assert found.estimate == pytest.approx(0.2)
    above, below = rate(60, 3000, 0.025), rate(300, 3000, 0.025)
    assert found.low == pytest.approx(above.low / below.high, abs=1e-6)
    assert found.high == pytest.approx(above.high / below.low, abs=1e-6)
    nothing = with_rounds([(0, 1000)])
    (unknown,) = hold([ratio], {"a": few, "b": nothing}, error=0.05, bad_share_max=0.01)
    assert (unknown.state, unknown.estimate) == ("undecided", None)


def with_rounds(parts: list[tuple[int, int]]) -> VariantResult:
    """A variant with so many source reads and requests in each round."""
    whole = seen().model_dump()
    windows = [
        whole["windows"][0] | {
            "round": number, "requests": {"team": {"200": requests}},
            "source_reads": {"team": {"key": reads}}, "log_pairs": {"team": reads},
        }
        for number, (reads, requests) in enumerate(parts, start=1)
    ]  # fmt: skip
    requests = {"team": {"200": sum(n for _, n in parts)}}
    return VariantResult.model_validate(whole | {"windows": windows, "requests": requests})


def test_rounds_are_the_unit_where_there_are_six() -> None:
    """Reads that a TTL bounds vary less than chance; six rounds show it, five are not asked."""
    steady = [(20, 1000)] * 5
    metric = METRICS["source_reads_per_1000"]
    few = metric.read(with_rounds(steady), "team", None, 0.025)
    many = metric.read(with_rounds([*steady, (21, 1000)]), "team", None, 0.025)
    assert few is not None
    assert many is not None
    assert (few.rounds, many.rounds) == (5, 6)
    assert few.high - few.low > 5 * (many.high - many.low)
    rare = metric.read(with_rounds([(1, 1000)] * 6), "team", None, 0.025)
    assert rare is not None
    assert rare.low < 0.5 * rare.value, "six events are too few to judge their own spread"


def test_the_figure_is_the_ratio_of_the_sums() -> None:
    figure = METRICS["source_reads_per_1000"].read(
        with_rounds([(4, 80), (4, 117), (4, 87)]), "team", None, 0.025
    )
    assert figure is not None
    assert figure.value == pytest.approx(12 / 284 * 1000), "not the median of the ratios, 46.0"


def test_a_figure_without_noise_is_exact() -> None:
    exact = METRICS["wrong_values"]._replace(estimate=None)
    figure = exact.read(seen(), "team", None, 0.025)
    assert figure == MeasuredFigure(1.0, 1.0, 1.0, 1)


@pytest.mark.parametrize(
    ("low", "high", "states"),
    [
        (0.9, 1.1, ("holds", "holds")),
        (None, 1.1, ("undecided", "holds")),
        (0.9, None, ("holds", "undecided")),
    ],
)
def test_a_bound_that_is_not_known_decides_nothing(
    low: float | None, high: float | None, states: tuple[str, str]
) -> None:
    reads = {"all": Estimate(value=1.0, low=low, high=high, n=1)}
    result = seen().model_copy(update={"reads_over_expected": reads})
    figure = METRICS["reads_per_object_and_ttl"].read(result, "all", None, 0.025)
    assert figure is not None
    found = within(figure, 0.8, None), within(figure, None, 1.2)
    assert tuple(one.state for one in found) == states
    for one in found:
        assert one.state == "holds" or one.reason.endswith("more rounds would have one")


def test_a_band_is_two_bounds() -> None:
    limit = {"kind": "limit", "variant": "v", "metric": "wrong_values"}
    expectations: list[Estimated] = [
        LimitExpectation.model_validate(limit | {"min": 1, "max": 2}),
        LimitExpectation.model_validate(limit | {"max": 2}),
        CellExpectation.model_validate(
            {"kind": "cell", "variant": "v", "scope": "team", "is": "healthy"}
        ),
    ]
    assert bounds(expectations) == 4


def test_a_run_of_twenty_correct_expectations_is_wrong_in_5_of_100() -> None:
    """Twenty limits on a rate that touches them: any verdict of failure is a false alarm."""
    draw = random.Random(7)
    error = per_bound(20)
    alarms = 0
    for _ in range(300):
        figures = [sum(draw.random() < 0.05 for _ in range(200)) for _ in range(20)]
        alarms += any(rate(n, 200, error).low > 0.05 for n in figures)
    assert alarms <= 0.05 * 300 + 2 * math.sqrt(0.05 * 0.95 * 300), alarms


def test_looking_after_each_round_does_not_inflate_the_alarms() -> None:
    """A run that looks ten times at a rate on its limit, and stops when it believes to be sure."""
    draw = random.Random(11)
    looks, alarms, once = 10, 0, 0
    for _ in range(200):
        events = requests = 0
        shared = naive = False
        for _ in range(looks):
            requests += 150
            events += sum(draw.random() < 0.05 for _ in range(150))
            shared = shared or rate(events, requests, per_bound(1, looks)).low > 0.05
            naive = naive or rate(events, requests, per_bound(1)).low > 0.05
        alarms += shared
        once += naive
    assert alarms <= 0.05 * 200
    assert once > 0.08 * 200, "without the rule the alarms pile up"


def test_a_scenario_cannot_stop_before_it_may() -> None:
    body = {
        "name": "a", "title": "A", "ttl_s": 2.0, "variants": ["recommended"],
        "population": {"team": 1}, "load": {"rate_per_s": 100, "mix": {"team": 1}},
    }  # fmt: skip
    assert Scenario.model_validate(body).looks == 1
    assert Scenario.model_validate(body | {"rounds": 3, "rounds_max": 6}).looks == 4
    with pytest.raises(ValueError, match=r"rounds_max \[2\] must be at least rounds \[3\]"):
        Scenario.model_validate(body | {"rounds": 3, "rounds_max": 2})


def fresh(clock: Clock | None = None, *, judged: int = 0, stale: int = 0) -> Freshness:
    """One kind of change; the clock is that of the other workers."""
    return Freshness(
        outcome="done", changes=1, handler_s=None, others_s=clock, promise_s=4.1, ended_by=None,
        workers=[], old_replies=stale, old_cost_micro=0, resurrected=0, stale_replies=stale,
        judged_replies=judged,
    )  # fmt: skip


def limited(metric: str, found: dict[str, Freshness], **bounds_: float) -> ExpectationResult:
    """An expectation of all scopes; ``found`` is by scope, of one action."""
    expectation = LimitExpectation.model_validate(
        {"kind": "limit", "variant": "v", "metric": metric} | bounds_
    )
    (result,) = hold(
        [expectation], {"v": seen()}, error=0.05, bad_share_max=0.01,
        freshness={"v": {"team-block": found}},
    )  # fmt: skip
    return result


@pytest.mark.parametrize(
    ("clock", "bounds_", "state", "measured"),
    [
        (Clock(low=0.4, high=0.9, pairs=7), {"max": 1.0}, "holds", "0.4"),
        (Clock(low=0.4, high=1.1, pairs=7), {"max": 1.0}, "undecided", "0.4"),
        (Clock(low=1.01, high=1.5, pairs=7), {"max": 1.0}, "fails", "1.01"),
        # Open is above any limit, wherever the window ended.
        (Clock(low=0.4, high=None, pairs=7, open=1), {"max": 1.0}, "fails", "at least 0.4, open"),
        (Clock(low=4.4, high=None, pairs=7, open=1), {"min": 4.1}, "holds", "at least 4.4, open"),
        (Clock(low=0.4, high=None, pairs=7, open=1), {"min": 4.1}, "undecided", "at least 0.4"),
        (None, {"max": 1.0}, "undecided", "not measured"),
    ],
)
def test_a_clock_is_judged_by_its_interval(
    clock: Clock | None, bounds_: dict[str, float], state: str, measured: str
) -> None:
    """The greatest of all scopes; one without a figure is never a pass."""
    quick = fresh(Clock(low=0.0, high=0.1, pairs=7)) if clock else fresh()
    found = limited("others_s_max", {"team": fresh(clock), "user": quick}, **bounds_)
    assert (found.state, found.more_rounds) == (state, None)
    assert found.measured.startswith(measured)
    assert (found.high is None) == (clock is None or clock.high is None)
    assert limited("handler_s_max", {"team": fresh(clock)}, max=1).state == "undecided"


@pytest.mark.parametrize("metric", ["others_s_max", "handler_s_max"])
@pytest.mark.parametrize(
    ("clock", "bounds_", "state", "measured"),
    [
        # The clock that is missing may be any.
        (Clock(low=0.0, high=0.1, pairs=1), {"max": 1.0}, "undecided", "at least 0"),
        (Clock(low=0.4, high=0.9, pairs=1), {"min": 1.0}, "undecided", "at least 0.4"),
        # What was seen is enough.
        (Clock(low=1.1, high=1.2, pairs=1), {"max": 1.0}, "fails", "at least 1.1"),
        (Clock(low=1.1, high=1.2, pairs=1), {"min": 1.0}, "holds", "at least 1.1"),
        (Clock(low=0.4, high=None, pairs=1, open=1), {"max": 1.0}, "fails", "at least 0.4, open"),
    ],
)
def test_a_clock_of_some_changes_decides_only_what_the_others_cannot_alter(
    metric: str, clock: Clock, bounds_: dict[str, float], state: str, measured: str
) -> None:
    count = "untimed" if metric == "others_s_max" else "handler_untimed"
    one = fresh().model_copy(update={metric.removesuffix("_max"): clock})
    blind = fresh().model_copy(update={count: 2})
    found = limited(metric, {"team": one, "user": blind}, **bounds_)
    assert (found.state, found.measured, found.more_rounds) == (state, measured, None)
    assert found.high is None
    assert (found.reason == "2 changes could not be timed") == (state == "undecided")


@pytest.mark.parametrize(
    ("judged", "stale", "state"),
    [(299, 0, "holds"), (298, 0, "undecided"), (900, 1, "undecided"), (900, 2, "fails"),
     (0, 0, "undecided")],
)  # fmt: skip
def test_no_stale_reply_is_proved_by_replies_that_could_be_stale(
    judged: int, stale: int, state: str
) -> None:
    found = limited("stale_replies", {"team": fresh(judged=judged, stale=stale)}, max=0)
    assert (found.state, found.more_rounds) == (state, None)


def test_a_run_that_changed_nothing_passes_no_expectation_of_changes() -> None:
    for metric in ("others_s_max", "handler_s_max", "stale_replies"):
        assert limited(metric, {}, max=0).state == "undecided"


def test_bounds_of_clocks_scale_with_the_run() -> None:
    expectation = LimitExpectation.model_validate(
        {"kind": "limit", "variant": "v", "metric": "others_s_max", "max": 1.0}
    )
    (scaled,) = applicable([expectation], ["v"], premises=False, time_scale=0.4)
    assert isinstance(scaled, LimitExpectation)
    assert scaled.max == 0.4
