"""All figures of one variant, from its windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.analysis import clock
from harness.analysis.answers import Answers, after_faults, judge_answers, refusal_results
from harness.analysis.cells import Verdict
from harness.analysis.cells import judge as judge_cell
from harness.analysis.latency import latency
from harness.analysis.members import by_member
from harness.analysis.points import mask_unseen
from harness.analysis.read_figures import ReadFigures, read_figures
from harness.analysis.reads import PLAIN_ERROR
from harness.analysis.spend import owner_budgets
from harness.analysis.tally import Tally, log_pairs, nested, window_result
from harness.authcache.words import ObjectKind
from harness.domain.rates import answered
from harness.domain.result import FRESHNESS, CombinedViewRow, SourceResult, VariantResult
from harness.domain.series import (
    ALL,
    BACKFILL_TTL,
    CODEC_SECONDS,
    FAILURE,
    INSTRUMENTED,
    LOGS,
    LOOKUPS,
    PAYLOAD_BYTES,
    READS,
    WAITS,
)
from harness.observe.evidence import Evidence
from harness.plan.plan import Arm, RunPlan
from harness.plan.reference_line import reference_line


def variant_result(
    plan: RunPlan,
    arm: Arm,
    evidence: Sequence[Evidence],
    samples_dir: Path,
    *,
    error: float = PLAIN_ERROR,
    fresh: clock.Figures | None = None,
) -> VariantResult:
    """One variant's part of ``result.json``, without measures that were not seen in a release.

    Args:
        plan: of the run, with the rate and TTL that were driven.
        arm: the variant.
        evidence: all its completed windows, including the cold fill.
        samples_dir: folder of the raw samples, one file per window.
        error: of each bound of what is estimated from reads.
        fresh: what became of its changes, by `harness.analysis.clock.freshness`.
    """
    fresh = fresh or {}
    changed = tuple(e for e in evidence if e.phase == "changes")
    measured = tuple(e for e in evidence if e.phase == "measured")
    refused = tuple(e for e in evidence if e.phase == "refusals")
    within_reach = {key.index for key in plan.keys if plan.scenario.population.replies(key.scope)}
    recovered = tuple(after_faults(evidence).values())
    # `rounds.judged_requests` counts the requests of the same windows.
    answers = judge_answers(
        measured + refused + changed + recovered,
        plan.all_keys,
        samples_dir,
        within_reach=within_reach,
    )
    tally = Tally(measured)
    requests = tally.requests()
    line = measured_line(plan, arm, measured, requests)
    reads = {s: n for s in (ALL, *requests) if (n := tally.reads_per_1000(s)) is not None}
    by_object = {
        scope: {
            kind.value: round(found, 3)
            for kind in ObjectKind
            if (found := tally.reads_per_1000(scope, kind))
        }
        for scope in requests
    }
    figures = read_figures(plan, arm, measured, samples_dir, error=error)
    verdicts = _cells(tally, answers, requests, reads, line, figures, fresh)
    cold = [e for e in evidence if e.phase == "cold_fill"]
    unseen = _not_instrumented(evidence)
    whole = VariantResult(
        target=arm.target.kind,
        version=arm.target.version,
        source=(
            None if arm.target.source is None else SourceResult.model_validate(arm.target.source)
        ),
        title=arm.title,
        switches=dict(arm.target.describe()),
        overridden=list(arm.target.overridden),
        windows=[window_result(e) for e in evidence],
        cells={scope: verdict.cells for scope, verdict in verdicts.items()},
        cell_reasons={scope: verdict.reason for scope, verdict in verdicts.items()},
        not_tested=_not_tested(requests, fresh),
        requests=requests,
        unexpected_statuses=nested(answers.unexpected),
        # Without a question there is no answer: 0 would be one.
        let_through=nested(answers.let_through) if refused or answers.let_through else None,
        refusals=refusal_results(refused, plan.all_keys),
        stale=nested(answers.stale),
        kept_alive=figures.kept_alive,
        source_reads=round(tally.total(READS)),
        source_reads_per_1000={s: round(n, 3) for s, n in reads.items()},
        source_reads_per_1000_range={s: r for s in reads if (r := tally.per_round(s))},
        source_reads_per_1000_by_object=by_object,
        reference_line_per_1000={scope: round(value, 3) for scope, value in line.items()},
        ttl_kept=figures.ttl_kept,
        reads_per_object_and_ttl=figures.per_object_and_ttl,
        expected_reads_per_object_and_ttl=figures.expected,
        reads_over_expected=figures.over_expected,
        other_reads_per_request=figures.other_per_request,
        elasticity=figures.elasticity,
        uncached={scope: kinds for scope, kinds in figures.uncached.items() if kinds},
        cold_fill_source_reads=round(sum(e.counted.sum(READS) for e in cold)) if cold else None,
        lookups=nested(tally.by(LOOKUPS, "tier", "outcome")),
        lookups_by_scope=_lookups_by_scope(tally),
        deserialize_failures=nested(tally.by(LOOKUPS, "key_scope", "object", **FAILURE)),
        coalesced={k: n for (k,), n in tally.by(WAITS, "stage").items()},
        log_records={k: n for (k,), n in tally.by(LOGS, "signature").items()},
        log_pairs=log_pairs(measured),
        wrong_values=nested(answers.wrong),
        entry_age_max_s=_entry_age_max(measured),
        payload_bytes=_means(tally, PAYLOAD_BYTES, 1.0),
        codec_us={op: _means(tally, CODEC_SECONDS, 1e6, op=op) for op in ("encode", "decode")},
        spend_drift_micro=spend_drift(measured),
        budgets=owner_budgets(
            plan.scenario, plan.keys, (samples_dir / f"{e.name}.csv.gz" for e in evidence)
        ),
        latency_ms=latency(samples_dir / f"{e.name}.csv.gz" for e in measured),
        by_member=by_member(plan, arm, measured, samples_dir),
        cpu_ms_per_request=_cpu(plan.fleet(arm).name, measured),
        hard_coded=[*arm.target.hard_coded, *_kept_by_code(plan, arm)],
        backfill_ttl_s=_backfill(evidence),
        not_instrumented=list(unseen),
        not_instrumented_because={point: reason for point, reason in unseen.items() if reason},
    )
    return mask_unseen(whole)


def measured_line(
    plan: RunPlan,
    arm: Arm,
    windows: Sequence[Evidence],
    requests: Mapping[str, Mapping[str, int]],
) -> dict[str, float]:
    """The reference line of these windows, per 1,000 requests, by scope and for all.

    Args:
        plan: of the run, with the rate and TTL that were driven.
        arm: the variant.
        windows: measured windows of the variant.
        requests: answered in these windows, by scope and status.
    """
    return reference_line(
        plan.keys,
        {scope: answered(requests, scope) for scope in requests},
        seconds=sum(window.duration_s for window in windows),
        ttl_s=plan.ttl_s,
        planted=plan.arm_settings(arm).planted_null_user,
    )


def combined_view(plan: RunPlan, windows: Sequence[Evidence]) -> list[CombinedViewRow]:
    """PR #26202's table: the combined view at each checkpoint of the first measured window."""
    switches = {arm.name: arm.target.describe() for arm in plan.arms}
    rows = []
    for window in windows:
        if window.phase != "measured" or window.round != 1:
            continue
        for point in window.checkpoints:
            count = point.count
            rows.append(
                CombinedViewRow(
                    variant=window.variant,
                    window_s=point.at_s,
                    calls=count.calls,
                    total_ms=round(count.total_ms, 3),
                    avg_ms=round(count.total_ms / count.calls, 4) if count.calls else 0.0,
                    rows=count.rows,
                    expected_calls=expected_calls(plan, switches[window.variant], point.at_s),
                )
            )
    return rows


