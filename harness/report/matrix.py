"""The two main tables: the cells, and source reads with the reference line."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.rounds import measured
from harness.authcache.words import LOAD_SCOPES
from harness.domain.result import Cell as CellName
from harness.domain.result import Result, VariantResult, in_order
from harness.domain.series import ALL
from harness.report.freshness import CLAIMS, UNTESTED, slowest_cell, untested
from harness.report.instrumented import noted
from harness.report.numbers import NOT_MEASURED, between, rate, spread
from harness.report.table import Cell, Column, Row, Table

SCOPE_NOTES = {
    "team": "a team, no user",
    "user": "a user, no team",
    "shared_id": "user_id equals team_id",
    "member": "a user in a team",
}
CELL_MARKS = {"hidden": "◐", "broken": "✕", "stale": "◷", "wasteful": "▲", "healthy": "✓"}
"""A shape for each cell, so that colour is never the only signal."""
FAULT_MARKS = {"invalid": "?", "wrong": "◐", "outage": "✕", "degraded": "▲", "unaffected": "✓"}
"""Likewise for what a fault did."""
MARKS = CELL_MARKS | FAULT_MARKS
SLOWEST = "slowest clock"
_PARTS = 2
FAILS = "fails an expectation"
"""Start of the reason of a cell that fails an expectation of the scenario."""


def scopes_of(result: Result) -> list[str]:
    """The scopes in which any variant had requests. A scope without requests is left out."""
    return in_order((s for v in result.variants.values() for s in v.requests), LOAD_SCOPES)


def reference_line(result: Result, scope: str) -> tuple[float, float] | None:
    """Least and greatest reference line of a scope: variants differ slightly in requests."""
    lines = [
        v.reference_line_per_1000[scope]
        for v in result.variants.values()
        if scope in v.reference_line_per_1000
    ]
    return (min(lines), max(lines)) if lines else None


def reference_text(result: Result, scope: str) -> str:
    """The reference line as text: one figure if all variants agree, else a range."""
    line = reference_line(result, scope)
    if line is None:
        return NOT_MEASURED
    return between(rate(line[0]), rate(line[1]))


def matrix_table(result: Result) -> Table:
    """The cell of each variant and scope, its reason in a few words; last its slowest clock."""
    scopes = scopes_of(result)
    failed = {(e.variant, e.scope) for e in result.expectations if e.failed}
    rows = tuple(
        Row(
            Cell(name, variant_note(name, variant, result)),
            (
                *(_matrix_cell(variant, scope, (name, scope) in failed) for scope in scopes),
                *([slowest_cell(result.freshness.get(name, {}))] if result.freshness else []),
            ),
        )
        for name, variant in result.variants.items()
    )
    return Table(
        "matrix",
        "Cells: what each cache variant does to each key scope",
        "variant",
        (
            *(Column(s, SCOPE_NOTES.get(s, ""), numeric=False) for s in scopes),
            *([Column(SLOWEST, "of all changes", numeric=False)] if result.freshness else []),
        ),
        rows,
        "A cell is the worst that applies of hidden, broken, stale, wasteful, healthy.",
    )


def variant_note(name: str, variant: VariantResult, result: Result) -> str:
    """The variant's title, its changed switches, and whether it is only observed."""
    parts = [variant.title]
    if variant.overridden:
        parts.append(f"changed on the command line: {', '.join(variant.overridden)}")
    if name in result.observed:
        parts.append("observed: no expectation")
    return " · ".join(part for part in parts if part)


def headline_table(result: Result) -> Table:
    """Source reads per 1,000 requests by scope, with the range; last the reference line."""
    scopes = scopes_of(result)
    keys = [*scopes, ALL]
    rows = [
        Row(Cell(name), tuple(_reads(variant, key) for key in keys))
        for name, variant in result.variants.items()
    ]
    line = tuple(Cell(reference_text(result, key), tone="quiet") for key in keys)
    rows.append(Row(Cell("reference line"), line, reference=True))
    return Table(
        "headline",
        "Source reads per 1,000 requests",
        "variant",
        (*(Column(s, SCOPE_NOTES.get(s, "")) for s in scopes), Column(ALL)),
        tuple(rows),
        f"{_what_figures_are(result)} The reference line is one read per object and TTL. It is "
        "not a floor: a variant can go below it by serving older data, so read it with the "
        "greatest entry age.",
    )


def rounds_text(result: Result) -> str:
    """The number of rounds as text; a range where a run was cut short within one."""
    least = result.rounds
    if not result.complete:
        least = min((len(measured(v)) for v in result.variants.values()), default=least)
    return f"{between(str(least), str(result.rounds))} round{'s' * (result.rounds != 1)}"


def _what_figures_are(result: Result) -> str:
    if result.rounds == 1:
        return "One round: a single figure, no range."
    return f"All {rounds_text(result)} together, range over them below."


def worst(cells: Sequence[CellName], *notes: str, untested: bool = False) -> Cell:
    """The worst of the cells of a scope, with the others and what is said of them as its note.

    Args:
        cells: of the scope.
        notes: said of them.
        untested: whether the scope's freshness was not tested.
    """
    if not cells:
        return Cell(NOT_MEASURED, "; ".join(filter(None, notes)), tone="quiet")
    others = f"also {', '.join(cells[1:])}" if cells[1:] else ""
    note = "; ".join(filter(None, (*notes[:-1], others, *notes[-1:])))
    return Cell(cells[0], note, cells[0], UNTESTED if untested and cells[0] in CLAIMS else "")


def _matrix_cell(variant: VariantResult, scope: str, failed: bool) -> Cell:
    cells, reason = variant.cells.get(scope, []), variant.cell_reasons.get(scope, "")
    said = FAILS if failed and cells else ""
    return worst(
        cells, said, _brief(reason) if cells else reason, untested=untested(variant, scope)
    )


def _brief(reason: str) -> str:
    """The first parts of a reason, without their details: `reasons_table` has all."""
    return "; ".join(part.partition(": ")[0] for part in reason.split("; ")[:_PARTS])


def reasons_table(result: Result) -> Table:
    """Every cell that is not healthy, with all that applies and all reasons, by variant."""
    rows = tuple(
        Row(Cell(name), (Cell(scope), Cell(", ".join(cells)), Cell(variant.cell_reasons[scope])))
        for name, variant in result.variants.items()
        for scope in in_order(variant.cells, LOAD_SCOPES)
        if (cells := variant.cells[scope]) and cells != ["healthy"]
    )
    names = ("scope", "cells", "reasons")
    columns = tuple(Column(label, numeric=False) for label in names)
    return Table("reasons", "Cells: all reasons", "variant", columns, rows)


def _reads(variant: VariantResult, key: str) -> Cell:
    cell = Cell(
        rate(variant.source_reads_per_1000.get(key)),
        spread(variant.source_reads_per_1000_range.get(key)),
    )
    return noted(cell, variant, "source_reads" if key == ALL else "source_reads_by_scope")
