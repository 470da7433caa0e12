import io
import re

import pytest
from rich.console import Console

from harness.domain.result import LoadSettings, Range, Result, SourceResult
from harness.errors import UsageError
from harness.report.compare import check_load, compare_markdown, compare_terminal
from tests.report.behaviours import MATRIX
from tests.report.reading import ReadTable, markdown_tables
from tests.report.sample import issue_27874, refused
from tests.report.sample_pr import pr_26202


def other(**changes: object) -> Result:
    result = issue_27874()
    return result.model_copy(update={"run_id": "20260715-080000-issue-27874", **changes})


def with_variant(result: Result, name: str, **changes: object) -> Result:
    result.variants[name] = result.variants[name].model_copy(update=changes)
    return result


def with_reads(median: float, low: float, high: float) -> Result:
    result = other()
    ranges = dict(result.variants["litellm_1_84"].source_reads_per_1000_range)
    ranges["team"] = Range(median=median, min=low, max=high, rounds=3)
    reads = result.variants["litellm_1_84"].source_reads_per_1000 | {"team": median}
    return with_variant(
        result,
        "litellm_1_84",
        source_reads_per_1000=reads,
        source_reads_per_1000_range=ranges,
    )


def tables(*results: Result) -> dict[str, ReadTable]:
    read = markdown_tables(compare_markdown(results))
    return dict(zip(("runs", "cells", "reads", "measures"), read, strict=True))


def warned(*results: Result) -> list[str]:
    return [line for line in compare_markdown(results).splitlines() if "Warning:" in line]


@pytest.mark.parametrize("results", [[], [issue_27874()]])
def test_comparing_takes_two_runs(results: list[Result]) -> None:
    with pytest.raises(UsageError, match="two runs or more"):
        compare_markdown(results)
    with pytest.raises(UsageError, match="two runs or more"):
        compare_terminal(results, Console(file=io.StringIO()))


def test_runs_are_named_in_order() -> None:
    runs = tables(issue_27874(), other())["runs"]
    assert [row[:3] for row in runs.rows] == [
        ["A", "20260714-101502-issue-27874", "pass"],
        ["B", "20260715-080000-issue-27874", "pass"],
    ]


def test_a_run_that_measured_nothing_is_compared_with_its_reason() -> None:
    text = compare_markdown([refused(), refused()])
    (runs,) = markdown_tables(text)
    assert [row[-1] for row in runs.rows] == ["not checked"] * 2
    assert "A has no figures: nothing was measured" in text


def test_equal_runs_have_no_difference_and_no_warning() -> None:
    assert warned(issue_27874(), other()) == []
    read = tables(issue_27874(), other())
    cell = read["reads"].cell("litellm_1_84, team", "B")
    assert "no difference" in cell
    assert "same" not in cell
    assert "was" not in read["cells"].cell("litellm_1_84, team", "B")


def test_a_changed_cell_is_marked() -> None:
    result = other()
    cells = {**result.variants["litellm_1_84"].cells, "team": ["healthy"]}
    read = tables(issue_27874(), with_variant(result, "litellm_1_84", cells=cells))["cells"]
    assert read.cell("litellm_1_84, team", "A") == "\u2715 **broken"
    assert read.cell("litellm_1_84, team", "B") == "\u2713 **healthy**<br><sub>was broken</sub>"


def test_differences_are_absolute_and_relative() -> None:
    read = tables(issue_27874(), with_reads(50, 48, 55))["reads"]
    assert read.cell("litellm_1_84, team", "A") == "2,007<br><sub>2,003\u20132,017</sub>"
    assert read.cell("litellm_1_84, team", "B") == (
        "50.0<br><sub>48.0\u201355.0<br>\u22121,957 (\u221297.5 %), differs</sub>"
    )


@pytest.mark.parametrize(
    ("figures", "change"),
    [
        # Least and greatest of the first run: 2,003 and 2,017.
        ((2020, 2018, 2022), "+12.9 (+0.64 %), same"),
        ((2200, 2010, 2400), "+193 (+8.8 %), within noise"),
        ((2200, 2018, 2400), "+193 (+8.8 %), differs"),
        ((0, 0, 0), "\u22122,007 (\u2212100 %), differs"),
    ],
)
def test_a_difference_is_judged_as_between_twins(
    figures: tuple[float, float, float], change: str
) -> None:
    read = tables(issue_27874(), with_reads(*figures))["reads"]
    assert change in read.cell("litellm_1_84, team", "B")


