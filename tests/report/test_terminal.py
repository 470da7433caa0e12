import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from harness.domain.result import Ledger, Result
from harness.report.ledger import unbalanced
from harness.report.terminal import print_result
from tests.report.behaviours import MATRIX, PREMISE
from tests.report.sample import EMPTY, issue_27874, refused
from tests.report.sample_pr import pr_26202


def printed(result: Result, *, width: int = 100, run_dir: Path | None = None) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_result(result, console, run_dir)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line(text: str, start: str, after: str) -> str:
    """The first line that begins with a word, below another line."""
    return next(ln for ln in text[text.index(after) :].splitlines() if ln.startswith(start))


def flat(text: str) -> str:
    return " ".join(text.split())


def test_the_verdict_stands_first_with_its_reasons() -> None:
    lines = printed(issue_27874()).splitlines()
    assert lines[0] == "PASS (exit code 0)  issue-27874: One symptom, several causes"
    assert "all 18 expectations hold" in lines[1]


def test_a_warning_of_a_variant_is_no_note_among_others() -> None:
    text = "Warning: mine: The codec [mine] fails on a plain key."
    result = issue_27874()
    lines = printed(result.model_copy(update={"notes": [*result.notes, text]})).splitlines()
    assert text in lines
    assert f"Note: {result.notes[0]}"[:60] in "\n".join(lines)


def test_the_matrix_says_each_cell_in_words() -> None:
    text = printed(issue_27874())
    assert line(text, "variant", "Cells").split() == [
        "variant",
        "team",
        "user",
        "shared_id",
        "member",
    ]
    cells = line(text, "fix_optional_user_id", "Cells").split()[1:]
    assert cells == ["healthy", "healthy", "hidden", "broken"]


def test_the_headline_has_medians_with_ranges_and_the_reference_line() -> None:
    text = printed(issue_27874())
    after = "Source reads per 1,000"
    assert line(text, "litellm_1_84", after).split()[1:] == [
        "2,007",
        "48.0",
        "1,040",
        "3,020",
        "1,528",
    ]
    assert "2,003\u20132,017" in text
    assert line(text, "reference line", after).split()[2:] == [
        "48.6",
        "48.0",
        "40.0",
        "50.0",
        "47.0",
    ]


def test_a_single_round_has_no_range() -> None:
    assert "All 3 rounds together, range over them below." in printed(issue_27874())
    text = printed(issue_27874().model_copy(update={"rounds": 1}))
    assert "One round: a single figure, no range." in text
    assert "range over them" not in text


def test_a_run_that_was_cut_short_within_a_round_has_a_range_of_rounds() -> None:
    result = issue_27874().model_copy(update={"complete": False, "rounds": 3})
    name = next(iter(result.variants))
    result.variants[name].windows.pop()
    text = printed(result)
    assert "All 2\N{EN DASH}3 rounds together" in text
    assert "2\N{EN DASH}3 rounds, " in text


def test_every_premise_is_named_as_planted() -> None:
    assert f"Planted: {PREMISE}" in flat(printed(issue_27874()))
    assert "Nothing is planted in this run." in printed(pr_26202())


def test_a_reason_stands_once_for_all_cells_that_share_it() -> None:
    text = flat(printed(issue_27874()))
    assert "broken: litellm_1_84 shared_id, fix_keep_none shared_id: the team stored" in text
    assert text.count("the team stored under its raw id") == 1


@pytest.mark.parametrize("width", [60, 80, 100, 240])
def test_nothing_is_wider_than_the_page_and_nothing_is_cut(width: int) -> None:
    result = issue_27874({f"variant_number_{n}": MATRIX["recommended"] for n in range(12)})
    text = printed(result, width=width)
    body = [ln for ln in text.splitlines() if not ln.startswith("Files:")]
    assert max(map(len, body)) <= min(width, 100)
    assert "\u2026" not in text
    measures = text[text.index("other measures") :]
    assert all(f"variant_number_{n}" in measures for n in range(12))


def test_it_is_plain_where_there_is_no_terminal() -> None:
    assert "\x1b" not in printed(issue_27874())
    console = Console(file=io.StringIO(), width=100, force_terminal=True, color_system="standard")
    print_result(issue_27874(), console)
    assert isinstance(console.file, io.StringIO)
    assert "\x1b[1;31mbroken" in console.file.getvalue()


def test_what_was_not_measured_is_a_dash_and_never_0() -> None:
    result = issue_27874()
    variant = result.variants["litellm_1_84"]
    service = variant.latency_ms.service.model_copy(update={"p95": None})
    result.variants["litellm_1_84"] = variant.model_copy(
        update={
            "lookups": {"memory": variant.lookups["memory"]},
            "cold_fill_source_reads": None,
            "payload_bytes": {},
            "latency_ms": variant.latency_ms.model_copy(update={"service": service}),
        }
    )
    text = printed(result)
    after = "other measures"
    for label in ("redis: hit", "source reads, cold fill", "key payload"):
        first = line(text, label, after).removeprefix(label).replace(", bytes", "").split()[0]
        assert first == "\u2013", label
    assert "6.40 / \u2013" in line(text, "p50 / p95 service", after)


def test_what_did_not_happen_is_0() -> None:
    # Counters leave entries of 0 out of a result: where requests were answered, absent is 0.
    result = issue_27874()
    empty = result.variants["recommended"]
    assert (empty.wrong_values, empty.log_pairs, empty.unexpected_statuses) == ({}, {}, {})
    text = printed(result)
    for label in (
        "log pairs",
        "wrong values served",
        "unexpected statuses",
        "deserialize failures",
    ):
        assert re.search(r" 0 \(<0\.\d+ %\)$", line(text, label, "other measures")), label
    assert line(text, "redis: deserialize failure", "other measures").split()[-1] == "0"
    result.variants["recommended"] = empty.model_copy(update={"requests": {}, "cells": {}})
    text = printed(result)
    assert line(text, "log pairs", "other measures").split()[-1] == "\u2013"
    assert line(text, "recommended", "Cells").split()[1:] == ["\u2013"] * 4


