"""The report in the terminal at the end of a run: verdict first, at most 100 columns wide."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from harness.domain.result import Result
from harness.report import facts, ledger
from harness.report.combined_view import check_combined_view, combined_view_table
from harness.report.details import expiry_table
from harness.report.faults import sheet_table
from harness.report.freshness import freshness_table
from harness.report.grid import TONES, draw, page_width, say
from harness.report.instrumented import not_instrumented
from harness.report.matrix import CELL_MARKS, FAILS, headline_table, matrix_table
from harness.report.measures import measures_table
from harness.report.table import Tone

_VERDICT_STYLES = {
    "pass": "bold green",
    "regression": "bold red",
    "invalid": "bold red",
    "inconclusive": "bold yellow",
    "interrupted": "bold yellow",
    "observed": "bold",
}


def print_result(result: Result, console: Console, run_dir: Path | None = None) -> None:
    """Print a whole run. ``run_dir`` is where its files are, by default ``runs/<run id>``.

    Colours and bold depend on the console: if it is not a terminal, the text is plain.
    """
    _verdict(result, console)
    if result.variants:
        _figures(result, console)
    elif result.freshness or result.faults:
        if result.faults:
            draw(console, sheet_table(result))
        if result.freshness:
            draw(console, freshness_table(result))
        _ledger(result, console)
        if result.expectations:
            _expectations(result, console)
    elif result.ledger.equations:
        _ledger(result, console)
    _files(result, console, run_dir or Path("runs") / result.run_id)


def _figures(result: Result, console: Console) -> None:
    _premises(result, console)
    draw(console, matrix_table(result), notes=False)
    _reasons(result, console)
    if result.freshness:
        draw(console, freshness_table(result))
    if result.faults:
        draw(console, sheet_table(result))
    draw(console, headline_table(result))
    draw(console, expiry_table(result, scopes=False))
    draw(console, measures_table(result), notes=False)
    _combined_view(result, console)
    console.print()
    _ledger(result, console)
    say(console, facts.generator_summary(result.generator))
    _expectations(result, console)
    console.print()
    for note in result.notes:
        say(console, f"Note: {note}", "dim")


def _verdict(result: Result, console: Console) -> None:
    line = Text(facts.verdict_word(result).upper(), style=_VERDICT_STYLES[result.verdict])
    line.append(f" (exit code {result.exit_code})  {result.scenario}: {result.title}", style="")
    console.print(line, width=page_width(console))
    if caution := facts.caution(result):
        say(console, caution, "bold red")
    for reason in result.reasons:
        say(console, f"- {reason}", indent=2)
    if missing := facts.what_is_missing(result):
        say(console, f"- {missing}", indent=2)
    say(console, facts.set_up(result), "dim")


def _premises(result: Result, console: Console) -> None:
    for premise in result.premises:
        say(console, f"Planted: {premise}", "yellow")
    if not result.premises:
        say(console, facts.nothing_planted(result), "dim")


def _reasons(result: Result, console: Console) -> None:
    table = matrix_table(result)
    where: dict[tuple[Tone, str], list[str]] = {}
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            worth_saying = cell.tone != "healthy" or cell.note.startswith(FAILS)
            if worth_saying and cell.note:
                place = f"{row.head.text} {column.label}"
                where.setdefault((cell.tone, cell.note), []).append(place)
    for (tone, reason), places in where.items():
        word = f"{tone}: " if tone in CELL_MARKS else ""
        say(console, f"{word}{', '.join(places)}: {reason}", TONES[tone].removeprefix("bold "))
    for name, variant in result.variants.items():
        if variant.overridden:
            switches = ", ".join(variant.overridden)
            say(console, f"{name} was changed on the command line: {switches}", "yellow")
    for line in not_instrumented(result):
        say(console, line, "yellow")


def _combined_view(result: Result, console: Console) -> None:
    table = combined_view_table(result)
    if table is None:
        return
    draw(console, table)
    faults = check_combined_view(result.combined_view)
    for fault in faults:
        say(console, f"does not add up: {fault}", "bold red")
    if not faults:
        say(console, "The rows add up.", "dim")


def _ledger(result: Result, console: Console) -> None:
    style = "bold red" if result.ledger.balanced is False else ""
    say(console, ledger.ledger_summary(result), style)
    for equation in ledger.unbalanced(result):
        tone = "red" if equation.kind == "validity" else "yellow"
        say(console, f"- {ledger.unbalanced_text(equation)}", tone, indent=2)
    for reason in ledger.not_checked_reasons(result):
        say(console, f"- not checked: {reason}", "dim", indent=2)


def _expectations(result: Result, console: Console) -> None:
    failed = facts.failed_expectations(result)
    say(console, facts.expectation_summary(result), "bold red" if failed else "")
    for expectation in failed:
        say(console, f"- failed: {facts.expectation_text(expectation)}", "red", indent=2)
    for expectation in facts.undecided_expectations(result):
        say(console, f"- undecided: {facts.expectation_text(expectation)}", "yellow", indent=2)


def _files(result: Result, console: Console, run_dir: Path) -> None:
    # One line, never wrapped, so that the path can be copied.
    logs = "" if facts.measured(result) else ", logs/"
    text = Text(f"Files: {run_dir}/ (report.html, summary.md, result.json{logs})")
    console.print(text, soft_wrap=True)
