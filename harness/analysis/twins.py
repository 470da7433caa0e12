"""The twin test: compares reference variants with the releases they stand for, in one run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from harness.analysis.difference import ComparisonOutcome, Difference, Reading, compare
from harness.analysis.explained import REFUSALS, Explanation
from harness.analysis.points import missing
from harness.analysis.twin_measures import MEASURES, Measure, places
from harness.domain.result import Result, VariantResult
from harness.errors import EXIT_INCONCLUSIVE, EXIT_PASS, EXIT_REGRESSION, UsageError


class Pair(NamedTuple):
    """A reference variant and the release that it stands for, by their names in a run."""

    twin: str
    release: str


@dataclass(frozen=True, slots=True)
class TwinLine:
    """One figure of a pair, for both variants."""

    measure: Measure
    scope: str
    part: str
    twin: Reading
    release: Reading
    difference: Difference
    explanation: Explanation | None = None
    """Why they differ, if that is known."""

    @property
    def unexplained(self) -> bool:
        """Whether they differ without a known reason."""
        return self.difference.outcome is ComparisonOutcome.DIFFERS and self.explanation is None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All figures of one pair."""

    pair: Pair
    lines: tuple[TwinLine, ...]
    missing: tuple[str, ...] = ()
    """Those of the pair without a measured window; then there are no lines."""
    stale: tuple[Explanation, ...] = ()
    """Explanations of this release whose difference did not occur."""
    unwrapped: tuple[str, ...] = ()
    """Points of the release that could not be wrapped."""

    def count(self, outcome: ComparisonOutcome) -> int:
        """Figures with this outcome."""
        return sum(line.difference.outcome is outcome for line in self.lines)

    @property
    def unexplained(self) -> list[TwinLine]:
        """Differences without an explanation."""
        return [line for line in self.lines if line.unexplained]

    @property
    def explained(self) -> list[TwinLine]:
        """Differences with a known cause."""
        return [line for line in self.lines if line.explanation is not None]

    @property
    def conclusive(self) -> bool:
        """Whether all figures were compared."""
        return bool(self.lines) and not self.count(ComparisonOutcome.NOT_MEASURED)


@dataclass(frozen=True, slots=True)
class TwinTest:
    """The comparisons of all pairs of a run."""

    comparisons: tuple[Comparison, ...]

    @property
    def unexplained(self) -> int:
        """Number of differences without an explanation."""
        return sum(len(comparison.unexplained) for comparison in self.comparisons)

    @property
    def explanations(self) -> list[Explanation]:
        """The explanations of differences in this run, each once."""
        found = {
            line.explanation.name: line.explanation
            for comparison in self.comparisons
            for line in comparison.lines
            if line.explanation is not None
        }
        return list(found.values())

    def exit_code(self, result: Result) -> int:
        """The run's own code if it is invalid or was stopped, else the twin test's.

        What the scenario's expectations leave undecided is not what the twin test asks.

        0: no unexplained difference. 1: an unexplained difference, or a failed expectation of the
        scenario. 3: a figure could not be compared.
        """
        if result.exit_code not in (EXIT_PASS, EXIT_REGRESSION, EXIT_INCONCLUSIVE):
            return result.exit_code
        if result.exit_code == EXIT_REGRESSION or self.unexplained:
            return EXIT_REGRESSION
        conclusive = all(comparison.conclusive for comparison in self.comparisons)
        return EXIT_PASS if conclusive else EXIT_INCONCLUSIVE


def twin_test(
    result: Result,
    pairs: Sequence[Pair],
    register: Mapping[str, Explanation],
    *,
    asked: bool = True,
) -> TwinTest:
    """Compare the pairs of a run.

    Args:
        result: the run.
        pairs: the variants to compare.
        register: explained differences.
        asked: whether the run must have all of these pairs; otherwise pairs that are not in the
            run are left out.

    Raises:
        UsageError: the run plants a premise, which no release has, or has none of the pairs.
    """
    if result.premises:
        raise UsageError(
            f"The run [{result.run_id}] plants a premise, which no release has: its variants and "
            "their releases ran under different conditions. Run it with --premise off."
        )
    there = result.variants.keys()
    if not asked:
        pairs = [pair for pair in pairs if {*pair} & there] or _no_pairs(result, pairs)
    return TwinTest(tuple(_compare(result, pair, register.values()) for pair in pairs))


def _compare(result: Result, pair: Pair, register: Iterable[Explanation]) -> Comparison:
    missing = tuple(name for name in pair if name not in result.variants)
    if missing:
        return Comparison(pair, (), missing)
    twin, release = result.variants[pair.twin], result.variants[pair.release]
    known = [e for e in register if e.applies_to(pair.release)]
    lines = tuple(
        _line(measure, scope, part, twin, release, known)
        for measure in MEASURES
        for scope, part in places(measure, twin, release)
    )
    stale = tuple(e for e in known if _is_stale(e, lines))
    return Comparison(pair, lines, (), stale, tuple(release.not_instrumented))


def _line(
    measure: Measure,
    scope: str,
    part: str,
    twin: VariantResult,
    release: VariantResult,
    known: Sequence[Explanation],
) -> TwinLine:
    both = (twin, release)
    blind = any(measure.seen_as and missing(variant, measure.seen_as) for variant in both)
    silent = bool(scope) and any(scope not in variant.requests for variant in both)
    if blind or silent:
        unknown = Difference(ComparisonOutcome.NOT_MEASURED)
        return TwinLine(measure, scope, part, None, None, unknown)
    here, there = (measure.read(variant, scope, part) for variant in both)
    difference = compare(here, there)
    if difference.outcome is not ComparisonOutcome.DIFFERS:
        return TwinLine(measure, scope, part, here, there, difference)
    cause = next((e for e in known if e.covers(measure.name, scope, part, here, there)), None)
    return TwinLine(measure, scope, part, here, there, difference, cause)


def _is_stale(explanation: Explanation, lines: Sequence[TwinLine]) -> bool:
    """Whether its difference did not occur; noise or an unmeasured figure leaves that open.

    So does a run without refusals, such as one from before they were driven.
    """
    undecided = (ComparisonOutcome.NOISE, ComparisonOutcome.NOT_MEASURED)
    about = [one for one in lines if explanation.is_about(one.measure.name, one.scope, one.part)]
    return not any(
        one.explanation is explanation or one.difference.outcome in undecided for one in about
    ) and (bool(about) or explanation.measure != REFUSALS)


def _no_pairs(result: Result, pairs: Sequence[Pair]) -> NoReturn:
    known = ", ".join(f"{pair.twin} with {pair.release}" for pair in pairs)
    raise UsageError(
        f"The run [{result.run_id}] has no pair of a reference variant and its release. "
        f"Pairs are: {known}. `harness twins` runs them."
    )
