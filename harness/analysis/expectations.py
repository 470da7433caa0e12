"""Expectations of a scenario, held against what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from harness.authcache.words import ObjectKind
from harness.result import ExpectationResult, VariantResult
from harness.scenario.schema import (
    CellExpectation,
    Expectation,
    LimitExpectation,
    RatioExpectation,
)
from harness.targets.litellm.releases import speaks_of

ALL = "all"
Figure = Callable[[VariantResult, str, ObjectKind | None], float | None]


def applicable(
    expectations: Sequence[Expectation], variants: Sequence[str], *, premises: bool
) -> list[Expectation]:
    """Those that speak of a variant in the run, and of a run with or without premises.

    One that speaks of a range of releases becomes one for each release of the run within it. A
    ratio to a variant that is not in the run cannot be held against anything and is left out.
    """
    word = "on" if premises else "off"
    return [
        e.model_copy(update={"variant": name})
        for e in expectations
        for name in variants
        if speaks_of(e.variant, name)
        and e.premises in ("any", word)
        and (not isinstance(e, RatioExpectation) or e.to in variants)
    ]


def hold(
    expectations: Sequence[Expectation], variants: Mapping[str, VariantResult]
) -> list[ExpectationResult]:
    """Every expectation with what was measured. What was not measured has not been met."""
    return [_hold_one(expectation, variants) for expectation in expectations]


def _hold_one(e: Expectation, variants: Mapping[str, VariantResult]) -> ExpectationResult:
    result = variants[e.variant]
    if isinstance(e, CellExpectation):
        cell = result.cells.get(e.scope)
        return _outcome(e, f"cell in {e.scope}", cell or "not measured", e.is_, cell == e.is_)
    kind = e.object if isinstance(e, LimitExpectation) else None
    figure = FIGURES[e.metric](result, e.scope, kind)
    subject = f"{kind} " if kind else ""
    name = f"{subject}{e.metric} in {e.scope}"
    if isinstance(e, RatioExpectation):
        other = FIGURES[e.metric](variants[e.to], e.scope, None)
        ratio = figure / other if figure is not None and other else None
        text = f"{ratio:.4f}" if ratio is not None else "not measured"
        passed = ratio is not None and ratio <= e.max
        return _outcome(e, f"{name} / {e.to}'s", text, f"<= {e.max:g}", passed)
    passed = (
        figure is not None
        and (e.min is None or figure >= e.min)
        and (e.max is None or figure <= e.max)
    )
    bounds = [f">= {e.min:g}"] if e.min is not None else []
    bounds += [f"<= {e.max:g}"] if e.max is not None else []
    text = f"{figure:.4g}" if figure is not None else "not measured"
    return _outcome(e, name, text, " and ".join(bounds), passed)


def _outcome(
    e: Expectation, name: str, measured: str, limit: str, passed: bool
) -> ExpectationResult:
    return ExpectationResult(
        name=name, variant=e.variant, scope=e.scope, measured=measured, limit=limit, passed=passed
    )


def _requests(result: VariantResult, scope: str) -> int:
    wanted = result.requests.values() if scope == ALL else [result.requests.get(scope, {})]
    return sum(sum(statuses.values()) for statuses in wanted)


def _source_reads(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    if kind is None:
        return result.source_reads_per_1000.get(scope)
    if scope not in result.source_reads_per_1000:
        return None
    return result.source_reads_per_1000_by_object.get(scope, {}).get(kind.value, 0.0)


def _over_reference(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    reads = _source_reads(result, scope, kind)
    line = result.reference_line_per_1000.get(scope)
    return reads / line if reads is not None and line else None


def _log_pairs(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    return _per_1000(result, scope, result.log_pairs)


def _failures(result: VariantResult, scope: str, _: ObjectKind | None) -> float | None:
    sums = {s: sum(by.values()) for s, by in result.deserialize_failures.items()}
    return _per_1000(result, scope, sums)


def _wrong_values(result: VariantResult, scope: str, kind: ObjectKind | None) -> float | None:
    if not _requests(result, scope):
        return None
    wanted = result.wrong_values
    tables = wanted.values() if scope == ALL else [wanted.get(scope, {})]
    return float(
        sum(n for table in tables for k, n in table.items() if kind is None or k == kind.value)
    )


def _per_1000(result: VariantResult, scope: str, counts: Mapping[str, int]) -> float | None:
    requests = _requests(result, scope)
    if not requests:
        return None
    count = sum(counts.values()) if scope == ALL else counts.get(scope, 0)
    return count / requests * 1000


FIGURES: Mapping[str, Figure] = {
    "source_reads_per_1000": _source_reads,
    "source_reads_over_reference_line": _over_reference,
    "log_pairs_per_1000": _log_pairs,
    "wrong_values": _wrong_values,
    "deserialize_failures_per_1000": _failures,
}
"""By the name that a scenario file uses."""
