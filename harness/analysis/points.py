"""Which points each measure of a release depends on.

The instrumentation inside a release wraps points by name (docs/decisions/0007), and each point must
count a known event (0021). Where it does not, its counters stay at 0, and that 0 means nothing. So
a measure is removed from a result unless all its points count. It was not measured. What the points
are: `harness.domain.series.HookPoint`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import NamedTuple, TypeVar

from harness.domain.result import VariantResult, Window
from harness.domain.series import ALL, HookPoint
from harness.targets.registry import PROJECT, covers

_T = TypeVar("_T")


class Need(NamedTuple):
    """A point, by its name in `authcache_instrumented`, and the releases that need it."""

    point: str
    releases: str = f"{PROJECT}>=0"


_AUTH_CACHE = Need(HookPoint.AUTH_CACHE)
_INTERNAL_CACHE = Need(HookPoint.INTERNAL_USAGE_CACHE)
_REDIS_CACHE = Need(HookPoint.REDIS_CACHE)
_REDIS_CLIENT = Need(HookPoint.REDIS_CLIENT)
_STATEMENTS = Need(HookPoint.STATEMENTS)
_LOG_RECORDS = Need(HookPoint.LOG_RECORDS)
_SPEND_QUEUES = Need(HookPoint.SPEND_QUEUES)
_TASKS = Need(HookPoint.TASKS)
# Releases before PR #26202 have no codec: there the cache shows that a value has a wrong type.
_CODEC = Need(HookPoint.CODEC, f"{PROJECT}>=1.84.0rc1")

_READS_BY_SCOPE = (_STATEMENTS, _AUTH_CACHE)
_FAILURES = (_AUTH_CACHE, _INTERNAL_CACHE, _REDIS_CACHE, _CODEC)
_WRONG_VALUES = (_AUTH_CACHE, _INTERNAL_CACHE, _STATEMENTS)

SEEN_THROUGH: Mapping[str, tuple[Need, ...]] = {
    "cells": tuple(dict.fromkeys((*_FAILURES, *_WRONG_VALUES, *_READS_BY_SCOPE))),
    "source_reads": (_STATEMENTS,),
    # A request's key scope comes from the key object that the auth cache returned or received.
    "source_reads_by_scope": _READS_BY_SCOPE,
    # Replies name the objects that were read for them.
    "reads_by_object": tuple(dict.fromkeys((*_WRONG_VALUES, *_READS_BY_SCOPE))),
    # A value found counts as a hit unless a failure is seen, so hits need the points of failures.
    "lookups": (*_FAILURES, _REDIS_CLIENT),
    "deserialize_failures": _FAILURES,
    "wrong_values": _WRONG_VALUES,
    "log_pairs": (_LOG_RECORDS, _AUTH_CACHE),
    "log_records": (_LOG_RECORDS,),
    "payload_bytes": (_REDIS_CLIENT,),
    "codec_times": (_CODEC,),
    "backfill_ttl": (_AUTH_CACHE, _REDIS_CACHE),
    # Without them, it is unknown when the last spend has been written.
    "spend_drift": (_SPEND_QUEUES, _TASKS),
    # From the replies' statuses, their headers and the generator's samples.
    "budgets": (),
    "latency": (),
    "clocks": (),
}
"""By measure. `getters` is in none: it separates loads from peeks, and no figure does."""

_NOTHING: Mapping[str, Mapping[str, object]] = {
    "source_reads": {"source_reads": None, "cold_fill_source_reads": None},
    "source_reads_by_scope": {
        "source_reads_per_1000_by_object": {},
        "reads_per_object_and_ttl": {},
        "expected_reads_per_object_and_ttl": {},
        "reads_over_expected": {},
        "other_reads_per_request": {},
    },
    "reads_by_object": {"ttl_kept": {}, "elasticity": {}, "uncached": {}, "kept_alive": {}},
    "lookups": {"lookups": {}, "lookups_by_scope": {}},
    "deserialize_failures": {"deserialize_failures": None},
    "wrong_values": {"wrong_values": None},
    "log_pairs": {"log_pairs": None},
    "log_records": {"log_records": None},
    "payload_bytes": {"payload_bytes": {}},
    "codec_times": {"codec_us": {}},
    "backfill_ttl": {"backfill_ttl_s": {}},
    "spend_drift": {"spend_drift_micro": {}},
}
"""The values of a variant's fields if a measure was not seen."""

