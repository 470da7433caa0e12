"""The table of PR #26202, and a check of its arithmetic.

The pull request published calls, total and average time and rows of the combined view after 5 and
after 10 minutes. Its second table cannot be right: 41 more calls took no time at all. The table of
this harness is checked by the same rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from harness.domain.result import CombinedViewRow, Result
from harness.report.numbers import count, plain, rate
from harness.report.table import Cell, Column, Row, Table

_LEAST_DECIMALS = 2
"""Least decimals assumed for a published time: 0.20 arrives here as 0.2."""
_NOISE = 1e-9
"""Relative error of binary floating point, with a margin."""


def check_combined_view(rows: Sequence[CombinedViewRow]) -> list[str]:
    """Contradictions in these rows; empty if they add up.

    The combined view is a point query by token: a call returns one row or none. A longer window
    of one variant contains the shorter one, so none of its figures may be smaller.
    """
    faults: list[str] = []
    for row in rows:
        faults += [f"{_name(row)}: {fault}" for fault in _check_row(row)]
    for variant in dict.fromkeys(row.variant for row in rows):
        ordered = sorted((r for r in rows if r.variant == variant), key=lambda r: r.window_s)
        for inner, outer in pairwise(ordered):
            faults += [f"{_name(outer)}: {fault}" for fault in _check_pair(inner, outer)]
    return faults


def combined_view_table(result: Result) -> Table | None:
    """The table, or None if the run did not measure it."""
    if not result.combined_view:
        return None
    rows = tuple(
        Row(
            Cell(row.variant),
            (
                Cell(plain(row.window_s)),
                Cell(count(row.calls)),
                Cell(f"{row.total_ms:,.2f}"),
                Cell(f"{row.avg_ms:,.3f}"),
                Cell(count(row.rows)),
                Cell(rate(row.expected_calls)),
            ),
        )
        for row in result.combined_view
    )
    labels = (
        Column("window, s"),
        Column("calls"),
        Column("total_ms"),
        Column("avg_ms"),
        Column("rows"),
        Column("expected calls", "of this variant"),
    )
    return Table(
        "combined-view",
        "The combined view in Postgres, as PR #26202 tabled it",
        "variant",
        labels,
        rows,
        "From pg_stat_statements, counted from the start of the window: the longer window of a "
        "variant contains the shorter. Expected without Redis: one call per worker, key and TTL. "
        "With it: one per key and TTL, or one per key where requests write the key back before it "
        "expires. A dash: no formula holds. Concurrent misses add to what is expected.",
    )


def _check_row(row: CombinedViewRow) -> list[str]:
    faults = []
    if row.calls == 0:
        if row.total_ms or row.avg_ms or row.rows:
            faults.append("no calls, but time or rows")
        return faults
    mean = row.total_ms / row.calls
    slack = _half_step(row.avg_ms) + _half_step(row.total_ms) / row.calls + _NOISE * mean
    if abs(row.avg_ms - mean) > slack:
        faults.append(
            f"avg_ms is {plain(row.avg_ms)}, but total_ms / calls is "
            f"{plain(row.total_ms)} / {row.calls:,} = {mean:.3g}"
        )
    if row.rows > row.calls:
        faults.append(f"{row.rows:,} rows from {row.calls:,} calls of a point query")
    return faults


def _check_pair(inner: CombinedViewRow, outer: CombinedViewRow) -> list[str]:
    contained = f"than in the {plain(inner.window_s)} s that it contains"
    faults = [
        f"{field} is smaller {contained}: {plain(theirs)} < {plain(ours)}"
        for field in ("calls", "total_ms", "rows")
        if (theirs := getattr(outer, field)) < (ours := getattr(inner, field))
    ]
    more = outer.calls - inner.calls
    if more > 0 and outer.total_ms == inner.total_ms:
        faults.append(
            f"{more:,} more calls {contained}, in the same total_ms: {plain(outer.total_ms)}"
        )
    return faults


def _half_step(value: float) -> float:
    """Half of the last decimal that a printed figure shows: its rounding error."""
    exponent = Decimal(repr(value)).normalize().as_tuple().exponent
    decimals = max(_LEAST_DECIMALS, -exponent if isinstance(exponent, int) else 0)
    return 0.5 * 10.0**-decimals


def _name(row: CombinedViewRow) -> str:
    return f"{row.variant}, {plain(row.window_s)} s"
