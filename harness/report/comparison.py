"""Runs side by side, before they are drawn. The first run is the baseline of all differences.

No significance is claimed: a run has few rounds. A difference is called ``within range`` where
each median lies within the other run's range, that is, where rounds of one and the same run
differ as much.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence

from harness.authcache.words import LOAD_SCOPES
from harness.domain.rates import answered, per_answered
from harness.domain.result import Range, Result, VariantResult, in_order
from harness.domain.series import ALL
from harness.errors import UsageError
from harness.report.ledger import ledger_word
from harness.report.measures import total
from harness.report.numbers import (
    NOT_MEASURED,
    TIMES,
    count,
    difference,
    difference_percent,
    plain,
    plural,
    rate,
    spread,
    time_ms,
)
from harness.report.table import Cell, Column, Row, Table

_LEAST_RUNS = 2
Figure = Callable[[VariantResult], float | None]


def labels(results: Sequence[Result]) -> list[str]:
    """A letter a run: run ids are too long for a heading. Raises UsageError below two runs."""
    if len(results) < _LEAST_RUNS:
        given = ", ".join(result.run_id for result in results) or "none"
        raise UsageError(f"Comparing takes two runs or more, not [{given}]. Name another run.")
    letters = string.ascii_uppercase
    return [letters[i] if i < len(letters) else f"run {i + 1}" for i in range(len(results))]


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
        for setting, ours, theirs in _settings(base, result):
            if ours != theirs:
                lines.append(f"{name} differs from {names[0]} in {setting}: {theirs}, not {ours}")
        lines += [f"{name}: {line}" for line in _switches(base, result)]
    return lines


def tables(results: Sequence[Result]) -> list[Table]:
    """The runs, their cells, source reads and other measures; no table without a row."""
    whole = [_runs(results), _cells(results), _reads(results), _measures(results)]
    return [table for table in whole if table.rows]


def within_range(old: Range, new: Range) -> bool:
    """Whether each median lies within the other's range."""
    return old.min <= new.median <= old.max and new.min <= old.median <= new.max


def _settings(base: Result, other: Result) -> list[tuple[str, str, str]]:
    def texts(result: Result) -> list[tuple[str, str]]:
        return [
            ("scenario", f"[{result.scenario}]"),
            ("replicas", f"[{result.replicas}]"),
            ("workers", f"[{result.workers}]"),
            ("TTL", f"[{plain(result.ttl_s)} s]"),
            ("time scale", f"[{plain(result.time_scale)}]"),
            ("stack", f"[{result.stack}]"),
            ("premises", f"[{'; '.join(sorted(result.premises)) or 'nothing planted'}]"),
        ]

    pairs = zip(texts(base), texts(other), strict=True)
    return [(setting, ours, theirs) for (setting, ours), (_, theirs) in pairs]


def _switches(base: Result, other: Result) -> list[str]:
    lines = []
    for name, variant in other.variants.items():
        ours = base.variants.get(name)
        if ours is None:
            continue
        for switch in dict.fromkeys([*ours.switches, *variant.switches]):
            was, now = ours.switches.get(switch), variant.switches.get(switch)
            if was != now:
                lines.append(f"{name} has another {switch}: [{now}], not [{was}]")
    return lines


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
            found = [r.variants[name].cells.get(scope) if name in r.variants else None
                     for r in results]  # fmt: skip
            cells = [_cell(cell, found[0], first=i == 0) for i, cell in enumerate(found)]
            rows.append(Row(Cell(f"{name}, {scope}"), tuple(cells)))
    columns = tuple(Column(label, numeric=False) for label in labels(results))
    return Table("cells", "Cells", "variant, scope", columns, tuple(rows))


def _cell(cell: str | None, base: str | None, *, first: bool) -> Cell:
    if cell is None:
        return Cell(NOT_MEASURED, tone="quiet")
    changed = not first and base is not None and cell != base
    return Cell(cell, f"was {base}" if changed else "", tone=cell)  # type: ignore[arg-type]  # cells are tones


def _reads(results: Sequence[Result]) -> Table:
    rows = []
    for name in _variants(results):
        for scope in [*_scopes(results, name), ALL]:
            ranges = [
                r.variants[name].source_reads_per_1000_range.get(scope)
                if name in r.variants
                else None
                for r in results
            ]
            cells = [_read(figures, ranges[0], first=i == 0) for i, figures in enumerate(ranges)]
            rows.append(Row(Cell(f"{name}, {scope}"), tuple(cells)))
    columns = tuple(Column(label) for label in labels(results))
    foot = (
        "Median, range over the rounds, difference. Within range: each median lies within the "
        "other run's range. Nothing here is a test of significance."
    )
    return Table(
        "reads", "Source reads per 1,000 requests", "variant, scope", columns, tuple(rows), foot
    )


def _read(figures: Range | None, base: Range | None, *, first: bool) -> Cell:
    if figures is None:
        return Cell(NOT_MEASURED, tone="quiet")
    notes = [spread(figures)]
    if not first and base is not None:
        change = _change(figures.median, base.median)
        within = figures.median != base.median and within_range(base, figures)
        notes.append(f"{change}, within range" if within else change)
    return Cell(rate(figures.median), "\n".join(note for note in notes if note))


def _change(new: float, old: float) -> str:
    if new == old:
        return "no difference"
    percent = difference_percent(new, old)
    tail = f" ({percent})" if percent != NOT_MEASURED else ""
    return f"{difference(new - old)}{tail}"


def _measures(results: Sequence[Result]) -> Table:
    rows = []
    for name in _variants(results):
        found = [r.variants.get(name) for r in results]
        for label, per_1000 in (("log pairs", _pairs), ("wrong values", _wrong)):
            rows.append(_measure(f"{name}, {label} per 1,000", found, per_1000, rate))
        rows.append(_measure(f"{name}, p50 service, ms", found, _p50, time_ms))
        rows.append(_measure(f"{name}, requests", found, _requests, _whole))
    columns = tuple(Column(label) for label in labels(results))
    return Table("measures", "Other measures", "variant, measure", columns, tuple(rows))


def _measure(
    head: str,
    found: Sequence[VariantResult | None],
    figure: Figure,
    text: Callable[[float | None], str],
) -> Row:
    values = [None if variant is None else figure(variant) for variant in found]
    base = values[0]
    cells = []
    for i, value in enumerate(values):
        known = i > 0 and value is not None and base is not None
        cells.append(Cell(text(value), _change(value, base) if known else ""))  # type: ignore[arg-type]  # known says that neither is None
    return Row(Cell(head), tuple(cells))


def _pairs(variant: VariantResult) -> float | None:
    return _per_1000(variant, variant.log_pairs)


def _wrong(variant: VariantResult) -> float | None:
    return _per_1000(variant, variant.wrong_values)


def _per_1000(
    variant: VariantResult, counts: Mapping[str, int] | Mapping[str, Mapping[str, int]] | None
) -> float | None:
    return None if counts is None else per_answered(total(counts), answered(variant.requests))


def _p50(variant: VariantResult) -> float | None:
    return variant.latency_ms.service.p50


def _requests(variant: VariantResult) -> float | None:
    return float(answered(variant.requests))


def _whole(value: float | None) -> str:
    return count(None if value is None else int(value))


def _variants(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(name for r in results for name in r.variants))


def _scopes(results: Sequence[Result], variant: str) -> list[str]:
    found = (r.variants[variant].requests for r in results if variant in r.variants)
    return in_order((scope for requests in found for scope in requests), LOAD_SCOPES)
