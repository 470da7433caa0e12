"""What the instrument shows where nothing differs, and where a known fault is planted.

`harness aa` drives one variant twice, under its name and under another, and twice more with its TTL
shortened and lengthened, in the same rounds. Rounds of that run make pairs as a comparison of two
variants has them: pairs without a difference count alarms, pairs with a planted TTL count how often
it is found, by a metric that a TTL moves and in the direction in which it does. A metric that
cannot move has no alarms and finds nothing, so both counts belong together (docs/decisions/0024).
"""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from harness.analysis.expectations import METRICS
from harness.analysis.intervals import LEAST_ROUNDS, mean, per_bound, student
from harness.analysis.variant import variant_result
from harness.analysis.verdict import invalidities, on_time
from harness.domain.result import VariantResult
from harness.domain.series import ALL
from harness.errors import EXIT_INCONCLUSIVE, EXIT_PASS, EXIT_REGRESSION, UsageError
from harness.observe.evidence import Evidence
from harness.observe.ledger import ledger, reconcile
from harness.plan.plan import RunPlan
from harness.scenario.schema import Scenario

FILE = "calibration.json"
"""In this package: the calibration that every report names."""
PAIRS = 100
"""Pairs that are made of the rounds of a run."""
MOST_ALARMS = 5
LEAST_FOUND = 80
"""Of 100 pairs: the limits of a calibration that passes."""
SHORTER, LONGER = 0.9, 1.1
"""The planted TTLs, as factors."""
_POWER = 0.2
"""Chance to miss the least detectable difference."""
_LATENCIES = ("p50", "p95")
FOLLOWS: Mapping[str, int] = {
    "ttl_kept": 1,
    "entry_age_max_s": 1,
    "memory_hit_share": 1,
    "source_reads_per_1000": -1,
    "source_reads_over_reference_line": -1,
    "reads_per_object_and_ttl": -1,
}
"""Metrics that a TTL moves: 1 up with it, -1 down. A difference of any other is an alarm between
equal fleets, and says nothing about a planted TTL: a slower fleet has another latency."""

Rounds = Mapping[str, Sequence[float]]
"""The figure of each round by metric, for one fleet."""


class Names(NamedTuple):
    """The fleets of a calibration."""

    base: str
    again: str
    shorter: str
    longer: str


@dataclass(frozen=True, slots=True)
class Calibrated:
    """One metric over all pairs."""

    alarms: int
    found_shorter: int
    """Pairs in which it moved as a shorter TTL moves it; 0 if no TTL does."""
    found_longer: int
    least_percent: float | None
    """Least difference that four of five pairs find; None if the rounds did not vary."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The outcome of `harness aa`."""

    date: str
    """Of the run, ISO 8601."""
    scenario: str
    variant: str
    replicas: int
    real_pairs: int
    """Pairs whose rounds were measured; the others are drawn from the same rounds."""
    real_alarms: int
    biased: list[str]
    """Metrics that tell the equal fleets apart over all rounds together."""
    rounds: tuple[int, int]
    """Least and most rounds of a pair."""
    left_out: int
    """Rounds of which a window was driven late: a run that had them would be invalid."""
    pairs: int
    alarms: int
    """Pairs of equal fleets in which any metric differed."""
    found_shorter: int
    """Pairs in which any metric of `FOLLOWS` moved as a shorter TTL moves it."""
    found_longer: int
    metrics: dict[str, Calibrated]
    """By name; a metric that was 0 in a round is left out."""

    @property
    def passed(self) -> bool:
        """Few alarms, no bias, and both planted TTLs found."""
        found = min(self.found_shorter, self.found_longer)
        few = self.real_alarms <= max(1, MOST_ALARMS * self.real_pairs / PAIRS)
        return few and self.alarms <= MOST_ALARMS and not self.biased and found >= LEAST_FOUND

    @property
    def exit_code(self) -> int:
        """0 passed, 1 not, 3 too few rounds for a pair."""
        if not self.pairs:
            return EXIT_INCONCLUSIVE
        return EXIT_PASS if self.passed else EXIT_REGRESSION


