"""The fault sheet in every report: verdicts with what speaks for them, and a timeline for each."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from harness.domain.result import FaultResult, FaultSecond, Result
from harness.errors import UsageError
from harness.report.faults import callers_table, servers_table, sheet_table, timeline_table
from harness.report.faults_report import faults_files, faults_page, print_faults, require_faults
from harness.report.figures import fault_figures
from harness.report.html import report_html
from harness.report.markdown import summary_markdown
from harness.report.numbers import NOT_MEASURED
from harness.report.terminal import print_result
from harness.report.write import write_reports
from tests.report.reading import Page, markdown_tables
from tests.report.sample import issue_27874


def _second(second: int, *, broken: bool) -> FaultSecond:
    return FaultSecond(
        second=second,
        ok=10 if broken else 50,
        late=0,
        errors=40 if broken else 0,
        reads=30 if broken else 6,
        latency_max_ms=5_000.0 if broken else 12.0,
    )


def fault(verdict: str = "unaffected", *reasons: str, **changes: object) -> FaultResult:
    """What a fault from second 4 to 9 did in a window of 20 s."""
    bad = verdict in ("outage", "wrong")
    whole: dict[str, object] = {
        "verdict": verdict,
        "reasons": list(reasons),
        "bit": 7,
        "bit_what": "commands that waited",
        "begun_s": 4.0,
        "ended_s": 9.1,
        "watched_s": 10.9,
        "balancer": "blind",
        "requests": 800,
        "errors": {"503": 190, "timeout": 10} if bad else {},
        "errors_share": 0.25 if bad else 0.0,
        "errors_longest_s": 4.96 if bad else 0.02,
        "latency_ms_max": 5_000.0 if bad else 40.0,
        "stampede": 2.54 if bad else 1.0,
        "stampede_before": 1.0,
        "recovery_s": None if bad else 0.0,
        "log_records_per_request": 2.5 if bad else 0.001,
        "log_bytes_per_request": 2_100.0 if bad else 0.0,
        "spend_lost_micro": 750 if bad else 0,
        "wrong": 0,
        "stale": 0,
        "let_through": 0,
        "timeline": [_second(n, broken=bad and 4 <= n < 9) for n in range(20)],
    }
    return FaultResult.model_validate(whole | changes)


def with_faults(result: Result) -> Result:
    """A run with two faults, one of which an older variant does not bear."""
    outage = fault("outage", "5.0 s without a timely 2xx", "errors 25 %")
    faults = {
        "recommended": {"redis-hang": fault(), "postgres-kill": fault("degraded", "errors 1 %")},
        "litellm_1_84": {"redis-hang": outage, "postgres-kill": fault("invalid", bit=0)},
    }
    return result.model_copy(update={"faults": faults})


def alone(result: Result) -> Result:
    """The same of a run that drove nothing but faults."""
    return with_faults(result).model_copy(update={"variants": {}, "expectations": []})


def _terminal(result: Result) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_result(result, console)
    print_faults(result, console)
    assert isinstance(console.file, io.StringIO)
    return " ".join(console.file.getvalue().split())


@pytest.mark.parametrize("shown", [with_faults, alone])
def test_every_report_has_the_sheet(shown: Callable[[Result], Result]) -> None:
    result = shown(issue_27874())
    assert "redis-hang unaffected outage 5.0 s without a timely 2xx" in _terminal(result)
    summary = summary_markdown(result)
    assert "| `redis-hang` | ✓ **unaffected** | ✕ **outage**<br><sub>5.0 s without" in summary
    page = Page(report_html(result))
    assert page.open == []
    assert page.tables["fault-sheet"].cell("postgres-kill", "litellm_1_84") == "? invalid"
    assert page.tables["fault-sheet"].cell("redis-hang", "litellm_1_84").startswith("✕ outage")
    links = {a["href"] for a in page.all("a")}
    ids = {f"#{attributes['id']}" for _, attributes in page.elements if attributes.get("id")}
    assert links <= ids
    assert {"#faults", "#fault-answers-section", "#fault-reads-section"} <= links


def test_a_run_of_faults_alone_was_measured() -> None:
    assert "Nothing was measured" not in _terminal(alone(issue_27874()))
    assert "Nothing was measured" not in summary_markdown(alone(issue_27874()))


def test_a_run_with_faults_does_not_say_that_nothing_is_planted() -> None:
    without = with_faults(issue_27874()).model_copy(update={"premises": []})
    for text in (_terminal(without), summary_markdown(without), report_html(without)):
        assert "Nothing is planted" not in text
        assert "Faults are planted" in text


def test_a_run_without_faults_says_nothing_of_them() -> None:
    result = issue_27874()
    for text in (summary_markdown(result), report_html(result)):
        assert "fault-sheet" not in text
        assert "What each fault did" not in text
    with pytest.raises(UsageError, match="Nothing was broken"):
        require_faults(result)


def test_every_figure_is_in_a_table() -> None:
    texts: dict[str, tuple[str, str]] = {}
    for table in (callers_table, servers_table):
        made = table(with_faults(issue_27874()))
        assert len(made.rows) == 4
        (outage,) = [row for row in made.rows if row.head.text == "redis-hang: litellm_1_84"]
        texts |= {
            column.label: (cell.text, cell.note)
            for column, cell in zip(made.columns, outage.cells, strict=True)
        }
    assert texts == {
        "errors": ("25.0 %", "503: 190, timeout: 10"),
        "longest, s": ("4.96", ""),
        "latency, ms": ("5,000", ""),
        "recovered": ("not within 10.9 s", ""),
        "wrong": ("0", ""),
        "stale": ("0", ""),
        "let through": ("0", ""),
        "stampede": ("2.54", "1.00"),
        "spend lost, µUSD": ("750", ""),
        "log records": ("2,500", ""),
        "log bytes": ("2,100", ""),
        "took effect": ("7 commands that waited", ""),
    }


def test_a_fault_that_one_variant_was_spared_has_a_dash() -> None:
    result = with_faults(issue_27874())
    del result.faults["recommended"]["postgres-kill"]
    table = sheet_table(result)
    assert [row.head.text for row in table.rows] == ["redis-hang", "postgres-kill"]
    assert [cell.text for cell in table.rows[1].cells] == [NOT_MEASURED, "invalid"]


def test_the_timeline_has_every_second_and_says_when_the_fault_was() -> None:
    table = timeline_table(with_faults(issue_27874()))
    assert len(table.rows) == 4 * 20
    during = [row.cells[1].text for row in table.rows[:20] if row.cells[1].note]
    assert during == ["4", "5", "6", "7", "8", "9"]


def test_each_fault_has_a_panel_with_a_line_for_each_variant_and_its_edges() -> None:
    answers, reads = fault_figures(with_faults(issue_27874()))
    assert [panel.title for panel in answers.panels] == ["redis-hang", "postgres-kill"]
    for figure in (answers, reads):
        for panel in figure.panels:
            svg = ET.fromstring(panel.svg)
            series = [g for g in svg.iter("g") if "series" in (g.get("class") or "")]
            assert len({g.get("class") for g in series}) == 2
            upright = [
                path
                for path in svg.iter("path")
                if path.get("class") == "major guide line" and "v" in (path.get("d") or "")
            ]
            assert len(upright) == 2
    drawn = answers.panels[0].svg
    assert "litellm_1_84, second 5: 20.0 %" in drawn
    assert "recommended, second 5: 100 %" in drawn


def test_the_page_of_the_docs_names_the_command_and_has_its_tables() -> None:
    page = faults_page(alone(issue_27874()))
    assert "harness faults --variants recommended,litellm_1_84 --scenario issue-27874" in page
    assert len(markdown_tables(page)) == 3
    assert len(markdown_tables(faults_files(alone(issue_27874()))["faults.md"])) == 3


def test_the_files_of_a_run_of_faults_can_be_written(tmp_path: Path) -> None:
    write_reports(alone(issue_27874()), tmp_path)
    assert "redis-hang" in (tmp_path / "report.html").read_text(encoding="utf-8")
