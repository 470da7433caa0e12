"""Every figure of a variant, from windows made by hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.clock import freshness
from harness.analysis.rounds import judged_requests
from harness.analysis.variant import (
    combined_view,
    expected_calls,
    measured_line,
    spend_drift,
    variant_result,
)
from harness.authcache.variants import load_variants
from harness.authcache.words import ObjectKind
from harness.domain.changes import ChangeEvent
from harness.domain.population import MembershipRow, make_refusals
from harness.domain.result import Freshness, VariantResult, WorkerClock
from harness.domain.samples import Sample, SampleWriter
from harness.domain.series import ALL
from harness.domain.window import KeyCount, ServedCount
from harness.observe.counters import Series
from harness.observe.evidence import Checkpoint, Evidence
from harness.observe.postgres import StatementCount
from harness.plan.plan import Arm, RunPlan
from harness.scenario.schema import Scenario
from harness.targets.base import KeyPath, KeyTruth
from tests.observe.build import evidence, page, series
from tests.plan.build import DescribedTarget, planned

TARGET = DescribedTarget(
    kind="litellm",
    version="1.94.0",
    switches={"codec": "raw"},
    overridden=("codec",),
    hard_coded=("600 s backfill",),
)
ARM = Arm("a", "A title", TARGET)
READS = "authcache_source_reads_total"
LOOKUPS = "authcache_lookups_total"
LOGS = "authcache_log_records_total"


def _run(
    row: MembershipRow = "budget", *, planted: bool = False, **population_: int | str
) -> RunPlan:
    counts = {"team": 2, "user": 1, "shared_id": 1, "member": 1} | population_
    scenario = Scenario.model_validate(
        {
            "name": "made-up",
            "title": "Made up",
            "ttl_s": 2.0,
            "replicas": 3,
            "workers": 2,
            "variants": ["a"],
            "population": counts | {"member_row": row},
            "load": {"rate_per_s": 100, "mix": {"team": 1}},
            "premises": {"null_user_for_team_keys": planted},
        }
    )
    return planned(scenario, ARM)


# The reference line.


def test_the_line_is_one_read_for_each_object_and_ttl_by_scope_and_for_all() -> None:
    windows = [evidence(duration_s=4.0), evidence(duration_s=6.0)]
    requests = {"team": {"200": 90, "401": 10}, "shared_id": {"200": 300}}
    # Five TTLs. Two keys with a team each; one key with a user, a team and a membership.
    assert measured_line(_run(), ARM, windows, requests) == pytest.approx(
        {"team": 4 * 5 / 100 * 1000, "shared_id": 4 * 5 / 300 * 1000, "all": 40 / 400 * 1000}
    )


@pytest.mark.parametrize(
    ("scenario", "variant", "objects"),
    [(True, True, 6), (True, False, 4), (False, True, 4), (False, False, 4)],
)
def test_the_line_counts_the_planted_user_where_it_is_planted(
    scenario: bool, variant: bool, objects: int
) -> None:
    arm = replace(ARM, target=replace(TARGET, takes_premises=variant))
    line = measured_line(
        _run(planted=scenario), arm, [evidence(duration_s=2.0)], {"team": {"200": 1000}}
    )
    assert line == {"team": objects, "all": objects}


def test_without_requests_there_is_no_line() -> None:
    assert measured_line(_run(), ARM, [evidence()], {}) == {}


def test_a_single_request_has_a_line() -> None:
    line = measured_line(_run(), ARM, [evidence(duration_s=2.0)], {"user": {"200": 1}})
    assert line == {"user": 2000.0, "all": 2000.0}


# The combined view.


def _with_points(*counts: StatementCount, **changes: Any) -> Evidence:
    points = tuple(Checkpoint(2.0 * i, count) for i, count in enumerate(counts, start=1))
    return replace(evidence(), checkpoints=points, **changes)


def test_a_row_of_the_combined_view_for_each_checkpoint_of_each_variants_first_round() -> None:
    count = StatementCount(8, 1.23456, 5)
    windows = [
        _with_points(count, phase="cold_fill", round=0),
        _with_points(count, phase="cold_fill", round=1),
        _with_points(count, round=2),
        _with_points(count, StatementCount(0, 0.0, 0), variant="a"),
        _with_points(variant="without checkpoints"),
        _with_points(StatementCount(1, 2.0, 1), variant="b"),
    ]
    without = {"redis": "off", "memory_entries": 200}
    plan = _run()
    arms = tuple(Arm(n, n, DescribedTarget(kind="reference", switches=without)) for n in "ab")
    rows = [row.model_dump() for row in combined_view(replace(plan, arms=arms), windows)]
    # 3 replicas x 2 workers, 2 keys that are requested, 2 s a TTL
    assert rows == [
        {
            "variant": "a",
            "window_s": 2.0,
            "calls": 8,
            "total_ms": 1.235,
            "avg_ms": 0.1543,
            "rows": 5,
            "expected_calls": 12.0,
        },
        {
            "variant": "a",
            "window_s": 4.0,
            "calls": 0,
            "total_ms": 0.0,
            "avg_ms": 0.0,
            "rows": 0,
            "expected_calls": 24.0,
        },
        {
            "variant": "b",
            "window_s": 2.0,
            "calls": 1,
            "total_ms": 2.0,
            "avg_ms": 2.0,
            "rows": 1,
            "expected_calls": 12.0,
        },
    ]


@pytest.mark.parametrize(
    ("variant", "switches", "cold", "expected"),
    [
        # 3 replicas x 2 workers x 2 keys x 3 TTLs
        ("memory_only", {}, True, 36.0),
        ("memory_only", {}, False, 36.0),
        ("litellm_1_83", {}, True, 36.0),
        # 2 keys x 3 TTLs
        ("litellm_1_94", {}, True, 6.0),
        ("recommended", {}, False, 6.0),
        ("litellm_1_94", {"memory_entries": 0}, False, 6.0),
        # Each key once, and never again: every request, or its spend, writes the key back.
        ("litellm_1_84", {}, True, 2.0),
        ("litellm_1_84", {}, False, 0.0),
        ("litellm_1_84", {"republish": "teams"}, True, 2.0),
        ("litellm_1_94", {"republish": "on"}, True, 2.0),
        # Four objects do not fit; Redis holds what never decodes; reads before an entry expires.
        ("memory_only", {"memory_entries": 3}, True, None),
        ("memory_only", {"memory_entries": 4}, True, 36.0),
        ("raw_redis", {}, True, None),
        ("litellm_1_94", {"coalescing": "early_refresh"}, True, None),
        ("litellm_1_94", {"backfill_ttl": "fixed_600s"}, True, None),
    ],
)
def test_expected_calls_are_those_of_the_variant(
    variant: str, switches: dict[str, Any], cold: bool, expected: float | None
) -> None:
    plan = _run()
    load = plan.scenario.load.model_copy(update={"cold_fill": not cold, "warmup_ttls": 0})
    plan = replace(plan, scenario=plan.scenario.model_copy(update={"load": load}))
    described = load_variants()[variant].switches.model_dump() | switches
    assert expected_calls(plan, described, at_s=3 * plan.ttl_s) == expected


def test_nothing_is_expected_of_a_release() -> None:
    described = {"release": "1.94.0", "prisma": "the environment's own"}
    assert expected_calls(_run(), described, at_s=2.0) is None


# Spend.

ALICE, BOB = {"user": "alice", "team": "t"}, {"user": "bob", "team": "t"}


def _spent(cost: int, rows: Mapping[str, str], *more: Mapping[str, str], **got: int) -> Evidence:
    """Keys of one cost each, the rows that each of them is charged to, and what a row got."""
    keys = [
        KeyCount(scope="team", key_index=i, answered=1, admitted=1, cost_micro=cost, named={})
        for i in range(1 + len(more))
    ]
    window = evidence(generator={"keys": keys})
    paths = {i: KeyPath("team", row) for i, row in enumerate((rows, *more))}
    after = dict.fromkeys(ObjectKind, got)
    return replace(window, paths=paths, after=replace(window.after, spend=after))


def test_a_row_that_keys_share_is_due_the_cost_of_all_of_them() -> None:
    drift = spend_drift([_spent(250, ALICE, BOB)])
    assert drift == {"user": 500, "team": 500, "membership": 0}


def test_what_postgres_gained_does_not_drift() -> None:
    window = _spent(250, {"user": "u"}, {"team": "u"}, {"membership": "u"}, u=250)
    assert spend_drift([window]) == {"user": 0, "team": 0, "membership": 0}


def test_a_row_that_gained_what_another_was_due_does_not_drift() -> None:
    """The drift is what was lost in all; the ledger looks at each row."""
    assert spend_drift([_spent(250, {"user": "u"}, u=0, other=250)])["user"] == 0


def test_the_drifts_of_all_windows_add_up() -> None:
    windows = [_spent(100, {"user": "u"}, u=90), _spent(30, {"user": "u"})]
    assert spend_drift(windows)["user"] == 40


# The whole result.


def _result(
    folder: Path, windows: Iterable[Evidence], run: RunPlan | None = None, samples: int = 1
) -> VariantResult:
    windows = list(windows)
    for window in windows:
        if window.phase == "measured":
            with SampleWriter(folder / f"{window.name}.csv.gz") as writer:
                for at in range(samples + 1):
                    # The first one opens the connection that all others use.
                    times = (at + 0.1, at + 0.11, at + 0.12)
                    writer.write(Sample(window.name, "team", 0, 0, *times, 200, "", 250, ""))
    return variant_result(run or _run(), ARM, windows, folder)


def _window(
    number: int,
    *counted: tuple[Series, float],
    workers: tuple[tuple[tuple[Series, float], ...], ...] = (),
    **changes: Any,
) -> Evidence:
    """A window in which only this was counted, by one worker or by several."""
    window = evidence(counted=counted, **changes)
    window = replace(window, name=f"{number:02d}", round=number)
    if not workers:
        return window
    pages = tuple(page(*items) for items in workers)
    before = replace(window.before, workers=tuple(page() for _ in pages))
    return replace(window, before=before, after=replace(window.after, workers=pages))


def _lookup(n: int, tier: str, outcome: str, kind: str, scope: str) -> tuple[Series, float]:
    return series(LOOKUPS, n, tier=tier, op="load", outcome=outcome, object=kind, key_scope=scope)


def _read(n: int, kind: str, scope: str) -> tuple[Series, float]:
    return series(READS, n, object=kind, reason="miss", key_scope=scope)


def test_what_the_variant_is_comes_from_the_plan(tmp_path: Path) -> None:
    result = _result(tmp_path, [_window(1)])
    assert (result.target, result.version, result.title) == ("litellm", "1.94.0", "A title")
    assert result.switches == {"codec": "raw"}
    assert result.overridden == ["codec"]
    assert result.hard_coded == ["600 s backfill"], "it keeps what it promises"


def test_what_a_release_keeps_beyond_the_promise_is_reported(tmp_path: Path) -> None:
    arm = replace(ARM, target=replace(TARGET, kept_s=660.0))
    with SampleWriter(tmp_path / "1.csv.gz"):
        pass
    result = variant_result(replace(_run(), arms=(arm,)), arm, [], tmp_path)

    assert result.hard_coded[-1] == (
        "By its code an entry may be [660] s old when it is served; the TTL promises [4.1] s."
    )


def test_reads_are_counted_by_scope_and_object_over_the_measured_windows(tmp_path: Path) -> None:
    two = {"statuses": {"team": {"200": 60, "401": 40}, "user": {"200": 300}}}
    cold = replace(_window(0, _read(50, "key", "team")), phase="cold_fill")
    windows = [
        cold,
        replace(cold, name="00b"),
        _window(1, _read(2, "key", "team"), _read(4, "team", "team"), generator=two),
        _window(2, _read(1, "key", "team"), _read(3, "user", "user"), generator=two),
        _window(3, _read(3, "key", "team"), generator=two),
    ]
    result = _result(tmp_path, windows)
    assert [window.name for window in result.windows] == ["00", "00b", "01", "02", "03"]
    assert result.requests == {"team": {"200": 180, "401": 120}, "user": {"200": 900}}
    assert result.source_reads == 13
    assert result.cold_fill_source_reads == 100
    # 10 in 300, 3 in 900, 13 in 1,200
    assert result.source_reads_per_1000 == {"all": 10.833, "team": 33.333, "user": 3.333}
    spread = result.source_reads_per_1000_range["team"]
    assert (spread.min, spread.max, spread.rounds) == (10.0, 60.0, 3)
    assert list(result.source_reads_per_1000_range) == ["all", "team", "user"]
    assert result.source_reads_per_1000_by_object == {
        "team": {"key": 20.0, "team": 13.333},
        "user": {"user": 3.333},
    }
    # 6 TTLs: two keys with two objects each, and one with two.
    assert result.reference_line_per_1000 == {
        "team": 80.0, "user": 13.333, "all": 30.0,
    }  # fmt: skip


def test_figures_are_kept_to_three_places(tmp_path: Path) -> None:
    third = {"statuses": {"team": {"200": 3000}}}
    result = _result(tmp_path, [_window(1, _read(5, "key", "team"), generator=third)])
    assert result.source_reads_per_1000["team"] == 1.667
    assert result.source_reads_per_1000_by_object == {"team": {"key": 1.667}}
    # Two TTLs of four objects in 3,000 requests.
    assert result.reference_line_per_1000["team"] == 2.667


def test_an_object_that_is_seldom_read_is_named_all_the_same(tmp_path: Path) -> None:
    many = {"statuses": {"team": {"200": 2000}}}
    result = _result(tmp_path, [_window(1, _read(1, "team", "team"), generator=many)])
    assert result.source_reads_per_1000_by_object == {"team": {"team": 0.5}}


def test_the_line_of_the_result_has_the_planted_users(tmp_path: Path) -> None:
    # Two keys with a team and a planted user each, over two TTLs of 100 requests.
    line = _result(tmp_path, [_window(1)], _run(planted=True)).reference_line_per_1000
    assert line == {"team": 120.0, "all": 120.0}


def test_without_a_cold_fill_its_reads_are_unknown_and_not_0(tmp_path: Path) -> None:
    assert _result(tmp_path, [_window(1)]).cold_fill_source_reads is None
    cold = replace(_window(0), phase="cold_fill")
    assert _result(tmp_path, [cold, _window(1)]).cold_fill_source_reads == 0


def test_lookups_waits_and_log_records_are_added_up_by_their_labels(tmp_path: Path) -> None:
    def counted(n: int) -> tuple[tuple[Series, float], ...]:
        return (
            _lookup(90 * n, "memory", "hit", "key", "team"),
            _lookup(6 * n, "memory", "miss", "key", "team"),
            _lookup(4 * n, "memory", "miss", "team", "team"),
            _lookup(5 * n, "redis", "hit", "key", "team"),
            _lookup(2 * n, "redis", "deserialize_failure", "user", "user"),
            _lookup(1 * n, "redis", "deserialize_failure", "key", "user"),
            series("authcache_coalesced_total", 3 * n, stage="before_redis", object="key"),
            series("authcache_coalesced_total", 1 * n, stage="before_source", object="key"),
            series(LOGS, 7 * n, level="warning", signature="codec", key_scope="team"),
            series(LOGS, 7 * n, level="error", signature="typed_read_failed", key_scope="team"),
            series(LOGS, 1 * n, level="error", signature="other", key_scope="team"),
        )

    cold = replace(_window(0, *counted(100)), phase="cold_fill")
    result = _result(tmp_path, [cold, _window(1, *counted(1)), _window(2, *counted(2))])
    assert result.lookups == {
        "memory": {"hit": 270, "miss": 30},
        "redis": {"hit": 15, "deserialize_failure": 9},
    }
    assert result.lookups_by_scope == {
        "team": {"memory": {"hit": 270, "miss": 30}, "redis": {"hit": 15}},
        "user": {"redis": {"deserialize_failure": 9}},
    }
    assert result.deserialize_failures == {"user": {"key": 3, "user": 6}}
    assert result.coalesced == {"before_redis": 9, "before_source": 3}
    assert result.log_records == {"codec": 21, "typed_read_failed": 21, "other": 3}
    assert result.log_pairs == {"team": 21}


BOTH = {
    "statuses": {"team": {"200": 100}, "user": {"200": 100}},
    "statuses_by_key": {0: {"200": 100}, 2: {"200": 100}},
}


def _with_truth(window: Evidence, *statuses: int) -> Evidence:
    """One truth a key: two of scope ``team``, then the one of scope ``user``."""
    truths = {i: KeyTruth({"key": "right"}, status) for i, status in enumerate(statuses)}
    return replace(window, truths=truths)


def test_a_cell_for_each_scope_from_what_was_seen_in_that_scope(tmp_path: Path) -> None:
    """A failure in one scope says nothing about the other."""
    clean = _with_truth(_window(1, generator=BOTH), 200, 200, 200)
    assert _result(tmp_path, [clean]).cells == {"team": ["healthy"], "user": ["healthy"]}
    failing = _window(1, _lookup(5, "redis", "deserialize_failure", "user", "user"), generator=BOTH)
    result = _result(tmp_path, [_with_truth(failing, 200, 200, 200)])
    assert result.cells == {"team": ["healthy"], "user": ["broken"]}
    assert result.cell_reasons["user"] == "0.05 user values do not decode per request"


def test_a_cell_breaks_by_a_status_that_its_own_keys_do_not_call_for(tmp_path: Path) -> None:
    result = _result(tmp_path, [_with_truth(_window(1, generator=BOTH), 200, 200, 401)])
    assert result.unexpected_statuses == {"user": {"200": 100}}
    assert result.cells == {"team": ["healthy"], "user": ["broken"]}


def test_the_window_of_refusals_is_judged_and_counts_in_no_other_figure(tmp_path: Path) -> None:
    run = _run()
    refusals = make_refusals(["team"], first=len(run.keys), seed=1, model="m")
    run = replace(run, refusals=tuple(refusals))
    index = {key.kind: key.index for key in refusals}
    truths = {index["blocked"]: KeyTruth({"key": "right"}, 401, "blocked")}
    statuses = {"team": {"200": 3, "401": 7, "429": 1}}
    answered = {
        "statuses": statuses,
        "statuses_by_key": {index["blocked"]: statuses["team"]},
        "served": [],
    }
    asked = replace(
        _window(2, _read(500, "key", "team"), generator=answered), phase="refusals", truths=truths
    )
    sound = _with_truth(_window(1, generator=BOTH), 200, 200, 200)
    before, after = (_result(tmp_path, windows, run) for windows in ([sound], [sound, asked]))
    assert (before.let_through, before.refusals) == (None, {})
    assert after.let_through == {"team": {"blocked": 3}}
    assert after.unexpected_statuses == {"team": {"429": 1}}
    assert after.refusals["team"]["blocked"].answers == statuses["team"]
    assert after.cells == {"team": ["hidden", "broken"], "user": ["healthy"]}
    for figure in ("requests", "source_reads", "source_reads_per_1000", "reference_line_per_1000"):
        assert getattr(after, figure) == getattr(before, figure)
    more = sum(statuses["team"].values())
    for scope, n in (("team", more), ("user", 0), (ALL, more)):
        assert judged_requests(after, scope) == judged_requests(before, scope) + n


def test_a_cell_hides_the_wrong_values_of_its_scope(tmp_path: Path) -> None:
    served = [
        ServedCount(
            scope="user", key_index=2, object="key", tier="redis", digest="another", count=30,
            age_ms_max=None,
        )
    ]  # fmt: skip
    window = _with_truth(_window(1, generator=BOTH | {"served": served}), 200, 200, 200)
    result = _result(tmp_path, [window])
    assert result.wrong_values == {"user": {"key": 30}}
    assert result.cells == {"team": ["healthy"], "user": ["hidden"]}
    assert "0.30 wrong key" in result.cell_reasons["user"]


def test_a_cell_names_the_line_of_its_scope(tmp_path: Path) -> None:
    """The line: 4 objects in 100 requests for teams, 2 for users, over two TTLs."""
    reads = (_read(40, "key", "team"), _read(21, "key", "user"))
    window = _with_truth(_window(1, *reads, generator=BOTH), 200, 200, 200)
    result = _result(tmp_path, [window])
    assert result.cells == {"team": ["healthy"], "user": ["healthy"]}, "whatever the factor"
    assert "5.00 x" in result.cell_reasons["team"]
    assert "5.25 x" in result.cell_reasons["user"]


def _served(tier: str, age_ms: int | None) -> ServedCount:
    return ServedCount(
        scope="team", key_index=0, object="key", tier=tier, digest="right", count=1,
        age_ms_max=age_ms,
    )  # fmt: skip


def test_the_greatest_age_by_tier_over_the_measured_windows(tmp_path: Path) -> None:
    first = [_served("memory", None), _served("memory", 900), _served("redis", 100)]
    second = [_served("memory", 1500), _served("memory", 1200), _served("source", None)]
    cold = replace(_window(0, generator={"served": [_served("memory", 9999)]}), phase="cold_fill")
    windows = [
        cold,
        _window(1, generator={"served": first}),
        _window(2, generator={"served": second}),
    ]
    assert _result(tmp_path, windows).entry_age_max_s == {"memory": 1.5, "redis": 0.1}
    zero = _window(1, generator={"served": [_served("memory", 0)]})
    assert _result(tmp_path, [zero]).entry_age_max_s == {"memory": 0.0}


def _histogram(name: str, total: float, count: int, **labels: str) -> list[tuple[Series, float]]:
    return [series(f"{name}_sum", total, **labels), series(f"{name}_count", count, **labels)]


def test_mean_sizes_and_codec_times_by_object(tmp_path: Path) -> None:
    counted = [
        *_histogram("authcache_payload_bytes", 1000, 3, object="key"),
        *_histogram("authcache_payload_bytes", 10, 1, object="team"),
        *_histogram("authcache_payload_bytes", 0, 0, object="user"),
        *_histogram("authcache_codec_seconds", 0.00001, 3, object="key", op="encode"),
        *_histogram("authcache_codec_seconds", 0.00005, 5, object="key", op="decode"),
        *_histogram("authcache_codec_seconds", 0.000002, 1, object="user", op="decode"),
        *_histogram("authcache_codec_seconds", 0.05, 1, object="membership", op="decode"),
    ]
    result = _result(tmp_path, [_window(1, *counted), _window(2, *counted)])
    assert result.payload_bytes == {"key": 333.33, "team": 10.0}
    assert result.codec_us == {
        "encode": {"key": 3.33},
        "decode": {"key": 10.0, "user": 2.0, "membership": 50_000.0},
    }


def _backfill(kind: str, ttl_s: float) -> tuple[Series, float]:
    return series("authcache_backfill_ttl_seconds", ttl_s, object=kind)


def test_the_longest_backfill_of_any_worker_in_any_window_the_cold_fill_too(
    tmp_path: Path,
) -> None:
    windows = [
        replace(
            _window(0, workers=((_backfill("key", 600.04),), (_backfill("key", 5.0),))),
            phase="cold_fill",
        ),
        _window(1, workers=((_backfill("user", 0.5),), (_backfill("user", 60.26),))),
        _window(2, workers=((_backfill("user", 59.0), _backfill("team", 0.5)), ())),
    ]
    assert _result(tmp_path, windows).backfill_ttl_s == {"key": 600.0, "user": 60.3, "team": 0.5}


def _point(point: str, wrapped: int) -> tuple[Series, float]:
    return series("authcache_instrumented", wrapped, point=point, variant="a")


def test_points_that_a_worker_could_not_wrap_are_named_in_order(tmp_path: Path) -> None:
    pages = (
        (
            _point("getters", 0),
            _point("codec", 0),
            _point("auth_cache", 1),
            _read(1, "key", "team"),
        ),
        (_point("auth_cache", 1), _point("redis_client", 1)),
    )
    result = _result(tmp_path, [_window(1, workers=pages)])
    assert result.not_instrumented == ["codec", "getters"]
    assert result.not_instrumented_because == {}, "a worker said nothing"
    # What rests on the codec is taken out, what does not stays.
    assert result.cells == {}
    assert result.codec_us == {}
    assert result.source_reads == 1


def test_a_point_that_one_worker_doubts_in_one_window_is_named_with_its_reason(
    tmp_path: Path,
) -> None:
    doubted = series("authcache_instrumented", 0, point="codec", reason="no events", variant="a")
    windows = [
        _window(1, workers=((doubted,), (_point("codec", 1),))),
        _window(2, workers=((_point("codec", 1),), (_point("codec", 1),))),
    ]
    result = _result(tmp_path, windows)
    assert result.not_instrumented == ["codec"]
    assert result.not_instrumented_because == {"codec": "no events"}


def test_cpu_by_group_for_each_answered_request(tmp_path: Path) -> None:
    use = {"fleet:a": 0.3, "redis:a": 0.05, "postgres": 0.1, "fleet:b": 99.0}
    windows = [
        _window(1, cpu_s=use, generator={"answered": 100, "cpu_s": 0.02}),
        _window(2, cpu_s=use, generator={"answered": 200, "cpu_s": 0.01}),
    ]
    assert _result(tmp_path, windows).cpu_ms_per_request == {
        "replicas": 2.0,
        "redis": 0.3333,
        "postgres": 0.6667,
        "generator": 0.1,
    }


def test_a_group_that_was_not_metered_is_absent_and_one_that_once_was_is_not(
    tmp_path: Path,
) -> None:
    windows = [
        _window(1, cpu_s={"fleet:a": 0.3}, generator={"answered": 100}),
        _window(2, cpu_s={"postgres": 0.1}, generator={"answered": 100}),
    ]
    found = _result(tmp_path, windows).cpu_ms_per_request
    assert found == {"replicas": 1.5, "postgres": 0.5, "generator": 1.0}


def test_without_answers_there_is_no_cpu_for_each(tmp_path: Path) -> None:
    assert _result(tmp_path, [_window(1, generator={"answered": 0})]).cpu_ms_per_request == {}
    single = _window(1, generator={"answered": 1, "cpu_s": 0.0005})
    assert _result(tmp_path, [single]).cpu_ms_per_request["generator"] == 0.5


def test_latency_is_that_of_the_samples_of_the_measured_windows(tmp_path: Path) -> None:
    cold = replace(_window(0), phase="cold_fill")
    result = _result(tmp_path, [cold, _window(1), _window(2)], samples=12)
    assert result.latency_ms.samples == 24
    assert result.latency_ms.service.p50 == pytest.approx(10.0)
    assert result.latency_ms.from_intended.p50 == pytest.approx(20.0)


def test_spend_drifts_over_the_measured_windows_alone(tmp_path: Path) -> None:
    paid = _spent(500, {"team": "t"})
    windows = [
        replace(paid, name="00", phase="cold_fill"),
        replace(paid, name="01"),
        replace(paid, name="02"),
    ]
    result = _result(tmp_path, windows)
    assert result.spend_drift_micro == {"user": 0, "team": 1000, "membership": 0}


# Freshness.


def test_a_scope_in_which_nothing_changed_is_not_tested(tmp_path: Path) -> None:
    """A run without changes tests no scope; one with changes says which it left out."""
    plan, window = _run(), evidence()
    SampleWriter(tmp_path / f"{window.name}.csv.gz").close()
    assert variant_result(plan, ARM, [window], tmp_path).not_tested == ["freshness"]
    clock = WorkerClock(
        change=1, worker="0.0", handler=True, low=0, high=0.1, ended_by="at once", old_replies=0,
        resurrected=0,
    )  # fmt: skip
    one = Freshness(
        outcome="done", changes=1, handler_s=None, others_s=None, promise_s=4.1, ended_by=None,
        workers=[clock], old_replies=0, old_cost_micro=0, resurrected=0, stale_replies=0,
        judged_replies=9,
    )  # fmt: skip
    unmeasured = one.model_copy(update={"workers": []})
    found = {
        scope: variant_result(plan, ARM, [window], tmp_path, fresh={"team-block": {scope: one}})
        for scope in ("team", "user")
    }
    assert found["team"].not_tested == []
    assert found["user"].not_tested == ["freshness"]
    result = variant_result(
        plan, ARM, [window], tmp_path, fresh={"team-block": {"team": unmeasured}}
    )
    assert result.not_tested == ["freshness"], "no worker was measured"


def test_what_a_change_leaves_behind_makes_the_cell_of_its_scope_stale(tmp_path: Path) -> None:
    truth = KeyTruth({}, 401, "unknown", (1.0, 1.1), (KeyTruth({"key": "right"}, 200),))
    event = ChangeEvent(1, "key-delete", "team", "api", 0, 0, "0.0", 1.0, 1.1, 200, "done")
    window = replace(
        evidence(), name="changes", phase="changes", truths={0: truth}, changes=(event,),
        promise_s=4.1, duration_s=10.0,
    )  # fmt: skip
    served = "key;memory;right;9000"
    with SampleWriter(tmp_path / "changes.csv.gz") as writer:
        for at_s in (0.5, 2.0, 4.0, 6.0):
            row = (at_s, at_s, at_s + 0.01, 200, "", 5, served, "0.0")
            writer.write(Sample("changes", "team", 0, 0, *row))
    plan, windows = _run(), [evidence(), window]
    SampleWriter(tmp_path / f"{windows[0].name}.csv.gz").close()
    fresh = freshness([window], plan.all_keys, tmp_path, ttl_s=2.0)
    result = variant_result(plan, ARM, windows, tmp_path, fresh=fresh)
    assert result.stale == {"team": {"status": 1, "key": 1}}
    assert "stale" in result.cells["team"]
    assert "s: after key-delete, of up to 1 of 1 workers" in result.cell_reasons["team"]
    assert result.requests == {"team": {"200": 100}}, "probes are no measured load"