def names_of(variant: str) -> Names:
    """The names of the fleets."""
    return Names(variant, *(f"{variant}_{word}" for word in ("again", "shorter", "longer")))


def calibrating(scenario: Scenario, variant: str, pairs: int) -> Scenario:
    """The scenario of a calibration: so many pairs, the TTLs planted, no expectation, no change."""
    names = names_of(variant)
    planted = {names.shorter: SHORTER, names.longer: LONGER}
    return scenario.model_copy(
        update={
            "variants": list(names),
            "rounds": pairs * pair_rounds(scenario)[1],
            "rounds_max": None,
            "expect": [],
            "change": [],
            "premises": scenario.premises.model_copy(update={"ttl_times": planted}),
        }
    )


def pair_rounds(scenario: Scenario) -> tuple[int, int]:
    """Least and most rounds of a pair: the scenario's, and as many as an interval needs."""
    least = max(LEAST_ROUNDS, scenario.rounds)
    return least, max(least, scenario.rounds_max or 0)


def calibrate(
    fleets: Mapping[str, Rounds],
    names: Names,
    rounds: tuple[int, int],
    *,
    about: tuple[str, str, int],
    date: str,
    seed: int,
    left_out: int = 0,
) -> Calibration:
    """Count alarms and findings over the pairs that the rounds make.

    A pair is drawn from the measured rounds without replacement. Rounds that not all fleets have
    are left out.

    Args:
        fleets: the figures of each fleet.
        names: of the fleets.
        rounds: least and most rounds of a pair.
        about: scenario, variant and replicas.
        date: of the run.
        seed: of the drawn pairs.
        left_out: rounds that were driven late; the figures are without them.
    """
    metrics = [
        metric
        for metric in fleets[names.base]
        if all(value > 0 for name in names for value in fleets[name].get(metric, [0.0]))
    ]
    measured = min((len(fleets[name][m]) for name in names for m in metrics), default=0)
    logs = {
        name: {m: [math.log(value) for value in fleets[name][m][:measured]] for m in metrics}
        for name in names
    }
    real = measured // rounds[1]
    draw = random.Random(seed)
    drawn = [draw.sample(range(measured), rounds[1]) for _ in range(PAIRS if real else 0)]
    error = per_bound(2 * max(len(metrics), 1), rounds[1] - rounds[0] + 1)

    def ratios(other: str, metric: str, picked: Sequence[int]) -> list[float]:
        return [logs[other][metric][r] - logs[names.base][metric][r] for r in picked]

    def moved(other: str, picked: Sequence[int], signs: Sequence[int] = ()) -> dict[str, int]:
        signed = signs or [1] * len(picked)
        ways = {
            m: differs(
                [s * d for s, d in zip(signed, ratios(other, m, picked), strict=True)],
                rounds[0],
                error,
            )
            for m in metrics
        }
        return {m: way for m, way in ways.items() if way}

    def finds(other: str, picked: Sequence[int], ttl: int) -> set[str]:
        ways = moved(other, picked)
        return {m for m, way in ways.items() if way == ttl * FOLLOWS.get(m, 0)}

    # Either of two equal fleets may be the first one. Without that every drawn pair would repeat
    # the chance difference of these rounds; whether it is chance is what `biased` says.
    signs = [[draw.choice((-1, 1)) for _ in picked] for picked in drawn]
    found = {
        names.again: [{*moved(names.again, *pair)} for pair in zip(drawn, signs, strict=True)],
        names.shorter: [finds(names.shorter, picked, -1) for picked in drawn],
        names.longer: [finds(names.longer, picked, 1) for picked in drawn],
    }
    whole = per_bound(2 * max(len(metrics), 1))
    every = range(measured)
    biased = [m for m in metrics if differs(ratios(names.again, m, every), measured, whole)]
    blocks = [range(rounds[1] * n, rounds[1] * (n + 1)) for n in range(real)]

    def times(name: str, metric: str) -> int:
        return sum(metric in pair for pair in found[name])

    return Calibration(
        date=date,
        scenario=about[0],
        variant=about[1],
        replicas=about[2],
        real_pairs=real,
        real_alarms=sum(bool(moved(names.again, block)) for block in blocks),
        biased=biased if drawn else [],
        rounds=rounds,
        left_out=left_out,
        pairs=len(drawn),
        alarms=sum(map(bool, found[names.again])),
        found_shorter=sum(map(bool, found[names.shorter])),
        found_longer=sum(map(bool, found[names.longer])),
        metrics={
            metric: Calibrated(
                times(names.again, metric),
                times(names.shorter, metric),
                times(names.longer, metric),
                _least(logs[names.base][metric], logs[names.again][metric], rounds[1], error),
            )
            for metric in metrics
            if drawn
        },
    )


