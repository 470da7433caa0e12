"""What `harness referee` prints and writes: the table, the proof, the comment, series for CI."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from harness.analysis.referee import (
    RULES,
    Cells,
    Count,
    Line,
    RefereeOutcome,
    Ruling,
    reading_text,
    say,
    three_digits,
)
from harness.analysis.rounds import measured
from harness.domain.rates import PER
from harness.domain.result import Clock, Result, VariantResult
from harness.report import facts
from harness.report.grid import draw
from harness.report.grid import say as say_line
from harness.report.ledger import ledger_summary
from harness.report.markdown import bullets, escape, markdown_table
from harness.report.numbers import NOT_MEASURED, plain, plural, rate
from harness.report.table import Cell, Row, Table, columns

PROOF = "proof.md"
COMMENT = "comment.md"
BENCH = "bench.json"
BENCHER = "bencher.json"
RULING = "referee.json"

_MOCK = (
    "The model is a mock: it answers at once, at a fixed price. The proxies, Postgres, Redis and "
    "the requests are real."
)
_STYLES = {"better": "bold green", "same": "bold green", "worse": "bold red", "mixed": "bold red"}
_SENTENCES = {
    "better": "The head is better, and nothing is worse.",
    "same": "The head is the same as the base.",
    "worse": "The head is worse.",
    "mixed": "The head is better in some figures and worse in others.",
    "undecided": "Undecided.",
    "invalid": "Invalid run: it proves nothing.",
    "interrupted": "The run was stopped before its end.",
}


@dataclass(frozen=True, slots=True)
class Match:
    """The two sides of a run, as their reports name them."""

    base: str
    """Variant of the run; so is `head`."""
    head: str
    base_label: str
    """What it is: a release, or a commit with its hash."""
    head_label: str
    command: str
    """What repeats the run."""


def print_ruling(ruling: Ruling, result: Result, match: Match, console: Console) -> None:
    """Print the verdict, its reasons and the table."""
    style = _STYLES.get(ruling.word, "bold yellow")
    say_line(console, f"{_SENTENCES[ruling.word]} (exit code {ruling.exit_code})", style)
    labels = (f"base: {match.base_label}", f"head: {match.head_label}")
    missing = filter(None, [facts.what_is_missing(result)])
    for line in (*labels, *ruling.reasons, *missing, *only_one(ruling)):
        say_line(console, f"- {line}", indent=2)
    for table in tables(ruling):
        draw(console, table)
    say_line(console, ledger_summary(result))


def only_one(ruling: Ruling) -> list[str]:
    """What one side alone runs, in sentences."""
    return [
        f"Only the {one.side} runs {one.text}: {three_digits(one.per_request)} in a request."
        for one in ruling.only
    ]


def referee_files(ruling: Ruling, result: Result, match: Match) -> dict[str, str]:
    """The files of a ruling, by name; the series for CI only where anything was judged."""
    files = {
        PROOF: proof(ruling, result, match),
        COMMENT: comment(ruling, result, match),
        RULING: json.dumps(as_json(ruling, match), indent=1) + "\n",
    }
    if _numbers(ruling):
        files |= {
            BENCH: json.dumps(bench(ruling), indent=1) + "\n",
            BENCHER: json.dumps(bencher(ruling), indent=1) + "\n",
        }
    return files


def tables(ruling: Ruling) -> list[Table]:
    """What was judged and shown, and the statements that differ; empty ones are left out."""
    rows = [
        Row(
            Cell(", ".join(filter(None, (line.rule.name, line.place)))),
            (
                Cell(reading_text(line.base)),
                Cell(reading_text(line.head)),
                Cell(NOT_MEASURED if line.judged_from is None else three_digits(line.judged_from)),
                Cell(line.outcome.value, tone="strong" if _differs(line) else ""),
            ),
        )
        for line in ruling.lines
    ]
    heads = columns(("base", "head", "judged from", "head is"))
    foot = (
        "Less is better. Judged from: the least difference that this run tells from chance. "
        "Times and sizes are shown only."
    )
    whole = [
        Table("referee", "Base and head", "measure", heads, tuple(rows), foot, code=False),
        _statements(ruling),
    ]
    return [table for table in whole if table.rows]


def _differs(line: Line) -> bool:
    return line.outcome in (RefereeOutcome.BETTER, RefereeOutcome.WORSE)


def _statements(ruling: Ruling) -> Table:
    rows = tuple(
        Row(
            Cell(one.text),
            (
                Cell(NOT_MEASURED if one.base is None else rate(one.base)),
                Cell(NOT_MEASURED if one.head is None else rate(one.head)),
                Cell(
                    "only in head"
                    if one.base is None
                    else "only in base"
                    if one.head is None
                    else "both"
                ),
            ),
        )
        for one in ruling.statements
    )
    return Table(
        "statements",
        "Statements that differ, per 1,000 requests",
        "verb, table, WHERE",
        columns(("base", "head", "run by")),
        rows,
        "Shown only: their sums are judged.",
    )


def proof(ruling: Ruling, result: Result, match: Match) -> str:
    """``proof.md``: before and after, what repeats it, and what is mock."""
    sides = (
        ("Before", match.base, match.base_label),
        ("After", match.head, match.head_label),
    )
    parts = [
        f"**{_SENTENCES[ruling.word]}**",
        *(_side(result, *side) for side in sides),
        f"To repeat it:\n\n```\n{match.command}\n```",
        _why(ruling),
        *(markdown_table(table) for table in tables(ruling)),
        *_how(result, match),
        _MOCK if facts.measured(result) else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _side(result: Result, title: str, name: str, label: str) -> str:
    variant = result.variants.get(name)
    what = "" if variant is None else f" ({_code(variant)}: {variant.title})"
    cells = {} if variant is None else variant.cells
    seen = ", ".join(f"{scope} {'/'.join(found)}" for scope, found in cells.items())
    return f"**{title}:** {escape(label + what)}" + (f"\n\nCells: {escape(seen)}." if seen else "")


def _code(variant: VariantResult) -> str:
    """What ran: version, commit or wheel, and the digest of all its files."""
    words = [f"{variant.target} {variant.version}"]
    if (source := variant.source) is not None:
        words += [source.identity or "", f"digest {source.digest}" if source.digest else ""]
        words += [f"in the environment of {source.laid_over}" if source.laid_over else ""]
    return ", ".join(word for word in words if word)


def _why(ruling: Ruling) -> str:
    return bullets([*ruling.reasons, *only_one(ruling)])


def _how(result: Result, match: Match) -> list[str]:
    """How the figures were made, from what was measured and not from the plan; what is missing."""
    lines = [facts.what_is_missing(result), ledger_summary(result)]
    if facts.measured(result):
        lines.append(_load(result, match))
    return [escape(line) for line in lines if line]


def _load(result: Result, match: Match) -> str:
    sides = {"base": match.base, "head": match.head}
    each = {
        side: len(measured(result.variants[name])) if name in result.variants else 0
        for side, name in sides.items()
    }
    rounds = ", ".join(f"{plural(n, 'round')} of the {side}" for side, n in each.items())
    if each["base"] == each["head"]:
        rounds = f"{plural(each['base'], 'round')} of each side"
    per_s = "" if result.load is None else f" at {plain(result.load.rate_per_s)} requests/s"
    return (
        f"{rounds}, in turn{per_s}, "
        f"{plural(result.replicas, 'replica')} a side, TTL {plain(result.ttl_s)} s, seed "
        f"{result.seed}. Run {result.run_id}, {result.elapsed_s / 60:.1f} min."
    )


def comment(ruling: Ruling, result: Result, match: Match) -> str:
    """``comment.md``: the verdict in the first line, all figures folded."""
    changed = [line for line in ruling.lines if _differs(line)]
    rest = "\n\n".join([*map(markdown_table, tables(ruling)), *_how(result, match)])
    if facts.measured(result):
        rest = f"<details><summary>All figures</summary>\n\n{rest}\n\n</details>"
    parts = [
        f"**{_SENTENCES[ruling.word]}** {escape(f'{match.base_label} to {match.head_label}')}",
        bullets([*(f"{say(line)}: {line.outcome.value}" for line in changed), *only_one(ruling)])
        if changed
        else _why(ruling),
        rest,
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _numbers(ruling: Ruling) -> Sequence[tuple[str, str, float, str]]:
    """The head's judged counts: name, unit, value, and how far two equal sides may be apart."""
    return [
        (
            f"{line.rule.label}, {line.place}",
            line.rule.unit,
            round(line.head.value, 4),
            "" if line.judged_from is None else f"± {three_digits(line.judged_from)}",
        )
        for line in ruling.lines
        if line.rule.judged and isinstance(line.head, Count)
    ]


