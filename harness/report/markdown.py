"""``summary.md``: the tables of a run, short enough for a pull request comment."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from harness.domain.result import Result
from harness.report import facts, ledger
from harness.report.combined_view import check_combined_view, combined_view_table
from harness.report.details import expiry_table
from harness.report.faults import callers_table, servers_table, sheet_table
from harness.report.freshness import clocks_table, freshness_table
from harness.report.instrumented import not_instrumented
from harness.report.matrix import FAILS, MARKS, headline_table, matrix_table
from harness.report.measures import has_refusals, measures_table, refusals_table
from harness.report.table import Cell, Row, Table

_SPECIAL = re.compile(r"[\\`*\[\]<>|#~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def summary_markdown(result: Result) -> str:
    """The run as GitHub-flavoured Markdown, the matrix first."""
    parts = [
        f"## {escape(result.scenario)}: {facts.verdict_word(result).lower()}",
        escape(result.title),
        *(_measured(result) if result.variants else _not_measured(result)),
        _fold("Settings", _settings(result)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _measured(result: Result) -> list[str]:
    return [
        markdown_table(_terse(matrix_table(result))),
        _verdict(result),
        _premises(result),
        markdown_table(freshness_table(result)) if result.freshness else "",
        *_faults(result),
        markdown_table(headline_table(result)),
        markdown_table(expiry_table(result, scopes=False)),
        *_combined_view(result),
        _trust(result),
        _fold("Changes", markdown_table(clocks_table(result))) if result.freshness else "",
        _fold("Other measures", markdown_table(measures_table(result))),
        _fold("Refusals", markdown_table(refusals_table(result))) if has_refusals(result) else "",
        _fold("All expectations", markdown_table(facts.expectation_table(result)))
        if result.expectations
        else "",
    ]


def _not_measured(result: Result) -> list[str]:
    lines = _ledger(result) if result.ledger.equations else []
    lines += _expectations(result) if result.expectations else []
    changes = [freshness_table(result), clocks_table(result)] if result.freshness else []
    return [_verdict(result), *_faults(result), *map(markdown_table, changes), "\n".join(lines)]


def _faults(result: Result) -> list[str]:
    if not result.faults:
        return []
    return [
        markdown_table(sheet_table(result)),
        _fold("What callers saw of each fault", markdown_table(callers_table(result))),
        _fold("What servers and books saw of it", markdown_table(servers_table(result))),
    ]


def markdown_table(table: Table) -> str:
    """One table as a pipe table below its caption in bold."""
    head = [table.corner, *(column.label for column in table.columns)]
    marks = [":---", *("---:" if column.numeric else ":---" for column in table.columns)]
    lines = [_line(escape(label) for label in head), _line(marks)]
    lines += [_line(_row(table, row)) for row in table.rows]
    body = f"**{escape(table.caption)}**\n\n" + "\n".join(lines)
    return f"{body}\n\n{escape(table.foot)}" if table.foot else body


def escape(text: str) -> str:
    """Text that Markdown shows unchanged, on one line of a table.

    An underscore within a word is not markup on GitHub, so names stay as they are.
    """
    text = _SPECIAL.sub(r"\\\g<0>", text)
    return text.replace("\r", "").replace("\n", "<br>")


def bullets(lines: Iterable[str]) -> str:
    """A list of plain texts."""
    return "\n".join(f"- {escape(line)}" for line in lines)


def _line(fields: Iterable[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _row(table: Table, row: Row) -> list[str]:
    name = row.head.text
    if row.reference:
        head = f"*{escape(name)}*"
    else:
        head = f"`{name}`" if table.code and "`" not in name and "|" not in name else escape(name)
    # Notes of row headings are the variants' titles, which are too wide for a comment.
    return [head, *(_cell(cell) for cell in row.cells)]


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.text == cell.tone:
        text = f"{MARKS[cell.text]} **{text}**"
    text = f"{text}, {escape(cell.more)}" if cell.more else text
    return f"{text}<br><sub>{escape(cell.note)}</sub>" if cell.note else text


def _terse(matrix: Table) -> Table:
    """The matrix without the reasons of healthy cells, which are alike and take up room."""

    def shorten(cell: Cell) -> Cell:
        if cell.tone != "healthy":
            return cell
        return replace(cell, note=FAILS if cell.note.startswith(FAILS) else "")

    rows = (replace(row, cells=tuple(map(shorten, row.cells))) for row in matrix.rows)
    return replace(matrix, rows=tuple(rows))


def _verdict(result: Result) -> str:
    line = f"**{facts.verdict_word(result)}** (exit code {result.exit_code})"
    said = (facts.caution(result), *result.reasons, facts.what_is_missing(result))
    reasons = bullets(part for part in said if part)
    overridden = bullets(
        f"{name} was changed on the command line: {', '.join(v.overridden)}"
        for name, v in result.variants.items()
        if v.overridden
    )
    unwrapped = bullets(not_instrumented(result))
    lists = "\n".join(part for part in (reasons, overridden, unwrapped) if part)
    return f"{line}\n\n{lists}" if lists else line


def _premises(result: Result) -> str:
    if not result.premises:
        return facts.nothing_planted(result)
    return "\n>\n".join(f"> **Planted:** {escape(premise)}" for premise in result.premises)


def _combined_view(result: Result) -> list[str]:
    table = combined_view_table(result)
    if table is None:
        return []
    faults = check_combined_view(result.combined_view)
    verdict = bullets(f"does not add up: {f}" for f in faults) or "The rows add up."
    return [markdown_table(table), verdict]


def _ledger(result: Result) -> list[str]:
    return [
        f"- {escape(ledger.ledger_summary(result))}",
        *(f"  - {escape(ledger.unbalanced_text(e))}" for e in ledger.unbalanced(result)),
        *(f"  - not checked: {escape(r)}" for r in ledger.not_checked_reasons(result)),
    ]


def _trust(result: Result) -> str:
    lines = _ledger(result)
    lines.append("- " + escape(facts.generator_summary(result.generator)))
    return "\n".join([*lines, *_expectations(result)])


def _expectations(result: Result) -> list[str]:
    return [
        "- " + escape(facts.expectation_summary(result)),
        *(
            f"  - failed: {escape(facts.expectation_text(e))}"
            for e in facts.failed_expectations(result)
        ),
    ]


def _settings(result: Result) -> str:
    pairs = [f"{name}: {value}" for name, value in facts.facts(result)]
    return f"{bullets([facts.set_up(result), *pairs, *result.notes])}"


def _fold(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"