def expected_calls(plan: RunPlan, switches: Mapping[str, Any], at_s: float) -> float | None:
    """Reads of the keys in the first seconds of a window; None where no formula holds.

    A key that requests or spend updates write to Redis again does not expire there while it is
    requested. Concurrent misses of one key come on top.

    Args:
        plan: of the run.
        switches: of the reference proxy; a release describes itself by others.
        at_s: seconds since the start of the window.
    """
    load, keys = plan.scenario.load, sum(row.keys for row in plan.sizing)
    once_per_ttl = keys * at_s / plan.ttl_s
    match switches:
        case {"coalescing": "early_refresh"}:
            return None
        case {"redis": "off", "memory_entries": int(entries)}:
            objects = sum(row.objects for row in plan.sizing)
            workers = plan.scenario.replicas * plan.scenario.workers
            return workers * once_per_ttl if objects <= entries else None
        case {"codec": "raw"}:
            # What Redis holds never decodes, so the memory of each worker decides.
            return None
        case {"republish": "on"} | {
            "spend_path": "read_modify_write",
            "spend_write_back": "both_tiers",
        }:
            return 0.0 if load.cold_fill or load.warmup_ttls else float(keys)
        case {"redis": "on", "backfill_ttl": "entry_ttl"}:
            return once_per_ttl
        case _:
            return None


def spend_drift(windows: Sequence[Evidence]) -> dict[str, int]:
    """Cost of the 2xx replies minus the spend that Postgres gained, in micro-units.

    By object, without the key: the ledger checks its spend, and every row of the others.
    """
    return {
        kind.value: sum(due - got for w in windows for due, got in w.spend(kind).values())
        for kind in ObjectKind
        if kind is not ObjectKind.KEY
    }


