"""A point of a release that could not be wrapped, in every report."""

from __future__ import annotations

import io
from functools import cache

import pytest
from rich.console import Console

from harness.analysis.points import because, mask_unseen
from harness.domain.result import ExpectationResult, Result
from harness.report.compare import compare_markdown
from harness.report.facts import expectation_summary, expectation_table
from harness.report.history_report import history_markdown
from harness.report.html import report_html
from harness.report.instrumented import not_instrumented
from harness.report.markdown import summary_markdown
from harness.report.terminal import print_result
from tests.report.reading import Page, ReadTable, markdown_tables, words
from tests.report.sample_releases import change, releases_run

HEALTHY, FAILING, OLD = "litellm==1.93.0", "litellm==1.84.0rc1", "litellm==1.83.14"
DASH = "\u2013"
UNSEEN = f"{DASH} | not measured"


def blind(name: str, *points: str) -> Result:
    """A run in which a release could not be looked into at some points."""
    result = releases_run()
    variant = change(result, name, not_instrumented=list(points))
    result.variants[name] = mask_unseen(variant)
    return result


def page(result: Result) -> Page:
    return Page(report_html(result))


@cache
def blind_page(name: str, *points: str) -> Page:
    """The page of a `blind` run: most of what this file costs, made once for all that read it."""
    return page(blind(name, *points))


def printed(result: Result) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_result(result, console)
    assert isinstance(console.file, io.StringIO)
    return words(console.file.getvalue())


def history(result: Result) -> ReadTable:
    return markdown_tables(history_markdown(result))[0]


@pytest.fixture(scope="module")
def whole() -> Page:
    """Of the run in which every point was wrapped."""
    return page(releases_run())


@pytest.mark.parametrize(
    ("name", "point", "consequence"),
    [
        (HEALTHY, "codec", "Not measured: cells, lookups, deserialize failures, codec times."),
        (
            FAILING,
            "codec",
            "Not measured: cells that are not broken, lookups, deserialize failures",
        ),
        (OLD, "codec", "No figure is missing because of this."),
        (
            HEALTHY,
            "statements",
            "Not measured: cells, source reads, reads by object, wrong values.",
        ),
        (HEALTHY, "getters", "No figure is missing because of this."),
    ],
)
def test_every_report_has_a_line_of_it(name: str, point: str, consequence: str) -> None:
    result = blind(name, point)
    line = f"Not instrumented in {name}: {point}. {consequence}"
    assert line in printed(result)
    assert f"\n- {line}" in summary_markdown(result).replace("\\", "")
    assert line in words(" ".join(blind_page(name, point).text))
    assert line in history_markdown(result).replace("\\", "")


def test_the_line_says_why_where_the_worker_said_so() -> None:
    result = releases_run()
    change(
        result,
        HEALTHY,
        not_instrumented=["codec"],
        not_instrumented_because={"codec": "no such class"},
    )
    line = f"Not instrumented in {HEALTHY}: codec. Why: codec: no such class. Not measured: "
    assert not_instrumented(result)[0].startswith(line)


def test_where_every_point_was_wrapped_nothing_is_said() -> None:
    result = releases_run()
    assert not_instrumented(result) == []
    for text in (printed(result), summary_markdown(result), report_html(result)):
        assert "instrumented" not in text


def test_a_cell_that_was_not_seen_is_a_dash_with_the_reason() -> None:
    result = blind(HEALTHY, "codec")
    reason = "not measured: codec was not instrumented"
    places = ", ".join(f"{HEALTHY} {scope}" for scope in ("team", "user", "shared_id", "member"))
    assert f"{places}: {reason}" in printed(result)
    assert f": {places}" not in printed(result)
    assert (
        blind_page(HEALTHY, "codec").tables["matrix"].cell(HEALTHY, "team") == f"{DASH} | {reason}"
    )
    matrix = markdown_tables(summary_markdown(result))[0]
    assert matrix.cell(HEALTHY, "user") == f"{DASH}<br><sub>{reason}</sub>"
    assert history(result).cell("1.93.0", "shared_id").startswith(DASH)


def test_a_cell_that_was_seen_to_break_stays() -> None:
    cells = blind_page(FAILING, "codec").tables["matrix"]
    assert "broken" in cells.cell(FAILING, "shared_id")
    assert cells.cell(FAILING, "team").startswith(DASH)


