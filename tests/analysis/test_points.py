"""A point of a release that could not be wrapped: what was seen through it was not measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.analyse import analyse
from harness.analysis.points import SEEN_THROUGH, mask_unseen, missing, unseen
from harness.authcache.words import ObjectKind
from harness.domain.result import MemberResult, Percentiles, Result, VariantResult
from harness.domain.samples import Sample, SampleWriter
from harness.domain.series import HookPoint
from harness.observe.counters import Counters
from harness.observe.evidence import Evidence
from harness.plan.plan import Arm
from harness.scenario.schema import Scenario
from tests.observe.build import BALANCED, DECODED, evidence, series
from tests.plan.build import DescribedTarget, planned

BEFORE_THE_CODEC, WITH_CODEC = "litellm==1.83.14", "litellm==1.94.0"
REFERENCE = "litellm_1_94"


def release_window(name: str, *unwrapped: str, failing: bool = False) -> Evidence:
    """A balanced window of a release, whose failures are seen or not."""
    points = [
        series("authcache_instrumented", 0 if point in unwrapped else 1, point=point, variant=name)
        for point in ("auth_cache", "codec", "log_records", "statements")
    ]
    counted = (*(BALANCED if failing else DECODED), *points)
    calls = {ObjectKind.KEY: 6 if failing else 4}
    whole = evidence(counted=counted, calls=calls, variant=name)
    return replace(whole, name=f"05-measured-{name}")


def analysed(folder: Path, windows: Sequence[Evidence], *expect: dict[str, Any]) -> Result:
    scenario = Scenario.model_validate(
        {
            "name": "made-up",
            "title": "Made up",
            "ttl_s": 2.0,
            "variants": [window.variant for window in windows],
            "population": {"team": 1},
            "load": {"rate_per_s": 100, "mix": {"team": 1}},
            "limits": {"bad_share_max": 0.05},
            "expect": list(expect),
        }
    )
    arms = []
    for window in windows:
        version = window.variant.partition("==")[2]
        kind = "litellm" if version else "reference"
        target = DescribedTarget(kind=kind, version=version or "0.1")
        arms.append(Arm(window.variant, "A", target))
        with SampleWriter(folder / f"{window.name}.csv.gz") as writer:
            writer.write(Sample(window.name, "team", 0, 0, 0.1, 0.11, 0.12, 200, "", 250, ""))
    return analyse(
        planned(scenario, *arms),
        windows,
        folder,
        run_id="id",
        started_at="2026-01-01T00:00:00+00:00",
        elapsed_s=10.0,
        complete=True,
        interrupted=0,
        problem=None,
    )


def cell(is_: str, variant: str = "litellm>=0") -> dict[str, Any]:
    return {"kind": "cell", "variant": variant, "scope": "team", "is": is_}


def limit(metric: str, variant: str = "litellm>=0", **bounds: Any) -> dict[str, Any]:
    return {"kind": "limit", "variant": variant, "scope": "team", "metric": metric} | bounds


def test_a_cell_is_not_healthy_because_its_failures_were_not_seen(tmp_path: Path) -> None:
    result = analysed(tmp_path, [release_window(WITH_CODEC, "codec")], cell("healthy"))
    variant = result.variants[WITH_CODEC]
    assert variant.cells == {}
    assert variant.cell_reasons == {"team": "not measured: codec was not instrumented"}
    assert variant.deserialize_failures is None
    assert variant.source_reads_per_1000["team"] == 40
    assert (result.verdict, result.exit_code) == ("inconclusive", 3)
    reason = "was not measured: codec was not instrumented."
    expected = "expected healthy (at most 0.05 bad)"
    assert result.reasons == [f"{WITH_CODEC}: cell in team, {expected}, {reason}"]


def test_an_error_within_the_instrumentation_makes_the_run_invalid(tmp_path: Path) -> None:
    window = release_window(WITH_CODEC)
    page = Counters(
        dict(window.after.workers[0].items())
        | dict(
            [
                series("authcache_instrument_errors_total", 2, point="codec"),
                series("authcache_instrument_errors_total", 0, point="getters"),
                series("authcache_instrument_error_types", 2, point="codec", error="KeyError"),
            ]
        )
    )
    failing = replace(window, after=replace(window.after, workers=(page,)))
    result = analysed(tmp_path, [failing], cell("healthy"))
    assert (result.verdict, result.exit_code) == ("invalid", 4)
    (reason,) = result.reasons
    assert reason == (
        f"The instrumentation of {WITH_CODEC} failed 2 times at codec (KeyError), so its counts "
        "are incomplete. logs/ has the traceback; report it, and leave this variant out until then."
    )


def test_a_release_from_before_the_codec_is_seen_without_one(tmp_path: Path) -> None:
    expect = (cell("healthy"), limit("deserialize_failures_per_1000", max=0))
    result = analysed(tmp_path, [release_window(BEFORE_THE_CODEC, "codec")], *expect)
    variant = result.variants[BEFORE_THE_CODEC]
    assert variant.not_instrumented == ["codec"]
    assert variant.cells == {"team": ["healthy"]}
    assert variant.deserialize_failures == {}
    assert (result.verdict, [e.passed for e in result.expectations]) == ("pass", [True, True])


def test_a_failure_that_was_seen_breaks_a_cell_whatever_else_was_not(tmp_path: Path) -> None:
    window = release_window(WITH_CODEC, "codec", failing=True)
    result = analysed(tmp_path, [window], cell("broken"))
    assert result.variants[WITH_CODEC].cells == {"team": ["broken"]}
    reason = result.variants[WITH_CODEC].cell_reasons["team"]
    assert "do not decode" in reason
    assert reason.endswith("(not measured: codec was not instrumented)"), "a lower bound"
    assert result.verdict == "pass"
    wrong = analysed(tmp_path, [window], cell("healthy"))
    assert (wrong.verdict, wrong.expectations[0].failed) == ("regression", True)


@pytest.mark.parametrize(
    ("point", "metric", "scope"),
    [
        ("codec", "deserialize_failures_per_1000", "team"),
        ("auth_cache", "deserialize_failures_per_1000", "all"),
        ("auth_cache", "wrong_values", "team"),
        ("auth_cache", "log_pairs_per_1000", "team"),
        ("auth_cache", "source_reads_per_1000", "team"),
        ("log_records", "log_pairs_per_1000", "all"),
        ("statements", "source_reads_per_1000", "team"),
        ("statements", "source_reads_per_1000", "all"),
        ("statements", "source_reads_over_reference_line", "all"),
    ],
)
@pytest.mark.parametrize("bounds", [{"max": 1e9}, {"min": 0}])
def test_an_expectation_does_not_hold_by_what_was_not_seen(
    tmp_path: Path, point: str, metric: str, scope: str, bounds: dict[str, Any]
) -> None:
    expectation = limit(metric, scope=scope, **bounds)
    sound = analysed(tmp_path, [release_window(WITH_CODEC)], expectation)
    assert (sound.verdict, sound.expectations[0].passed) == ("pass", True)
    result = analysed(tmp_path, [release_window(WITH_CODEC, point)], expectation)
    (held,) = result.expectations
    assert (held.passed, held.failed, held.not_instrumented) == (False, False, [point])
    assert held.measured == f"not measured: {point} was not instrumented"
    assert result.exit_code == 3


def test_reads_of_all_scopes_need_no_scope(tmp_path: Path) -> None:
    expectation = limit("source_reads_per_1000", scope="all", min=10, max=110)
    result = analysed(tmp_path, [release_window(WITH_CODEC, "auth_cache")], expectation)
    variant = result.variants[WITH_CODEC]
    assert result.expectations[0].passed
    assert (variant.source_reads, variant.source_reads_per_1000) == (4, {"all": 40.0})
    assert variant.source_reads_per_1000_by_object == {}
    assert variant.windows[0].source_reads_per_1000 == {"all": 40.0}
    assert (variant.windows[0].log_pairs, variant.windows[0].lookups) == (None, {})


def test_reads_of_one_object_in_all_scopes_are_counted(tmp_path: Path) -> None:
    for kind, least, greatest in (("key", 5, 130), ("user", 0, 50)):
        held = limit("source_reads_per_1000", scope="all", object=kind, min=least, max=greatest)
        missed = held | {"min": greatest + 1, "max": greatest + 2}
        result = analysed(tmp_path, [release_window(WITH_CODEC)], held, missed)
        assert [e.passed for e in result.expectations] == [True, False]


@pytest.mark.parametrize("blind", [WITH_CODEC, REFERENCE])
def test_a_ratio_needs_both_sides(tmp_path: Path, blind: str) -> None:
    windows = [
        release_window(name, *(["statements"] if name == blind else []))
        for name in (WITH_CODEC, REFERENCE)
    ]
    ratio = {
        "kind": "ratio", "variant": WITH_CODEC, "to": REFERENCE, "scope": "team",
        "metric": "source_reads_per_1000", "max": 1e9,
    }  # fmt: skip
    (held,) = analysed(tmp_path, windows, ratio).expectations
    assert (held.passed, held.not_instrumented) == (False, ["statements"])


@pytest.mark.parametrize(
    ("asked", "exit_code"),
    [
        ({"has": "hidden"}, 3),
        ({"has": "wasteful"}, 3),
        ({"has": "stale"}, 3),
        ({"is": "hidden"}, 3),
        ({"is": "broken"}, 0),
        ({"has": "broken"}, 0),
        ({"is": "healthy"}, 1),
        ({"is": "wasteful"}, 1),
    ],
)
def test_a_cell_that_could_stand_beside_those_seen_is_neither_there_nor_absent(
    tmp_path: Path, asked: dict[str, str], exit_code: int
) -> None:
    expectation = {"kind": "cell", "variant": WITH_CODEC, "scope": "team"} | asked
    failing = release_window(WITH_CODEC, "statements", failing=True)
    result = analysed(tmp_path, [failing], expectation)
    (held,) = result.expectations
    assert result.variants[WITH_CODEC].cells == {"team": ["broken"]}
    assert (result.exit_code, held.not_instrumented) == (
        exit_code,
        ["statements"] if exit_code == 3 else [],
    )


def test_a_regression_outranks_what_was_not_seen_and_both_are_reported(tmp_path: Path) -> None:
    result = analysed(
        tmp_path,
        [release_window(WITH_CODEC, "codec")],
        cell("healthy"),
        limit("source_reads_per_1000", max=1),
    )
    assert (result.verdict, result.exit_code) == ("regression", 1)
    assert "source_reads_per_1000 in team is 40" in result.reasons[0]
    assert "not measured: codec" in result.reasons[1]


def seen(*unwrapped: str, version: str = "1.94.0", **fields: Any) -> VariantResult:
    """A release with something in every field that a point can hide."""
    window = {
        "name": "w", "variant": "v", "phase": "measured", "round": 1, "started_s": 0.0,
        "duration_s": 4.0, "requests": {"team": {"200": 1}}, "source_reads": {"team": {"key": 1}},
        "source_reads_per_1000": {"all": 1000.0, "team": 1000.0},
        "lookups": {"memory": {"hit": 1}}, "log_pairs": {"team": 1},
    }  # fmt: skip
    spread = {"median": 1000.0, "min": 1000.0, "max": 1000.0, "rounds": 1}
    percentiles = {"p50": None, "p95": None, "p99": None}
    whole = {
        "target": "litellm",
        "version": version,
        "title": "",
        "switches": {},
        "windows": [window],
        "cells": {"team": "healthy"},
        "cell_reasons": {"team": "fine"},
        "requests": {"team": {"200": 1}},
        "unexpected_statuses": {},
        "source_reads": 1,
        "source_reads_per_1000": {"all": 1000.0, "team": 1000.0},
        "source_reads_per_1000_range": {"all": spread, "team": spread},
        "source_reads_per_1000_by_object": {"team": {"key": 1000.0}},
        "reference_line_per_1000": {"all": 1000.0, "team": 1000.0},
        "cold_fill_source_reads": 1,
        "lookups": {"memory": {"hit": 1}},
        "lookups_by_scope": {"team": {"memory": {"hit": 1}}},
        "deserialize_failures": {"team": {"key": 1}},
        "coalesced": {},
        "log_records": {"other": 1},
        "log_pairs": {"team": 1},
        "wrong_values": {"team": {"key": 1}},
        "kept_alive": {"team": {"key": {"rarely_read": 1, "objects": 1}}},
        "entry_age_max_s": {},
        "payload_bytes": {"key": 1.0},
        "codec_us": {"decode": {"key": 1.0}},
        "spend_drift_micro": {"user": 1},
        "latency_ms": {"from_intended": percentiles, "service": percentiles, "samples": 1},
        "backfill_ttl_s": {"key": 600.0},
        "not_instrumented": list(unwrapped),
    }
    return VariantResult.model_validate(whole | fields)


FIELDS_BY_POINT = {
    "auth_cache": {
        "cells", "cell_reasons", "source_reads_per_1000", "source_reads_per_1000_range",
        "source_reads_per_1000_by_object", "lookups", "lookups_by_scope", "deserialize_failures",
        "wrong_values", "log_pairs", "backfill_ttl_s", "kept_alive", "windows",
    },
    "internal_usage_cache": {
        "cells", "cell_reasons", "lookups", "lookups_by_scope", "deserialize_failures",
        "wrong_values", "kept_alive", "windows",
    },
    "redis_cache": {
        "cells", "cell_reasons", "lookups", "lookups_by_scope", "deserialize_failures",
        "backfill_ttl_s", "windows",
    },
    "redis_client": {"lookups", "lookups_by_scope", "payload_bytes", "windows"},
    "codec": {
        "cells", "cell_reasons", "lookups", "lookups_by_scope", "deserialize_failures", "codec_us",
        "windows",
    },
    "statements": {
        "cells", "cell_reasons", "source_reads", "cold_fill_source_reads", "source_reads_per_1000",
        "source_reads_per_1000_range", "source_reads_per_1000_by_object", "wrong_values",
        "kept_alive", "windows",
    },
    "log_records": {"log_pairs", "log_records", "windows"},
    "spend_queues": {"spend_drift_micro"},
    "tasks": {"spend_drift_micro"},
    "getters": set(),
}  # fmt: skip


@pytest.mark.parametrize("point", FIELDS_BY_POINT)
def test_what_is_taken_out_for_each_point(point: str) -> None:
    whole = seen(point)
    left = mask_unseen(whole)
    fields = type(whole).model_fields
    changed = {name for name in fields if getattr(left, name) != getattr(whole, name)}
    assert changed == FIELDS_BY_POINT[point]
    assert mask_unseen(left) == left
    assert VariantResult.model_validate_json(left.model_dump_json()) == left


def test_every_point_of_the_instrumentation_is_accounted_for() -> None:
    """But for the ASGI application, without which nothing answers."""
    assert FIELDS_BY_POINT.keys() == set(HookPoint) - {HookPoint.REQUESTS}
    assert {need.point for needs in SEEN_THROUGH.values() for need in needs} <= set(HookPoint)


def test_where_everything_was_seen_nothing_is_taken_out() -> None:
    for variant in (seen(), seen("codec", version="1.83.14")):
        assert mask_unseen(variant) is variant
        assert unseen(variant) == []
    assert missing(seen("codec", version="1.84.0rc1"), "cells") == ("codec",)


@pytest.mark.parametrize(
    ("stale", "cells"), [({"team": {"status": 1}}, {"team": ["stale"]}), ({}, {})]
)
def test_a_stale_cell_stays_by_answers_and_not_by_what_reads_said(
    stale: dict[str, dict[str, int]], cells: dict[str, list[str]]
) -> None:
    found = mask_unseen(seen("statements", cells={"team": ["stale", "wasteful"]}, stale=stale))
    assert found.cells == cells


def test_two_points_are_both_named_and_results_share_nothing() -> None:
    one, other = mask_unseen(seen("codec", "auth_cache")), mask_unseen(seen("auth_cache"))
    reason = one.cell_reasons["team"]
    assert reason == "not measured: auth_cache and codec were not instrumented"
    one.lookups["memory"] = {"hit": 5}
    assert other.lookups == {}


def test_of_two_variants_in_one_fleet_what_either_needs_is_taken_out() -> None:
    member = MemberResult(
        version="1.84.10",
        replicas=[0],
        requests={},
        unanswered={},
        unexpected_statuses={},
        source_reads=3,
        source_reads_per_1000=1.0,
        unread={"not said": {"user": 2}},
        wrong={},
        service_ms=Percentiles(p50=None, p95=None, p99=None),
    )
    members = {"old": member}

    # 1.83.14 has no codec, 1.84.10 has one.
    found = mask_unseen(seen("codec", version="1.83.14 + 1.84.10", by_member=members))

    assert found.deserialize_failures is None
    assert found.by_member["old"].unread is None
    assert found.by_member["old"].wrong == {}
    assert found.by_member["old"].source_reads == 3
    assert mask_unseen(seen("codec", version="1.83.14", by_member=members)).by_member == members