def test_a_run_that_measured_nothing_has_a_reason_a_next_step_and_no_table() -> None:
    text = printed(refused())
    first, reason, nothing = flat(text).split(" - ")
    assert first.startswith("INVALID RUN (exit code 4)")
    assert reason == "The release [x] sustains [3] requests/s. Name fewer variants."
    assert nothing.startswith("Nothing was measured")
    assert "logs/)" in nothing
    assert "\u2500" not in text, "a line of a table"
    for word in EMPTY:
        assert word.lower() not in text.lower()


def test_cold_fills_alone_are_no_figures_but_their_ledger_counts() -> None:
    equations = issue_27874().ledger.equations[:3]
    ledger = Ledger(balanced=True, equations=equations)
    text = flat(printed(refused().model_copy(update={"ledger": ledger})))
    assert "Nothing was measured" in text
    assert "Ledger balanced: 2 balanced, 1 not checked, 0 unbalanced." in text


def test_a_ledger_of_which_nothing_was_checked_is_not_called_balanced() -> None:
    result = issue_27874()
    equations = [e.model_copy(update={"status": "not_checked"}) for e in result.ledger.equations]
    ledger = Ledger(balanced=None, equations=equations)
    text = flat(printed(result.model_copy(update={"ledger": ledger})))
    assert f"Ledger not checked: 0 balanced, {len(equations)} not checked, 0 unbalanced." in text


def test_the_ledger_counts_and_shows_what_does_not_balance_in_full() -> None:
    result = issue_27874()
    equations = result.ledger.equations
    equations[3] = equations[3].model_copy(
        update={"status": "unbalanced", "right": 7.0, "residual": 1802.0, "reason": "no idea [why]"}
    )
    ledger = result.ledger.model_copy(update={"balanced": False})
    text = flat(printed(result.model_copy(update={"ledger": ledger})))
    assert "Ledger NOT BALANCED: 91 balanced, 4 not checked, 1 unbalanced, 1 finding" in text
    assert "loads (makes the run invalid): source reads = loads" in text
    assert "against 7, residual 1,802: no idea [why]" in text
    assert "user_spend (a finding about the variant)" in text
    assert "not checked: gets, 4 times: the connection handshake sends commands" in text


def test_failed_expectations_are_listed_and_passed_ones_counted() -> None:
    result = issue_27874()
    result.expectations[1] = result.expectations[1].model_copy(
        update={"state": "fails", "measured": "wasteful"}
    )
    text = flat(printed(result.model_copy(update={"observed": ["envelope"]})))
    assert "Expectations: 17 of 18 hold, 1 failed. Observed only: envelope." in text
    assert "litellm_1_84, scope user, cell is healthy: measured wasteful, expected healthy" in text
    # A cell can be healthy and yet not what was expected: it must not pass in silence.
    assert "healthy: litellm_1_84 user: fails an expectation" in text


def test_an_invalid_run_warns_above_its_figures() -> None:
    result = issue_27874().model_copy(
        update={"verdict": "invalid", "exit_code": 4, "complete": False}
    )
    text = printed(result)
    assert text.startswith("INVALID RUN")
    assert text.index("The run is invalid") < text.index("Cells")
    assert "cut short" in text


def test_the_combined_view_is_checked() -> None:
    result = pr_26202()
    assert "The rows add up." in printed(result)
    assert line(printed(result), "litellm_1_84", "combined view in").split()[1:] == [
        "30",
        "77",
        "16.17",
        "0.210",
        "77",
        "75.0",
    ]
    result.combined_view[3] = result.combined_view[3].model_copy(update={"rows": 9000})
    assert "does not add up: litellm_1_84, 60 s: 9,000 rows" in flat(printed(result))


def test_generator_and_files_are_named(tmp_path: Path) -> None:
    result = issue_27874()
    generator = result.generator.model_copy(update={"unanswered": {"timeout": 2}})
    text = printed(result.model_copy(update={"generator": generator}), run_dir=tmp_path / "run 1")
    assert "28,000 of 28,000 planned requests sent" in text
    assert "2 unanswered (timeout 2)" in flat(text)
    assert f"Files: {tmp_path / 'run 1'}/" in text


def test_names_with_brackets_are_no_markup() -> None:
    result = issue_27874({"[red]odd[/red]": MATRIX["recommended"]})
    assert "[red]odd[/red]" in printed(result)


def test_a_changed_variant_is_said_to_be_changed() -> None:
    result = issue_27874()
    variant = result.variants["recommended"].model_copy(update={"overridden": ["codec"]})
    result.variants["recommended"] = variant
    assert "recommended was changed on the command line: codec" in printed(result)


def test_a_finding_of_every_window_is_listed_once_and_a_fault_of_every_window_each_time() -> None:
    one = issue_27874().ledger.equations[0].model_copy(update={"status": "unbalanced"})
    windows = [
        one.model_copy(update={"window": name, "kind": kind})
        for kind in ("finding", "validity")
        for name in ("a", "b")
    ]
    result = issue_27874()
    result.ledger.equations[:] = windows
    assert [(e.kind, e.window) for e in unbalanced(result)] == [
        ("validity", "a"),
        ("validity", "b"),
        ("finding", "b"),
    ]
