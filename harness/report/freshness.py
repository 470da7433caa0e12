"""How long workers served what was no longer true: the tables of the section *Freshness*."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from harness.analysis.clock import is_over_idle, others_ended, others_were_told
from harness.authcache.words import LOAD_SCOPES
from harness.domain.changes import ACTIONS
from harness.domain.result import (
    FRESHNESS,
    ChangeCost,
    Clock,
    Freshness,
    Result,
    VariantResult,
    in_order,
)
from harness.report.numbers import (
    NOT_MEASURED,
    TIMES,
    between,
    count,
    plain,
    rate,
    seconds,
    share,
)
from harness.report.table import Cell, Column, Row, Table

UNTESTED = f"{FRESHNESS} not tested"
CLAIMS = ("wasteful", "healthy")
"""Cells after ``stale``: only they say that nothing was stale, which an untested scope cannot."""
KEPT, OVER = "✓", "✕"
_OUTCOMES = {
    "committed": "committed, answered by an error",
    "refused": "refused",
    "not_there": "not there",
    "not_told_apart": "not told apart",
}


def untested(variant: VariantResult, scope: str) -> bool:
    """Whether the freshness of a scope was not tested."""
    return bool({FRESHNESS, f"{FRESHNESS} in {scope}"}.intersection(variant.not_tested))


class Slowest(NamedTuple):
    """The slowest clock of a variant."""

    clock: Clock
    action: str
    scope: str
    who: str
    """``handler`` or ``others``."""
    promise_s: float

    @property
    def over(self) -> bool:
        """Whether an old answer came later than the promise."""
        return self.clock.low > self.promise_s


def slowest(by_action: Mapping[str, Mapping[str, Freshness]]) -> Slowest | None:
    """The slowest clock of all changes of a variant; None without any."""
    found = [
        Slowest(clock, action, scope, who, one.promise_s)
        for action, by in by_action.items()
        for scope, one in by.items()
        for who, clock in (("handler", one.handler_s), ("others", one.others_s))
        if clock is not None
    ]
    return max(found, key=lambda one: (one.clock.longest, one.clock.low), default=None)


def slowest_cell(by_action: Mapping[str, Mapping[str, Freshness]]) -> Cell:
    """The slowest clock of a variant, with the action as its note."""
    one = slowest(by_action)
    if one is None:
        return Cell(NOT_MEASURED, tone="quiet")
    where = f"{one.action} in {one.scope}, {one.who}; promise {plain(one.promise_s)} s"
    return Cell(f"{clock_text(one.clock)} s", where, "stale" if one.over else "")


def clock_text(clock: Clock | None) -> str:
    """Seconds from the last old answer to the first new one; ``≥`` where none was the last one."""
    if clock is None:
        return NOT_MEASURED
    if clock.high is None:
        return f"≥ {seconds(clock.low)}"
    return (
        between(seconds(clock.low), seconds(clock.high))
        if clock.low
        else f"≤ {seconds(clock.high)}"
    )


def freshness_table(result: Result) -> Table:
    """Every kind of change and scope, with the clocks of each variant."""
    rows = tuple(row for pair in _pairs(result) for row in _rows(result, *pair))
    columns = tuple(
        Column(name, f"handler / others, s{_promise(by)}", numeric=False)
        for name, by in result.freshness.items()
    )
    return Table(
        FRESHNESS,
        "Freshness: how long workers served what a change had made untrue, handler / others, s",
        "change, scope",
        columns,
        rows + _bounds(result) + _cost_rows(result),
        "From the answer to the change to the last request that got an old answer, and to the "
        "first one after it that got a new one: of the worker that took the change, and the "
        f"greatest of all others; {KEPT} within the promise, {OVER} beyond it. "
        "≤: no old answer came; ≥: old answers had not ended with the window. Below: how it ended "
        "for the slowest. Evicted: by the handler itself; message: the worker heard of the change; "
        "re-read: the copy went younger than a TTL without either; expiry: it was older. "
        "Promise: what the operator set. Kept by the code: with the times that it sets itself."
        + (_COSTS if result.change_costs else ""),
    )


_COSTS = (
    " The last rows are what these windows cost, as Postgres and Redis counted it: few keys, each "
    "asked for on every worker. They compare variants and say nothing about a load."
)


def _cost_rows(result: Result) -> tuple[Row, ...]:
    """What the windows of changes cost each variant, by the servers' own counts."""
    figures: tuple[tuple[str, Callable[[ChangeCost], float | None]], ...] = (
        ("source reads per 1,000", lambda cost: cost.source_reads_per_1000),
        ("Redis commands per 1,000", lambda cost: cost.redis_commands_per_1000),
        ("key payload, bytes", lambda cost: cost.payload_bytes.get("key")),
    )
    costs = [result.change_costs.get(name) for name in result.freshness]
    rows = (
        (name, [None if cost is None else read(cost) for cost in costs]) for name, read in figures
    )
    return tuple(
        Row(Cell(name), tuple(Cell(rate(value)) for value in values), reference=True)
        for name, values in rows
        if any(value is not None for value in values)
    )