def test_a_difference_worth_few_reads_is_noise() -> None:
    few = {"team": {"200": 5}}
    result = with_variant(with_reads(50, 48, 55), "litellm_1_84", requests=few)
    read = tables(issue_27874(), result)["reads"]
    assert "\u22121,957 (\u221297.5 %), within noise" in read.cell("litellm_1_84, team", "B")


def test_a_single_round_has_no_range_that_could_meet_another() -> None:
    result = with_reads(2200, 2200, 2200)
    ranges = result.variants["litellm_1_84"].source_reads_per_1000_range
    ranges["team"] = Range(median=2200, min=2000, max=2400, rounds=1)
    read = tables(issue_27874(), result)["reads"]
    assert "differs" in read.cell("litellm_1_84, team", "B")


def test_times_and_the_load_are_not_judged() -> None:
    variant = issue_27874().variants["litellm_1_84"]
    slower = variant.latency_ms.model_copy(
        update={"service": variant.latency_ms.service.model_copy(update={"p50": 64.0})}
    )
    result = with_variant(other(), "litellm_1_84", latency_ms=slower)
    cell = tables(issue_27874(), result)["measures"].cell("litellm_1_84, p50", "B")
    assert cell == "64.0<br><sub>+57.6 (+90.0 %)</sub>"


def test_a_variant_of_one_run_only_is_a_dash_in_the_other() -> None:
    fewer = issue_27874({n: b for n, b in MATRIX.items() if n != "fix_keep_none"})
    for pair in ((issue_27874(), fewer), (fewer, issue_27874())):
        missing = "B" if pair[1] is fewer else "A"
        there = "A" if missing == "B" else "B"
        read = tables(*pair)
        for name in ("cells", "reads"):
            assert read[name].cell("fix_keep_none, team", missing) == "\u2013"
            assert read[name].cell("fix_keep_none, team", there) != "\u2013"
        assert read["measures"].cell("fix_keep_none, log pairs", missing) == "\u2013"


def test_other_measures_are_per_1000_requests() -> None:
    read = tables(issue_27874(), with_variant(other(), "litellm_1_84", log_pairs={"team": 600}))
    measures = read["measures"]
    assert measures.cell("litellm_1_84, log pairs", "A") == "1,490"
    assert measures.cell("litellm_1_84, log pairs", "B").startswith("100<br>")
    assert measures.cell("fix_optional_user_id, wrong values", "A") == "198"
    assert measures.cell("litellm_1_84, p50 service", "A") == "6.40"


def test_wrong_values_are_per_1000_requests_that_were_judged() -> None:
    """The second run was asked as much again while objects changed, and as often wrong."""
    name, run = "fix_optional_user_id", other()
    variant = run.variants[name]
    assert variant.wrong_values
    changed = [
        window.model_copy(update={"phase": "changes"})
        for window in variant.windows
        if window.phase == "measured"
    ]
    twice = {
        scope: {kind: 2 * n for kind, n in by.items()} for scope, by in variant.wrong_values.items()
    }
    with_variant(run, name, windows=[*variant.windows, *changed], wrong_values=twice)
    measures = tables(issue_27874(), run)["measures"]
    assert measures.cell(f"{name}, wrong values", "B") == "198<br><sub>no difference</sub>"
    assert "no difference" in measures.cell(f"{name}, log pairs", "B")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"replicas": 4}, "replicas: \\[4\\], not \\[8\\]"),
        ({"workers": 2}, "workers: \\[2\\], not \\[1\\]"),
        ({"ttl_s": 5.0}, "TTL: \\[5 s\\], not \\[2 s\\]"),
        ({"time_scale": 1.0}, "time scale: \\[1\\], not \\[0.4\\]"),
        ({"scenario": "smoke"}, "scenario: \\[smoke\\], not \\[issue-27874\\]"),
        ({"premises": []}, "premises: \\[nothing planted\\], not \\[For a team key"),
        (
            {"verdict": "invalid", "reasons": ["late"]},
            "B is invalid, its figures prove nothing: late",
        ),
        ({"complete": False}, "B was cut short"),
        ({"seed": 43}, "seed: \\[43\\], not \\[42\\]"),
    ],
)
def test_runs_that_are_not_alike_are_warned_about(
    changes: dict[str, object], expected: str
) -> None:
    lines = warned(issue_27874(), other(**changes))
    assert len(lines) == 1
    assert expected in lines[0]


