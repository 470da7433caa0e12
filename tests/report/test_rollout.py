"""The table of a rollout, and what failed in words."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from harness.domain.result import (
    CheckResult,
    MemberResult,
    Percentiles,
    Replacement,
    Result,
    Rollout,
    RolloutPhase,
)
from harness.report.details import members_table
from harness.report.rollout import (
    NOTHING_FAILED,
    PAGE,
    print_rollout,
    rollout_files,
    rollout_findings,
    rollout_table,
)
from tests.report.sample import issue_27874

OLD, NEW = "litellm_1_84", "recommended"


def check(**changes: Any) -> CheckResult:
    whole = {
        "replica": 1,
        "chats": {"200": 10},
        "calls": {"key-new": "200"},
        "spend_logs": 10,
        "spend_micro": 2500,
        "spend_due_micro": 2500,
    }
    return CheckResult.model_validate(whole | changes)


def member(**changes: Any) -> MemberResult:
    whole = {
        "version": "1",
        "replicas": [0, 2],
        "requests": {"team": {"200": 90}},
        "unanswered": {},
        "unexpected_statuses": {},
        "source_reads": 9,
        "source_reads_per_1000": 100.0,
        "unread": {},
        "wrong": {},
        "service_ms": Percentiles(p50=1.5, p95=None, p99=None),
    }
    return MemberResult.model_validate(whole | changes)


def replacement(**changes: Any) -> Replacement:
    whole = {
        "replica": 0,
        "variant": NEW,
        "seconds": 1.0,
        "requests": 200,
        "unanswered": {},
        "statuses": {"200": 195, "401": 5},
    }
    return Replacement.model_validate(whole | changes)


def rolled(
    *,
    checks: dict[str, CheckResult] | None = None,
    members: dict[str, MemberResult] | None = None,
    replaced: Replacement | None = None,
) -> Result:
    """A run whose first two variants are the phases of a rollout."""
    result = issue_27874()
    variants = list(result.variants.values())[:2]
    variants[1] = variants[1].model_copy(update={"by_member": members or {}})
    phases = {
        "old": RolloutPhase(replicas=[OLD, OLD], replaced=[], checks={}),
        "one": RolloutPhase(
            replicas=[NEW, OLD],
            replaced=[replaced or replacement()],
            checks=checks or {NEW: check(), OLD: check()},
        ),
    }
    rollout = Rollout(old=OLD, new=NEW, tables=NEW, drained=False, phases=phases)
    named = dict(zip(phases, variants, strict=True))
    return result.model_copy(update={"variants": named, "rollout": rollout})


LOST = replacement(unanswered={"connection_refused": 12}, statuses={"200": 180, "401": 5, "503": 3})


def text(result: Result) -> str:
    out = StringIO()
    print_rollout(result, Console(file=out, width=100))
    return " ".join(out.getvalue().split())


def test_each_phase_is_a_row_with_the_errors_of_its_callers() -> None:
    table = rollout_table(rolled(replaced=LOST))

    assert [row.head.text for row in table.rows] == ["old", "one"]
    old, one = (
        dict(zip((c.label for c in table.columns), row.cells, strict=True)) for row in table.rows
    )
    assert (old["new"].text, one["new"].text) == ("0 of 2", "1 of 2")
    # 12 without an answer, 3 by 503; a refusal is no error.
    assert one["errors"].text == "15 of 200"
    assert old["errors"].text == "\N{EN DASH}", "nothing was replaced"


def test_where_nothing_failed_it_says_so() -> None:
    assert rollout_findings(rolled()) == []
    assert NOTHING_FAILED in text(rolled())
    assert NOTHING_FAILED in rollout_files(rolled())[PAGE]


def test_requests_that_callers_lost_are_failed_and_nothing_else_is_said_of_them() -> None:
    lost = rolled(replaced=LOST)

    (finding,) = rollout_findings(lost)
    assert finding.startswith(f"one: 15 of 200 requests failed while replica 0 became {NEW}: ")
    assert finding.endswith(": 12 by connection_refused, 3 by 503.")
    assert "Nothing failed" not in text(lost) + rollout_files(lost)[PAGE]


def test_a_wrong_status_in_a_window_is_a_finding() -> None:
    refused = {OLD: member(unexpected_statuses={"member": {"401": 7}, "team": {}}), NEW: member()}

    assert rollout_findings(rolled(members=refused)) == [
        f"one: {OLD} answered member by a wrong status: 7 by 401."
    ]


def test_a_rollout_that_measured_nothing_says_why_and_no_more() -> None:
    result = rolled()
    assert result.rollout is not None
    nothing = result.model_copy(
        update={
            "rollout": result.rollout.model_copy(update={"phases": {}}),
            "variants": {},
            "verdict": "invalid",
            "exit_code": 4,
            "complete": False,
            "reasons": ["The release sustains 4.0 requests/s. Use fewer variants."],
        }
    )

    for shown in (text(nothing), rollout_files(nothing)[PAGE]):
        assert "invalid run (exit code 4)" in shown
        assert "The release sustains 4.0 requests/s. Use fewer variants." in shown
        assert "Nothing was measured" in shown
        for word in ("Nothing failed", "phase", "|", "round"):
            assert word not in shown


def test_an_invalid_or_stopped_rollout_does_not_say_that_nothing_failed() -> None:
    reason = "The generator was late."
    invalid = {"verdict": "invalid", "exit_code": 4, "reasons": [reason]}
    stopped = {"verdict": "interrupted", "exit_code": 130, "complete": False, "reasons": [reason]}
    for ending in (invalid, stopped):
        result = rolled().model_copy(update=ending)
        for shown in (text(result), rollout_files(result)[PAGE]):
            assert reason in shown
            assert "1 of 2" in shown, "what was measured is shown"
            assert "Nothing failed" not in shown


def test_unread_entries_name_reader_and_writer() -> None:
    result = rolled(members={NEW: member(unread={OLD: {"user": 214}}), OLD: member()})

    assert rollout_findings(result) == [f"one: unread, {NEW} ← {OLD}: user 214."]
    assert "214" in rollout_files(result)[PAGE]


def test_wrong_data_names_who_served_it_and_who_wrote_it() -> None:
    result = rolled(members={OLD: member(wrong={NEW: {"team": 3}})})

    assert rollout_findings(result) == [f"one: wrong data served, {OLD} ← {NEW}: team 3."]


def test_a_chat_that_stays_green_does_not_hide_a_call_that_fails() -> None:
    failed = check(
        calls={"key-new": "500", "key-limits": "200"},
        refused={"key-new": "column does not exist"},
        spend_logs=0,
        spend_micro=0,
    )

    assert rollout_findings(rolled(checks={NEW: failed})) == [
        f"one: {NEW} answered key-new with 500: column does not exist",
        f"one: {NEW} left 0 rows of spend logs for 10 chats.",
        f"one: {NEW} booked 0 of 2,500 millionths of a US dollar.",
    ]


def test_a_database_without_spend_logs_is_not_blamed() -> None:
    assert rollout_findings(rolled(checks={NEW: check(spend_logs=None)})) == []


def test_a_refused_chat_is_a_finding() -> None:
    chats = {"200": 8, "401": 2}
    findings = rollout_findings(rolled(checks={NEW: check(chats=chats, spend_logs=8)}))

    assert findings == [f"one: {NEW} refused chats: 2 by 401."]


def test_a_run_that_was_no_rollout_prints_nothing() -> None:
    assert text(issue_27874()) == ""
    assert rollout_files(issue_27874()) == {}


def test_the_members_table_has_a_row_for_each_variant_of_a_fleet() -> None:
    result = rolled(members={NEW: member(unread=None), OLD: member(unread={NEW: {"team": 7}})})
    rows = members_table(result).rows

    assert [(row.head.text, row.cells[0].text) for row in rows] == [("one", NEW), ("one", OLD)]
    assert [cell.text for cell in rows[1].cells[1:6]] == [
        "0, 2",
        "90",
        "0",
        "100",
        f"from {NEW}: team 7",
    ]
    assert rows[0].cells[5].text == "\N{EN DASH}", "not seen is not 0"
