"""``report.html``: one file that works offline, light or dark, on paper, without a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from harness.analysis.cells import CELLS
from harness.domain.result import Result
from harness.report import details, facts, ledger
from harness.report.combined_view import check_combined_view, combined_view_table
from harness.report.faults import sheet_table, timeline_table
from harness.report.figures import Figure, fault_figures, figures, freshness_figure
from harness.report.instrumented import not_instrumented
from harness.report.matrix import MARKS, headline_table, matrix_table
from harness.report.measures import measures_table, outcomes_of, refusals_table
from harness.report.numbers import count, rate
from harness.report.series import VariantSeries, series_of


def report_html(
    result: Result,
    series: Sequence[VariantSeries] | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> str:
    """The report of a run as one HTML file.

    Args:
        result: the run.
        series: shown in the chart over time; by default the windows of the run.
        manifest: machine and versions from ``manifest.json``; None leaves them out.
    """
    drawn: Sequence[Figure] = ()
    if result.variants:
        drawn = figures(result, series_of(result) if series is None else series)
    else:
        made = [freshness_figure(result), *fault_figures(result)]
        drawn = [figure for figure in made if figure.panels]
    page: str = _template().render(
        result=result,
        marks=MARKS,
        outcomes=outcomes_of(result),
        contents=_contents(result, drawn),
        figures=drawn,
        machine=facts.flat(manifest or {}),
        **_head(result),
        **_tables(result),
        **_trust(result),
    )
    return page


@cache
def _template() -> Any:
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("harness.report"), PackageLoader("harness.style", package_path="")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2")


def _head(result: Result) -> dict[str, Any]:
    g = result.generator
    holding = sum(e.passed for e in result.expectations)
    n = len(result.expectations)
    checked = [e for e in result.ledger.equations if e.status != "not_checked"]
    skipped = len(result.ledger.equations) - len(checked)
    return {
        "verdict": facts.verdict_word(result),
        "caution": facts.caution(result),
        "missing": facts.what_is_missing(result),
        "started": facts.started(result),
        "set_up": facts.set_up(result),
        "not_instrumented": not_instrumented(result),
        "nothing_planted": facts.nothing_planted(result),
        "trust": [
            (
                "Ledger",
                ledger.ledger_word(result).capitalize(),
                f"{len(checked):,} equations checked, {skipped:,} not checked",
            ),
            (
                "Expectations",
                f"{holding:,} of {n:,} hold" if n else "None",
                f"observed only: {', '.join(result.observed) or 'no variant'}",
            ),
            (
                "Load",
                f"{count(g.sent)} of {count(g.planned)} sent",
                f"{count(g.late)} late, greatest delay {rate(g.max_delay_ms)} ms",
            ),
            (
                "Answers",
                f"{count(g.answered)} of {count(g.sent)}",
                f"{count(sum(g.unanswered.values()))} unanswered",
            ),
        ],
    }


def _tables(result: Result) -> dict[str, Any]:
    return {
        "matrix": matrix_table(result),
        "headline": headline_table(result),
        "expiry": details.expiry_table(result, scopes=True),
        "combined_view": combined_view_table(result),
        "does_not_add_up": check_combined_view(result.combined_view),
        "sheet": sheet_table(result),
        "timeline": timeline_table(result),
        "measures": measures_table(result),
        "refusals": refusals_table(result),
        "others": details.other_tables(result),
        "long_tables": details.long_tables(result),
        "change_tables": details.change_tables(result),
        "expectations": facts.expectation_table(result),
        "generator": facts.generator_table(result),
        "sizing": facts.sizing_table(result),
        "switches": facts.switches_table(result),
    }


def _trust(result: Result) -> dict[str, Any]:
    return {
        "ledger_summary": ledger.ledger_summary(result),
        "unbalanced": [
            {"kind": e.kind, "text": ledger.unbalanced_text(e)} for e in ledger.unbalanced(result)
        ],
        "not_checked": ledger.not_checked_reasons(result),
        "equations": ledger.equation_table(result),
        "ledger_tables": ledger.ledger_tables(result),
        "expectation_summary": facts.expectation_summary(result),
        "generator_summary": facts.generator_summary(result.generator),
        "facts": facts.facts(result),
        "hard_coded": {n: v.hard_coded for n, v in result.variants.items() if v.hard_coded},
        "glossary": GLOSSARY,
    }


def _contents(result: Result, drawn: Sequence[Figure]) -> list[tuple[str, str]]:
    sheet = [("faults", "Faults")] if result.faults else []
    if not result.variants:
        checked = [("ledger", "Ledger")] if result.ledger.equations else []
        checked += [("expectations-section", "Expectations")] if result.expectations else []
        shown = [(f"{figure.name}-section", figure.short) for figure in drawn]
        return [*sheet, *shown, *checked, ("settings", "Settings")]
    combined = [("combined", "Combined view")] if result.combined_view else []
    return [
        ("cells", "Cells"),
        ("source-reads", "Source reads"),
        *combined,
        *sheet,
        *((f"{figure.name}-section", figure.short) for figure in drawn),
        ("figures", "Further figures"),
        ("ledger", "Ledger"),
        ("expectations-section", "Expectations"),
        ("load", "Load"),
        ("settings", "Settings"),
        ("words", "How to read this"),
    ]


class GlossaryEntry(NamedTuple):
    """One word and its meaning in this report."""

    word: str
    meaning: str


GLOSSARY = (
    GlossaryEntry(
        "variant",
        "A named set of switches of the reference proxy, or a release. Each has a fleet of "
        "replicas, a Redis and a Postgres database of its own.",
    ),
    GlossaryEntry(
        "key scope",
        "What a virtual key belongs to: team (a team, no user), user (a user, no team), member "
        "(a user in a team), shared_id (user_id equals team_id).",
    ),
    GlossaryEntry(
        "premise",
        "Something that a scenario plants and the real software does not do. It applies to all "
        "variants and is always reported as planted.",
    ),
    GlossaryEntry(
        "cell",
        "The findings for one variant and scope, the worst first; a small line names the others. "
        + " ".join(f"{cell.capitalize()}: {when}." for cell, when in CELLS.items()),
    ),
    GlossaryEntry(
        "let through",
        "A 2xx reply to a request that should have been refused: the key was blocked, expired or "
        "unknown, may not call the model, or a budget was used up.",
    ),
    GlossaryEntry(
        "not measured",
        "Shown as a dash. If a hook point of a release could not be wrapped, the figures that "
        "depend on it are not measured, and a cell that depends on it is shown only if broken.",
    ),
    GlossaryEntry(
        "source read", "A query to Postgres for an object. One source read is one statement."
    ),
    GlossaryEntry(
        "per 1,000",
        "Per 1,000 answered requests of that scope, whatever their status. A scope that had no "
        "request is absent, not 0.",
    ),
    GlossaryEntry(
        "reference line",
        "One read per object and TTL. Not a floor: rewrites and backfill can go below it by "
        "serving older data, so it is reported with the greatest entry age.",
    ),
    GlossaryEntry("tier", "Memory, in each worker; or Redis, shared by all replicas of a fleet."),
    GlossaryEntry(
        "outcome",
        "Of one lookup in one tier: hit, miss, deserialize failure, backend error. A deserialize "
        "failure is neither a hit nor a miss.",
    ),
    GlossaryEntry(
        "log pair",
        "The WARNING of the codec and the ERROR of the typed read, counted by the ERROR.",
    ),
    GlossaryEntry(
        "wrong value",
        "An object that was served with an identity or limits other than those in Postgres. A "
        "status code cannot show that a team was served as a user; this does.",
    ),
    GlossaryEntry(
        "entry age",
        "Time since the served object was read from Postgres. With two tiers it can reach twice "
        "the TTL.",
    ),
    GlossaryEntry(
        "clock",
        "For one change and worker: from the answer to the change to the start of the last request "
        "that was sent after it and got an old answer. The handler is the worker that took the "
        "change. A worker is measured if it had given an old answer, and then any.",
    ),
    GlossaryEntry(
        "promise",
        "How old an answer may be by what the operator set: memory TTL, Redis TTL and one read.",
    ),
    GlossaryEntry(
        "window",
        "One measured stretch of one fleet: a whole number of TTLs. Windows of the variants are "
        "interleaved; the cold fill is measured once, separately.",
    ),
    GlossaryEntry(
        "from intended, service",
        "Latency from when a request should have started, and from when it did. Only the first "
        "includes the time spent waiting to be sent.",
    ),
    GlossaryEntry(
        "ledger",
        "The reconciliation of what generator, replicas, Redis and Postgres each counted. A "
        "validity equation that does not balance makes the run invalid, whatever its figures.",
    ),
)
