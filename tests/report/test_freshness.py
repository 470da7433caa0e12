"""The section on freshness, and what every report says of scopes in which nothing changed."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from harness.domain.result import ChangeCost, Result
from harness.report.compare import compare_markdown
from harness.report.freshness import clocks_table, freshness_table, slowest, slowest_cell, told
from harness.report.history import history_table
from harness.report.html import report_html
from harness.report.markdown import summary_markdown
from harness.report.matrix import matrix_table, worst
from harness.report.numbers import NOT_MEASURED, TIMES
from harness.report.terminal import print_result
from tests.report.reading import ReadTable, markdown_tables
from tests.report.sample import issue_27874, with_changes
from tests.report.sample_releases import releases_run


def terminal(result: Result) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_result(result, console)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


def _table(markdown: str, corner: str) -> ReadTable:
    """The table with this corner, notes on lines of their own."""
    text = markdown.replace("</sub>", "")
    found = next(one for one in markdown_tables(text) if one.head[0].startswith(corner))
    lines = [[re.sub("<br>(<sub>)?", "\n", cell) for cell in row] for row in found.rows]
    return replace(found, rows=lines)


def untested(result: Result, *not_tested: str) -> Result:
    for variant in result.variants.values():
        variant.not_tested = list(not_tested)
    return result


def test_every_report_says_that_a_healthy_scope_was_not_tested() -> None:
    result = untested(issue_27874(), "freshness")
    # In narrow columns; the words stand below each other.
    assert terminal(result).count("healthy,") == 9
    assert "freshness freshness freshness" in terminal(result)
    assert "not tested not tested" in terminal(result)
    assert summary_markdown(result).count("**healthy**, freshness not tested") == 9
    assert report_html(result).count("healthy, freshness not tested</span>") == 9
    tested = issue_27874()
    for text in (terminal(tested), summary_markdown(tested), report_html(tested)):
        assert "not tested" not in text


def test_one_scope_can_be_untested() -> None:
    result = untested(issue_27874(), "freshness in user")
    cells = [row.cells for row in matrix_table(result).rows]
    scopes = [column.label for column in matrix_table(result).columns]
    said = {scope for row in cells for scope, cell in zip(scopes, row, strict=True) if cell.more}
    assert said == {"user"}


@pytest.mark.parametrize("cell", ["hidden", "broken", "stale"])
def test_a_cell_that_does_not_claim_freshness_does_not_say_that_it_was_not_tested(
    cell: str,
) -> None:
    assert worst([cell], untested=True).more == ""  # type: ignore[list-item]
    assert worst(["healthy"], untested=True).more == "freshness not tested"


def test_the_table_has_handler_and_others_the_end_and_the_promise() -> None:
    table = _table(summary_markdown(with_changes(issue_27874())), "change, scope")
    assert table.head == ["change, scope", "litellm_1_84", "recommended"]
    never = "≥ 8.00 / ≥ 8.10 ✕\nopen"
    assert [row[1:] for row in table.rows[:3]] == [
        [never, "≤ 0.20 / 0.30\u20130.50 ✓\nevicted / message"],
        [never, "≤ 0.20 / 1.25\u20131.50 ✓\nevicted / expiry\nresurrected 2 " + TIMES],
        [never, "not there\n404 Not Found"],
    ]


def test_the_slowest_clock_stands_beside_the_cells() -> None:
    """An open clock is slower than any that ended."""
    result = with_changes(issue_27874())
    table = matrix_table(result)
    assert table.columns[-1].label == "slowest clock"
    found = {row.head.text: row.cells[-1] for row in table.rows}
    assert found["litellm_1_84"].text == "≥ 8.10 s"
    assert found["litellm_1_84"].tone == "stale"
    assert found["recommended"].text == "1.25\u20131.50 s"
    assert found["recommended"].note == "key-block in user, others; promise 4.1 s"
    assert found["recommended"].tone == ""
    assert found["fix_keep_none"].text == NOT_MEASURED
    one = slowest(result.freshness["litellm_1_84"])
    assert one is not None
    assert one.over
    assert matrix_table(issue_27874()).columns[-1].label == "member"


def test_the_page_has_a_section_with_a_chart_and_every_worker() -> None:
    page = report_html(with_changes(issue_27874()))
    assert '<section id="freshness-section">' in page
    assert page.count("Seconds until the last old answer after each change") == 2
    assert "Changes: every worker" in page
    assert "Right answers by the time since the change" in page
    assert "freshness-section" not in report_html(issue_27874())


def test_runs_are_compared_by_whether_their_intervals_meet() -> None:
    base = with_changes(issue_27874())
    other = base.model_copy(update={"freshness": {"recommended": base.freshness["litellm_1_84"]}})
    table = _table(compare_markdown([base, other]), "variant, change")
    found = {row[0].strip("`"): row[1:] for row in table.rows}
    assert found["recommended, key-block, team, others"] == ["0.30\u20130.50", "≥ 8.10\ndiffers"]
    assert found["litellm_1_84, key-block, team, others"] == ["≥ 8.10", NOT_MEASURED]
    rows = _table(compare_markdown([base, base]), "variant, change").rows
    assert {row[2].partition("\n")[2] for row in rows} == {"same", ""}


def test_the_history_has_the_slowest_action_of_each_release_where_something_changed() -> None:
    result = releases_run()
    assert history_table(result).columns[-1].label == "user spend lost"
    fresh = with_changes(issue_27874()).freshness["litellm_1_84"]
    changed = result.model_copy(update={"freshness": {"litellm==1.93.0": fresh}})
    table = history_table(changed)
    assert table.columns[-1].label == "slowest action"
    assert [row.cells[-1].text for row in table.rows] == [
        NOT_MEASURED,
        NOT_MEASURED,
        NOT_MEASURED,
        "≥ 8.10 s",
    ]
    assert table.rows[-1].cells[-1] == slowest_cell(fresh)


@pytest.mark.parametrize(
    ("by_code", "variant", "scope", "said"),
    [
        (True, "recommended", "team", "yes, confirmed"),
        (False, "recommended", "team", "no, refuted: message"),
        (True, "recommended", "user", "yes, refuted: expiry"),
        (False, "recommended", "user", "no, confirmed"),
        (True, "litellm_1_84", "team", "yes, refuted: open"),
        (None, "recommended", "team", ""),
    ],
)
def test_what_the_code_says_of_others_stands_beside_what_the_run_showed(
    by_code: bool | None, variant: str, scope: str, said: str
) -> None:
    result = with_changes(issue_27874())
    one = result.freshness[variant]["key-block"][scope]
    one.told_by_code = by_code
    assert told(one) == said
    columns = [column.label for column in clocks_table(result).columns]
    at = columns.index("code tells others")
    assert {row.cells[at].text for row in clocks_table(result).rows} == {NOT_MEASURED} | (
        {said} if said else set()
    )
    notes = [cell.note for row in freshness_table(result).rows for cell in row.cells]
    assert any("code tells others" in note for note in notes) == bool(said)
    assert not said or any(f"code tells others: {said}" in note for note in notes)


def test_nothing_is_known_of_others_without_any() -> None:
    one = with_changes(issue_27874()).freshness["recommended"]["key-block"]["team"]
    alone = one.model_copy(update={"told_by_code": True, "workers": one.workers[:1]})
    assert told(alone) == "yes, not known"


def test_what_the_changes_cost_stands_below_them_where_it_was_counted() -> None:
    result = with_changes(issue_27874())
    cost = ChangeCost(
        requests=400,
        source_reads_per_1000=15.0,
        redis_commands_per_1000=None,
        payload_bytes={"key": 733.0},
    )
    counted = result.model_copy(update={"change_costs": {"recommended": cost}})
    table = freshness_table(counted)
    assert [(row.head.text, *(cell.text for cell in row.cells)) for row in table.rows[-2:]] == [
        ("source reads per 1,000", NOT_MEASURED, "15.0"),
        ("key payload, bytes", NOT_MEASURED, "733"),
    ]
    assert "say nothing about a load" in table.foot


def test_a_change_that_was_answered_by_an_error_says_by_which() -> None:
    result = with_changes(issue_27874())
    one = result.freshness["recommended"]["key-block"]["team"]
    one.outcome, one.committed = "committed", {"500": 2}
    assert (
        freshness_table(result)
        .rows[0]
        .cells[1]
        .note.endswith("committed, answered 500: 2 " + TIMES)
    )
