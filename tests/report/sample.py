"""Test data: a run that never happened, built by code, with numbers that add up.

Only tests import this. Nothing under ``harness/`` may.
"""

from __future__ import annotations

from typing import Any

from harness.domain.result import (
    AgeShare,
    Clock,
    Ended,
    Equation,
    ExpectationResult,
    Freshness,
    Generator,
    Latency,
    Ledger,
    Percentiles,
    Range,
    Result,
    Sizing,
    VariantResult,
    Window,
    WorkerClock,
)
from tests.report.behaviours import (
    EQUATIONS,
    JITTER,
    MATRIX,
    OBJECTS,
    PER_WINDOW,
    PREMISE,
    ROUNDS,
    SCOPES,
    STEADY,
    TTL_S,
    WINDOW_S,
    Behaviour,
)


def _reference(scope: str) -> float:
    objects = sum(OBJECTS[scope].values())
    return objects * (WINDOW_S / TTL_S) / PER_WINDOW[scope] * 1000


def _reads(behaviour: Behaviour, scope: str, kind: str, turn: int, *, cold: bool) -> int:
    quiet = OBJECTS[scope][kind] * (WINDOW_S / TTL_S) * behaviour.quiet_share
    broken = behaviour.broken_reads.get(scope, {}).get(kind, 0.0) * PER_WINDOW[scope]
    if cold:
        return round(quiet * 3.5 + broken / 2)
    return round(quiet * JITTER[turn % 3] + broken * STEADY[turn % 3])


def _window(name: str, behaviour: Behaviour, number: int, order: int) -> Window:
    """Window 0 is the cold fill: half as long, every worker reads everything."""
    cold = number == 0
    share = 0.5 if cold else 1.0
    requests = {s: {behaviour.status.get(s, "200"): int(PER_WINDOW[s] * share)} for s in SCOPES}
    turn = number + order
    reads = {
        s: {k: _reads(behaviour, s, k, turn + len(s + k), cold=cold) for k in OBJECTS[s]}
        for s in SCOPES
    }
    answered = {s: sum(requests[s].values()) for s in SCOPES}
    total = {s: sum(reads[s].values()) for s in SCOPES}
    failures = sum(int(behaviour.pairs.get(s, 0) * answered[s]) for s in SCOPES)
    lookups = sum(answered.values()) * 4
    misses = 900 if cold else 420
    return Window(
        name=f"{name}-{'cold' if cold else number}",
        variant=name,
        phase="cold_fill" if cold else "measured",
        round=number,
        started_s=12.0 + order * 2.2 + number * 26.4,
        duration_s=WINDOW_S * share,
        requests=requests,
        source_reads=reads,
        source_reads_per_1000={s: total[s] / answered[s] * 1000 for s in SCOPES}
        | {"all": sum(total.values()) / sum(answered.values()) * 1000},
        lookups=_some_by(
            {
                "memory": {
                    "hit": lookups - failures - misses,
                    "miss": misses,
                    "deserialize_failure": failures,
                },
                "redis": {
                    "hit": misses - sum(total.values()) % 97,
                    "miss": sum(total.values()) % 97,
                },
            }
        ),
        log_pairs=_some({s: int(behaviour.pairs.get(s, 0) * answered[s]) for s in SCOPES}),
    )


def reads_of(window: Window) -> dict[str, dict[str, int]]:
    """Source reads of a window that counted them."""
    assert window.source_reads is not None
    return window.source_reads


def _some(counts: dict[str, int]) -> dict[str, int]:
    """What the analysis keeps of a counter: no zeros."""
    return {key: n for key, n in counts.items() if n}


