"""A calibration as a table, and the page ``docs/calibration.md``."""

from __future__ import annotations

from harness.analysis.calibration import (
    FOLLOWS,
    LEAST_FOUND,
    LONGER,
    MOST_ALARMS,
    SHORTER,
    Calibration,
)
from harness.report.markdown import markdown_table
from harness.report.numbers import NOT_MEASURED, rate
from harness.report.table import Cell, Row, Table, cells, columns

PAGE = "docs/calibration.md"


def calibration_table(calibration: Calibration) -> Table:
    """Alarms, findings and the least detectable difference of each metric."""
    rows = [
        Row(
            Cell(name),
            cells(
                (
                    f"{one.alarms}",
                    f"{one.found_shorter}" if name in FOLLOWS else NOT_MEASURED,
                    f"{one.found_longer}" if name in FOLLOWS else NOT_MEASURED,
                    NOT_MEASURED if one.least_percent is None else f"{rate(one.least_percent)} %",
                )
            ),
        )
        for name, one in calibration.metrics.items()
    ]
    any_of_them = (calibration.alarms, calibration.found_shorter, calibration.found_longer)
    rows.append(
        Row(Cell("any metric"), cells((*map(str, any_of_them), NOT_MEASURED)), reference=True)
    )
    heads = ("alarms", f"TTL x {SHORTER:g} found", f"TTL x {LONGER:g} found", "least difference")
    return Table(
        "calibration",
        f"Of {calibration.pairs} pairs of fleets of {calibration.variant}",
        "metric",
        columns(heads),
        tuple(rows),
        outcome(calibration),
    )


def outcome(calibration: Calibration) -> str:
    """Whether it passed, in a sentence."""
    c = calibration
    if not c.pairs:
        return f"Too few rounds: a pair takes {c.rounds[1]}. Measure more pairs."
    said = "Passed" if c.passed else "Not passed"
    return (
        f"{said}: at most {MOST_ALARMS} alarms and at least {LEAST_FOUND} findings of each planted "
        f"TTL are asked for. {c.real_alarms} of the {c.real_pairs} pairs that were measured "
        f"alarmed; the others are drawn from their rounds.{_left_out(c)}"
        f"{_biased(c)}"
    )


def _biased(calibration: Calibration) -> str:
    if not calibration.biased:
        return " Over all rounds together the equal fleets do not differ."
    return f" Over all rounds together the equal fleets differ: {', '.join(calibration.biased)}."


def _left_out(calibration: Calibration) -> str:
    if not calibration.left_out:
        return ""
    return f" Rounds left out, because a window was driven late: {calibration.left_out}."


def calibration_page(calibration: Calibration | None) -> str:
    """The page that the docs have."""
    head = (
        "# What the instrument can tell apart\n\n"
        "`make aa` drives one variant twice under two names, and twice more with a planted TTL, in "
        "the same rounds, and writes this page. An alarm is a pair of equal fleets in which the "
        "interval of any metric's ratio excludes 1, 95 % over all metrics and looks. A planted TTL "
        "is found where it excludes 1 on the side to which that TTL moves the metric; latencies, "
        "which no TTL moves, can only alarm. The least difference is what four of five pairs find. "
        "A metric without alarms that finds nothing cannot move: it proves nothing.\n\n"
    )
    if calibration is None:
        return f"{head}There is no calibration yet.\n"
    c = calibration
    looks = f"{c.rounds[0]}" if c.rounds[0] == c.rounds[1] else f"{c.rounds[0]} to {c.rounds[1]}"
    settings = (
        f"{c.date[:10]}, scenario `{c.scenario}`, {c.replicas} replicas, {looks} rounds a pair, "
        f"{c.real_pairs} measured pairs.\n\n"
    )
    return f"{head}{settings}{markdown_table(calibration_table(c))}\n"