_OF_MEMBERS: Mapping[str, tuple[str, ...]] = {
    "source_reads": ("source_reads", "source_reads_per_1000"),
    "deserialize_failures": ("unread",),
    "wrong_values": ("wrong",),
}
"""Fields of a member's figures by measure: None if it was not seen."""

_NOTHING_IN_WINDOW: Mapping[str, Mapping[str, object]] = {
    "source_reads": {"source_reads": None},
    "lookups": {"lookups": {}},
    "log_pairs": {"log_pairs": None},
}


def missing(variant: VariantResult, measure: str) -> tuple[str, ...]:
    """The points that a measure of this variant depends on and that were not instrumented."""
    # Of two where replicas differ.
    releases = [f"{PROJECT}=={version}" for version in variant.version.split(" + ")]
    return tuple(
        need.point
        for need in SEEN_THROUGH[measure]
        if need.point in variant.not_instrumented
        and any(covers(need.releases, release) for release in releases)
    )


def unseen(variant: VariantResult) -> list[str]:
    """The measures of a variant that were not measured."""
    return [measure for measure in SEEN_THROUGH if missing(variant, measure)]


def because(points: Sequence[str]) -> str:
    """The text that says why a figure was not measured."""
    verb = "was" if len(points) == 1 else "were"
    return f"not measured: {' and '.join(points)} {verb} not instrumented"


def mask_unseen(variant: VariantResult) -> VariantResult:
    """A variant without unseen measures; the same object if everything was seen.

    A ``broken`` cell stays, because its failures were seen, and so do a ``hidden`` one, by what was
    let through, and a ``stale`` one, by answers; numbers are lower bounds. Any other cell is
    removed, because it would depend on what could not be seen.
    """
    lost = unseen(variant)
    if not lost:
        return variant
    changes = _blanks(_NOTHING, lost)
    changes["windows"] = [_window_without(window, lost) for window in variant.windows]
    changes["by_member"] = {
        name: one.model_copy(
            update={
                field: None
                for measure, fields in _OF_MEMBERS.items()
                if measure in lost
                for field in fields
            }
        )
        for name, one in variant.by_member.items()
    }
    changes["source_reads_per_1000"] = _seen_reads(variant.source_reads_per_1000, lost)
    changes["source_reads_per_1000_range"] = _seen_reads(variant.source_reads_per_1000_range, lost)
    if "cells" in lost:
        reason = because(missing(variant, "cells"))
        bound = f" ({reason})"
        seen = {
            scope: [
                cell
                for cell in cells
                if cell == "broken"
                or (cell == "hidden" and scope in (variant.let_through or {}))
                or (cell == "stale" and scope in (variant.stale or {}))
            ]
            for scope, cells in variant.cells.items()
        }
        kept = {scope: cells for scope, cells in seen.items() if cells}
        changes["cells"] = kept
        changes["cell_reasons"] = {
            # What it says of a cell that stays is a lower bound: a missing point would see more.
            scope: text.removesuffix(bound) + bound if scope in kept else reason
            for scope, text in variant.cell_reasons.items()
        }
    return variant.model_copy(update=changes)


def _blanks(nothing: Mapping[str, Mapping[str, object]], lost: Sequence[str]) -> dict[str, object]:
    blanks = {field: none for measure in lost for field, none in nothing.get(measure, {}).items()}
    # Copied, because a result may be changed in place.
    return deepcopy(blanks)


def _window_without(window: Window, lost: Sequence[str]) -> Window:
    changes = _blanks(_NOTHING_IN_WINDOW, lost)
    changes["source_reads_per_1000"] = _seen_reads(window.source_reads_per_1000, lost)
    return window.model_copy(update=changes)


def _seen_reads(by_scope: Mapping[str, _T], lost: Sequence[str]) -> dict[str, _T]:
    if "source_reads" in lost:
        return {}
    if "source_reads_by_scope" in lost:
        return {scope: figure for scope, figure in by_scope.items() if scope == ALL}
    return dict(by_scope)
