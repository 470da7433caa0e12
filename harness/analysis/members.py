"""Figures by replica's variant, where the replicas of one fleet run two.

Counters come from each worker by itself, requests and what they were served from the raw samples,
which name the replica. Who wrote an entry is said by the entry (`harness.domain.served`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.analysis.latency import percentiles
from harness.analysis.tally import nested
from harness.authcache.words import SOURCE
from harness.domain.rates import per_answered
from harness.domain.result import MemberResult
from harness.domain.samples import Sample, read_samples
from harness.domain.series import FAILED_BY_WRITER, FAILURE, LOOKUPS, READS
from harness.domain.served import parse_served
from harness.observe.counters import Counters
from harness.observe.evidence import Evidence
from harness.plan.plan import Arm, RunPlan
from harness.targets.base import KeyTruth

NOT_SAID = "not said"
"""In place of the writer of an entry that does not name one."""
POSTGRES = "Postgres"
"""In place of a writer for what the request itself read from there."""


def by_member(
    plan: RunPlan, arm: Arm, windows: Sequence[Evidence], samples_dir: Path
) -> dict[str, MemberResult]:
    """The figures of each variant that the arm's replicas run; empty where all run the same.

    Args:
        plan: of the run.
        arm: whose fleet it is.
        windows: its measured windows. No object changes in them.
        samples_dir: folder of the raw samples.
    """
    members = next((window.members for window in windows if window.members), ())
    return {
        name: _member(plan, arm, windows, samples_dir, name, members)
        for name in dict.fromkeys(members)
    }


def _member(
    plan: RunPlan,
    arm: Arm,
    windows: Sequence[Evidence],
    samples_dir: Path,
    name: str,
    members: Sequence[str],
) -> MemberResult:
    replicas = [i for i, one in enumerate(members) if one == name]
    counted = Counters.total(_counted(window, replicas) for window in windows)
    requests: Counter[tuple[str, str]] = Counter()
    unexpected: Counter[tuple[str, str]] = Counter()
    unanswered: Counter[str] = Counter()
    wrong: Counter[tuple[str, str]] = Counter()
    service_ms: list[float] = []
    for window in windows:
        for sample in read_samples(samples_dir / f"{window.name}.csv.gz"):
            if sample.replica not in replicas:
                continue
            if sample.error:
                unanswered[sample.error] += 1
                continue
            scope, truth = plan.all_keys[sample.key].scope, window.truths[sample.key]
            requests[scope, str(sample.status)] += 1
            service_ms.append((sample.done_s - sample.sent_s) * 1000)
            if sample.status != truth.status and sample.status not in truth.also:
                unexpected[scope, str(sample.status)] += 1
            wrong.update(_wrong(sample, truth))
    reads = round(counted.sum(READS))
    per_1000 = per_answered(reads, requests.total())
    return MemberResult(
        version=arm.target.member(replicas[0]).version,
        replicas=replicas,
        requests=nested(requests),
        unanswered=dict(unanswered),
        unexpected_statuses=nested(unexpected),
        source_reads=reads,
        source_reads_per_1000=None if per_1000 is None else round(per_1000, 3),
        unread=nested(_unread(counted)),
        wrong=nested(wrong),
        service_ms=percentiles(service_ms),
    )


def _counted(window: Evidence, replicas: Sequence[int]) -> Counters:
    """What the workers of some replicas counted in a window."""
    pages = list(zip(window.before.workers, window.after.workers, strict=True))
    each = len(pages) // len(window.members)
    return Counters.total(
        after.since(before)
        for number, (before, after) in enumerate(pages)
        if number // each in replicas
    )


def _unread(counted: Counters) -> Counter[tuple[str, str]]:
    """Failures by writer and object. Those that no writer was counted of come under `NOT_SAID`."""
    found: Counter[tuple[str, str]] = Counter()
    for (writer, kind), n in counted.by(FAILED_BY_WRITER, "writer", "object").items():
        found[writer, kind] += round(n)
    for (kind,), n in counted.by(LOOKUPS, "object", **FAILURE).items():
        rest = round(n) - sum(m for (_, of), m in found.items() if of == kind)
        if rest > 0:
            found[NOT_SAID, kind] += rest
    return found


def _wrong(sample: Sample, truth: KeyTruth) -> Iterable[tuple[str, str]]:
    for one in parse_served(sample.served):
        if truth.digests.get(one.object) != one.digest:
            writer = POSTGRES if one.tier == SOURCE else one.writer or NOT_SAID
            yield writer, one.object
