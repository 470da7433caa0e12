"""One word, one exit code, the reasons in order; and what makes a run invalid, at its edge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest

from harness.analysis.verdict import Judgement, invalidities, judge
from harness.domain.changes import ChangeEvent
from harness.domain.faults import FaultEvent, PlannedFault
from harness.domain.result import Equation, ExpectationResult, Ledger, Phase, State
from harness.observe.evidence import Evidence
from harness.scenario.schema import RunLimits
from tests.observe.build import evidence, page, series


def _expectation(
    name: str, state: State, *, reason: str = "", blind: Sequence[str] = ()
) -> ExpectationResult:
    return ExpectationResult(
        name=name,
        variant="a",
        scope="team",
        measured="broken",
        limit="healthy",
        state=state,
        reason=reason,
        not_instrumented=list(blind),
    )


HELD = _expectation("cell in team", "holds")
FAILED = _expectation("cell in user", "fails")
UNSEEN = _expectation("log pairs", "undecided", blind=["codec"])
OPEN = _expectation("reads", "undecided", reason="about 3 more rounds would decide it")
REGRESSION = "a: cell in user is broken, expected healthy."
BLIND = "a: log pairs, expected healthy, was broken."
UNDECIDED = (
    "a: reads, expected healthy, was broken: undecided, about 3 more rounds would decide it."
)
NOTHING = (
    "Nothing was asked of these variants: no expectation applies, so the run neither passes nor "
    "fails. Add [[expect]] to the scenario for a verdict."
)
UNMEASURED = "Not measured: a, b. See logs/ for the reason, then run again."
STOPPED = "The run was stopped by a signal before its end. Run it again for a verdict."
LESS_LOAD = (
    "The machine is too busy for this load: stop other programs that use the CPUs, use fewer "
    "replicas, or lower load.rate_per_s in the scenario; then run again."
)


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({}, ("observed", 0, NOTHING)),
        ({"strict": True}, ("observed", 3, NOTHING)),
        ({"strict": True, "expectations": [HELD]}, ("pass", 0, "1 of 1 expectations hold.")),
        ({"expectations": [HELD, OPEN]}, ("inconclusive", 3, UNDECIDED)),
        ({"expectations": [OPEN, FAILED]}, ("regression", 1, REGRESSION, UNDECIDED)),
        ({"expectations": [OPEN], "invalid": ["late"]}, ("invalid", 4, "late")),
        ({"expectations": [HELD]}, ("pass", 0, "1 of 1 expectations hold.")),
        ({"expectations": [HELD, HELD]}, ("pass", 0, "2 of 2 expectations hold.")),
        ({"expectations": [HELD, FAILED]}, ("regression", 1, REGRESSION)),
        ({"expectations": [FAILED, FAILED]}, ("regression", 1, REGRESSION, REGRESSION)),
        ({"expectations": [HELD, UNSEEN]}, ("inconclusive", 3, BLIND)),
        ({"expectations": [UNSEEN, FAILED]}, ("regression", 1, REGRESSION, BLIND)),
        ({"unmeasured": ["a", "b"]}, ("inconclusive", 3, UNMEASURED)),
        (
            {"unmeasured": ["a", "b"], "expectations": [UNSEEN]},
            ("inconclusive", 3, UNMEASURED, BLIND),
        ),
        ({"unmeasured": ["a", "b"], "expectations": [FAILED]}, ("regression", 1, REGRESSION)),
        ({"invalid": ["late", "ledger"]}, ("invalid", 4, "late", "ledger")),
        ({"problem": "Valkey died."}, ("invalid", 4, "Valkey died.")),
        ({"problem": ""}, ("invalid", 4, "")),
        (
            {"problem": "Valkey died.", "invalid": ["late"], "expectations": [FAILED]},
            ("invalid", 4, "Valkey died.", "late"),
        ),
        ({"interrupted": 130}, ("interrupted", 130, STOPPED)),
        (
            {"interrupted": 130, "unmeasured": ["a", "b"]},
            ("interrupted", 130, STOPPED),
        ),
        (
            {"interrupted": 143, "problem": "died", "invalid": ["late"], "expectations": [FAILED]},
            ("interrupted", 143, STOPPED),
        ),
    ],
)
def test_the_worst_wins_and_says_why(facts: dict[str, Any], verdict: tuple[Any, ...]) -> None:
    sound: dict[str, Any] = {
        "interrupted": 0,
        "problem": None,
        "invalid": [],
        "unmeasured": [],
        "expectations": [],
    }
    word, exit_code, *reasons = verdict
    assert judge(**(sound | facts)) == Judgement(word, exit_code, tuple(reasons))


def _equation(**changes: Any) -> Equation:
    return Equation.model_validate(
        {
            "name": "redis_gets",
            "variant": "a",
            "window": "05",
            "description": "",
            "left": 7.0,
            "right": 6.0,
            "residual": 1.0,
            "status": "unbalanced",
            "kind": "validity",
        }
        | changes
    )


def _reasons(*, windows: Sequence[Evidence] = (), equations: Sequence[Equation] = ()) -> list[str]:
    ledger = Ledger(balanced=True, equations=list(equations))
    limits = RunLimits(late_ms=200.0, late_share_max=0.01, sent_share_min=0.98)
    return invalidities(windows, ledger, limits)


def test_a_sound_run_is_valid() -> None:
    assert _reasons(windows=[evidence()], equations=[_equation(status="balanced")]) == []


@pytest.mark.parametrize(
    ("planned", "sent", "valid"),
    [(1000, 980, True), (1000, 979, False), (1000, 0, False), (0, 0, True), (1, 0, False)],
)
def test_at_least_98_in_100_of_the_plan_must_be_sent(planned: int, sent: int, valid: bool) -> None:
    reason = (
        f"The generator did not send all in 1 window, least in 05-measured-a: sent {sent} of "
        f"{planned} planned requests; at least 98% of a window are needed. {LESS_LOAD}"
    )
    window = evidence(generator={"planned": planned, "sent": sent})
    for phase in get_args(Phase):
        needed = phase != "cold_fill"
        found = _reasons(windows=[replace(window, phase=phase)])
        assert found == ([] if valid or not needed else [reason]), phase


def test_a_window_in_which_nothing_was_sent_does_not_hide_among_others() -> None:
    sound = [replace(evidence(), name=f"{n}") for n in range(100)]
    empty = replace(evidence(generator={"sent": 0}), name="empty")
    less = replace(evidence(generator={"sent": 90}), name="less")
    (reason,) = _reasons(windows=[*sound, less, empty])
    assert reason.startswith(
        "The generator did not send all in 2 windows, least in empty: sent 0 of"
    )


@pytest.mark.parametrize(
    ("sent", "late", "valid"),
    [(1000, 10, True), (1000, 11, False), (1, 1, False), (0, 0, True)],
)
def test_at_most_1_in_100_of_a_window_may_be_late(sent: int, late: int, valid: bool) -> None:
    reason = (
        f"The generator was late in 1 window, most in 05-measured-a: {late} of {sent} requests "
        f"started more than 200 ms after their time; at most 1% of a window may. {LESS_LOAD}"
    )
    window = evidence(generator={"planned": sent, "sent": sent, "late": late})
    assert _reasons(windows=[window]) == ([] if valid else [reason])
    cold = replace(window, phase="cold_fill")
    assert _reasons(windows=[cold]) == [], "fresh processes fall behind in their first second"


def test_late_requests_of_one_window_do_not_hide_among_those_of_others() -> None:
    late = evidence(generator={"sent": 100, "late": 2})
    worse = replace(late, name="worse", generator=late.generator.model_copy(update={"late": 3}))
    (reason,) = _reasons(windows=[evidence(), late, worse, *[evidence()] * 100])
    assert reason.startswith("The generator was late in 2 windows, most in worse: 3 of 100")


@pytest.mark.parametrize(("median", "valid"), [(50.0, True), (50.1, False), (200.0, False)])
def test_half_of_a_window_may_start_50_ms_late(median: float, valid: bool) -> None:
    reason = (
        f"The generator lagged in 1 window, most in 05-measured-a: half of its requests started "
        f"{median:.0f} ms or more after their time; at most 50 ms may be the median of a window. "
        f"{LESS_LOAD}"
    )
    window = evidence(generator={"delay_ms_median": median})
    assert _reasons(windows=[window, evidence()]) == ([] if valid else [reason])


@pytest.mark.parametrize(
    ("changes", "valid"),
    [
        ({}, False),
        ({"status": "balanced"}, True),
        ({"status": "not_checked"}, True),
        ({"kind": "finding"}, True),
    ],
)
def test_only_an_unbalanced_validity_equation_spoils_a_run(
    changes: dict[str, str], valid: bool
) -> None:
    reason = (
        "The ledger does not balance: redis_gets of a in 05: 7 against 6. report.html has the "
        "whole ledger, snapshots/ has the counts of that window."
    )
    assert _reasons(equations=[_equation(**changes)]) == ([] if valid else [reason])


def test_a_worker_that_was_replaced_spoils_a_run() -> None:
    window = evidence()
    earlier = page(series("b_total", 5), series("a_total", 5))
    fallen = replace(window, before=replace(window.before, workers=(earlier,)))
    assert _reasons(windows=[window, fallen]) == [
        (
            "Counters fell in window 05-measured-a: a_total, b_total. A worker was replaced. "
            "See logs/ for why it ended, then run again."
        )
    ]


def test_every_reason_is_given_the_replaced_worker_first() -> None:
    window = evidence()
    gone = replace(window, before=replace(window.before, workers=()))
    late = evidence(generator={"late": 90, "sent": 90, "delay_ms_median": 99})
    reasons = _reasons(windows=[gone, replace(late, name="late")], equations=[_equation()])
    assert [reason.split()[0:3] for reason in reasons] == [
        ["Counters", "fell", "in"],
        ["The", "ledger", "does"],
        ["The", "generator", "did"],
        ["The", "generator", "was"],
        ["The", "generator", "lagged"],
    ]


def test_a_change_that_was_refused_spoils_a_run_and_shows_its_answer() -> None:
    event = ChangeEvent(
        4, "team-block", "team", "api", 9, 1, "", 1.0, 1.1, 404, "refused", "no such team."
    )
    others = [replace(event, outcome=o) for o in ("done", "committed", "not_there")]
    fine = evidence(phase="changes", changes=tuple(others))
    assert _reasons(windows=[fine]) == []
    spoiled = replace(fine, changes=(*fine.changes, event))
    assert _reasons(windows=[spoiled]) == [
        (
            "Change 4 of a, team-block of a key of scope team, was refused in 05-measured-a: "
            "answered 404: no such team. Look at the replicas' logs, or leave this change out of "
            "the scenario."
        )
    ]


def _fault(bit: int) -> FaultEvent:
    return FaultEvent(PlannedFault(1, "redis-hang", 2.0, 1.0), 2.0, 3.0, bit, "Seen: nothing.")


@pytest.mark.parametrize("bit", [0, 1])
def test_a_fault_that_took_no_effect_spoils_a_run_and_says_what_was_counted(bit: int) -> None:
    window = evidence(fault=_fault(bit))
    reasons = _reasons(windows=[window])
    if bit:
        assert reasons == []
    else:
        (reason,) = reasons
        assert reason.startswith(
            "The fault redis-hang of a took no effect in window 05-measured-a: commands that "
            "waited: 0. Seen: nothing."
        )


def test_a_change_may_be_refused_while_something_is_broken() -> None:
    change = ChangeEvent(
        7, "key-block", "team", "api", 0, 1, "1.0", 0.1, 0.2, 503, "refused", "busy"
    )
    assert _reasons(windows=[evidence(changes=(change,))])
    assert _reasons(windows=[evidence(changes=(change,), fault=_fault(1))]) == []
