"""``harness compare``: two or more runs side by side, in the terminal and as Markdown.

The rule of `harness.analysis.difference` decides if two figures differ, as in the twin test.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from rich.console import Console

from harness.analysis.difference import (
    LEAST_EVENTS,
    LIMIT_PERCENT,
    ComparisonOutcome,
    RoundedFigure,
    compare,
    difference_percent,
)
from harness.analysis.rounds import judged_requests, log_pairs, per_round
from harness.authcache.words import LOAD_SCOPES
from harness.domain.rates import PER, answered, per_answered
from harness.domain.result import Cell as CellName
from harness.domain.result import Clock, Result, VariantResult, in_order
from harness.domain.series import ALL
from harness.errors import UsageError
from harness.report.freshness import clock_text, untested
from harness.report.grid import draw, say
from harness.report.ledger import ledger_word
from harness.report.markdown import bullets, escape, markdown_table
from harness.report.matrix import worst
from harness.report.measures import total
from harness.report.numbers import (
    NOT_MEASURED,
    TIMES,
    count,
    difference,
    difference_text,
    plain,
    plural,
    rate,
    spread,
    time_ms,
)
from harness.report.table import Cell, Column, Row, Table

_LEAST_RUNS = 2


def compare_terminal(results: Sequence[Result], console: Console) -> None:
    """Print runs side by side. Raises UsageError for fewer than two."""
    say(console, _title(results), "bold")
    for line in warnings(results):
        say(console, f"Warning: {line}", "bold yellow")
    for table in tables(results):
        draw(console, table)


def compare_markdown(results: Sequence[Result]) -> str:
    """Runs side by side as GitHub-flavoured Markdown. Raises UsageError for fewer than two."""
    parts = [
        f"## {escape(_title(results))}",
        bullets(f"Warning: {line}" for line in warnings(results)),
        *(markdown_table(table) for table in tables(results)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _title(results: Sequence[Result]) -> str:
    names = [
        f"{label} ({result.run_id})" for label, result in zip(labels(results), results, strict=True)
    ]
    return f"Runs {', '.join(names)}"


def labels(results: Sequence[Result]) -> list[str]:
    """A letter per run: run ids are too long for a heading. Raises UsageError below two runs."""
    if len(results) < _LEAST_RUNS:
        given = ", ".join(result.run_id for result in results) or "none"
        raise UsageError(f"Comparing takes two runs or more, not [{given}]. Name another run.")
    letters = string.ascii_uppercase
    return [letters[i] if i < len(letters) else f"run {i + 1}" for i in range(len(results))]


def check_load(results: Sequence[Result]) -> None:
    """Raise UsageError if the runs were driven differently: their figures are not comparable."""
    names = labels(results)
    lines = [
        f"{name} differs from {names[0]} in {setting}: {theirs}, not {ours}"
        for name, result in zip(names[1:], results[1:], strict=True)
        for setting, ours, theirs in _paired(results[0], result, _load)
        if ours != theirs
    ]
    if lines:
        raise UsageError(
            f"These runs had different loads: {'; '.join(lines)}. Repeat one of them with the load "
            "of the other, or give --anyway to see their figures side by side."
        )


def warnings(results: Sequence[Result]) -> list[str]:
    """Why figures of these runs may not be comparable, one line each."""
    names = labels(results)
    base = results[0]
    lines = []
    for name, result in zip(names, results, strict=True):
        if result.verdict == "invalid":
            why = f": {result.reasons[0]}" if result.reasons else ""
            lines.append(f"{name} is invalid, its figures prove nothing{why}")
        if not result.variants:
            lines.append(f"{name} has no figures: nothing was measured")
        if not result.complete:
            lines.append(f"{name} was cut short")
    for name, result in zip(names[1:], results[1:], strict=True):
        for setting, ours, theirs in _paired(base, result, _settings):
            if ours != theirs:
                lines.append(f"{name} differs from {names[0]} in {setting}: {theirs}, not {ours}")
        lines += [f"{name}: {line}" for line in _changed_variants(base, result)]
    return lines


def tables(results: Sequence[Result]) -> list[Table]:
    """The runs, their cells, source reads and other measures; empty tables are left out."""
    whole = [
        _runs(results), _cells(results), _freshness(results), _reads(results), _measures(results)
    ]  # fmt: skip
    return [table for table in whole if table.rows]


def _paired(
    base: Result, other: Result, texts: Callable[[Result], Mapping[str, str]]
) -> list[tuple[str, str, str]]:
    """The settings that both have."""
    theirs = texts(other)
    return [
        (name, f"[{ours}]", f"[{theirs[name]}]")
        for name, ours in texts(base).items()
        if name in theirs
    ]


def _settings(result: Result) -> dict[str, str]:
    return {
        **_load(result),
        "scenario": result.scenario,
        "replicas": str(result.replicas),
        "workers": str(result.workers),
        "TTL": f"{plain(result.ttl_s)} s",
        "time scale": plain(result.time_scale),
        "stack": result.stack,
        "premises": "; ".join(sorted(result.premises)) or "nothing planted",
    }


def _load(result: Result) -> dict[str, str]:
    """The load; older runs recorded only a part of it."""
    load = result.load
    keys = {} if load is None else load.population
    texts = {
        "rate": "not recorded" if load is None else f"{plain(load.rate_per_s)} requests/s",
        "seed": str(result.seed),
        "rounds": str(result.rounds),
        "window": "not recorded" if load is None else f"{load.window_ttls} TTLs",
        "population": ", ".join(f"{scope} {n}" for scope, n in keys.items()) or "not recorded",
    }
    if load is not None and load.model is not None:
        weights = ", ".join(map(plain, load.key_weights))
        texts |= {
            "model": load.model if load.users is None else f"{load.model}, {load.users} users",
            "mix": ", ".join(f"{scope} {plain(weight)}" for scope, weight in load.mix.items()),
            "popularity": f"Zipf {plain(load.zipf)}" if load.zipf else f"weights {weights}",
            "changes": "; ".join(load.changes) or "none",
        }
    return texts


def _changed_variants(base: Result, other: Result) -> list[str]:
    """What variants of the same name do not have in common."""
    lines = []
    for name, variant in other.variants.items():
        ours = base.variants.get(name)
        if ours is None:
            continue
        for word, old, new in (
            ("target", ours.target, variant.target),
            ("version", ours.version, variant.version),
            ("source", _source(ours), _source(variant)),
        ):
            # Older runs recorded no sources.
            if old != new and old and new:
                lines.append(f"{name} has another {word}: [{new}], not [{old}]")
        for switch in dict.fromkeys([*ours.switches, *variant.switches]):
            was, now = ours.switches.get(switch), variant.switches.get(switch)
            if was != now:
                lines.append(f"{name} has another {switch}: [{now}], not [{was}]")
    return lines


def _source(variant: VariantResult) -> str:
    source = variant.source
    if source is None:
        return ""
    words = [source.name, source.identity or ""]
    words += [f"digest {source.digest}" if source.digest else ""]
    words += [f"in {source.laid_over}" if source.laid_over else ""]
    return ", ".join(word for word in words if word)


def _runs(results: Sequence[Result]) -> Table:
    rows = tuple(
        Row(
            Cell(label),
            (
                Cell(r.run_id),
                Cell(r.verdict),
                Cell(f"{r.replicas} {TIMES} {r.workers}"),
                Cell(f"{plain(r.ttl_s)} s, {plain(r.time_scale)}"),
                Cell(plural(len(r.premises), "premise") if r.premises else "nothing"),
                Cell(ledger_word(r)),
            ),
        )
        for label, r in zip(labels(results), results, strict=True)
    )
    heads = (
        "run",
        "verdict",
        f"replicas {TIMES} workers",
        "TTL, scale",
        "planted",
        "ledger",
    )
    columns = tuple(Column(head, numeric=False) for head in heads)
    return Table("runs", "Runs", "", columns, rows, "Differences are from the first run.")


def _cells(results: Sequence[Result]) -> Table:
    rows = []
    for name in _variants(results):
        for scope in _scopes(results, name):
            found = [r.variants[name].cells.get(scope, []) if name in r.variants else []
                     for r in results]  # fmt: skip
            cells = [
                _cell(
                    cell,
                    found[0],
                    first=i == 0,
                    untested=name in r.variants and untested(r.variants[name], scope),
                )
                for i, (r, cell) in enumerate(zip(results, found, strict=True))
            ]
            rows.append(Row(Cell(f"{name}, {scope}"), tuple(cells)))
    columns = tuple(Column(label, numeric=False) for label in labels(results))
    return Table("cells", "Cells", "variant, scope", columns, tuple(rows))


def _cell(
    cells: Sequence[CellName], base: Sequence[CellName], *, first: bool, untested: bool
) -> Cell:
    changed = cells and not first and base and list(cells) != list(base)
    return worst(cells, f"was {', '.join(base)}" if changed else "", untested=untested)


def _freshness(results: Sequence[Result]) -> Table:
    """Clocks of all runs; a difference is one between intervals that do not meet."""
    places = dict.fromkeys(
        (name, action, scope)
        for r in results
        for name, by_action in r.freshness.items()
        for action, by in by_action.items()
        for scope in by
    )
    rows = []
    for name, action, scope in places:
        found = [r.freshness.get(name, {}).get(action, {}).get(scope) for r in results]
        for side in ("handler", "others"):
            clocks = [None if one is None else getattr(one, f"{side}_s") for one in found]
            cells = [
                Cell(clock_text(clock), _moved(clocks[0], clock) if i else "")
                for i, clock in enumerate(clocks)
            ]
            rows.append(Row(Cell(f"{name}, {action}, {scope}, {side}"), tuple(cells)))
    columns = tuple(Column(label) for label in labels(results))
    foot = (
        "Seconds until the last old answer; ≥ where old answers had not ended. Differs: the "
        "intervals between last old and first new answer do not meet."
    )
    head = "variant, change, scope, worker"
    return Table("freshness", "Freshness", head, columns, tuple(rows), foot)


def _moved(base: Clock | None, other: Clock | None) -> str:
    if base is None or other is None:
        return ""
    meet = base.low <= other.longest and other.low <= base.longest
    return ComparisonOutcome.SAME if meet else ComparisonOutcome.DIFFERS


def _reads(results: Sequence[Result]) -> Table:
    rows = []
    for name in _variants(results):
        found = [r.variants.get(name) for r in results]
        for scope in [*_scopes(results, name), ALL]:
            read, ranged = partial(_source_reads, scope), partial(_spread, scope)
            rows.append(_row(f"{name}, {scope}", found, read, rate, ranged=ranged))
    columns = tuple(Column(label) for label in labels(results))
    foot = (
        "All rounds together, range over the rounds, difference in percent of the larger figure. "
        "Same: at most "
        f"{LIMIT_PERCENT:g} %. Within noise: fewer than {LEAST_EVENTS} reads, or the ranges "
        "overlap. This is not a test of significance."
    )
    return Table(
        "reads", "Source reads per 1,000 requests", "variant, scope", columns, tuple(rows), foot
    )


def _measures(results: Sequence[Result]) -> Table:
    rows = []
    for name in _variants(results):
        found = [r.variants.get(name) for r in results]
        for label, read in (("log pairs", _log_pairs), ("wrong values", _wrong_values)):
            rows.append(_row(f"{name}, {label} per 1,000", found, read, rate))
        rows.append(_row(f"{name}, p50 service, ms", found, _p50, time_ms, judged=False))
        rows.append(_row(f"{name}, requests", found, _requests, _whole, judged=False))
    columns = tuple(Column(label) for label in labels(results))
    foot = (
        "Wrong values: per 1,000 requests of all windows whose answers are judged, not only of the "
        "measured ones. Times and load are not judged: times have no known range, and the load is "
        "a setting."
    )
    return Table("measures", "Other measures", "variant, measure", columns, tuple(rows), foot)


def _row(
    head: str,
    found: Sequence[VariantResult | None],
    read: Callable[[VariantResult], RoundedFigure | None],
    text: Callable[[float | None], str],
    *,
    ranged: Callable[[VariantResult], str] = lambda _: "",
    judged: bool = True,
) -> Row:
    """One measure of all runs.

    Args:
        head: heading of the row.
        found: the variant in each run, None if a run lacks it; the first is the baseline.
        read: returns the figure of a run.
        text: formats a figure.
        ranged: returns the range over the rounds as text.
        judged: False for times, which have no known range, and for the load, which is a setting.
    """
    base = read(found[0]) if found[0] is not None else None
    cells = []
    for i, variant in enumerate(found):
        figure = read(variant) if variant is not None else None
        if variant is None or figure is None:
            cells.append(Cell(NOT_MEASURED, tone="quiet"))
            continue
        notes = [ranged(variant)]
        if i and base is not None:
            notes.append(_change(base, figure, judged=judged))
        cells.append(Cell(text(figure.value), "\n".join(note for note in notes if note)))
    return Row(Cell(head), tuple(cells))


def _change(base: RoundedFigure, other: RoundedFigure, *, judged: bool) -> str:
    if other.value == base.value:
        return "no difference"
    percent = difference_percent(base.value, other.value)
    change = f"{difference(other.value - base.value)} ({difference_text(percent)})"
    return f"{change}, {compare(base, other).outcome}" if judged else change


def _spread(scope: str, variant: VariantResult) -> str:
    return spread(variant.source_reads_per_1000_range.get(scope))


def _source_reads(scope: str, variant: VariantResult) -> RoundedFigure | None:
    figure = variant.source_reads_per_1000.get(scope)
    if figure is None:
        return None
    # The rule needs only the least and the greatest round, and whether there are several.
    by_round = variant.source_reads_per_1000_range.get(scope)
    rounds = (by_round.min, by_round.max) if by_round and by_round.rounds > 1 else (figure,)
    return RoundedFigure(figure, answered(variant.requests, scope) / PER, rounds)


def _log_pairs(variant: VariantResult) -> RoundedFigure | None:
    by_round = per_round(variant, ALL, lambda window: log_pairs(window, ALL))
    return _per_1000(variant.log_pairs, answered(variant.requests), tuple(by_round))


def _wrong_values(variant: VariantResult) -> RoundedFigure | None:
    return _per_1000(variant.wrong_values, judged_requests(variant))


def _per_1000(
    counts: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None,
    requests: int,
    by_round: tuple[float, ...] = (),
) -> RoundedFigure | None:
    value = None if counts is None else per_answered(total(counts), requests)
    return None if value is None else RoundedFigure(value, requests / PER, by_round)


def _p50(variant: VariantResult) -> RoundedFigure | None:
    p50 = variant.latency_ms.service.p50
    return None if p50 is None else RoundedFigure(p50)


def _requests(variant: VariantResult) -> RoundedFigure:
    return RoundedFigure(answered(variant.requests))


def _whole(value: float | None) -> str:
    return count(None if value is None else int(value))


def _variants(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(name for r in results for name in r.variants))


def _scopes(results: Sequence[Result], variant: str) -> list[str]:
    found = (r.variants[variant].requests for r in results if variant in r.variants)
    return in_order((scope for requests in found for scope in requests), LOAD_SCOPES)