def _rows(result: Result, action: str, scope: str) -> list[Row]:
    """The row of keys in use, and that of idle ones if any were changed."""
    found = [by.get(action, {}).get(scope) for by in result.freshness.values()]
    summary = ACTIONS[action].summary if action in ACTIONS else ""
    rows = [Row(Cell(f"{action}, {scope}", summary), tuple(map(_clocks, found)))]
    if any(one is not None and one.idle for one in found):
        idle = Cell(
            f"{action}, {scope}, idle",
            "keys that were not in use; one worker was asked once for each",
        )
        rows.append(Row(idle, tuple(map(_idle_clocks, found))))
    return rows


def _promise(by_action: Mapping[str, Mapping[str, Freshness]]) -> str:
    promises = {one.promise_s for by in by_action.values() for one in by.values()}
    return f"; promise {plain(max(promises))} s" if promises else ""


def _bounds(result: Result) -> tuple[Row, Row]:
    """What the clocks are judged by, and what nothing can exceed in a run, with their sums."""
    promises, codes = [], []
    for by in result.freshness.values():
        ones = [one for by_scope in by.values() for one in by_scope.values()]
        promise_s = max(one.promise_s for one in ones)
        code_s = max((s for one in ones if (s := one.kept_by_code_s) is not None), default=None)
        ttl_s, redis = result.ttl_s, promise_s > 2 * result.ttl_s
        tiers_s = 2 * ttl_s if redis else ttl_s
        tiers = f"memory {plain(ttl_s)} + " + (f"Redis {plain(ttl_s)} + " if redis else "")
        read_s = round(promise_s - tiers_s, 4)
        promises.append(Cell(f"{plain(promise_s)} s", f"{tiers}read {plain(read_s)}"))
        own = f"{tiers}no read" if code_s == tiers_s else "times of its own"
        codes.append(
            Cell(NOT_MEASURED, tone="quiet") if code_s is None else Cell(f"{plain(code_s)} s", own)
        )
    return (
        Row(Cell("promise"), tuple(promises), reference=True),
        Row(Cell("kept by the code"), tuple(codes), reference=True),
    )


def _pairs(result: Result) -> list[tuple[str, str]]:
    by_action: dict[str, set[str]] = {}
    for found in result.freshness.values():
        for action, by in found.items():
            by_action.setdefault(action, set()).update(by)
    return [
        (action, scope)
        for action in in_order(by_action, ACTIONS)
        for scope in in_order(by_action[action], LOAD_SCOPES)
    ]


def _clocks(one: Freshness | None) -> Cell:
    if one is None:
        return Cell(NOT_MEASURED, tone="quiet")
    known = [clock for clock in (one.handler_s, one.others_s) if clock is not None]
    if not known:
        return Cell(_OUTCOMES.get(one.outcome, NOT_MEASURED), one.detail, "quiet")
    over = any(clock.low > one.promise_s for clock in known)
    text = f"{clock_text(one.handler_s)} / {clock_text(one.others_s)} {OVER if over else KEPT}"
    notes = [_ended(one), "" if one.committed else _OUTCOMES.get(one.outcome, "")]
    notes += [f"committed, answered {s}: {count(n)} {TIMES}" for s, n in one.committed.items()]
    if one.resurrected:
        notes.append(f"resurrected {count(one.resurrected)} {TIMES}")
    if one.told_by_code is not None:
        notes.append(f"code tells others: {told(one)}")
    return Cell(text, "\n".join(filter(None, notes)), "stale" if over else "")


def _idle_clocks(one: Freshness | None) -> Cell:
    if one is None or one.idle is None or not one.idle.answers:
        return Cell(NOT_MEASURED, tone="quiet")
    over = is_over_idle(one)
    sides = one.idle.handler_s, one.idle.others_s
    ended = all(side is None or side.high is not None for side in sides)
    mark = OVER if over else KEPT if ended else ""
    text = f"{clock_text(sides[0])} / {clock_text(sides[1])} {mark}".rstrip()
    olds = sum(answer.old for answer in one.idle.answers)
    note = f"{count(olds)} of {count(len(one.idle.answers))} answers old"
    return Cell(text, note, "stale" if over else "")


def told(one: Freshness) -> str:
    """Whether code tells other workers of a change, and whether the run confirmed or refuted it.

    A refutation names how old answers of the others ended. Empty where the code was not read.
    """
    if one.told_by_code is None:
        return ""
    read, seen = "yes" if one.told_by_code else "no", others_were_told(one)
    if seen is None:
        return f"{read}, not known"
    if seen == one.told_by_code:
        return f"{read}, confirmed"
    return f"{read}, refuted: {', '.join(others_ended(one))}"


