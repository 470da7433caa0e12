"""The ledger as text and tables: balanced, unchecked and unbalanced equations."""

from __future__ import annotations

from harness.domain.result import Equation, Result
from harness.report.numbers import NOT_MEASURED, exact, plural
from harness.report.table import Cell, Column, Row, Table

_COLUMNS = (
    Column("window", numeric=False),
    Column("left"),
    Column("right"),
    Column("residual"),
    Column("status", numeric=False),
    Column("kind", numeric=False),
    Column("reason", numeric=False),
)


def ledger_summary(result: Result) -> str:
    """One line: how many equations balanced, were not checked, did not balance."""
    if not result.ledger.equations:
        return "Ledger not checked: no window was measured."
    counts = {"balanced": 0, "not_checked": 0, "unbalanced": 0, "finding": 0}
    for equation in result.ledger.equations:
        counts[_standing(equation)] += 1
    words = [f"{counts['balanced']:,} balanced", f"{counts['not_checked']:,} not checked"]
    words.append(f"{counts['unbalanced']:,} unbalanced")
    if counts["finding"]:
        words.append(f"{plural(counts['finding'], 'finding')} about a variant")
    word = ledger_word(result)
    return (
        f"Ledger {word.upper() if result.ledger.balanced is False else word}: {', '.join(words)}."
    )


def ledger_word(result: Result) -> str:
    """The state of the ledger."""
    return {True: "balanced", False: "not balanced", None: "not checked"}[result.ledger.balanced]


def unbalanced(result: Result) -> list[Equation]:
    """Unbalanced equations: all that make a run invalid, then each finding's last window.

    A release makes the same findings in every window; the tables have them all.
    """
    lines = [e for e in result.ledger.equations if e.status == "unbalanced"]
    findings = {(e.variant, e.name): e for e in lines if e.kind != "validity"}
    return [*(e for e in lines if e.kind == "validity"), *findings.values()]


def unbalanced_text(equation: Equation) -> str:
    """One unbalanced equation in full."""
    kind = "makes the run invalid" if equation.kind == "validity" else "a finding about the variant"
    text = (
        f"{equation.variant}, window {equation.window}, {equation.name} ({kind}): "
        f"{equation.description}: {exact(equation.left)} against {exact(equation.right)}, "
        f"residual {exact(equation.residual)}"
    )
    return f"{text}: {equation.reason}" if equation.reason else text


def not_checked_reasons(result: Result) -> list[str]:
    """Why equations were not checked, one line per reason, with a count."""
    reasons: dict[tuple[str, str], int] = {}
    for equation in result.ledger.equations:
        if equation.status == "not_checked":
            key = (equation.name, equation.reason or "no reason given")
            reasons[key] = reasons.get(key, 0) + 1
    return [f"{name}, {plural(n, 'time')}: {why}" for (name, why), n in reasons.items()]


def equation_table(result: Result) -> Table:
    """Each equation once, with its description."""
    texts: dict[str, Equation] = {}
    for equation in result.ledger.equations:
        texts.setdefault(equation.name, equation)
    return Table(
        "equations",
        "The equations",
        "equation",
        tuple(Column(head, numeric=False) for head in ("left = right", "kind", "cannot see")),
        tuple(
            Row(Cell(n), (Cell(e.description), Cell(e.kind), Cell(e.cannot_see or NOT_MEASURED)))
            for n, e in texts.items()
        ),
        "An unbalanced validity equation makes the run invalid; a finding is about the variant.",
    )


def ledger_tables(result: Result) -> list[Table]:
    """All equations, one table per variant, including variants without a result."""
    variants = dict.fromkeys([*result.variants, *(e.variant for e in result.ledger.equations)])
    tables = []
    for number, variant in enumerate(variants):
        rows = tuple(_row(e) for e in result.ledger.equations if e.variant == variant)
        if rows:
            caption = f"Ledger of {variant}" if variant else "Ledger of the run"
            tables.append(Table(f"ledger-{number}", caption, "equation", _COLUMNS, rows))
    return tables


def _standing(equation: Equation) -> str:
    if equation.status == "unbalanced" and equation.kind == "finding":
        return "finding"
    return equation.status


def _row(equation: Equation) -> Row:
    status = equation.status.replace("_", " ")
    tone = {"balanced": "", "not_checked": "quiet", "unbalanced": "broken"}[equation.status]
    if _standing(equation) == "finding":
        tone = "wasteful"
    return Row(
        Cell(equation.name),
        (
            Cell(equation.window),
            Cell(exact(equation.left)),
            Cell(exact(equation.right)),
            Cell(exact(equation.residual)),
            Cell(status, tone=tone),  # type: ignore[arg-type]  # the dict's values are tones
            Cell(equation.kind),
            Cell(equation.reason or NOT_MEASURED if equation.status != "balanced" else ""),
        ),
    )