def bench(ruling: Ruling) -> list[dict[str, Any]]:
    """``bench.json``: github-action-benchmark's ``customSmallerIsBetter``, of the head."""
    return [
        {"name": name, "unit": unit, "value": value, **({"range": within} if within else {})}
        for name, unit, value, within in _numbers(ruling)
    ]


def bencher(ruling: Ruling) -> dict[str, dict[str, dict[str, float]]]:
    """``bencher.json``: Bencher Metric Format: benchmark, measure, value."""
    slugs = {
        rule.unit: rule.unit.replace("1,000", "1000").replace("%", "percent") for rule in RULES
    }
    return {
        name: {slugs[unit].replace(" ", "-"): {"value": value}}
        for name, unit, value, _ in _numbers(ruling)
    }


def as_json(ruling: Ruling, match: Match) -> Mapping[str, Any]:
    """``referee.json``: the ruling with every figure, for programs."""
    return {
        "verdict": ruling.word,
        "exit_code": ruling.exit_code,
        "reasons": list(ruling.reasons),
        "base": {"variant": match.base, "label": match.base_label},
        "head": {"variant": match.head, "label": match.head_label},
        "seen_per_1000": None if ruling.seen_per_1000 is None else round(ruling.seen_per_1000, 3),
        "measures": [
            {
                "measure": line.rule.label,
                "place": line.place,
                "unit": line.rule.unit,
                "base": _value(line.base),
                "head": _value(line.head),
                "judged_from": None if line.judged_from is None else round(line.judged_from, 4),
                "outcome": line.outcome.value,
                **({"reason": line.reason} if line.reason else {}),
            }
            for line in ruling.lines
        ],
        "only": [
            {"side": one.side, "statement": one.text, "per_request": round(one.per_request, 4)}
            for one in ruling.only
        ],
        "statements": [
            {"statement": one.text, "base": _per(one.base), "head": _per(one.head), "per": PER}
            for one in ruling.statements
        ],
    }


def _per(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _value(reading: object) -> Any:
    if isinstance(reading, Cells):
        return list(reading.names)
    if isinstance(reading, Clock):
        return [reading.low, reading.high]
    if isinstance(reading, Count):
        return round(reading.value, 4)
    return reading