def _ended(one: Freshness) -> str:
    """How old answers of the slowest worker ended: of the handler and of others, if they differ."""
    sides = [[w for w in one.workers if w.handler is handler] for handler in (True, False)]
    slowest = [max(side, key=lambda w: (w.longest, w.low)) for side in sides if side]
    ways = dict.fromkeys(worker.ended_by.replace("_", " ") for worker in slowest)
    return " / ".join(ways) or NOT_MEASURED


def clocks_table(result: Result) -> Table:
    """Every variant, kind of change and scope in full."""
    rows = tuple(
        Row(
            Cell(name),
            (
                Cell(action),
                Cell(scope),
                Cell(_OUTCOMES.get(one.outcome, one.outcome), one.detail),
                _interval(one.handler_s),
                _interval(one.others_s),
                Cell(plain(one.promise_s)),
                Cell(NOT_MEASURED if one.kept_by_code_s is None else plain(one.kept_by_code_s)),
                Cell(_ended(one)),
                Cell(told(one) or NOT_MEASURED),
                Cell(count(one.old_replies), f"{one.old_cost_micro / 1e6:.6f} US dollars"),
                Cell(count(one.stale_replies), f"of {count(one.judged_replies)}"),
                Cell(count(one.resurrected)),
            ),
        )
        for name, action, scope, one in _each(result)
    )
    return Table(
        "clocks",
        "Changes: clocks in seconds, and old answers",
        "variant",
        (
            Column("change", numeric=False),
            Column("scope", numeric=False),
            Column("outcome", numeric=False),
            Column("handler, s", "last old, first new"),
            Column("others, s", "last old, first new"),
            Column("promise, s"),
            Column("kept by code, s"),
            Column("ended by", numeric=False),
            Column("code tells others", "and what the run showed", numeric=False),
            Column("old replies", "after the change"),
            Column("stale", "beyond the promise"),
            Column("resurrected"),
        ),
        rows,
        "Kept by code: how old an answer may be by the times that the code sets itself. "
        "Code tells others: whether other workers hear of the change before they read again, by a "
        "reading of the code; confirmed or refuted by how their old answers ended. "
        "Resurrected: old answers of a worker that had given a new one before.",
    )


def _interval(clock: Clock | None) -> Cell:
    if clock is None:
        return Cell(NOT_MEASURED)
    ends = [f"{seconds(clock.low)} to {seconds(clock.high)}" if clock.high is not None else ""]
    ends += [f"{clock.open} of {clock.pairs} open" if clock.open else ""]
    for name, value in (("median", clock.p50), ("99th percentile", clock.p99)):
        ends += [f"{name} {seconds(value)}" if value is not None else ""]
    return Cell(clock_text(clock), "\n".join(filter(None, ends)))


def workers_table(result: Result) -> Table:
    """Every worker after every change."""
    rows = tuple(
        Row(
            Cell(name),
            (
                Cell(f"{clock.change}"),
                Cell(action),
                Cell(scope),
                Cell(clock.worker, "handler" if clock.handler else ""),
                Cell(seconds(clock.low)),
                Cell("open" if clock.high is None else seconds(clock.high)),
                Cell(clock.ended_by.replace("_", " ")),
                Cell(count(clock.old_replies)),
                Cell(count(clock.resurrected)),
            ),
        )
        for name, action, scope, one in _each(result)
        for clock in one.workers
    )
    return Table(
        "worker-clocks",
        "Changes: every worker",
        "variant",
        (
            Column("no."),
            Column("change", numeric=False),
            Column("scope", numeric=False),
            Column("worker", numeric=False),
            Column("last old, s"),
            Column("first new, s"),
            Column("ended by", numeric=False),
            Column("old replies"),
            Column("resurrected"),
        ),
        rows,
    )


def ages_table(result: Result) -> Table:
    """Right answers by the time since the change."""
    each = list(_each(result))
    ages = list(dict.fromkeys(age for *_, one in each for age in one.right_by_age))
    ages.sort(key=lambda age: math.inf if age == "later" else float(age.partition(" ")[0]))
    rows = []
    for name, action, scope, one in each:
        shares = [one.right_by_age.get(age) for age in ages]
        texts = [NOT_MEASURED if s is None else share(s.right, s.replies) for s in shares]
        rows.append(Row(Cell(name), (Cell(action), Cell(scope), *map(Cell, texts))))
    return Table(
        "right-by-age",
        "Right answers by the time since the change",
        "variant",
        (
            Column("change", numeric=False),
            Column("scope", numeric=False),
            *(Column(age if age == "later" else f"up to {age}") for age in ages),
        ),
        tuple(rows) if ages else (),
        "Of the replies that tell the versions apart, sent after the end of the column before.",
    )


def _each(result: Result) -> Iterator[tuple[str, str, str, Freshness]]:
    pairs = _pairs(result)
    for name, found in result.freshness.items():
        for action, scope in pairs:
            one = found.get(action, {}).get(scope)
            if one is not None:
                yield name, action, scope, one
