"""Checks the expectations of a scenario against the measured figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from harness.analysis import rounds
from harness.analysis.points import because, missing
from harness.authcache.words import ObjectKind
from harness.domain.rates import answered, of_scope, per_answered
from harness.domain.result import ExpectationResult, VariantResult
from harness.domain.series import ALL
from harness.scenario.schema import (
    CellExpectation,
    Expectation,
    LimitExpectation,
    RatioExpectation,
)
from harness.targets.registry import matches

Figure = Callable[[VariantResult, str, ObjectKind | None], float | None]


class Metric(NamedTuple):
    """A metric that an expectation can name."""

    figure: Figure
    measure: str
    """Its name in `harness.analysis.points`."""
    measure_of_all: str | None = None
    """The measure over all scopes, if that one depends on fewer points."""
    scales: bool = False
    """Whether it is a time, whose bounds scale with the run's."""


def applicable(
    expectations: Sequence[Expectation],
    variants: Sequence[str],
    *,
    premises: bool,
    time_scale: float = 1.0,
) -> list[Expectation]:
    """The expectations that name a variant of the run and fit its premises.

    An expectation for a range of releases becomes one for each release of the run in that range. A
    ratio to a variant that is not in the run cannot be checked and is left out. Bounds in seconds
    are scaled.
    """
    word = "on" if premises else "off"
    return [
        e.model_copy(update={"variant": name, **_scaled(e, time_scale)})
        for e in expectations
        for name in variants
        if matches(e.variant, name)
        and e.premises in ("any", word)
        and (not isinstance(e, RatioExpectation) or e.to in variants)
    ]


def _scaled(e: Expectation, time_scale: float) -> dict[str, float]:
    if not isinstance(e, LimitExpectation) or not METRICS[e.metric].scales:
        return {}
    bounds = {"min": e.min, "max": e.max}
    return {name: bound * time_scale for name, bound in bounds.items() if bound is not None}


def hold(
    expectations: Sequence[Expectation], variants: Mapping[str, VariantResult]
) -> list[ExpectationResult]:
    """Every expectation with the measured figure; without a figure it has not passed.

    If the figure is missing because a release was not instrumented, it has not failed either.
    """
    return [_hold_one(expectation, variants) for expectation in expectations]


def _hold_one(e: Expectation, variants: Mapping[str, VariantResult]) -> ExpectationResult:
    result = variants[e.variant]
    if isinstance(e, CellExpectation):
        cell = result.cells.get(e.scope)
        blind = missing(result, "cells") if cell is None else ()
        return _outcome(e, f"cell in {e.scope}", cell, e.is_, cell == e.is_, blind)
    kind = e.object if isinstance(e, LimitExpectation) else None
    figure, blind = _read(e, result, kind)
    subject = f"{kind} " if kind else ""
    name = f"{subject}{e.metric} in {e.scope}"
    if isinstance(e, RatioExpectation):
        other, blind_there = _read(e, variants[e.to], None)
        ratio = figure / other if figure is not None and other else None
        text = f"{ratio:.4f}" if ratio is not None else None
        passed = ratio is not None and ratio <= e.max
        blind = tuple(dict.fromkeys((*blind, *blind_there)))
        return _outcome(e, f"{name} / {e.to}'s", text, f"<= {e.max:g}", passed, blind)
    passed = (
        figure is not None
        and (e.min is None or figure >= e.min)
        and (e.max is None or figure <= e.max)
    )
    bounds = [f">= {e.min:g}"] if e.min is not None else []
    bounds += [f"<= {e.max:g}"] if e.max is not None else []
    text = f"{figure:.4g}" if figure is not None else None
    return _outcome(e, name, text, " and ".join(bounds), passed, blind)


def _read(
    e: LimitExpectation | RatioExpectation, result: VariantResult, kind: ObjectKind | None
) -> tuple[float | None, tuple[str, ...]]:
    """The figure, and the points that are missing for it."""
    metric = METRICS[e.metric]
    over_all = metric.measure_of_all if e.scope == ALL else None
    return metric.figure(result, e.scope, kind), missing(result, over_all or metric.measure)


def _outcome(
    e: Expectation, name: str, text: str | None, limit: str, passed: bool, blind: Sequence[str]
) -> ExpectationResult:
    """Args: text: the measured figure; ``blind``: points of a release that are missing for it."""
    measured = because(blind) if blind else text or "not measured"
    return ExpectationResult(
        name=name,
        variant=e.variant,
        scope=e.scope,
        measured=measured,
        limit=limit,
        passed=passed and not blind,
        not_instrumented=list(blind),
    )


def _source_reads(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    if kind is None or scope not in result.source_reads_per_1000:
        return result.source_reads_per_1000.get(scope)
    if scope == ALL:
        return _source_reads_of_all(result, kind)
    return result.source_reads_per_1000_by_object.get(scope, {}).get(kind.value, 0.0)


def _source_reads_of_all(result: VariantResult, kind: ObjectKind) -> float | None:
    """Including reads for keys that were never resolved."""
    return rounds.of_all(result, ALL, lambda w: rounds.source_reads(w, ALL, kind))


def _over_reference(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    reads = _source_reads(result, scope, kind)
    line = result.reference_line_per_1000.get(scope)
    return reads / line if reads is not None and line else None


def _ttl_kept(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    kept = result.ttl_kept.get(scope)
    return None if kept is None else kept.value


def _over_expected(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    over = result.reads_over_expected.get(scope)
    return None if over is None else over.value


def _log_pairs(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    return _per_1000(result, scope, result.log_pairs)


def _failures(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    if result.deserialize_failures is None:
        return None
    sums = {s: sum(by.values()) for s, by in result.deserialize_failures.items()}
    return _per_1000(result, scope, sums)


def _wrong_values(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    wanted = result.wrong_values
    if wanted is None or not answered(result.requests, scope):
        return None
    tables = of_scope(wanted, scope)
    return float(
        sum(n for table in tables for k, n in table.items() if kind is None or k == kind.value)
    )


def _entry_age(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    """Over all tiers, scopes and objects."""
    del scope, kind
    return max(result.entry_age_max_s.values(), default=None)


def _per_1000(result: VariantResult, scope: str, counts: Mapping[str, int] | None) -> float | None:
    if counts is None:
        return None
    return per_answered(sum(of_scope(counts, scope)), answered(result.requests, scope))


METRICS: Mapping[str, Metric] = {
    "source_reads_per_1000": Metric(_source_reads, "source_reads_by_scope", "source_reads"),
    "source_reads_over_reference_line": Metric(
        _over_reference, "source_reads_by_scope", "source_reads"
    ),
    "log_pairs_per_1000": Metric(_log_pairs, "log_pairs"),
    "wrong_values": Metric(_wrong_values, "wrong_values"),
    "deserialize_failures_per_1000": Metric(_failures, "deserialize_failures"),
    "entry_age_max_s": Metric(_entry_age, "wrong_values", scales=True),
    "ttl_kept": Metric(_ttl_kept, "reads_by_object"),
    "reads_per_object_and_ttl": Metric(_over_expected, "source_reads_by_scope", "source_reads"),
}
"""By its name in a scenario file."""
