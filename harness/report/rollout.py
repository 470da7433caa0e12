"""Reports of a rollout: the terminal and ``rollout.md``, phase by phase, and what failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console

from harness.domain.result import (
    MemberResult,
    Replacement,
    Result,
    Rollout,
    RolloutPhase,
    VariantResult,
)
from harness.domain.series import ALL
from harness.report.grid import draw, say
from harness.report.markdown import bullets, markdown_table
from harness.report.numbers import NOT_MEASURED, count, plural, rate
from harness.report.study import head_markdown, say_head
from harness.report.table import Cell, Column, Row, Table

PAGE = "rollout.md"
"""The rollout's file in a run's folder."""
TITLE = "What happens while one variant takes the place of another?"
_FOOT = (
    "New: replicas that run the new variant. Errors: requests without an answer or with a status "
    "from 500 on while replicas got their successors, of all that were sent meanwhile. Cells: the "
    "worst of each key scope, healthy ones left out. Unread: entries that a reader found and could "
    "not read, with the writer behind the arrow. Wrong: objects served that Postgres never held. "
    "Calls: management calls that did not answer 2xx. Logs: rows of spend logs of the chats that "
    "were checked."
)


def print_rollout(result: Result, console: Console) -> None:
    """Print a rollout: its head, the table and what failed; nothing of any other run."""
    if result.rollout is None:
        return
    say_head(TITLE, result, console)
    for table in rollout_tables(result):
        draw(console, table)
    for line in _said(result):
        say(console, f"- {line}", indent=2)


def rollout_tables(result: Result) -> list[Table]:
    """The table of a rollout; none of any other run."""
    return [rollout_table(result)] if result.rollout and result.rollout.phases else []


def rollout_files(result: Result) -> dict[str, str]:
    """The rollout's files, by name; none of any other run."""
    if result.rollout is None:
        return {}
    tables = [markdown_table(table) for table in rollout_tables(result)]
    parts = [head_markdown(TITLE, result), *tables, bullets(_said(result))]
    return {PAGE: "\n\n".join(part for part in parts if part) + "\n"}


NOTHING_FAILED = (
    "Nothing failed: while replicas were replaced every request was answered, none by a status "
    "from 500 on; in the windows no status was wrong, and no variant was seen to meet an entry "
    "that it could not read or to serve wrong data; every management call was answered 2xx, and "
    "all spend was booked."
)


def _said(result: Result) -> list[str]:
    """What failed, or that nothing did: only a whole run whose figures count can say that."""
    whole = result.complete and result.verdict != "invalid" and rollout_tables(result)
    return rollout_findings(result) or ([NOTHING_FAILED] if whole else [])


def rollout_table(result: Result) -> Table:
    """One row for each phase, in order of time."""
    rollout = result.rollout
    assert rollout is not None, "a rollout has phases"
    rows = [
        Row(Cell(name), tuple(_cells(result.variants.get(name), phase, rollout)))
        for name, phase in rollout.phases.items()
    ]
    columns = (
        Column("new"),
        Column("errors"),
        Column("cells", numeric=False),
        Column("reads", "per 1,000 requests"),
        Column("unread", numeric=False),
        Column("wrong", numeric=False),
        Column("calls", numeric=False),
        Column("logs", numeric=False),
    )
    how = "drained first" if rollout.drained else "not drained"
    caption = f"{rollout.old} to {rollout.new} and back; tables of {rollout.tables}; {how}"
    return Table("rollout", caption, "phase", columns, tuple(rows), _FOOT)


def _cells(variant: VariantResult | None, phase: RolloutPhase, rollout: Rollout) -> Iterator[Cell]:
    new = phase.replicas.count(rollout.new)
    yield Cell(f"{new} of {len(phase.replicas)}")
    failed = sum(sum(_errors(one).values()) for one in phase.replaced)
    sent = sum(one.requests for one in phase.replaced)
    yield Cell(f"{failed:,} of {sent:,}" if phase.replaced else NOT_MEASURED)
    if variant is None:
        yield from [Cell(NOT_MEASURED)] * 4
    else:
        yield _worst(variant)
        yield Cell(rate(variant.source_reads_per_1000.get(ALL)))
        yield Cell(_lines(_pairs(variant.by_member, "unread")))
        yield Cell(_lines(_pairs(variant.by_member, "wrong")))
    yield Cell(_lines(_failed_calls(phase)))
    yield Cell(_lines(_logs(phase)))


