import io

import pytest
from rich.console import Console

from harness.analysis.difference import ComparisonOutcome, RoundedFigure
from harness.analysis.explained import Explanation, load_register
from harness.analysis.twins import Comparison, Pair, TwinLine, TwinTest, twin_test
from harness.domain.result import KeptAlive, RefusalResult, Result
from harness.errors import UsageError
from harness.report.twins_report import print_twins, twins_files, twins_markdown
from tests.report.reading import markdown_tables
from tests.report.sample import issue_27874, reads_of, refused
from tests.report.sample_releases import OTHER_PAIR, PAIR, change, change_windows, twins_run

BOTH = (PAIR, OTHER_PAIR)
FEWER_PAIRS = """
[fewer-pairs]
releases = "litellm==1.84.0rc1"
measure = "log_pairs"
scope = "shared_id"
release_has = "less"
cause = "It logs once in four requests."
"""


def fewer_log_pairs() -> Result:
    """The release has 750 log pairs per 1,000 where its twin has 1,000."""
    result = twins_run()
    change_windows(result, PAIR.release, log_pairs={"shared_id": 300, "member": 1200})
    return result


def compared(result: Result, register: str = "", pairs: tuple[Pair, ...] = BOTH) -> TwinTest:
    return twin_test(result, pairs, load_register(register, "test"))


def first(test: TwinTest) -> Comparison:
    return test.comparisons[0]


def line(comparison: Comparison, measure: str, scope: str, part: str = "") -> TwinLine:
    (found,) = [
        one
        for one in comparison.lines
        if (one.measure.name, one.scope, one.part) == (measure, scope, part)
    ]
    return found


def places(comparison: Comparison, measure: str) -> list[tuple[str, str]]:
    return [(one.scope, one.part) for one in comparison.lines if one.measure.name == measure]


def value(reading: object) -> float:
    assert isinstance(reading, RoundedFigure)
    return reading.value


def test_equal_behaviour_is_the_same_in_everything() -> None:
    result = twins_run()
    test = compared(result)
    assert {one.difference.outcome for c in test.comparisons for one in c.lines} <= {
        ComparisonOutcome.SAME,
        ComparisonOutcome.NOISE,
    }
    assert test.exit_code(result) == 0


def test_every_measure_is_there_by_scope_and_part() -> None:
    comparison = first(compared(twins_run()))
    scopes = ["team", "user", "shared_id", "member"]
    for measure in ("cells", "log_pairs", "wrong_values"):
        assert places(comparison, measure) == [(scope, "") for scope in scopes]
    assert places(comparison, "statuses") == [
        ("team", "200"),
        ("user", "200"),
        ("shared_id", "200"),
        ("member", "401"),
    ]
    reads = places(comparison, "source_reads")
    assert ("team", "membership") not in reads
    assert [part for scope, part in reads if scope == "member"] == [
        "key",
        "user",
        "team",
        "membership",
    ]
    assert places(comparison, "payload_bytes") == [
        ("", "key"),
        ("", "user"),
        ("", "team"),
        ("", "membership"),
    ]


def test_figures_are_of_all_rounds_together() -> None:
    result = twins_run()
    release = result.variants[PAIR.release]
    measured = [window for window in release.windows if window.phase == "measured"]
    reads = sum(reads_of(window)["shared_id"]["user"] for window in measured)
    requests = sum(sum(window.requests["shared_id"].values()) for window in measured)
    found = line(first(compared(result)), "source_reads", "shared_id", "user").release
    assert value(found) == pytest.approx(reads / requests * 1000)


def test_the_cold_fill_is_in_no_figure() -> None:
    result = twins_run()
    windows = result.variants[PAIR.release].windows
    cold = windows[0].model_copy(update={"log_pairs": {"team": 10_000}})
    change(result, PAIR.release, windows=[cold, *windows[1:]])
    assert value(line(first(compared(result)), "log_pairs", "team").release) == 0


def test_reads_of_unresolved_keys_have_no_requests_to_be_counted_against() -> None:
    result = twins_run()
    windows = result.variants[PAIR.release].windows
    reads = [reads_of(w) | {"unknown": {"key": 50}} for w in windows]
    change(
        result,
        PAIR.release,
        windows=[
            w.model_copy(update={"source_reads": r}) for w, r in zip(windows, reads, strict=True)
        ],
    )
    comparison = first(compared(result))
    assert "unknown" not in {scope for scope, _ in places(comparison, "source_reads")}
    assert comparison.conclusive


def test_an_unexplained_difference_is_a_regression() -> None:
    result = fewer_log_pairs()
    test = compared(result)
    found = line(first(test), "log_pairs", "shared_id")
    assert found.difference.outcome is ComparisonOutcome.DIFFERS
    assert found.difference.percent == -25
    assert found.unexplained
    assert test.unexplained == 1
    assert test.exit_code(result) == 1


