"""A calibration: equal fleets raise few alarms, planted TTLs are found, and both must be shown."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from harness.analysis.calibration import (
    FOLLOWS,
    Calibration,
    calibrate,
    calibrating,
    calibration_note,
    differs,
    driven_on_time,
    from_json,
    known_calibration,
    names_of,
    pair_rounds,
    to_json,
)
from harness.analysis.expectations import METRICS
from harness.analysis.intervals import per_bound
from harness.authcache.variants import load_variants
from harness.errors import UsageError
from harness.plan.arms import reference_arm
from harness.plan.plan import make_plan
from harness.report.calibration import calibration_page, calibration_table
from harness.report.numbers import NOT_MEASURED
from harness.scenario.loader import Changes, load_scenario
from tests.observe.build import evidence

NAMES = names_of("recommended")


def fleets(
    rounds: int, spread: float, moves: float = 1.0, bias: float = 0.0
) -> Mapping[str, Mapping[str, Sequence[float]]]:
    """A metric ``ttl_kept`` that follows the TTL by ``moves``, and one that never moves."""
    draw = random.Random(rounds)
    shifts = {
        NAMES.base: 1.0,
        NAMES.again: 1.0 + bias,
        NAMES.shorter: 1 - 0.1 * moves,
        NAMES.longer: 1 + 0.1 * moves,
    }
    return {
        name: {
            "ttl_kept": [shift * draw.lognormvariate(0, spread) for _ in range(rounds)],
            "fixed": [7.0] * rounds,
            "wrong_values": [0.0] * rounds,
        }
        for name, shift in shifts.items()
    }


def calibrated(
    found: Mapping[str, Mapping[str, Sequence[float]]], rounds: tuple[int, int] = (6, 6)
) -> Calibration:
    about = ("smoke", "recommended", 2)
    return calibrate(found, NAMES, rounds, about=about, date="2026-11-28T10:00:00+00:00", seed=1)


def test_an_instrument_that_moves_with_the_ttl_passes() -> None:
    found = calibrated(fleets(60, spread=0.02))
    assert (found.pairs, found.real_pairs, found.exit_code) == (100, 10, 0)
    assert found.alarms <= 5
    assert min(found.found_shorter, found.found_longer) >= 95
    assert found.metrics.keys() == {"ttl_kept", "fixed"}, "a metric of 0 has no ratio"
    least = found.metrics["ttl_kept"].least_percent
    assert least is not None
    assert 4 < least < 10


def test_an_instrument_that_cannot_move_does_not_pass_for_want_of_alarms() -> None:
    """Today's reads per 1,000 of windows that are locked to the caches: equal to the last digit."""
    found = calibrated(fleets(60, spread=0.0, moves=0.0))
    assert (found.alarms, found.found_shorter, found.found_longer) == (0, 0, 0)
    assert (found.passed, found.exit_code) == (False, 1)
    assert found.metrics["fixed"].least_percent is None


def test_an_instrument_that_tells_equal_fleets_apart_does_not_pass() -> None:
    found = calibrated(fleets(60, spread=0.02, bias=0.01))
    assert (found.biased, found.exit_code) == (["ttl_kept"], 1)
    assert "the equal fleets differ: ttl_kept" in calibration_table(found).foot
    sound = calibrated(fleets(60, spread=0.02))
    assert (sound.biased, sound.real_alarms) == ([], 0)
    assert replace(sound, real_alarms=1).passed, "one measured pair in ten may alarm"
    assert not replace(sound, real_alarms=2).passed
    assert not replace(sound, alarms=6).passed
    assert not replace(sound, found_longer=79).passed


def test_fleets_that_are_merely_slower_are_no_ttl_that_was_found() -> None:
    draw = random.Random(3)
    slower = dict(zip(NAMES, (1.0, 1.0, 1.1, 1.1), strict=True))
    figures = {
        name: {
            metric: [shift * draw.lognormvariate(0, 0.01) for _ in range(30)]
            for metric, shift in (
                ("ttl_kept", 1.0), ("source_reads_per_1000", 1.0), ("latency_p50_ms", factor)
            )
        }
        for name, factor in slower.items()
    }  # fmt: skip
    found = calibrated(figures)
    assert (found.pairs, found.passed, found.exit_code) == (100, False, 1)
    assert max(found.found_shorter, found.found_longer) <= 5
    (row,) = [r for r in calibration_table(found).rows if r.head.text == "latency_p50_ms"]
    assert [cell.text for cell in row.cells[1:3]] == [NOT_MEASURED] * 2, "it is not asked for a TTL"
    biased = figures | {NAMES.again: figures[NAMES.shorter]}
    assert calibrated(biased).biased == ["latency_p50_ms"], "it raises alarms"