def _some_by(counts: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    return {key: kept for key, inner in counts.items() if (kept := _some(inner))}


def _ranges(windows: list[Window]) -> dict[str, Range]:
    out = {}
    for scope in ("all", *SCOPES):
        values = sorted(w.source_reads_per_1000[scope] for w in windows)
        out[scope] = Range(
            median=values[len(values) // 2], min=values[0], max=values[-1], rounds=len(values)
        )
    return out


def _sum(windows: list[Window], part: str) -> dict[str, dict[str, int]]:
    out: dict[str, dict[str, int]] = {}
    for window in windows:
        for outer, inner in getattr(window, part).items():
            for key, n in inner.items():
                out.setdefault(outer, {})
                out[outer][key] = out[outer].get(key, 0) + n
    return out


def _variant(name: str, behaviour: Behaviour, order: int) -> VariantResult:
    windows = [_window(name, behaviour, n, order) for n in range(ROUNDS + 1)]
    measured = windows[1:]
    ranges = _ranges(measured)
    requests = _sum(measured, "requests")
    reads = _sum(measured, "source_reads")
    lookups = _sum(measured, "lookups")
    answered = {s: sum(requests[s].values()) for s in SCOPES}
    pairs = {s: sum((w.log_pairs or {}).get(s, 0) for w in measured) for s in SCOPES}
    failing = {s: next(iter(behaviour.broken_reads.get(s, {"user": 0}))) for s in SCOPES}
    return VariantResult(
        target="reference",
        version="0.1.0",
        not_tested=[],
        title=behaviour.title,
        switches=behaviour.switches,
        windows=windows,
        cells={scope: [cell] for scope, cell in behaviour.cells.items()},
        cell_reasons=behaviour.reasons,
        requests=requests,
        unexpected_statuses={s: {c: answered[s]} for s, c in behaviour.status.items()},
        source_reads=sum(sum(by.values()) for by in reads.values()),
        source_reads_per_1000={s: r.median for s, r in ranges.items()},
        source_reads_per_1000_range=ranges,
        source_reads_per_1000_by_object={
            s: {k: n / answered[s] * 1000 for k, n in reads[s].items()} for s in SCOPES
        },
        reference_line_per_1000={s: _reference(s) for s in SCOPES} | {"all": 47.0},
        cold_fill_source_reads=sum(sum(by.values()) for by in reads_of(windows[0]).values()),
        lookups=lookups,
        lookups_by_scope={s: {t: dict(o) for t, o in lookups.items()} for s in SCOPES},
        deserialize_failures=_some_by({s: {failing[s]: pairs[s]} for s in SCOPES}),
        coalesced={"before_source": 31} if name == "recommended" else {},
        log_records=_some({"typed_read_failed": sum(pairs.values())}),
        log_pairs=_some(pairs),
        wrong_values={
            s: {k: int(part * answered[s]) for k, part in by.items()}
            for s, by in behaviour.wrong.items()
        },
        entry_age_max_s={"memory": 3.94, "redis": 1.98},
        payload_bytes={"key": behaviour.key_bytes, "user": 246.0, "team": 386.0, "membership": 122},
        codec_us={
            "encode": {"key": 8.8, "user": 3.9, "team": 4.8, "membership": 2.2},
            "decode": {"key": 13.4, "user": 5.2, "team": 6.9, "membership": 3.1},
        },
        spend_drift_micro={"user": -250 * 17 if pairs["shared_id"] else 0, "team": 0},
        latency_ms=_latency(behaviour.p50),
        cpu_ms_per_request={"replicas": behaviour.p50 * 0.4, "redis": 0.08, "generator": 0.31},
    )


def _latency(p50: float) -> Latency:
    service = Percentiles(p50=p50, p95=p50 * 2.6, p99=p50 * 4.4)
    return Latency(
        from_intended=Percentiles(p50=p50 + 0.4, p95=p50 * 3.1, p99=p50 * 5.9),
        service=service,
        samples=6000,
    )


def equations(variants: dict[str, VariantResult]) -> list[Equation]:
    """All six, balanced, for every window, and one user-spend finding that is not."""
    out = []
    for name, variant in variants.items():
        for window in variant.windows:
            count = float(sum(sum(v.values()) for v in reads_of(window).values()))
            for equation, description in EQUATIONS.items():
                unknown = equation == "gets" and window.phase == "cold_fill"
                out.append(
                    Equation(
                        name=equation,
                        variant=name,
                        window=window.name,
                        description=description,
                        left=None if unknown else count,
                        right=None if unknown else count,
                        residual=None if unknown else 0.0,
                        status="not_checked" if unknown else "balanced",
                        kind="validity",
                        reason="the connection handshake sends commands" if unknown else "",
                    )
                )
    out.append(
        Equation(
            name="user_spend",
            variant="litellm_1_84",
            window="litellm_1_84-1",
            description="cost of the 2xx replies = user spend in Postgres, in micro-units",
            left=500000.0,
            right=495750.0,
            residual=4250.0,
            status="unbalanced",
            kind="finding",
            reason="the user's spend update is dropped where the cached user is a team",
        )
    )
    return out


def expectations(variants: dict[str, VariantResult]) -> list[ExpectationResult]:
    """One a cell, and the two limits on the recommended variant."""
    cells = [
        ExpectationResult(
            name=f"cell is {cell}", variant=n, scope=s, measured=cell, limit=cell, state="holds"
        )
        for n, variant in variants.items()
        for s, (cell,) in variant.cells.items()
    ]
    limit = ExpectationResult(
        name="source_reads_over_reference_line",
        variant="recommended",
        scope="team",
        measured="0.98",
        limit="<= 1.5",
        state="holds",
    )
    ratio = limit.model_copy(
        update={"name": "source_reads over litellm_1_84's", "measured": "0.024", "limit": "<= 0.05"}
    )
    return [*cells, limit, ratio]


def issue_27874(behaviours: dict[str, Behaviour] | None = None) -> Result:
    """The default scenario: four variants, four scopes, cold fill and three rounds."""
    chosen = MATRIX if behaviours is None else behaviours
    variants = {name: _variant(name, b, i) for i, (name, b) in enumerate(chosen.items())}
    return Result(
        run_id="20260714-101502-issue-27874",
        started_at="2026-07-14T10:15:02Z",
        elapsed_s=128.4,
        scenario="issue-27874",
        title="One symptom, several causes",
        premises=[PREMISE],
        stack="embedded",
        replicas=8,
        workers=1,
        ttl_s=TTL_S,
        time_scale=0.4,
        rounds=ROUNDS,
        seed=42,
        complete=True,
        verdict="pass",
        exit_code=0,
        reasons=["all 18 expectations hold", "the ledger is balanced"],
        sizing=[
            Sizing(
                scope=s,
                keys=OBJECTS[s]["key"],
                objects=sum(OBJECTS[s].values()),
                requests_per_ttl=PER_WINDOW[s] / 2,
                requests_per_object=PER_WINDOW[s] / 2 / sum(OBJECTS[s].values()),
            )
            for s in SCOPES
        ],
        variants=variants,
        ledger=Ledger(balanced=True, equations=equations(variants)),
        generator=Generator(
            planned=28000,
            sent=28000,
            answered=28000,
            unanswered={},
            late=3,
            max_delay_ms=262.0,
            cpu_share=0.14,
            replica_share_min=0.97,
            replica_share_max=1.04,
        ),
        expectations=expectations(variants),
        notes=[
            "Postgres 18.1: fsync, synchronous_commit and full_page_writes are off",
            "Valkey 9.1.2: save off, maxmemory-policy noeviction",
            "TTL 5 s scaled by 0.4 to 2 s",
        ],
    )


def refused() -> Result:
    """A run that ended before its first window."""
    run = issue_27874({})
    return run.model_copy(
        update={
            "complete": False,
            "verdict": "invalid",
            "exit_code": 4,
            "reasons": ["The release [x] sustains [3] requests/s. Name fewer variants."],
            "ledger": Ledger(balanced=None, equations=[]),
            "generator": run.generator.model_copy(update=dict.fromkeys(NO_LOAD, 0)),
            "expectations": [],
            "notes": ["stack: embedded"],
        }
    )


NO_LOAD = ("planned", "sent", "answered", "late", "max_delay_ms", "cpu_share")
EMPTY = (
    *("balanced", "0 variants", "0 of 0", "0 equations", "No expectations", "Planted"),
    *("3 rounds", "rounds: 3"),
)
"""What a report of a run without figures must not say, in lower or upper case."""


def with_changes(result: Result) -> Result:
    """The same run with two kinds of change; `litellm_1_84` never converges."""

    def worker(name: str, low: float, high: float | None, ended: Ended) -> WorkerClock:
        return WorkerClock(
            change=1, worker=name, handler=name == "0.0", low=low, high=high, ended_by=ended,
            old_replies=int(low * 4), resurrected=0,
        )  # fmt: skip

    def one(*workers: WorkerClock, stale: int = 0, **changes: Any) -> Freshness:
        sides = [[w for w in workers if w.handler], [w for w in workers if not w.handler]]
        clocks = [
            Clock(
                low=max(w.low for w in side),
                high=None if any(w.high is None for w in side) else max(w.high or 0 for w in side),
                pairs=len(side),
                open=sum(w.high is None for w in side),
            )
            for side in sides
            if side
        ]
        values: dict[str, Any] = {
            "outcome": "done",
            "changes": 1,
            "handler_s": clocks[0],
            "others_s": clocks[-1],
            "promise_s": 4.1,
            "kept_by_code_s": 242.0,
            "ended_by": workers[-1].ended_by,
            "workers": list(workers),
            "old_replies": sum(w.old_replies for w in workers),
            "old_cost_micro": 5250,
            "resurrected": 0,
            "stale_replies": stale,
            "judged_replies": 32,
            "right_by_age": {
                "1 s": AgeShare(replies=8, right=4), "later": AgeShare(replies=32, right=32 - stale)
            },
        }  # fmt: skip
        return Freshness(**values | changes)

    never = one(worker("0.0", 8.0, None, "open"), worker("1.0", 8.1, None, "open"), stale=32)
    table = {
        "litellm_1_84": {
            "key-block": {"team": never, "user": never},
            "team-block": {"team": never},
        },
        "recommended": {
            "key-block": {
                "team": one(worker("0.0", 0, 0.2, "evicted"), worker("1.0", 0.3, 0.5, "message")),
                "user": one(
                    worker("0.0", 0, 0.2, "evicted"),
                    worker("1.0", 1.25, 1.5, "expiry"),
                    resurrected=2,
                ),
            },
            "team-block": {
                "team": Freshness(
                    outcome="not_there", detail="404 Not Found", changes=0, handler_s=None,
                    others_s=None, promise_s=4.1, ended_by=None, workers=[], old_replies=0,
                    old_cost_micro=0, resurrected=0, stale_replies=0, judged_replies=0,
                ),
            },
        },
    }  # fmt: skip
    return result.model_copy(update={"freshness": table})
