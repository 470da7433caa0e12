"""The verdict: one word, an exit code, and the reasons. Invalid outranks every number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.domain.faults import FAULTS
from harness.domain.result import ExpectationResult, Ledger
from harness.domain.series import INSTRUMENT_ERROR_TYPES, INSTRUMENT_ERRORS
from harness.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INVALID,
    EXIT_PASS,
    EXIT_REGRESSION,
)
from harness.observe.evidence import Evidence
from harness.scenario.schema import RunLimits

Word = Literal["pass", "regression", "inconclusive", "invalid", "interrupted", "observed"]


_LESS_LOAD = (
    "The machine is too busy for this load: stop other programs that use the CPUs, use fewer "
    "replicas, or lower load.rate_per_s in the scenario; then run again."
)
_NOTHING_ASKED = (
    "Nothing was asked of these variants: no expectation applies, so the run neither passes nor "
    "fails. Add [[expect]] to the scenario for a verdict."
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its exit code and reasons, the most important first."""

    word: Word
    exit_code: int
    reasons: tuple[str, ...]


def invalidities(windows: Sequence[Evidence], ledger: Ledger, limits: RunLimits) -> list[str]:
    """Why the numbers of a run cannot be trusted; empty when they can.

    A window in which too little was sent says too little, whatever its phase. Lateness spoils
    those of phase ``measured``, whose figures hang on the times of the requests.
    """
    reasons = [
        f"Counters fell in window {w.name}: {', '.join(w.fallen)}. A worker was replaced. See "
        "logs/ for why it ended, then run again."
        for w in windows
        if w.fallen
    ]
    reasons += [
        f"The fault {w.fault.planned.name} of {w.variant} took no effect in window {w.name}: "
        f"{FAULTS[w.fault.planned.what].proof}: 0. {w.fault.detail} Check that the variant uses "
        "that part, and that the load asks for it while the fault lasts; then run again."
        for w in windows
        if w.fault is not None and not w.fault.bit
    ]
    reasons += _instrument_errors(windows)
    reasons += [
        f"The ledger does not balance: {e.name} of {e.variant} in {e.window}: "
        f"{e.left:.0f} against {e.right:.0f}. report.html has the whole ledger, snapshots/ has "
        "the counts of that window."
        for e in ledger.equations
        if e.kind == "validity" and e.status == "unbalanced"
    ]
    reasons += _refused_changes(windows)
    measured = [w for w in windows if w.phase == "measured"]
    late = (_unsent(windows, limits), _late(measured, limits), _delayed(measured, limits))
    reasons += [reason for reason in late if reason]
    return reasons


def _refused_changes(windows: Sequence[Evidence]) -> list[str]:
    """Changes that Postgres does not hold: what follows them says nothing about freshness."""
    return [
        f"Change {change.number} of {window.variant}, {change.action} of a key of scope "
        f"{change.scope}, was refused in {window.name}: answered {change.status}: {change.detail} "
        "Look at the replicas' logs, or leave this change out of the scenario."
        for window in windows
        if window.fault is None
        for change in window.changes
        if change.outcome == "refused"
    ]


def _instrument_errors(windows: Sequence[Evidence]) -> list[str]:
    """Errors within the instrumentation of a release, since its workers started."""
    errors: dict[tuple[str, str], tuple[float, list[str]]] = {}
    for window in windows:
        types: dict[str, list[str]] = {}
        for point, error in sorted(window.after.total.by(INSTRUMENT_ERROR_TYPES, "point", "error")):
            types.setdefault(point, []).append(error)
        for (point,), count in window.after.total.by(INSTRUMENT_ERRORS, "point").items():
            errors[window.variant, point] = count, types.get(point, ["unknown type"])
    return [
        f"The instrumentation of {variant} failed {count:.0f} times at {point} "
        f"({', '.join(types)}), so its counts are incomplete. logs/ has the traceback; report it, "
        "and leave this variant out until then."
        for (variant, point), (count, types) in errors.items()
    ]


def on_time(windows: Sequence[Evidence], limits: RunLimits) -> list[Evidence]:
    """The windows of the rounds that the generator drove on time, in every variant."""
    late = {w.round for w in windows if _late([w], limits) or _delayed([w], limits)}
    return [w for w in windows if w.phase != "measured" or w.round not in late]


