"""What a reader needs besides the figures: verdict, health, expectations, settings, words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from harness.domain.result import ExpectationResult, Generator, Result, VariantResult
from harness.report.instrumented import NOTE
from harness.report.matrix import rounds_text
from harness.report.numbers import NOT_MEASURED, TIMES, between, count, plain, plural, rate, share
from harness.report.table import Cell, Column, Row, Table

VERDICT_WORDS = {
    "pass": "Pass",
    "regression": "Regression",
    "inconclusive": "Inconclusive",
    "invalid": "Invalid run",
    "interrupted": "Interrupted",
    "observed": "Observed",
}


def verdict_word(result: Result) -> str:
    """The verdict as a word for a heading."""
    return VERDICT_WORDS[result.verdict]


def nothing_planted(result: Result) -> str:
    """What a run without premises says of them."""
    if result.faults:
        return "Faults are planted, each in a window of its own, and nothing else."
    return "Nothing is planted in this run."


def measured(result: Result) -> bool:
    """Whether the run has any figures."""
    return bool(result.variants or result.freshness or result.faults)


def caution(result: Result) -> str:
    """A warning above the figures of an invalid run; empty for others."""
    if result.verdict == "invalid" and measured(result):
        return "The run is invalid: its figures are shown for debugging only."
    return ""


def what_is_missing(result: Result) -> str:
    """What a run that ended early lacks; empty for a complete one."""
    if not measured(result):
        return (
            "Nothing was measured, so there are no figures. The servers' logs are in logs/ of the "
            "run's folder."
        )
    return "" if result.complete else "The run was cut short; completed windows are kept."


def started(result: Result) -> str:
    """When the run started, as readable text; unchanged if it is not an ISO 8601 time."""
    try:
        at = datetime.fromisoformat(result.started_at)
    except ValueError:
        return result.started_at
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def set_up(result: Result) -> str:
    """Replicas, TTL and, where anything was measured, rounds in one line."""
    workers = f" {TIMES} {plural(result.workers, 'worker')}" if result.workers != 1 else ""
    scaled = f" (time scale {plain(result.time_scale)})" if result.time_scale != 1 else ""
    names = result.variants or result.freshness or result.faults
    variants = f"{plural(len(names), 'variant')}, " if names else ""
    rounds = f"{rounds_text(result)}, " if names else ""
    return (
        f"{plural(result.replicas, 'replica')}{workers}, TTL {plain(result.ttl_s)} s{scaled}, "
        f"{rounds}{variants}stack {result.stack}"
    )


def generator_summary(generator: Generator) -> str:
    """One line about the health of the load generator."""
    unanswered = sum(generator.unanswered.values())
    kinds = ", ".join(f"{kind} {n:,}" for kind, n in generator.unanswered.items() if n)
    return (
        f"Generator: {count(generator.sent)} of {count(generator.planned)} planned requests sent, "
        f"{count(generator.answered)} answered, {unanswered:,} unanswered"
        f"{f' ({kinds})' if kinds else ''}, {generator.late:,} late, "
        f"greatest delay {rate(generator.max_delay_ms)} ms."
    )


def generator_table(result: Result) -> Table:
    """Generator health, one row per figure."""
    g = result.generator
    unanswered = "\n".join(f"{kind} {n:,}" for kind, n in g.unanswered.items() if n)
    figures = {
        "planned requests": Cell(count(g.planned)),
        "sent": Cell(count(g.sent), share(g.sent, g.planned)),
        "answered": Cell(count(g.answered), share(g.answered, g.sent)),
        "unanswered": Cell(count(sum(g.unanswered.values())), unanswered),
        "late": Cell(count(g.late), share(g.late, g.sent)),
        "late, in the worst window": Cell(share(g.late_share_max, 1)),
        "greatest delay, ms": Cell(rate(g.max_delay_ms)),
        "median delay, in the worst window, ms": Cell(rate(g.median_delay_ms)),
        "share of all CPU": Cell(share(g.cpu_share, 1)),
        "least loaded replica, times its fair share": Cell(f"{g.replica_share_min:.2f}"),
        "most loaded replica, times its fair share": Cell(f"{g.replica_share_max:.2f}"),
    }
    rows = tuple(Row(Cell(label), (cell,)) for label, cell in figures.items())
    return Table("generator", "Load generator", "figure", (Column("value"),), rows, code=False)


def failed_expectations(result: Result) -> list[ExpectationResult]:
    """Expectations whose measured figure does not meet them."""
    return [e for e in result.expectations if e.failed]


def undecided_expectations(result: Result) -> list[ExpectationResult]:
    """Expectations that neither hold nor fail."""
    return [e for e in result.expectations if e.state == "undecided"]


def expectation_summary(result: Result) -> str:
    """One line: how many expectations hold."""
    n = len(result.expectations)
    if not n and set(result.variants) <= set(result.observed):
        return "No expectations: every variant is observed only."
    if not n:
        return "Expectations: none applies to a measured variant."
    holding = sum(e.passed for e in result.expectations)
    failed = len(failed_expectations(result))
    undecided = len(undecided_expectations(result))
    tail = f", {undecided:,} undecided" if undecided else ""
    line = f"Expectations: {holding:,} of {n:,} hold, {failed:,} failed{tail}."
    observed = ", ".join(result.observed)
    return f"{line} Observed only: {observed}." if observed else line


def expectation_text(e: ExpectationResult) -> str:
    """One expectation in full."""
    known = f" ({interval_text(e)})" if e.estimate is not None and e.low != e.high else ""
    text = f"{e.variant}, scope {e.scope}, {e.name}: measured {e.measured}{known}"
    why = f"; {e.reason}" if e.reason and e.reason != e.measured else ""
    return f"{text}, expected {e.limit}{why}"


def interval_text(e: ExpectationResult) -> str:
    """The interval of an expectation's estimate; a dash where it has none."""
    if e.estimate is None or e.low is None or e.low == e.high:
        return NOT_MEASURED
    if e.high is None:
        return f"above {rate(e.low)}"
    return f"below {rate(e.high)}" if not e.estimate else between(rate(e.low), rate(e.high))