def _errors(turned: Replacement) -> dict[str, int]:
    """Requests that failed while a replica got its successor, by kind of error or status.

    A refusal is none: no sample says whether the key of that request was to be refused.
    """
    statuses = {s: n for s, n in turned.statuses.items() if int(s) >= _ERROR}
    return {kind: n for kind, n in (turned.unanswered | statuses).items() if n}


_ERROR = 500


def _worst(variant: VariantResult) -> Cell:
    found = {scope: cells[0] for scope, cells in variant.cells.items() if cells[0] != "healthy"}
    if not found:
        return Cell("healthy", tone="healthy")
    return Cell(", ".join(f"{scope} {cell}" for scope, cell in found.items()), tone="strong")


def _pairs(members: Mapping[str, MemberResult], field: str) -> list[str]:
    """``reader ← writer: user 214``, for each pair with any."""
    return [
        f"{reader} ← {writer}: " + ", ".join(f"{kind} {n:,}" for kind, n in by.items())
        for reader, member in members.items()
        for writer, by in (getattr(member, field) or {}).items()
    ]


def _failed_calls(phase: RolloutPhase) -> list[str]:
    return [
        f"{name}: " + ", ".join(f"{action} {check.calls[action]}" for action in check.refused)
        for name, check in phase.checks.items()
        if check.refused
    ]


def _logs(phase: RolloutPhase) -> list[str]:
    return [
        f"{name}: {count(check.spend_logs)} of {sum(check.chats.values())}"
        for name, check in phase.checks.items()
        if check.spend_logs is not None
    ]


def _lines(texts: list[str]) -> str:
    return "; ".join(texts) or "none"


def rollout_findings(result: Result) -> list[str]:
    """What failed in the phases, a sentence each; empty where nothing did.

    That a request fails because the balancer does not know that a replica is gone counts: callers
    see it, and ``--drain`` shows the rollout without it. What a variant cannot read of its own
    making counts too: it is in the phase in which all replicas run it.
    """
    rollout = result.rollout
    if rollout is None:
        return []
    found = []
    for name, phase in rollout.phases.items():
        variant = result.variants.get(name)
        members = {} if variant is None else variant.by_member
        found += list(_of_callers(name, phase, members))
        found += [f"{name}: unread, {pair}." for pair in _pairs(members, "unread")]
        found += [f"{name}: wrong data served, {pair}." for pair in _pairs(members, "wrong")]
        found += list(_of_checks(name, phase))
    return found


def _of_callers(
    name: str, phase: RolloutPhase, members: Mapping[str, MemberResult]
) -> Iterator[str]:
    for one in phase.replaced:
        if failed := _errors(one):
            yield (
                f"{name}: {sum(failed.values()):,} of {plural(one.requests, 'request')} failed "
                f"while replica {one.replica} became {one.variant}: {_counts(failed)}."
            )
    for variant, member in members.items():
        for scope, statuses in member.unexpected_statuses.items():
            if statuses:
                yield f"{name}: {variant} answered {scope} by a wrong status: {_counts(statuses)}."


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} by {kind}" for kind, n in counts.items() if n)


def _of_checks(name: str, phase: RolloutPhase) -> Iterator[str]:
    for variant, check in phase.checks.items():
        admitted = sum(n for status, n in check.chats.items() if status.startswith("2"))
        if admitted < sum(check.chats.values()):
            statuses = {s: n for s, n in check.chats.items() if not s.startswith("2")}
            yield f"{name}: {variant} refused chats: {_counts(statuses)}."
        for action, text in check.refused.items():
            yield f"{name}: {variant} answered {action} with {check.calls[action]}: {text}"
        if check.spend_logs is not None and check.spend_logs < admitted:
            rows = plural(check.spend_logs, "row")
            yield f"{name}: {variant} left {rows} of spend logs for {plural(admitted, 'chat')}."
        if check.spend_micro != check.spend_due_micro:
            yield (
                f"{name}: {variant} booked {check.spend_micro:,} of {check.spend_due_micro:,} "
                "millionths of a US dollar."
            )