def test_an_explained_difference_is_none() -> None:
    result = fewer_log_pairs()
    test = compared(result, FEWER_PAIRS)
    found = line(first(test), "log_pairs", "shared_id")
    assert isinstance(found.explanation, Explanation)
    assert found.explanation.name == "fewer-pairs"
    assert not found.unexplained
    assert first(test).stale == ()
    assert test.exit_code(result) == 0


def test_an_explanation_does_not_cover_the_opposite() -> None:
    result = twins_run()
    change_windows(result, PAIR.release, log_pairs={"shared_id": 500, "member": 1200})
    test = compared(result, FEWER_PAIRS)
    assert test.unexplained == 1
    assert [e.name for e in first(test).stale] == ["fewer-pairs"]


def test_an_explanation_without_its_difference_is_stale() -> None:
    result = twins_run()
    test = compared(result, FEWER_PAIRS)
    assert [e.name for e in first(test).stale] == ["fewer-pairs"]
    # It does not speak of the other pair, so it cannot be stale there.
    assert test.comparisons[1].stale == ()
    assert test.exit_code(result) == 0


def test_what_noise_or_a_missing_counter_hides_is_not_stale() -> None:
    noisy = twins_run()
    windows = noisy.variants[PAIR.release].windows
    pairs = (0, 395, 250, 410)
    change(
        noisy,
        PAIR.release,
        windows=[
            window.model_copy(update={"log_pairs": {"shared_id": n, "member": 1200}})
            for window, n in zip(windows, pairs, strict=True)
        ],
    )
    changed = FEWER_PAIRS.replace('"less"', '"more"')
    twin = noisy.variants[PAIR.twin]
    # Half of the twin's pairs: it differs now, and the rounds of the release still meet it.
    halves = [
        window.model_copy(update={"log_pairs": {"shared_id": 260, "member": 1200}})
        for window in twin.windows
    ]
    change(noisy, PAIR.twin, windows=halves)
    test = compared(noisy, changed)
    assert line(first(test), "log_pairs", "shared_id").difference.outcome is ComparisonOutcome.NOISE
    assert first(test).stale == ()
    blind = twins_run()
    change(blind, PAIR.release, not_instrumented=["log_records"])
    assert first(compared(blind, FEWER_PAIRS)).stale == ()


def test_a_cell_that_differs_is_unexplained() -> None:
    result = twins_run()
    cells = result.variants[PAIR.release].cells | {"member": ["healthy"]}
    change(result, PAIR.release, cells=cells)
    found = line(first(compared(result)), "cells", "member")
    assert (found.twin, found.release) == ("broken", "healthy")
    assert found.unexplained


@pytest.mark.parametrize(
    ("kept", "reason", "differs"),
    [
        (KeptAlive(age_max_s=27.8), "key kept alive: served up to 27.8 s after the read", False),
        (KeptAlive(objects=2, rarely_read=1, age_max_s=27.8), "key kept alive: 1 of 2", True),
        (KeptAlive(age_max_s=27.8), "3 old answers: key; key kept alive", True),
    ],
)
def test_an_age_is_no_difference_because_a_release_names_none(
    kept: KeptAlive, reason: str, differs: bool
) -> None:
    result = twins_run()
    twin = result.variants[PAIR.twin]
    change(
        result,
        PAIR.twin,
        cells=twin.cells | {"team": ["stale"]},
        cell_reasons=twin.cell_reasons | {"team": reason},
        kept_alive={"team": {"key": kept}},
    )
    found = line(first(compared(result)), "cells", "team")
    assert (found.twin, found.release) == ("stale" if differs else "healthy", "healthy")
    assert found.unexplained is differs


def test_another_status_is_two_differences() -> None:
    result = twins_run()
    requests = {s: dict(by) for s, by in result.variants[PAIR.release].requests.items()}
    requests["member"] = {"200": 1200}
    per_window = {"team": {"200": 700}, "user": {"200": 500}, "shared_id": {"200": 400}}
    change_windows(result, PAIR.release, requests=per_window | {"member": {"200": 400}})
    change(result, PAIR.release, requests=requests)
    comparison = first(compared(result))
    shares = {
        part: (value(one.twin), value(one.release))
        for part in ("200", "401")
        for one in [line(comparison, "statuses", "member", part)]
    }
    assert shares == {"200": (0, 100), "401": (100, 0)}
    assert len(comparison.unexplained) == 2


BUDGETS = """
[budgets-400]
releases = "litellm>=1.84.0rc1,<1.91"
measure = "refusals"
twin = "429"
release = "400"
cause = "It answers otherwise."
"""