OLDER = LoadSettings(
    rate_per_s=400, seed=42, rounds=3, window_ttls=5, population={"team": 3, "user": 2}
)
"""Of a run that recorded only a part of its load."""
LOAD = OLDER.model_copy(
    update={"model": "open", "mix": {"team": 3.0, "user": 2.0}, "key_weights": [1.0, 4.0]}
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rate_per_s": 200.0}, r"rate: \[200 requests/s\], not \[400 requests/s\]"),
        ({"window_ttls": 3}, r"window: \[3 TTLs\], not \[5 TTLs\]"),
        ({"population": {"team": 3}}, r"population: \[team 3\], not \[team 3, user 2\]"),
        ({"mix": {"team": 1.0}}, r"mix: \[team 1\], not \[team 3, user 2\]"),
        ({"model": "closed", "users": 8}, r"model: \[closed, 8 users\], not \[open\]"),
        ({"key_weights": [], "zipf": 1.1}, r"popularity: \[Zipf 1.1\], not \[weights 1, 4\]"),
        ({"key_weights": [1.0]}, r"popularity: \[weights 1\], not \[weights 1, 4\]"),
        ({"changes": ["key-block team"]}, r"changes: \[key-block team\], not \[none\]"),
    ],
)
def test_runs_with_another_load_are_refused_and_shown_anyway_with_the_difference(
    changes: dict[str, object], expected: str
) -> None:
    pair = (other(load=LOAD), other(load=LOAD.model_copy(update=changes)))
    with pytest.raises(UsageError, match=rf"B differs from A in {expected}\. .*--anyway"):
        check_load(pair)
    (line,) = warned(*pair)
    assert re.search(expected, line.replace("\\", ""))


@pytest.mark.parametrize(("changes", "word"), [({"seed": 7}, "seed"), ({"rounds": 9}, "rounds")])
def test_older_runs_are_refused_by_what_they_recorded(
    changes: dict[str, object], word: str
) -> None:
    check_load([issue_27874(), other()])
    with pytest.raises(UsageError, match=f"in {word}"):
        check_load([issue_27874(), other(**changes)])
    with pytest.raises(UsageError, match=r"rate: \[400 requests/s\], not \[not recorded\]"):
        check_load([issue_27874(), other(load=LOAD)])


def test_what_only_one_run_recorded_is_no_difference() -> None:
    for pair in ([other(load=OLDER), other(load=LOAD)], [other(load=LOAD), other(load=OLDER)]):
        check_load(pair)
        assert warned(*pair) == []
    shorter = other(load=LOAD.model_copy(update={"window_ttls": 3}))
    with pytest.raises(UsageError, match="in window"):
        check_load([other(load=OLDER), shorter])


def test_an_invalid_baseline_is_warned_about() -> None:
    invalid = other(verdict="invalid", reasons=[])
    assert warned(invalid, issue_27874()) == ["- Warning: A is invalid, its figures prove nothing"]


def test_another_switch_behind_the_same_name_is_warned_about() -> None:
    switches = {**issue_27874().variants["recommended"].switches, "codec": "envelope"}
    lines = warned(issue_27874(), with_variant(other(), "recommended", switches=switches))
    assert lines == [
        "- Warning: B: recommended has another codec: \\[envelope\\], not \\[keep_required_none\\]"
    ]


SOURCE = SourceResult(
    kind="tree", name="fork", identity="c0ffee", digest="aa", laid_over="1.9", native=True
)


@pytest.mark.parametrize(
    ("ours", "theirs", "line"),
    [
        ({"target": "reference"}, {"target": "litellm"}, "target: [litellm], not [reference]"),
        ({"version": "1.105.7"}, {"version": "1.106.0"}, "version: [1.106.0], not [1.105.7]"),
        (
            {"source": SOURCE},
            {"source": SOURCE.model_copy(update={"digest": "bb"})},
            "source: [fork, c0ffee, digest bb, in 1.9], not [fork, c0ffee, digest aa, in 1.9]",
        ),
        ({"source": None}, {"source": SOURCE}, None),
        ({"source": SOURCE}, {"source": None}, None),
    ],
)
def test_another_target_version_or_source_behind_the_same_name_is_warned_about(
    ours: dict[str, object], theirs: dict[str, object], line: str | None
) -> None:
    pair = [with_variant(other(), "recommended", **one) for one in (ours, theirs)]
    check_load(pair)
    lines = [text.replace("\\", "") for text in warned(*pair)]
    assert lines == ([f"- Warning: B: recommended has another {line}"] if line else [])


@pytest.mark.parametrize("width", [60, 100])
def test_the_terminal_says_the_same_within_its_width(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    compare_terminal([issue_27874(), with_reads(50, 48, 55), pr_26202()], console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "Warning: C differs from A in scenario" in text
    assert "\u22121,957 (\u221297.5 %)" in text
    assert "test of significance" in " ".join(text.split())
