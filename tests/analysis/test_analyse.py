"""From evidence to result and verdict, with scenario and samples made by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.analyse import analyse, enough
from harness.analysis.read_figures import ReadFigures, read_figures
from harness.authcache.words import ObjectKind
from harness.domain.result import Result
from harness.domain.samples import Sample, SampleWriter
from harness.observe.evidence import Checkpoint, Evidence
from harness.observe.postgres import StatementCount
from harness.plan.plan import Arm, RunPlan
from harness.scenario.schema import Scenario
from harness.targets.base import KeyTruth
from tests.observe.build import DECODED, evidence, series
from tests.plan.build import DescribedTarget, planned

SCENARIO: dict[str, Any] = {
    "name": "made-up",
    "title": "Made up",
    "ttl_s": 2.0,
    "variants": ["a"],
    "population": {"team": 1},
    "load": {"rate_per_s": 100, "mix": {"team": 1}},
    # 59 requests without a bad reply are enough for one expectation.
    "limits": {"bad_share_max": 0.05},
}


def _plan(expect: Sequence[dict[str, Any]] = (), *, planted: bool = False) -> RunPlan:
    premises = {"null_user_for_team_keys": planted}
    return _planned(expect=list(expect), premises=premises)


def _planned(**changes: Any) -> RunPlan:
    scenario = Scenario.model_validate(SCENARIO | changes)
    return planned(scenario, Arm("a", "A", DescribedTarget(kind="reference", version="0")))


def _analyse(
    tmp_path: Path,
    windows: Sequence[Evidence],
    expect: Sequence[dict[str, Any]] = (),
    **changes: Any,
) -> Result:
    for window in windows:
        path = tmp_path / f"{window.name}.csv.gz"
        if not path.exists():
            with SampleWriter(path) as writer:
                writer.write(Sample(window.name, "team", 0, 0, 0.1, 0.11, 0.12, 200, "", 250, ""))
    settings: dict[str, Any] = {
        "run_id": "id",
        "started_at": "2026-01-01T00:00:00+00:00",
        "elapsed_s": 10.0,
        "complete": True,
        "interrupted": 0,
        "problem": None,
    }
    plan = changes.pop("plan", None) or _plan(expect, planted=changes.pop("planted", False))
    return analyse(plan, windows, tmp_path, **(settings | changes))


HEALTHY = {"kind": "cell", "variant": "a", "scope": "team", "is": "healthy"}
BROKEN = HEALTHY | {"is": "broken"}


def _sound() -> Evidence:
    """100 requests, 2 source reads, nothing that does not decode."""
    return evidence(counted=DECODED, calls={ObjectKind.KEY: 4})


def test_a_sound_window_passes(tmp_path: Path) -> None:
    result = _analyse(tmp_path, [_sound()], [HEALTHY])
    assert (result.verdict, result.exit_code) == ("pass", 0)
    variant = result.variants["a"]
    assert variant.cells == {"team": ["healthy"]}
    assert variant.source_reads_per_1000["team"] == 40.0
    # One key with one team: two objects, two TTLs, 100 requests.
    assert variant.reference_line_per_1000["team"] == 40.0
    assert variant.entry_age_max_s == {"memory": 1.5}
    assert set(variant.spend_drift_micro.values()) == {0}
    assert variant.cpu_ms_per_request["replicas"] == 3.0
    assert result.generator.cpu_share == 0.2


def test_one_key_that_every_request_reads_is_wasteful(tmp_path: Path) -> None:
    """It has no slope: its scope has no other key to compare it with."""
    reads = series(
        "authcache_source_reads_total", 97, object="key", reason="miss", key_scope="team"
    )
    counted = (*DECODED, reads)
    result = _analyse(tmp_path, [evidence(counted=counted, calls={ObjectKind.KEY: 98})], [HEALTHY])
    variant = result.variants["a"]
    assert variant.cells == {"team": ["wasteful"]}
    assert "0.92 of them read it, at least" in variant.cell_reasons["team"]
    assert result.exit_code != 0


def test_the_figure_is_that_of_all_rounds_together_with_the_range_over_them(tmp_path: Path) -> None:
    windows = []
    for number, reads in enumerate((3, 9, 5), start=1):
        item = series(
            "authcache_source_reads_total", reads, object="key", reason="miss", key_scope="team"
        )
        windows.append(replace(evidence(more=(item,)), name=f"w{number}", round=number))
    variant = _analyse(tmp_path, windows).variants["a"]
    spread = variant.source_reads_per_1000_range["team"]
    assert (spread.min, spread.median, spread.max, spread.rounds) == (40.0, 60.0, 100.0, 3)
    assert variant.source_reads_per_1000["team"] == pytest.approx(20 / 300 * 1000, abs=1e-3)
    assert variant.source_reads == 20


def test_a_failed_expectation_is_a_regression(tmp_path: Path) -> None:
    result = _analyse(tmp_path, [_sound()], [BROKEN])
    assert (result.verdict, result.exit_code) == ("regression", 1)
    assert result.reasons == ["a: cell in team is healthy, expected broken."]
    assert (result.expectations[0].state, result.expectations[0].passed) == ("fails", False)


def test_a_deserialize_failure_breaks_a_cell(tmp_path: Path) -> None:
    result = _analyse(tmp_path, [evidence()], [BROKEN])
    assert result.verdict == "pass"
    assert result.variants["a"].deserialize_failures == {"team": {"key": 2}}


def test_a_reply_that_should_have_been_refused_hides(tmp_path: Path) -> None:
    blocked = replace(_sound(), truths={0: KeyTruth({"key": "right"}, 401, "blocked")})
    result = _analyse(tmp_path, [blocked], [HEALTHY])
    variant = result.variants["a"]
    assert variant.unexpected_statuses == {}
    assert variant.let_through == {"team": {"blocked": 100}}
    assert variant.cells == {"team": ["hidden"]}
    assert (result.verdict, result.exit_code) == ("regression", 1)


@pytest.mark.parametrize(
    ("expected", "passed"),
    [
        ({"is": "hidden"}, True),
        ({"is": "broken"}, False),
        ({"has": "hidden"}, True),
        ({"has": "broken"}, True),
        ({"has": "wasteful"}, False),
    ],
)
def test_an_expectation_is_of_the_worst_cell_or_has_one_among_them(
    tmp_path: Path, expected: dict[str, str], passed: bool
) -> None:
    both = replace(evidence(), truths={0: KeyTruth({"key": "right"}, 401, "blocked")})
    result = _analyse(
        tmp_path, [both], [{"kind": "cell", "variant": "a", "scope": "team"} | expected]
    )
    assert result.variants["a"].cells == {"team": ["hidden", "broken"]}
    assert result.expectations[0].passed == passed
    assert result.expectations[0].measured == "hidden, broken"


@pytest.mark.parametrize(
    ("window", "word"),
    [
        (evidence(gets=7), "redis_gets"),
        (evidence(generator={"late": 2}), "late"),
        (evidence(generator={"planned": 103}), "sent 100 of 103"),
    ],
    ids=["ledger", "late", "short"],
)
def test_invalid_outranks_every_number(tmp_path: Path, window: Evidence, word: str) -> None:
    result = _analyse(tmp_path, [window], [HEALTHY])
    assert (result.verdict, result.exit_code) == ("invalid", 4)
    assert word in result.reasons[0]


def test_a_late_cold_fill_is_noted_and_spoils_nothing(tmp_path: Path) -> None:
    late = evidence(generator={"late": 50, "planned": 110})
    cold = replace(late, name="01-cold_fill-a", phase="cold_fill", round=0)
    result = _analyse(tmp_path, [cold, _sound()])
    assert result.verdict == "observed"
    assert result.generator.late == 0
    assert "cold fill of a was driven late: 50 of 110" in result.notes[-1]
    spoiled = replace(evidence(gets=7), name="01-cold_fill-a", phase="cold_fill", round=0)
    assert _analyse(tmp_path, [spoiled, _sound()]).verdict == "invalid"


def test_a_death_and_a_signal(tmp_path: Path) -> None:
    dead = _analyse(tmp_path, [_sound()], [HEALTHY], problem="Valkey died.", complete=False)
    assert (dead.verdict, dead.reasons[0]) == ("invalid", "Valkey died.")
    stopped = _analyse(tmp_path, [], [HEALTHY], interrupted=143, complete=False)
    assert (stopped.verdict, stopped.exit_code) == ("interrupted", 143)
    assert stopped.variants == {}


def test_nothing_measured_is_inconclusive(tmp_path: Path) -> None:
    assert _analyse(tmp_path, [], [HEALTHY]).verdict == "inconclusive"


def test_a_variant_without_expectations_is_observed(tmp_path: Path) -> None:
    result = _analyse(tmp_path, [_sound()])
    assert result.observed == ["a"]
    assert (result.verdict, result.exit_code) == ("observed", 0)
    assert "Nothing was asked" in result.reasons[0]
    strict = _analyse(tmp_path, [_sound()], strict=True)
    assert (strict.verdict, strict.exit_code) == ("observed", 3)


def test_expectations_by_premise(tmp_path: Path) -> None:
    only_planted = BROKEN | {"premises": "on"}
    assert _analyse(tmp_path, [_sound()], [only_planted]).expectations == []
    planted = _analyse(tmp_path, [_sound()], [only_planted], planted=True)
    assert [e.passed for e in planted.expectations] == [False]


@pytest.mark.parametrize(
    ("limit", "state"),
    [
        # 4 reads in 100 requests: 40 per 1,000, and anything from 14 to 89 is as likely as not.
        ({"metric": "source_reads_per_1000", "min": 10, "max": 100}, "holds"),
        ({"metric": "source_reads_per_1000", "min": 40, "max": 40}, "undecided"),
        ({"metric": "source_reads_per_1000", "max": 10}, "fails"),
        ({"metric": "source_reads_per_1000", "object": "key", "min": 10}, "holds"),
        ({"metric": "source_reads_per_1000", "object": "user", "max": 0}, "holds"),
        ({"metric": "source_reads_per_1000", "object": "key", "max": 0}, "fails"),
        ({"metric": "source_reads_over_reference_line", "max": 2.5}, "holds"),
        ({"metric": "source_reads_over_reference_line", "max": 1.1}, "undecided"),
        ({"metric": "source_reads_over_reference_line", "max": 0.3}, "fails"),
        ({"metric": "wrong_values", "max": 0}, "holds"),
        ({"metric": "wrong_values", "min": 20}, "fails"),
        ({"metric": "log_pairs_per_1000", "max": 0}, "holds"),
        ({"metric": "deserialize_failures_per_1000", "min": 100}, "fails"),
        ({"metric": "source_reads_per_1000", "scope": "member", "max": 1e9}, "undecided"),
        ({"metric": "entry_age_max_s", "scope": "all", "min": 1.5, "max": 1.5}, "holds"),
        ({"metric": "entry_age_max_s", "scope": "all", "max": 1.4}, "fails"),
        # 90 hits and 8 misses
        ({"metric": "memory_hit_share", "min": 0.918, "max": 0.919}, "holds"),
        ({"metric": "memory_hit_share", "scope": "all", "min": 0.918, "max": 0.919}, "holds"),
        ({"metric": "memory_hit_share", "min": 0.92}, "fails"),
        ({"metric": "memory_hit_share", "scope": "member", "max": 1}, "undecided"),
    ],
)
def test_limits(tmp_path: Path, limit: dict[str, Any], state: str) -> None:
    expectation = {"kind": "limit", "variant": "a", "scope": "team"} | limit
    result = _analyse(tmp_path, [_sound()], [expectation])
    assert [e.state for e in result.expectations] == [state]
    word = {"holds": "pass", "fails": "regression", "undecided": "inconclusive"}[state]
    assert result.verdict == word


def test_bounds_of_reads_have_their_share_of_the_run_s_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = []

    def noted(*args: Any, error: float, **kwargs: Any) -> ReadFigures:
        errors.append(error)
        return read_figures(*args, error=error, **kwargs)

    monkeypatch.setattr("harness.analysis.variant.read_figures", noted)
    for expect in ([], [HEALTHY] * 2, [HEALTHY] * 10):
        _analyse(tmp_path, [_sound()], expect)
    assert errors == [0.025, 0.025, 0.005], "without a verdict 95 %"


def test_a_run_stops_when_every_expectation_is_decided(tmp_path: Path) -> None:
    _analyse(tmp_path, [_sound()])
    more = {"rounds": 1, "rounds_max": 3}

    def asked(expect: dict[str, Any], windows: int = 1) -> tuple[bool, Result]:
        plan = _plan([expect])
        scenario = Scenario.model_validate(plan.scenario.model_dump(by_alias=True) | more)
        plan = replace(plan, scenario=scenario)
        found = [replace(_sound(), round=n) for n in range(1, windows + 1)]
        result = analyse(
            plan, found, tmp_path, run_id="id", started_at="", elapsed_s=1.0, complete=True,
            interrupted=0, problem=None,
        )  # fmt: skip
        return enough(plan, found, tmp_path), result

    reads = {"kind": "limit", "variant": "a", "scope": "team", "metric": "source_reads_per_1000"}
    stop, result = asked(HEALTHY)
    assert (stop, result.verdict) == (True, "pass")
    assert result.bound_error == pytest.approx(0.05 / 3)
    assert "stopped after round 1 of 1 to 3: no further round" in result.notes[-1]
    assert asked(reads | {"max": 1})[0], "what fails is decided"
    stop, result = asked(reads | {"max": 45})
    assert (stop, result.verdict) == (False, "inconclusive")
    assert "more rounds would decide it" in result.reasons[0]
    _, last = asked(reads | {"max": 45}, windows=3)
    assert (last.rounds, last.rounds_max) == (3, 3)
    assert "stopped after round 3 of 1 to 3: that was the last" in last.notes[-1]
    stop, _ = asked(reads | {"scope": "member", "max": 1})
    assert stop, "no round measures a scope without requests"


def test_a_window_that_was_late_spoils_a_run_that_was_not(tmp_path: Path) -> None:
    """Plant 22: 16 of 554 requests of one window, 16 of 5,358 of the run."""
    late = evidence(generator={"planned": 554, "sent": 554, "answered": 554, "late": 16})
    late = replace(late, name="late", generator=late.generator.model_copy(update={"statuses": {}}))
    windows = [replace(_sound(), name=f"w{n}") for n in range(48)]
    result = _analyse(tmp_path, [late, *windows])
    assert result.verdict == "invalid"
    assert any("late in 1 window, most in late: 16 of 554" in reason for reason in result.reasons)
    assert result.generator.late_share_max == 0.0289


def test_a_generator_that_lags_all_the_time_spoils_a_run(tmp_path: Path) -> None:
    """Plant 21: every request 200 ms late, none of them by more than the limit of 250 ms."""
    lagging = evidence(generator={"delay_ms_max": 203.0, "delay_ms_median": 200.0})
    result = _analyse(tmp_path, [lagging])
    assert (result.verdict, result.generator.median_delay_ms) == ("invalid", 200.0)
    assert "lagged in 1 window" in result.reasons[0]


def test_a_run_that_was_cut_short_has_the_rounds_that_it_measured(tmp_path: Path) -> None:
    _analyse(tmp_path, [_sound()])
    planned_most = _plan().scenario.model_copy(update={"rounds": 5})
    plan = replace(_plan(), scenario=planned_most)

    def rounds_of(*numbers: int) -> int:
        windows = [replace(_sound(), round=n) for n in numbers]
        return analyse(
            plan, windows, tmp_path, run_id="id", started_at="", elapsed_s=1.0, complete=False,
            interrupted=130, problem=None,
        ).rounds  # fmt: skip

    assert rounds_of(1, 2) == 2
    assert rounds_of() == 5, "as planned"


def test_a_combined_view_row_for_each_checkpoint(tmp_path: Path) -> None:
    points = (Checkpoint(2.0, StatementCount(3, 1.5, 3)), Checkpoint(4.0, StatementCount(4, 2, 4)))
    rows = _analyse(tmp_path, [replace(_sound(), checkpoints=points)]).combined_view
    assert [(row.window_s, row.calls, row.avg_ms) for row in rows] == [(2, 3, 0.5), (4, 4, 0.5)]


def test_a_run_without_windows_has_its_reason_and_an_unchecked_ledger(tmp_path: Path) -> None:
    result = _analyse(tmp_path, [], [HEALTHY], complete=False, problem="Too slow. Wait.")
    assert (result.verdict, result.reasons) == ("invalid", ["Too slow. Wait."])
    assert (result.variants, result.expectations) == ({}, [])
    assert result.ledger.balanced is None


def test_a_stopped_run_names_what_it_did_not_measure(tmp_path: Path) -> None:
    nothing = _analyse(tmp_path, [], complete=False, interrupted=130)
    assert nothing.reasons[0].startswith("The run was stopped by a signal before its end.")
    assert nothing.notes == [], "the report says that nothing was measured"
    plan = _plan()
    both = replace(plan, arms=(*plan.arms, replace(plan.arms[0], name="b")))
    _analyse(tmp_path, [_sound()])
    result = analyse(
        both,
        [_sound()],
        tmp_path,
        run_id="id",
        started_at="",
        elapsed_s=1.0,
        complete=False,
        interrupted=130,
        problem=None,
    )
    assert result.notes == ["Not measured: b."]


def test_a_result_has_all_of_the_load(tmp_path: Path) -> None:
    change = {"action": "key-block", "scope": "team"}
    made = {"change": [change, {**change, "way": "sql", "at_ttls": 1.5}]}
    load = _analyse(tmp_path, [], plan=_planned(**made)).load
    assert load is not None
    assert (load.model, load.users, load.mix) == ("open", None, {"team": 1})
    assert (load.key_weights, load.zipf) == ([1, 4], 0)
    assert load.changes == ["key-block team", "key-block team way=sql at_ttls=1.5"]
    closed = {"load": {"model": "closed", "users": 8, "mix": {"team": 1}, "zipf": 1.1}}
    load = _analyse(tmp_path, [], plan=_planned(**closed)).load
    assert load is not None
    assert (load.model, load.users) == ("closed", 8)
    assert (load.key_weights, load.zipf, load.changes) == ([], 1.1, [])