def with_refusals(twin: dict[str, int], release: dict[str, int]) -> Result:
    result = twins_run()
    for name, answers in zip(PAIR, (twin, release), strict=True):
        rows = {"key_budget": RefusalResult(expected=429, answers=answers)}
        change(result, name, refusals={"team": rows | {"blocked": rows["key_budget"]}})
    return result


def test_an_answer_to_a_refused_key_that_differs_is_unexplained() -> None:
    comparison = first(compared(with_refusals({"429": 9}, {"200": 2, "429": 7})))
    assert places(comparison, "refusals") == [("team", "blocked"), ("team", "key_budget")]
    found = line(comparison, "refusals", "team", "key_budget")
    assert (found.twin, found.release) == ("429", "200, 429")
    assert found.unexplained


def test_an_answer_that_came_once_is_no_other_behaviour() -> None:
    comparison = first(compared(with_refusals({"429": 9}, {"429": 8, "503": 1})))
    assert not line(comparison, "refusals", "team", "key_budget").unexplained


def test_another_status_of_refusals_can_be_explained() -> None:
    comparison = first(compared(with_refusals({"429": 9}, {"400": 9}), BUDGETS))
    assert line(comparison, "refusals", "team", "key_budget").explanation is not None
    assert comparison.unexplained == []
    other = first(compared(with_refusals({"429": 9}, {"401": 9}), BUDGETS))
    assert len(other.unexplained) == 2
    assert [e.name for e in other.stale] == ["budgets-400"]


def test_a_run_without_refusals_leaves_their_explanations_open() -> None:
    assert first(compared(twins_run(), BUDGETS)).stale == ()


def test_wrong_values_are_per_1000_requests_of_the_scope() -> None:
    result = twins_run()
    change(result, PAIR.release, wrong_values={"shared_id": {"user": 600}})
    comparison = first(compared(result))
    assert value(line(comparison, "wrong_values", "shared_id", "user").release) == 500
    assert ("shared_id", "") not in places(comparison, "wrong_values")
    assert len(comparison.unexplained) == 1
    change(result, PAIR.release, wrong_values={"shared_id": {"user": 9}})
    assert first(compared(result)).unexplained == []


def test_wrong_values_of_changes_are_set_against_the_requests_of_changes() -> None:
    result = twins_run()
    release = change(result, PAIR.release, wrong_values={"shared_id": {"user": 600}})
    asked = release.windows[-1].model_copy(
        update={"phase": "changes", "requests": {"shared_id": {"200": 1200}}}
    )
    change(result, PAIR.release, windows=[*release.windows, asked])
    assert value(line(first(compared(result)), "wrong_values", "shared_id", "user").release) == 250


def test_an_object_that_one_side_never_wrote_is_a_difference() -> None:
    result = twins_run()
    change(result, PAIR.release, payload_bytes={"key": 733.0, "user": 246.0, "team": 386.0})
    found = line(first(compared(result)), "payload_bytes", "", "membership")
    assert (found.release, found.difference.percent) == (None, None)
    assert found.unexplained


def test_a_scope_without_requests_on_one_side_is_not_measured() -> None:
    result = twins_run()
    release = result.variants[PAIR.release]
    change(
        result, PAIR.release, requests={s: n for s, n in release.requests.items() if s != "user"}
    )
    test = compared(result)
    assert (
        line(first(test), "log_pairs", "user").difference.outcome is ComparisonOutcome.NOT_MEASURED
    )
    assert test.unexplained == 0
    assert test.exit_code(result) == 3


@pytest.mark.parametrize(
    ("point", "measure"),
    [
        ("statements", "source_reads"),
        ("log_records", "log_pairs"),
        ("auth_cache", "wrong_values"),
        ("codec", "cells"),
        ("redis_client", "payload_bytes"),
    ],
)
def test_a_point_that_was_not_wrapped_is_not_measured(point: str, measure: str) -> None:
    result = twins_run()
    change(result, PAIR.release, not_instrumented=[point])
    test = compared(result)
    unknown = {
        one.measure.name
        for one in first(test).lines
        if one.difference.outcome is ComparisonOutcome.NOT_MEASURED
    }
    assert measure in unknown
    assert "statuses" not in unknown
    assert test.exit_code(result) == 3
    assert f"Not instrumented in {PAIR.release}: {point}." in twins_markdown(test, result).replace(
        "\\", ""
    )


def test_a_difference_outranks_what_was_not_measured() -> None:
    result = fewer_log_pairs()
    change(result, OTHER_PAIR.release, not_instrumented=["statements"])
    assert compared(result).exit_code(result) == 1


