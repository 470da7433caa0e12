"""The matrix of writers and readers for people and programs: tables, words, Markdown, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.console import Console

from harness.analysis.compat import (
    HARMFUL,
    ORDER,
    CompatCell,
    CompatReading,
    ReadOutcome,
    Rows,
    UpgradeStep,
    safe_order,
    step,
    told,
)
from harness.authcache.objects import CachedObject
from harness.authcache.words import ObjectKind
from harness.report.grid import draw, say
from harness.report.markdown import bullets, markdown_table
from harness.report.table import Cell, Row, Table, Tone, columns

SCHEMA_VERSION = 1
_TONES: Mapping[ReadOutcome, Tone] = {
    ReadOutcome.OTHER_VALUE: "hidden",
    ReadOutcome.FAILURE: "broken",
    ReadOutcome.FEWER_FIELDS: "wasteful",
    ReadOutcome.NOT_READ: "quiet",
    ReadOutcome.SAME: "healthy",
}
_FOOT = (
    "Rows write, columns read; the worst of all objects, and the objects it is seen in. * A reader "
    "that does no better with the entries it wrote itself."
)
_SHOWN_FIELDS = 6
_SHOWN_CHARACTERS = 160


def print_compat(found: Sequence[CompatCell], console: Console) -> None:
    """Print the matrix, the smallest objects and what they mean for a rollout."""
    draw(console, compat_table(found))
    draw(console, smallest_table(found))
    console.print()
    say(console, "Upgrades", "bold")
    for line in upgrade_words(found):
        say(console, line)


def compat_markdown(found: Sequence[CompatCell]) -> str:
    """The same as Markdown."""
    tables = (compat_table(found), smallest_table(found))
    return "\n\n".join(
        (*map(markdown_table, tables), "**Upgrades**", bullets(upgrade_words(found)))
    )


def compat_json(found: Sequence[CompatCell]) -> str:
    """The same for programs: every cell with its counts, and every rollout of the given order."""
    names = _names(found)
    steps = [step(found, old, new) for old in names for new in names if old != new]
    data = {
        "schema_version": SCHEMA_VERSION,
        "variants": names,
        "cells": [_cell(one) for one in found],
        "upgrades": [
            {"from": s.old, "to": s.new, "safe": s.safe, "must_flush": s.must_flush} for s in steps
        ],
        "safe_order": safe_order(found, names),
    }
    return json.dumps(data, indent=1, ensure_ascii=False, default=str)


def compat_table(found: Sequence[CompatCell]) -> Table:
    """Writers by readers: the worst outcome, with the objects in which it is seen."""
    names = _names(found)
    rows = tuple(
        Row(
            Cell(writer),
            tuple(
                _pair([c for c in found if (c.writer, c.reader) == (writer, reader)])
                for reader in names
            ),
        )
        for writer in names
    )
    caption = "Writer by reader: what each variant makes of the others' entries in Redis"
    return Table("compat", caption, "writer", columns(names, numeric=False), rows, _FOOT)


def _pair(found: Sequence[CompatCell]) -> Cell:
    worst = min((one.outcome for one in found), key=ORDER.index)
    seen = [one for one in found if one.outcome is worst]
    if worst is ReadOutcome.SAME:
        return Cell(worst, tone=_TONES[worst])
    mark = "" if any(one.added is worst for one in seen) else " *"
    return Cell(f"{worst}{mark}", ", ".join(one.kind for one in seen), _TONES[worst])


def smallest_table(found: Sequence[CompatCell]) -> Table:
    """The smallest objects that show each outcome; pairs that show the same are one row."""
    groups: dict[tuple[ReadOutcome, ObjectKind, str, str], list[str]] = {}
    for one in found:
        for outcome, (rows, reading) in one.smallest.items():
            shown = (outcome, one.kind, _objects(rows), _read(reading))
            groups.setdefault(shown, []).append(f"{one.writer} → {one.reader}")
    made = sorted(groups.items(), key=lambda item: (ORDER.index(item[0][0]), item[0][1]))
    drawn = tuple(
        Row(
            Cell(f"{kind}: {outcome}", tone=_TONES[outcome]),
            (Cell(written, read), Cell(f"{pairs[0]}{_more(len(pairs) - 1)}")),
        )
        for (outcome, kind, written, read), pairs in made
    )
    caption = "The smallest objects that show each outcome"
    heads = columns(("written, and below what is read", "first seen in"), numeric=False)
    return Table("compat-smallest", caption, "object", heads, drawn, code=False)


def _more(number: int) -> str:
    return f" and {number} more" if number else ""


def upgrade_words(found: Sequence[CompatCell]) -> list[str]:
    """What the matrix means for rollouts in the order of the variants, in sentences."""
    names = _names(found)
    lines = [_step_words(step(found, old, new)) for old, new in pairwise(names)]
    if len(names) > 1:
        way = safe_order(found, names)
        first, last = names[0], names[-1]
        if way is None:
            lines.append(
                f"No chain of these variants leads safely from {first} to {last} on one Redis."
            )
        else:
            lines.append(f"Safe order from {first} to {last}: {' → '.join(way)}.")
    return lines


def _step_words(one: UpgradeStep) -> str:
    said = [
        *_added(one.forward, one.new, one.old),
        *_added(one.backward, one.old, one.new),
    ]
    head = f"{one.old} → {one.new}:"
    if not said:
        return f"{head} safe on one Redis. Each reads what the other writes. No flush."
    detail = "; ".join(said)
    if one.must_flush:
        return (
            f"{head} not safe on one Redis. {detail}. Give {one.new} a Redis of its own, or stop "
            f"{one.old}, flush Redis, then start {one.new}."
        )
    if not one.safe:
        return (
            f"{head} not safe while both run. {detail}. No flush once {one.old} is gone; flush "
            f"Redis before a rollback to {one.old}."
        )
    apart = any(cell.added is ReadOutcome.NOT_READ for cell in (*one.forward, *one.backward))
    cold = " Caches start cold, and neither evicts what the other stored." if apart else ""
    return f"{head} safe on one Redis, with a cost. {detail}.{cold} No flush."


_VERBS = {
    ReadOutcome.OTHER_VALUE: "reads other values in",
    ReadOutcome.FAILURE: "fails on",
    ReadOutcome.FEWER_FIELDS: "reads fewer fields of",
    ReadOutcome.NOT_READ: "does not find",
}


def _added(found: Sequence[CompatCell], reader: str, writer: str) -> list[str]:
    """One phrase for each outcome that a reader adds, the worst first."""
    phrases = []
    for outcome, verb in _VERBS.items():
        here = [cell for cell in found if cell.added is outcome]
        kinds = ", ".join(f"{cell.kind}{_detail(cell, outcome)}" for cell in here)
        if here:
            phrases.append(f"{reader} {verb} {writer}'s {kinds}")
    return phrases


def _detail(cell: CompatCell, outcome: ReadOutcome) -> str:
    if outcome is ReadOutcome.FEWER_FIELDS:
        return f" ({_some(cell.fields)})"
    found = cell.smallest[outcome][1].found if outcome in cell.smallest else None
    if found is None or found is cell.kind:
        return ""
    return f" (its key holds a {found} where both have one id)"


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_SHOWN_FIELDS])
    return f"{shown}{_more(len(names) - _SHOWN_FIELDS)}" if len(names) > _SHOWN_FIELDS else shown


def _objects(rows: Rows) -> str:
    return "; ".join(f"{kind} {_fields(value)}" for kind, value in rows.items())


def _fields(value: Any) -> str:
    fields = told(value) if isinstance(value, CachedObject) else value
    return _cut(", ".join(f"{name}={_plain(one)}" for name, one in fields.items()))


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        value = {name: one for name, one in value.items() if one is not None}
    return json.dumps(value, ensure_ascii=False, default=str)


def _read(reading: CompatReading) -> str:
    if reading.outcome is ReadOutcome.NOT_READ:
        return f"asks {_cut(reading.asked, 40)}" if reading.asked else reading.why
    if reading.lost or (reading.changed and not reading.why):
        changed = [f"{n}: {_plain(a)} → {_plain(b)}" for n, (a, b) in reading.changed.items()]
        return _cut(", ".join((*(f"{name}: default" for name in reading.lost), *changed)))
    lines = [line.strip().partition(" [type=")[0] for line in reading.why.splitlines()]
    return _cut(" ".join(line for line in lines[:3] if not line.startswith("For further")))


def _cut(text: str, characters: int = _SHOWN_CHARACTERS) -> str:
    return text if len(text) <= characters else f"{text[:characters]}…"


def _cell(one: CompatCell) -> dict[str, Any]:
    return {
        "writer": one.writer,
        "reader": one.reader,
        "object": one.kind,
        "outcome": one.outcome,
        "added": one.added,
        "objects": {outcome: one.counts[outcome] for outcome in ORDER if outcome in one.counts},
        "fields": one.fields,
        "harmful": one.added in HARMFUL,
        "smallest": {
            outcome: {
                "written": {kind: _told(value) for kind, value in rows.items()},
                "asked": reading.asked,
                "found": reading.found,
                "read": _read(reading),
            }
            for outcome, (rows, reading) in one.smallest.items()
        },
    }


def _told(value: Any) -> Mapping[str, Any]:
    fields: Mapping[str, Any] = told(value) if isinstance(value, CachedObject) else value
    return fields


def _names(found: Sequence[CompatCell]) -> list[str]:
    return list(dict.fromkeys(one.writer for one in found))