def differs(differences: Sequence[float], least: int, error: float) -> int:
    """Which way paired log ratios exclude 0 at any look, from ``least`` rounds to all of them.

    Returns:
        1 above 0 or -1 below it at the first look that excludes it; 0 where none does.
    """
    for rounds in range(least, len(differences) + 1):
        found = mean(differences[:rounds], error)
        if found is not None and (found.low > 0 or found.high < 0):
            return 1 if found.low > 0 else -1
    return 0


def _least(
    base: Sequence[float], again: Sequence[float], rounds: int, error: float
) -> float | None:
    """The difference in percent that a pair of so many rounds finds in four of five cases."""
    spread = statistics.stdev(b - a for a, b in zip(base, again, strict=True))
    if not spread:
        return None
    reach = student(rounds - 1, error) + student(rounds - 1, _POWER)
    return round(math.expm1(reach * spread / math.sqrt(rounds)) * 100, 2)


def driven_on_time(plan: RunPlan, evidence: Sequence[Evidence]) -> tuple[list[Evidence], list[str]]:
    """The rounds that were driven on time, and what makes even those invalid."""
    kept = on_time(evidence, plan.scenario.limits)
    book = ledger([equation for e in evidence for equation in reconcile(e)])
    return kept, invalidities(kept, book, plan.scenario.limits)


def round_figures(
    plan: RunPlan, evidence: Sequence[Evidence], samples_dir: Path
) -> dict[str, Rounds]:
    """Every metric of an expectation over all scopes, and latencies, of each fleet and round."""
    fleets: dict[str, Rounds] = {}
    for arm in plan.arms:
        windows = [e for e in evidence if e.variant == arm.name and e.phase == "measured"]
        found = [variant_result(plan, arm, [window], samples_dir) for window in windows]
        figures = {
            **{name: [m.figure(v, ALL, None) for v in found] for name, m in METRICS.items()},
            **{f"latency_{p}_ms": [_latency(v, p) for v in found] for p in _LATENCIES},
        }
        fleets[arm.name] = {
            name: [value for value in values if value is not None]
            for name, values in figures.items()
            if None not in values
        }
    return fleets


def _latency(variant: VariantResult, percentile: str) -> float | None:
    value: float | None = getattr(variant.latency_ms.service, percentile)
    return value


def known_calibration() -> Calibration | None:
    """The calibration that ships with the package; None without one."""
    path = files("harness.analysis").joinpath(FILE)
    return from_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def to_json(calibration: Calibration) -> str:
    """A calibration as its file has it."""
    return json.dumps(asdict(calibration), indent=1) + "\n"


def from_json(text: str) -> Calibration:
    """A calibration from its file. Raises UsageError for anything else."""
    try:
        body = json.loads(text)
        metrics = {name: Calibrated(**one) for name, one in body.pop("metrics").items()}
        return Calibration(**{**body, "rounds": tuple(body["rounds"]), "metrics": metrics})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"[{FILE}] is no calibration: {error}. Write it anew with: make aa."
        ) from error


def calibration_note(calibration: Calibration | None) -> str:
    """When the instrument was calibrated and with which outcome, for every report."""
    if calibration is None:
        return "calibration: none; `make aa` shows what this instrument can tell apart"
    c = calibration
    word = "passed" if c.passed else "not passed"
    return (
        f"calibration: {c.date[:10]}, {word}: {c.alarms} alarms in {c.pairs} pairs of equal "
        f"fleets, a TTL of {SHORTER:g} found in {c.found_shorter}, of {LONGER:g} in "
        f"{c.found_longer} (docs/calibration.md)"
    )