@pytest.mark.parametrize("gone", [PAIR.twin, PAIR.release])
def test_a_pair_without_one_side_is_inconclusive(gone: str) -> None:
    result = twins_run()
    del result.variants[gone]
    test = compared(result)
    assert first(test).missing == (gone,)
    assert test.exit_code(result) == 3
    assert f"no measured window of {gone}." in twins_markdown(test, result)


@pytest.mark.parametrize(
    ("verdict", "code"),
    [("invalid", 4), ("interrupted", 130), ("regression", 1)],
)
def test_the_run_s_own_verdict_is_not_bettered(verdict: str, code: int) -> None:
    for result in (twins_run(), fewer_log_pairs()):
        judged = result.model_copy(update={"verdict": verdict, "exit_code": code})
        assert compared(judged).exit_code(judged) == code


def test_what_the_scenario_leaves_undecided_is_another_question() -> None:
    for result, code in ((twins_run(), 0), (fewer_log_pairs(), 1)):
        judged = result.model_copy(update={"verdict": "inconclusive", "exit_code": 3})
        assert compared(judged).exit_code(judged) == code


def test_a_run_with_something_planted_is_refused() -> None:
    with pytest.raises(UsageError, match="plants a premise"):
        compared(issue_27874())


def test_of_a_finished_run_only_its_pairs_are_compared() -> None:
    result = twins_run()
    absent = Pair("litellm_1_94", "litellm==1.94.0")
    test = twin_test(result, (*BOTH, absent), {}, asked=False)
    assert [c.pair for c in test.comparisons] == [PAIR, OTHER_PAIR]
    assert twin_test(result, (*BOTH, absent), {}).comparisons[2].missing == absent
    with pytest.raises(UsageError, match="has no pair of a reference variant"):
        twin_test(result, (absent,), {}, asked=False)


def test_the_markdown_says_it_all() -> None:
    result = fewer_log_pairs()
    change(result, OTHER_PAIR.release, payload_bytes={"key": 900.0})
    gone = FEWER_PAIRS.replace("fewer-pairs", "gone").replace("log_pairs", "wrong_values")
    register = FEWER_PAIRS + gone
    test = compared(result, register)
    text = twins_markdown(test, result)
    overview, one, other = markdown_tables(text)
    assert overview.cell("litellm_1_84", "explained") == "1"
    assert overview.cell("litellm_1_93", "unexplained") == "4"
    assert one.cell("log pairs, shared_id", "twin") == "1,000"
    assert one.cell("log pairs, shared_id", "release") == "750"
    assert one.cell("log pairs, shared_id", "off by") == "\u221225.0 %"
    assert one.cell("log pairs, shared_id", "outcome") == "explained<br><sub>fewer-pairs</sub>"
    assert one.cell("status, member, 401", "release") == "100.0 %"
    assert other.cell("payload, bytes, key", "outcome") == "differs"
    assert other.cell("payload, bytes, team", "release") == "\u2013"
    assert "- Explained, fewer-pairs: It logs once in four requests." in text
    assert f"- Stale, gone: {PAIR.release} no longer differs" in text
    assert "4 unexplained differences, 1 explained, 0 not measured" in text
    assert twins_files(test, result) == {"twins.md": text}


def test_one_round_says_that_it_has_no_range() -> None:
    result = twins_run()
    assert "One round has no range" not in twins_markdown(compared(result), result)
    single = result.model_copy(update={"rounds": 1})
    assert "One round has no range" in twins_markdown(compared(single), single)


@pytest.mark.parametrize("width", [60, 100])
def test_the_terminal_says_the_same_within_its_width(width: int) -> None:
    result = fewer_log_pairs().model_copy(
        update={"verdict": "invalid", "exit_code": 4, "reasons": ["The generator was late."]}
    )
    console = Console(file=io.StringIO(), width=width)
    print_twins(compared(result, FEWER_PAIRS), result, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for part in (
        "The generator was late.",
        "for debugging only",
        "\u221225.0 %",
        "fewer-pairs",
    ):
        assert part in " ".join(text.split())


@pytest.mark.parametrize(("width", "register"), [(80, ""), (100, FEWER_PAIRS)])
def test_a_page_holds_a_table_in_one_piece(width: int, register: str) -> None:
    console = Console(file=io.StringIO(), width=width)
    result = fewer_log_pairs()
    test = compared(result, register.replace("[fewer-pairs]", f"[{'x' * 24}]"))
    print_twins(test, result, console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert sum(line.startswith("log pairs, shared_id") for line in lines) == len(BOTH)
    assert sum(line.startswith("litellm_1_84  ") for line in lines) == 1


def test_a_run_that_measured_nothing_has_no_count_of_differences() -> None:
    run = refused().model_copy(update={"premises": []})
    text = twins_markdown(compared(run), run)
    assert "Name fewer variants." in text
    assert "unexplained" not in text
    assert "|" not in text
