"""From evidence to result: the same evidence always gives the same result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from harness.analysis.clock import Figures, change_cost, freshness
from harness.analysis.expectations import Estimated, applicable, bounds, hold
from harness.analysis.faults import fault_results, hold_faults
from harness.analysis.intervals import per_bound
from harness.analysis.reads import PLAIN_ERROR
from harness.analysis.variant import combined_view, variant_result
from harness.analysis.verdict import invalidities, judge
from harness.domain.result import (
    ChangeCost,
    ExpectationResult,
    FaultResult,
    Generator,
    Ledger,
    LoadSettings,
    Phase,
    Result,
    VariantResult,
)
from harness.observe.evidence import Evidence
from harness.observe.ledger import ledger, reconcile
from harness.plan.plan import RunPlan
from harness.scenario.schema import (
    Change,
    Expectation,
    FaultExpectation,
    RatioExpectation,
    Scenario,
)


def analyse(
    plan: RunPlan,
    evidence: Sequence[Evidence],
    samples_dir: Path,
    *,
    run_id: str,
    started_at: str,
    notes: Sequence[str] = (),
    elapsed_s: float,
    complete: bool,
    interrupted: int,
    problem: str | None,
    strict: bool = False,
    sustained: Mapping[str, float] | None = None,
    too_slow: Sequence[str] = (),
) -> Result:
    """The result of a run.

    Args:
        plan: of the run, with the rate and TTL that were driven.
        evidence: its completed windows, in order of time.
        samples_dir: folder of the raw samples.
        run_id: name of the run's directory.
        started_at: when the run was requested, in ISO 8601.
        notes: what else a reader of the figures needs to know about the run.
        elapsed_s: from the start of the first server to the end of the last.
        complete: whether all planned windows were measured.
        interrupted: the exit code of the signal that stopped it, 0 without one.
        problem: what ended it early.
        strict: whether a run of which nothing was asked is inconclusive.
        sustained: requests/s that each release answered before the run.
        too_slow: the releases that ended the run by that.
    """
    found = _find(plan, evidence, samples_dir)
    variants, generator, unmeasured = found.variants, found.generator, found.unmeasured
    judgement = judge(
        interrupted=interrupted,
        problem=problem,
        invalid=found.invalid,
        unmeasured=unmeasured,
        expectations=found.expectations,
        strict=strict,
    )
    spoken_of = {e.variant for e in found.wanted}
    return Result(
        run_id=run_id,
        started_at=started_at,
        elapsed_s=round(elapsed_s, 1),
        scenario=plan.scenario.name,
        title=plan.scenario.title,
        premises=list(plan.premises),
        stack=plan.stack,
        replicas=plan.scenario.replicas,
        workers=plan.scenario.workers,
        ttl_s=plan.ttl_s,
        time_scale=plan.scenario.time_scale,
        rounds=_rounds(plan, evidence),
        rounds_max=plan.scenario.rounds_max,
        bound_error=found.error,
        seed=plan.scenario.seed,
        load=_load(plan.scenario),
        complete=complete,
        verdict=judgement.word,
        exit_code=judgement.exit_code,
        reasons=list(judgement.reasons),
        sizing=list(plan.sizing),
        variants=variants,
        freshness=found.freshness,
        faults=found.faults,
        change_costs=found.change_costs,
        combined_view=combined_view(plan, evidence),
        ledger=found.book,
        generator=generator,
        expectations=found.expectations,
        sustained_per_s={name: round(n, 1) for name, n in (sustained or {}).items()},
        too_slow=list(too_slow),
        observed=[arm.name for arm in plan.arms if arm.name not in spoken_of],
        notes=[
            *notes,
            *cold_notes(evidence),
            *_stop_notes(plan, evidence, complete=complete),
            *([f"Not measured: {', '.join(unmeasured)}."] if variants and unmeasured else []),
        ],
    )


def _load(scenario: Scenario) -> LoadSettings:
    load = scenario.load
    return LoadSettings(
        rate_per_s=load.rate_per_s,
        seed=scenario.seed,
        rounds=scenario.rounds,
        window_ttls=load.window_ttls,
        population=scenario.population.counts(),
        model=load.model,
        users=load.users if load.model == "closed" else None,
        mix={str(scope): weight for scope, weight in load.mix.items()},
        key_weights=[] if load.zipf else load.key_weights,
        zipf=load.zipf,
        changes=[_change(change) for change in scenario.change],
    )


def _change(change: Change) -> str:
    further = change.model_dump(mode="json", exclude={"action", "scope"}, exclude_defaults=True)
    settings = (f"{name}={value}" for name, value in further.items())
    return " ".join([change.action, change.scope, *settings])


def enough(plan: RunPlan, evidence: Sequence[Evidence], samples_dir: Path) -> bool:
    """Whether no further round is needed: what the stopping rule asks after each round.

    It looks at nothing but what the verdict looks at, with the same intervals, whose ``error`` is
    shared among all looks: so it may look after each round (docs/decisions/0024).
    """
    found = _find(plan, evidence, samples_dir)
    return bool(found.invalid or found.unmeasured) or not any(
        e.state == "undecided" and e.estimate is not None for e in found.expectations
    )


class _Findings(NamedTuple):
    """What the evidence says so far."""

    variants: dict[str, VariantResult]
    freshness: dict[str, Figures]
    faults: dict[str, dict[str, FaultResult]]
    change_costs: dict[str, ChangeCost]
    unmeasured: list[str]
    book: Ledger
    generator: Generator
    invalid: list[str]
    wanted: list[Expectation]
    error: float
    expectations: list[ExpectationResult]


def _find(plan: RunPlan, evidence: Sequence[Evidence], samples_dir: Path) -> _Findings:
    windows = {arm.name: [e for e in evidence if e.variant == arm.name] for arm in plan.arms}
    arms = [arm for arm in plan.arms if any(e.phase == "measured" for e in windows[arm.name])]
    measured = {arm.name for arm in arms}
    fresh = {
        arm.name: freshness(
            [e for e in windows[arm.name] if e.phase == "changes"],
            plan.all_keys,
            samples_dir,
            ttl_s=plan.ttl_s,
            kept_by_code_s=plan.kept_by_code_s(arm),
            broadcasts=arm.target.broadcasts,
            alone=plan.scenario.replicas * plan.scenario.workers == 1,
        )
        for arm in plan.arms
    }
    names = [arm.name for arm in plan.arms]
    wanted = applicable(
        plan.scenario.expect,
        names,
        premises=plan.planted_null_user,
        time_scale=plan.scenario.time_scale,
    )
    faults = {
        arm.name: fault_results(plan, arm, windows[arm.name], samples_dir) for arm in plan.arms
    }
    held = [e for e in wanted if not isinstance(e, FaultExpectation) and _can_be_held(e, measured)]
    error = per_bound(bounds(held), plan.scenario.looks)
    variants = {
        arm.name: variant_result(
            plan,
            arm,
            windows[arm.name],
            samples_dir,
            error=min(error, PLAIN_ERROR),
            fresh=fresh[arm.name],
        )
        for arm in arms
    }
    book = ledger([equation for e in evidence for equation in reconcile(e)])
    generator = generator_health(evidence, plan.measured_phase)
    limits = plan.scenario.limits
    return _Findings(
        variants=variants,
        freshness={name: by for name, by in fresh.items() if by},
        faults={name: by for name, by in faults.items() if by},
        change_costs={
            arm.name: cost
            for arm in plan.arms
            if (cost := change_cost(windows[arm.name])) is not None
        },
        unmeasured=_unmeasured(plan, evidence),
        book=book,
        generator=generator,
        invalid=invalidities(evidence, book, limits),
        wanted=wanted,
        error=error,
        expectations=[
            *hold(held, variants, error=error, bad_share_max=limits.bad_share_max, freshness=fresh),
            *hold_faults([e for e in wanted if isinstance(e, FaultExpectation)], faults),
        ],
    )


def _unmeasured(plan: RunPlan, evidence: Sequence[Evidence]) -> list[str]:
    seen = {e.variant for e in evidence if e.phase == plan.measured_phase}
    return [arm.name for arm in plan.arms if arm.name not in seen]


def _stop_notes(plan: RunPlan, evidence: Sequence[Evidence], *, complete: bool) -> list[str]:
    """Why a complete run that could have gone on has the rounds that it has."""
    most, rounds = plan.scenario.rounds_max, _rounds(plan, evidence)
    if most is None or not complete:
        return []
    why = "no further round was needed" if rounds < most else "that was the last"
    after = f"The run stopped after round {rounds} of {plan.scenario.rounds} to {most}: {why}."
    return [f"{after} Its intervals are those of {plan.scenario.looks} looks."]


def _rounds(plan: RunPlan, evidence: Sequence[Evidence]) -> int:
    """Measured rounds, also of a run that went on or was cut short; without any, those planned."""
    return max((e.round for e in evidence), default=0) or plan.scenario.rounds


def _can_be_held(expectation: Estimated, variants: Collection[str]) -> bool:
    """Whether its variants were measured; a run that was cut short has fewer."""
    other = expectation.to if isinstance(expectation, RatioExpectation) else expectation.variant
    return expectation.variant in variants and other in variants


def generator_health(evidence: Sequence[Evidence], phase: Phase = "measured") -> Generator:
    """The generator's health in all windows of a phase; `cold_notes` covers the cold fill."""
    evidence = [e for e in evidence if e.phase == phase]
    results = [e.generator for e in evidence]
    unanswered: Counter[str] = Counter()
    for result in results:
        unanswered.update(result.unanswered)
    own = sum(r.cpu_s for r in results)
    everyone = own + sum(sum(e.cpu_s.values()) for e in evidence)
    shares = [
        count * len(r.replicas) / sum(r.replicas)
        for r in results
        if sum(r.replicas)
        for count in r.replicas
    ]
    return Generator(
        planned=sum(r.planned for r in results),
        sent=sum(r.sent for r in results),
        answered=sum(r.answered for r in results),
        unanswered=dict(unanswered),
        late=sum(r.late for r in results),
        max_delay_ms=max((r.delay_ms_max for r in results), default=0.0),
        late_share_max=round(max((e.late_share for e in evidence), default=0.0), 4),
        median_delay_ms=round(max((r.delay_ms_median for r in results), default=0.0), 3),
        cpu_share=round(own / everyone, 4) if everyone else 0.0,
        replica_share_min=round(min(shares, default=0.0), 4),
        replica_share_max=round(max(shares, default=0.0), 4),
    )


def cold_notes(evidence: Sequence[Evidence]) -> list[str]:
    """A note for each cold fill that the generator did not drive on time.

    Fresh processes on a busy machine fall behind in their first second. That changes the pace of
    the cold fill but not its counts, and does not affect the measured windows.
    """
    return [
        f"The cold fill of {e.variant} was driven late: {e.generator.late} of "
        f"{e.generator.planned} requests, by up to {e.generator.delay_ms_max:.0f} ms. Its counts "
        "are exact, but its pace is not as planned."
        for e in evidence
        if e.phase == "cold_fill" and e.generator.late
    ]