def _kept_by_code(plan: RunPlan, arm: Arm) -> list[str]:
    """What a target that hard-codes times keeps beyond the promise, in a sentence."""
    kept_s = plan.kept_by_code_s(arm)
    promised_s = plan.promise_s(redis=arm.target.uses_redis)
    if not arm.target.hard_coded or kept_s <= promised_s:
        return []
    beyond = f"[{kept_s:g}] s old when it is served; the TTL promises [{promised_s:g}] s."
    return [f"By its code an entry may be {beyond}"]


def _cells(
    tally: Tally,
    answers: Answers,
    requests: Mapping[str, Mapping[str, int]],
    reads: Mapping[str, float],
    line: Mapping[str, float],
    figures: ReadFigures,
    fresh: clock.Figures,
) -> dict[str, Verdict]:
    failures = nested(tally.by(LOOKUPS, "key_scope", "object", **FAILURE))
    unexpected, wrong = nested(answers.unexpected), nested(answers.wrong)
    let_through, stale = nested(answers.let_through), nested(answers.stale)
    return {
        scope: judge_cell(
            requests=sum(statuses.values()),
            failures=failures.get(scope, {}),
            unexpected=unexpected.get(scope, {}),
            wrong=wrong.get(scope, {}),
            let_through=let_through.get(scope, {}),
            stale=stale.get(scope, {}),
            reads_per_1000=reads[scope],
            reference_per_1000=line[scope],
            elasticity=figures.elasticity.get(scope, {}),
            uncached=figures.uncached.get(scope, {}),
            late=clock.late(fresh, scope),
            kept_alive=figures.kept_alive.get(scope, {}),
        )
        for scope, statuses in requests.items()
    }


def _not_tested(requests: Mapping[str, object], fresh: clock.Figures) -> list[str]:
    untested = [scope for scope in requests if not clock.was_tested(fresh, scope)]
    if len(untested) == len(requests):
        return [FRESHNESS]
    return [f"{FRESHNESS} in {scope}" for scope in untested]


def _lookups_by_scope(tally: Tally) -> dict[str, dict[str, dict[str, int]]]:
    table: dict[str, dict[str, dict[str, int]]] = {}
    counts = tally.by(LOOKUPS, "key_scope", "tier", "outcome")
    for (scope, tier, outcome), n in sorted(counts.items()):
        table.setdefault(scope, {}).setdefault(tier, {})[outcome] = n
    return table


def _entry_age_max(windows: Sequence[Evidence]) -> dict[str, float]:
    ages: dict[str, float] = {}
    for window in windows:
        for item in window.generator.served:
            if item.age_ms_max is not None:
                ages[item.tier] = max(ages.get(item.tier, 0.0), item.age_ms_max / 1000)
    return ages


def _backfill(windows: Sequence[Evidence]) -> dict[str, float]:
    """The longest backfill TTL of any worker at the end of any window, by object, in seconds."""
    longest: dict[str, float] = {}
    for window in windows:
        for page in window.after.workers:
            for (kind,), ttl in page.by(BACKFILL_TTL, "object").items():
                longest[kind] = round(max(longest.get(kind, 0.0), ttl), 1)
    return longest


def _not_instrumented(windows: Sequence[Evidence]) -> dict[str, str]:
    """Points that did not count in some worker in some window, with the first reason given."""
    reasons: dict[str, str] = {}
    for window in windows:
        for page in window.after.workers:
            for (name, labels), value in page.items():
                if name == INSTRUMENTED and not value:
                    found = dict(labels)
                    reasons.setdefault(found["point"], found.get("reason", ""))
    return dict(sorted(reasons.items()))


def _means(tally: Tally, histogram: str, factor: float, **where: str) -> dict[str, float]:
    means = {}
    for kind in ObjectKind:
        count = tally.total(f"{histogram}_count", object=kind.value, **where)
        if count:
            total = tally.total(f"{histogram}_sum", object=kind.value, **where)
            means[kind.value] = round(total / count * factor, 2)
    return means


def _cpu(variant: str, windows: Sequence[Evidence]) -> dict[str, float]:
    requests = sum(window.generator.answered for window in windows)
    if not requests:
        return {}
    groups = {"replicas": f"fleet:{variant}", "redis": f"redis:{variant}", "postgres": "postgres"}
    table = {
        name: sum(window.cpu_s.get(group, 0.0) for window in windows) / requests * 1000
        for name, group in groups.items()
        if any(group in window.cpu_s for window in windows)
    }
    table["generator"] = sum(window.generator.cpu_s for window in windows) / requests * 1000
    return {name: round(value, 4) for name, value in table.items()}