def _unsent(windows: Sequence[Evidence], limits: RunLimits) -> str:
    """The window of which the smallest share was sent, if that is too small."""
    shares = {
        w.name: w.generator.sent / w.generator.planned
        for w in windows
        # Fresh processes fall behind, and what the cold fill did not read is read later.
        if w.generator.planned and w.phase != "cold_fill"
    }
    over = [w for w in windows if shares.get(w.name, 1.0) < limits.sent_share_min]
    if not over:
        return ""
    worst = min(over, key=lambda w: shares[w.name])
    return (
        f"The generator did not send all in {_windows(over)}, least in {worst.name}: sent "
        f"{worst.generator.sent} of {worst.generator.planned} planned requests; at least "
        f"{limits.sent_share_min:.0%} of a window are needed. {_LESS_LOAD}"
    )


def _late(windows: Sequence[Evidence], limits: RunLimits) -> str:
    """The window with the greatest share of late requests, if that is too great."""
    over = [w for w in windows if w.late_share > limits.late_share_max]
    if not over:
        return ""
    worst = max(over, key=lambda w: w.late_share)
    return (
        f"The generator was late in {_windows(over)}, most in {worst.name}: "
        f"{worst.generator.late} of {worst.generator.sent} requests started more than "
        f"{limits.late_ms:.0f} ms after their time; at most {limits.late_share_max:.0%} of a "
        f"window may. {_LESS_LOAD}"
    )


def _delayed(windows: Sequence[Evidence], limits: RunLimits) -> str:
    """The window with the greatest median delay, if that is too great."""
    over = [w for w in windows if w.generator.delay_ms_median > limits.late_median_ms]
    if not over:
        return ""
    worst = max(over, key=lambda w: w.generator.delay_ms_median)
    return (
        f"The generator lagged in {_windows(over)}, most in {worst.name}: half of its requests "
        f"started {worst.generator.delay_ms_median:.0f} ms or more after their time; at most "
        f"{limits.late_median_ms:.0f} ms may be the median of a window. {_LESS_LOAD}"
    )


def _windows(over: Sequence[Evidence]) -> str:
    return f"{len(over)} window{'s' if len(over) != 1 else ''}"


def judge(
    *,
    interrupted: int,
    problem: str | None,
    invalid: Sequence[str],
    unmeasured: Sequence[str],
    expectations: Sequence[ExpectationResult],
    strict: bool = False,
) -> Judgement:
    """Merge everything into one verdict; the worst wins.

    Args:
        interrupted: the exit code of the signal that stopped the run, 0 without one.
        problem: what ended it early, e.g. a server that died.
        invalid: from `invalidities`.
        unmeasured: variants without a completed measured window.
        expectations: checked against the results.
        strict: whether a run of which nothing was asked is inconclusive.
    """
    if interrupted:
        text = "The run was stopped by a signal before its end. Run it again for a verdict."
        return Judgement("interrupted", interrupted, (text,))
    if problem is not None or invalid:
        first = [problem] if problem is not None else []
        return Judgement("invalid", EXIT_INVALID, (*first, *invalid))
    failed = tuple(
        f"{e.variant}: {e.name} is {e.measured}, expected {e.limit}."
        for e in expectations
        if e.failed
    )
    # What was not seen in a release, or not often enough, has neither regressed nor passed.
    undecided = tuple(_undecided(e) for e in expectations if e.state == "undecided")
    if failed:
        return Judgement("regression", EXIT_REGRESSION, (*failed, *undecided))
    unseen = f"Not measured: {', '.join(unmeasured)}. See logs/ for the reason, then run again."
    open_questions = (*([unseen] if unmeasured else []), *undecided)
    if open_questions:
        return Judgement("inconclusive", EXIT_INCONCLUSIVE, open_questions)
    if not expectations:
        code = EXIT_INCONCLUSIVE if strict else EXIT_PASS
        return Judgement("observed", code, (_NOTHING_ASKED,))
    count = len(expectations)
    return Judgement("pass", EXIT_PASS, (f"{count} of {count} expectations hold.",))


def _undecided(e: ExpectationResult) -> str:
    measured = e.measured if e.not_instrumented else f"{e.measured}: undecided, {e.reason}"
    return f"{e.variant}: {e.name}, expected {e.limit}, was {measured}."
