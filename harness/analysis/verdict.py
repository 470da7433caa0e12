"""The verdict: one word, an exit code, and the reasons. Invalid outranks every number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from harness.domain.result import ExpectationResult, Generator, Ledger
from harness.domain.series import INSTRUMENT_ERROR_TYPES, INSTRUMENT_ERRORS
from harness.errors import (
    EXIT_INCONCLUSIVE,
    EXIT_INVALID,
    EXIT_PASS,
    EXIT_REGRESSION,
)
from harness.observe.evidence import Evidence
from harness.scenario.schema import RunLimits

Word = Literal["pass", "regression", "inconclusive", "invalid", "interrupted"]


_LESS_LOAD = (
    "The machine is too busy for this load: stop other programs that use the CPUs, use fewer "
    "replicas, or lower load.rate_per_s in the scenario; then run again."
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict with its exit code and reasons, the most important first."""

    word: Word
    exit_code: int
    reasons: tuple[str, ...]


def invalidities(
    windows: Sequence[Evidence], ledger: Ledger, generator: Generator, limits: RunLimits
) -> list[str]:
    """Why the numbers of a run cannot be trusted; empty when they can."""
    reasons = [
        f"Counters fell in window {w.name}: {', '.join(w.fallen)}. A worker was replaced. See "
        "logs/ for why it ended, then run again."
        for w in windows
        if w.fallen
    ]
    reasons += _instrument_errors(windows)
    reasons += [
        f"The ledger does not balance: {e.name} of {e.variant} in {e.window}: "
        f"{e.left:.0f} against {e.right:.0f}. report.html has the whole ledger, snapshots/ has "
        "the counts of that window."
        for e in ledger.equations
        if e.kind == "validity" and e.status == "unbalanced"
    ]
    if generator.planned and generator.sent / generator.planned < limits.sent_share_min:
        reasons.append(
            f"The generator sent {generator.sent} of {generator.planned} planned requests; "
            f"at least {limits.sent_share_min:.0%} are needed. {_LESS_LOAD}"
        )
    if generator.sent and generator.late / generator.sent > limits.late_share_max:
        reasons.append(
            f"The generator was late: {generator.late} of {generator.sent} requests started more "
            f"than {limits.late_ms:.0f} ms after their time; at most {limits.late_share_max:.0%} "
            f"may. {_LESS_LOAD}"
        )
    return reasons


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


def judge(
    *,
    interrupted: int,
    problem: str | None,
    invalid: Sequence[str],
    unmeasured: Sequence[str],
    expectations: Sequence[ExpectationResult],
) -> Judgement:
    """Merge everything into one verdict; the worst wins.

    Args:
        interrupted: the exit code of the signal that stopped the run, 0 without one.
        problem: what ended it early, e.g. a server that died.
        invalid: from `invalidities`.
        unmeasured: variants without a completed measured window.
        expectations: checked against the results.
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
    # A release that was not fully instrumented has neither regressed nor passed.
    unseen = tuple(
        f"{e.variant}: {e.name}, expected {e.limit}, was {e.measured}."
        for e in expectations
        if e.not_instrumented
    )
    if failed:
        return Judgement("regression", EXIT_REGRESSION, (*failed, *unseen))
    if unmeasured:
        text = f"Not measured: {', '.join(unmeasured)}. See logs/ for the reason, then run again."
        return Judgement("inconclusive", EXIT_INCONCLUSIVE, (text,))
    if unseen:
        return Judgement("inconclusive", EXIT_INCONCLUSIVE, unseen)
    count = len(expectations)
    text = f"{count} of {count} expectations hold." if count else "No expectation was set."
    return Judgement("pass", EXIT_PASS, (text,))