@pytest.mark.parametrize("metric", FOLLOWS)
def test_a_ttl_is_found_only_by_what_moves_the_way_it_moves_it(metric: str) -> None:
    assert metric in METRICS
    for moves, times in ((FOLLOWS[metric], 100), (-FOLLOWS[metric], 0)):
        figures = {
            name: {metric: by["ttl_kept"]} for name, by in fleets(60, 0.01, moves=moves).items()
        }
        found = calibrated(figures)
        assert (found.found_shorter, found.found_longer) == (times, times)
        assert found.metrics[metric].found_longer == times


def test_rounds_that_not_all_fleets_have_are_left_out() -> None:
    """A run that ends early ends within a round."""
    whole = fleets(20, spread=0.02)
    cut = {
        name: {m: values[: 18 + (name == NAMES.base)] for m, values in by.items()}
        for name, by in whole.items()
    }
    even = {name: {m: values[:18] for m, values in by.items()} for name, by in whole.items()}
    assert calibrated(cut) == calibrated(even)
    assert calibrated(cut).real_pairs == 3


def test_noise_hides_a_planted_ttl() -> None:
    found = calibrated(fleets(60, spread=0.3))
    assert found.alarms <= 5
    assert found.found_shorter < 80
    assert found.exit_code == 1


def test_a_pair_needs_six_rounds() -> None:
    found = calibrated(fleets(5, spread=0.02))
    assert (found.pairs, found.exit_code, found.metrics) == (0, 3, {})
    assert "Too few rounds: a pair takes 6" in calibration_table(found).foot


def test_equal_fleets_alarm_in_5_of_100_pairs_at_most_at_any_look() -> None:
    draw = random.Random(12)
    error = per_bound(2, looks=7)

    def found(error: float) -> int:
        return sum(
            differs([draw.gauss(0, 0.1) for _ in range(12)], 6, error) != 0 for _ in range(400)
        )

    alarms, once = found(error), found(per_bound(2))
    assert alarms <= 0.05 * 400 < once


def test_a_pair_alarms_at_any_of_its_looks() -> None:
    early = [0.1, 0.11, 0.09, 0.1, 0.11, 0.09]
    assert differs(early, 6, 0.005) == 1
    assert differs([-d for d in early], 6, 0.005) == -1
    assert differs([*early, -0.5, 0.4, -0.6], 6, 0.005), "the run would have stopped after six"
    assert not differs([*early, -0.5, 0.4, -0.6], 9, 0.005)


def test_a_round_that_was_late_is_left_out_for_every_fleet() -> None:
    windows = [
        replace(evidence(), name=f"{name}-{n}", variant=name, round=n)
        for n in (1, 2, 3)
        for name in NAMES
    ]
    variant = load_variants()["recommended"]
    arms = [reference_arm(replace(variant, name=name)) for name in NAMES]
    plan = make_plan(load_scenario("smoke"), arms, stack="embedded")
    assert driven_on_time(plan, windows) == (windows, [])
    late = windows[5].generator.model_copy(update={"late": 9})
    windows[5] = replace(windows[5], generator=late)
    kept, problems = driven_on_time(plan, windows)
    assert ({w.round for w in kept}, len(kept), problems) == ({1, 3}, 8, [])
    fewer = windows[0].generator.model_copy(update={"unanswered": {"timeout": 1}})
    windows[0] = replace(windows[0], generator=fewer)
    assert "ledger does not balance" in driven_on_time(plan, windows)[1][0]


def test_the_plan_plants_what_the_calibration_names() -> None:
    given = load_scenario("smoke", Changes(variants=("recommended",)))
    assert pair_rounds(given) == (6, 6)
    longer = given.model_copy(update={"rounds": 8, "rounds_max": 12})
    assert pair_rounds(longer) == (8, 12)
    scenario = calibrating(longer, "recommended", 3)
    assert (scenario.rounds, scenario.expect) == (36, [])
    variant = load_variants()["recommended"]
    arms = [reference_arm(replace(variant, name=name)) for name in NAMES]
    plan = make_plan(scenario, arms, stack="embedded")
    ttls = [plan.fleet(arm).settings.ttl_s for arm in arms]
    assert ttls == pytest.approx([1.0, 1.0, 0.9, 1.1])
    assert plan.ttl_s == 1.0, "the analysis does not know"
    assert plan.premises[-1] == ("The TTL of recommended_longer is 1.1 times what it claims to be.")


def test_a_file_holds_a_calibration_and_every_report_names_its_date() -> None:
    found = calibrated(fleets(60, spread=0.02))
    assert from_json(to_json(found)) == found
    note = calibration_note(found)
    assert "2026-11-28, passed" in note
    assert f"{found.alarms} alarms in 100 pairs" in note
    assert "calibration: none" in calibration_note(None)
    page = calibration_page(found)
    assert "| ttl_kept |" in page.replace("`", "")
    assert "There is no calibration yet." in calibration_page(None)
    for text in ("", "{}", "[]", '{"metrics": {"a": {}}}'):
        with pytest.raises(UsageError, match="make aa"):
            from_json(text)
    known = known_calibration()
    assert known is None or from_json(to_json(known)) == known