def expectation_table(result: Result) -> Table:
    """All expectations, the failed ones first, then the undecided ones."""
    ordered = sorted(result.expectations, key=lambda e: (e.passed, not e.failed))
    rows = tuple(
        Row(
            Cell(e.variant),
            (
                Cell(e.scope),
                Cell(e.name),
                Cell(e.measured),
                Cell(interval_text(e)),
                Cell(e.limit),
                _outcome(e),
            ),
        )
        for e in ordered
    )
    labels = ("scope", "expectation", "measured", "interval", "limit", "outcome")
    return Table(
        "expectations",
        "Expectations",
        "variant",
        tuple(Column(label, numeric=False) for label in labels),
        rows,
        "The chance that any interval of the run misses the truth on the side of its limit is at "
        "most 5 %. A cell's interval counts, per 1,000 replies, those that speak for the cell, of "
        "a healthy one those against it.",
    )


def _outcome(e: ExpectationResult) -> Cell:
    if e.state != "undecided":
        return Cell(e.state, tone="healthy" if e.passed else "broken")
    return Cell(NOTE if e.not_instrumented else "undecided", e.reason, tone="wasteful")


def sizing_table(result: Result) -> Table:
    """The sizing rule by scope."""
    rows = tuple(
        Row(
            Cell(s.scope),
            (
                Cell(count(s.keys)),
                Cell(count(s.objects)),
                Cell(rate(s.requests_per_ttl)),
                Cell(rate(s.requests_per_object)),
            ),
        )
        for s in result.sizing
    )
    labels = ("keys", "objects", "requests per TTL", "requests per object and TTL")
    return Table(
        "sizing",
        "Sizing: how much load each object gets",
        "scope",
        tuple(Column(label) for label in labels),
        rows,
        "With few requests per object and TTL most reads would be first reads, "
        "and variants would look alike.",
    )


def flat(nested: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A manifest as pairs of name and value: nested values get dotted names."""
    pairs: list[tuple[str, str]] = []
    for name, value in nested.items():
        if isinstance(value, Mapping):
            pairs += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            pairs.append((prefix + name, " ".join(map(str, value)) or NOT_MEASURED))
        else:
            pairs.append((prefix + name, NOT_MEASURED if value is None else str(value)))
    return pairs


def facts(result: Result) -> list[tuple[str, str]]:
    """Settings of the run as pairs of name and value."""
    variants = [f"{n} ({v.target} {v.version})" for n, v in result.variants.items()]
    pairs = [
        ("run", result.run_id),
        ("scenario", result.scenario),
        ("started", started(result)),
        ("elapsed", f"{result.elapsed_s:,.0f} s"),
        ("complete", "yes" if result.complete else "no"),
        ("stack", result.stack),
        ("replicas", count(result.replicas)),
        ("workers per replica", count(result.workers)),
        ("TTL after scaling", f"{plain(result.ttl_s)} s"),
        ("time scale", plain(result.time_scale)),
        ("rounds", rounds_text(result).partition(" ")[0] if measured(result) else ""),
        ("seed", str(result.seed)),
        ("exit code", str(result.exit_code)),
        ("variants", ", ".join(variants)),
    ]
    return [(name, value) for name, value in pairs if value]


def switches_table(result: Result) -> Table:
    """Every switch of every variant."""
    base = next(iter(result.variants.values()), None)
    names = list(dict.fromkeys(s for v in result.variants.values() for s in v.switches))
    rows = tuple(
        Row(Cell(name), tuple(_switch(v, name, base) for v in result.variants.values()))
        for name in names
    )
    columns = tuple(Column(name, numeric=False) for name in result.variants)
    return Table(
        "switches", "Switches", "switch", columns, rows,
        "Bold differs from the first variant; * was changed on the command line.",
    )  # fmt: skip


def _switch(variant: VariantResult, name: str, base: VariantResult | None) -> Cell:
    if name not in variant.switches:
        return Cell(NOT_MEASURED)
    value = variant.switches[name]
    star = " *" if name in variant.overridden else ""
    same = base is not None and base.switches.get(name) == value
    return Cell(f"{value}{star}", tone="" if same else "strong")