@pytest.mark.parametrize(
    ("point", "row"),
    [
        ("codec", "deserialize failures"),
        ("auth_cache", "wrong values served"),
        ("auth_cache", "memory: hit"),
        ("codec", "memory: hit"),
        ("codec", "memory: deserialize failure"),
        ("log_records", "log pairs"),
        ("statements", "source reads"),
        ("statements", "source reads, cold fill"),
        ("redis_client", "key payload, bytes"),
    ],
)
def test_a_measure_that_was_not_seen_is_a_dash_with_the_word(point: str, row: str) -> None:
    table = blind_page(FAILING, point).tables["measures"]
    assert table.cell(row, FAILING) == UNSEEN
    assert table.cell(row, "litellm==1.90.0") != UNSEEN


def test_reads_without_a_scope_are_known_of_all_scopes_together() -> None:
    headline = blind_page(FAILING, "auth_cache").tables["headline"]
    assert headline.cell(FAILING, "shared_id") == UNSEEN
    assert not headline.cell(FAILING, "all").startswith(DASH)


@pytest.mark.parametrize(
    ("point", "table", "column"),
    [
        ("log_records", "records", "typed_read_failed"),
        ("log_records", "windows", "log pairs"),
        ("statements", "windows", "source reads"),
        ("statements", "reads-by-object", "user"),
        ("auth_cache", "reads-by-object", "user"),
        ("codec", "failures", "user"),
        ("auth_cache", "outcomes", "hit"),
    ],
)
def test_no_table_has_a_0_for_it(whole: Page, point: str, table: str, column: str) -> None:
    read = blind_page(FAILING, point).tables[table]
    assert read.cell(FAILING, column) == DASH
    assert whole.tables[table].cell(FAILING, column) != DASH


@pytest.mark.parametrize(
    ("point", "column"),
    [
        ("log_records", "log pairs, shared_id"),
        ("auth_cache", "log pairs, member"),
        ("statements", "user reads"),
        ("auth_cache", "user reads, shared_id"),
        ("redis_client", "key payload, bytes"),
        ("redis_cache", "backfill TTL, s"),
        ("spend_queues", "user spend lost"),
    ],
)
def test_the_history_has_a_dash_with_the_word(point: str, column: str) -> None:
    assert not history(releases_run()).cell("1.84.0rc1", column).startswith(DASH)
    read = history(blind(FAILING, point))
    assert read.cell("1.84.0rc1", column) == f"{DASH}<br><sub>not measured</sub>"
    # What no point hides, such as a figure of a release that has none, is a dash alone.
    assert read.cell("1.83.14", "key payload, bytes") == DASH


def test_compared_runs_have_a_dash_and_no_difference() -> None:
    text = compare_markdown([releases_run(), blind(FAILING, "log_records", "statements")])
    measures = markdown_tables(text)[-1]
    assert measures.cell(f"{FAILING}, log pairs", "B") == DASH
    reads = markdown_tables(text)[-2]
    assert reads.cell(f"{FAILING}, shared_id", "B") == DASH


def test_an_expectation_that_could_not_be_checked_neither_holds_nor_failed() -> None:
    held = ExpectationResult(
        name="cell in user", variant=FAILING, scope="user", measured="healthy", limit="healthy",
        state="holds",
    )  # fmt: skip
    failed = held.model_copy(update={"scope": "team", "measured": "broken", "state": "fails"})
    unseen = failed.model_copy(
        update={
            "measured": because(["codec"]),
            "not_instrumented": ["codec"],
            "scope": "member",
            "state": "undecided",
        }
    )
    result = releases_run().model_copy(update={"expectations": [held, unseen, failed]})
    summary = "Expectations: 1 of 3 hold, 1 failed, 1 undecided."
    assert expectation_summary(result) == summary
    rows = [[cell.text for cell in row.cells] for row in expectation_table(result).rows]
    assert [row[-1] for row in rows] == ["fails", "not measured", "holds"]
    assert rows[1][2] == "not measured: codec was not instrumented"
    read = page(result)
    assert "1 of 3 hold" in read.text
    # Only what failed is marked in the matrix.
    assert "fails an expectation" in read.tables["matrix"].cell(FAILING, "team")
    assert "fails an expectation" not in read.tables["matrix"].cell(FAILING, "member")
