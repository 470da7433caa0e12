"""What the twin test compares: every measure, with its figures by scope and part.

A part is an object; a status for the measure of statuses, a kind of refused key for that of
refusals; empty for measures without parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from harness.analysis import rounds
from harness.analysis.cells import OLD_ANSWERS
from harness.analysis.difference import Reading, RoundedFigure
from harness.analysis.explained import CELLS, REFUSALS
from harness.authcache.words import LOAD_SCOPES, ObjectKind
from harness.domain.population import KINDS
from harness.domain.rates import PER, answered, per_answered
from harness.domain.result import VariantResult, Window, in_order

_PERCENT = 100
_PARTS = (*ObjectKind, *KINDS)

Place = tuple[str, str]
"""Scope and part."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure by which a variant and a release are compared."""

    name: str
    """Its name in the register of explained differences."""
    label: str
    """Its name in the rows of a table."""
    places: Callable[[VariantResult], Iterable[Place]]
    """The scopes and parts in which a variant has a figure."""
    read: Callable[[VariantResult, str, str], Reading]
    """The figure of a scope and part. The scope must have had requests."""
    percent: bool = False
    """Whether its figures are shares in percent."""
    seen_as: str = ""
    """Its name in `harness.analysis.points`; empty if it depends on no point of a release."""


def places(measure: Measure, *variants: VariantResult) -> list[Place]:
    """The scopes and parts in which any variant has a figure, in the order of every table.

    A scope is listed without a part only if no variant has a part in it.
    """
    found = [place for variant in variants for place in measure.places(variant)]
    scopes = in_order((scope for scope, _ in found), LOAD_SCOPES)
    return [
        (scope, part)
        for scope in scopes
        for part in in_order((p for s, p in found if s == scope and p), _PARTS) or [""]
    ]


def _cell_places(variant: VariantResult) -> Iterable[Place]:
    return [(scope, "") for scope in variant.cells]


def _cells(variant: VariantResult, scope: str, _: str) -> Reading:
    """Without a `stale` that the age of an entry alone shows: a release names no ages."""
    found = variant.cells.get(scope, [])
    kept = variant.kept_alive.get(scope, {}).values()
    old_answers = OLD_ANSWERS in variant.cell_reasons.get(scope, "")
    if kept and not old_answers and not any(one.rarely_read for one in kept):
        found = [cell for cell in found if cell != "stale"] or ["healthy"]
    return ", ".join(found) or None


def _scope_places(variant: VariantResult) -> Iterable[Place]:
    return [(scope, "") for scope in variant.requests]


def _read_places(variant: VariantResult) -> Iterable[Place]:
    yield from _scope_places(variant)
    for window in rounds.measured(variant):
        for scope, objects in (window.source_reads or {}).items():
            # Keys that were never resolved have no requests of their own to divide by.
            if scope in variant.requests:
                yield from ((scope, kind) for kind, n in objects.items() if n)


def _status_places(variant: VariantResult) -> Iterable[Place]:
    return [(scope, s) for scope, statuses in variant.requests.items() for s in statuses]


def _wrong_places(variant: VariantResult) -> Iterable[Place]:
    yield from _scope_places(variant)
    for scope, objects in (variant.wrong_values or {}).items():
        yield from ((scope, kind) for kind, n in objects.items() if n)


def _payload_places(variant: VariantResult) -> Iterable[Place]:
    return [("", kind) for kind in variant.payload_bytes]


def _source_reads(variant: VariantResult, scope: str, part: str) -> Reading:
    kinds = [part] if part else list(ObjectKind)

    def count(window: Window) -> int | None:
        reads = [n for k in kinds if (n := rounds.source_reads(window, scope, k)) is not None]
        return sum(reads) if reads else None

    return _by_round(variant, scope, count)


def _log_pairs(variant: VariantResult, scope: str, _: str) -> Reading:
    return _by_round(variant, scope, lambda window: rounds.log_pairs(window, scope))


def _statuses(variant: VariantResult, scope: str, part: str) -> Reading:
    def count(window: Window) -> int:
        return window.requests.get(scope, {}).get(part, 0)

    return _by_round(variant, scope, count, _PERCENT)


def _refusal_places(variant: VariantResult) -> Iterable[Place]:
    return [(scope, kind) for scope, kinds in variant.refusals.items() for kind in kinds]


def _refusals(variant: VariantResult, scope: str, part: str) -> Reading:
    """The statuses that a kind of refused key was answered, but for what came only once.

    A single time-out is no other behaviour (docs/decisions/0024).
    """
    found = variant.refusals.get(scope, {}).get(part)
    if found is None:
        return None
    often = [status for status, n in found.answers.items() if n > 1]
    return ", ".join(sorted(often or found.answers)) or None


def _wrong_values(variant: VariantResult, scope: str, part: str) -> Reading:
    if variant.wrong_values is None:
        return None
    by_object = variant.wrong_values.get(scope, {})
    wrong = by_object.get(part, 0) if part else sum(by_object.values())
    requests = rounds.judged_requests(variant, scope)
    value = per_answered(wrong, requests)
    # A result has wrong values only for all windows together: no range over the rounds.
    return None if value is None else RoundedFigure(value, requests / PER)


def _budget_places(variant: VariantResult) -> Iterable[Place]:
    return [(budget.scope, budget.owner) for budget in variant.budgets]


def _overshoot(variant: VariantResult, scope: str, part: str) -> Reading:
    beyond = [b.overshoot for b in variant.budgets if (b.scope, b.owner) == (scope, part)]
    return RoundedFigure(float(max(beyond))) if beyond else None


def _payload(variant: VariantResult, _: str, part: str) -> Reading:
    size = variant.payload_bytes.get(part)
    return None if size is None else RoundedFigure(size)


def _by_round(variant: VariantResult, scope: str, count: rounds.Count, per: float = PER) -> Reading:
    figure = rounds.of_all(variant, scope, count, per)
    if figure is None:
        return None
    requests = answered(variant.requests, scope)
    values = rounds.per_round(variant, scope, count, per)
    return RoundedFigure(figure, requests / per, tuple(values))


MEASURES = (
    Measure(
        CELLS,
        "cell",
        _cell_places,
        _cells,
        seen_as="cells",
    ),
    Measure(
        "source_reads",
        "source reads",
        _read_places,
        _source_reads,
        seen_as="source_reads_by_scope",
    ),
    Measure("log_pairs", "log pairs", _scope_places, _log_pairs, seen_as="log_pairs"),
    Measure("statuses", "status", _status_places, _statuses, percent=True),
    Measure(REFUSALS, "answer to", _refusal_places, _refusals),
    Measure("wrong_values", "wrong values", _wrong_places, _wrong_values, seen_as="wrong_values"),
    Measure("overshoot", "replies over budget", _budget_places, _overshoot, seen_as="budgets"),
    Measure("payload_bytes", "payload, bytes", _payload_places, _payload, seen_as="payload_bytes"),
)
"""In the order of the tables. Figures are per 1,000 answered requests of the scope, wrong values
per 1,000 of those that were judged, statuses in percent, payloads in bytes."""
