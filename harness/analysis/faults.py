"""The fault sheet: what each planned fault did to a variant, as its callers saw it.

Everything that callers saw is from the raw samples. A request counts if it ended after the fault
began: it may have been due before. A reply is timely if it ended within a second of the moment at
which it was due; a second or more without one is an outage.

Source reads are compared with those of a correct cache second by second (docs/decisions/0037).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from harness.analysis.answers import after_faults, judge_answers
from harness.analysis.reads import expected_reads
from harness.authcache.words import SOURCE, ObjectKind
from harness.domain.faults import FAULTS, FaultEvent, Verdict
from harness.domain.reads import objects_of
from harness.domain.result import ExpectationResult, FaultResult, FaultSecond, State
from harness.domain.samples import Sample, read_samples
from harness.domain.series import ALL, LOGS
from harness.domain.served import parse_served
from harness.observe.counters import Counters
from harness.observe.evidence import Evidence
from harness.plan.plan import Arm, RunPlan
from harness.scenario.schema import FaultExpectation, FaultWindow
from harness.targets.base import KeyTruth

TIMELY_S = 1.0
"""From when a request was due to its end, at most; and the least length of an outage."""
GOOD_SECONDS = 3
"""So many good seconds in a row are a recovery."""
SETTLES_S = 1.0
"""So long after Redis is back, workers may still read each for themselves: a circuit breaker that
tries again once a second has not closed yet."""
ALONE: Mapping[str, Literal["all", "replica"]] = {
    "redis-kill-empty": "all",
    "redis-kill-saved": "all",
    "redis-hang": "all",
    "redis-reset": "all",
    "redis-evict": "all",
    "redis-oom": "all",
    "redis-readonly": "all",
    "redis-late": "all",
    "redis-blackhole": "replica",
}
"""Faults while which workers find nothing in Redis that another has read, so that each must read
for itself: those of all replicas, or of the one that the fault works on."""
SILENT = frozenset({"postgres-kill", "postgres-hang", "postgres-full"})
"""Faults while which no read of an object comes back, so that every cache must ask again."""
FAILING = frozenset({"postgres-kill-backend"})
"""Faults while which reads fail, no telling until when, and are sent again: those count that came
back, as replies name them."""
_OK = range(200, 300)
_UNANSWERED = "no answer"
_TWO_ENTRIES = f"{ObjectKind.MEMBERSHIP}:"


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as its caller saw it. Times are seconds since the start of the window."""

    due_s: float
    done_s: float
    error: str
    """Status or kind of transport error of a failure; empty for the answer that was called for,
    and for one that is judged by what it served: stale, or let through."""
    served: bool
    """Whether it was answered by a 2xx."""

    @property
    def wait_s(self) -> float:
        """How long the caller waited."""
        return self.done_s - self.due_s

    @property
    def timely(self) -> bool:
        """Whether it got its answer in time."""
        return not self.error and self.wait_s <= TIMELY_S


class Read(NamedTuple):
    """One source read."""

    at_s: float
    """Seconds since the start of the window."""
    object: str
    """Object, and which of its entries was missing."""
    worker: str
    replica: int


def seen(sample: Sample, truth: KeyTruth | None, promise_s: float) -> Seen:
    """A sample, judged by the status that Postgres' state called for at its time.

    Args:
        sample: of one request.
        truth: about its key, with earlier versions; None calls for a 2xx.
        promise_s: how old an answer may be.
    """
    error = ""
    if sample.error or not sample.status:
        error = sample.error or _UNANSWERED
    elif truth is None:
        error = "" if sample.status in _OK else str(sample.status)
    else:
        oldest_s = sample.sent_s - promise_s
        versions = (
            *truth.true_within(oldest_s, sample.done_s),
            *truth.true_before(oldest_s),
        )
        called_for = {version.status for version in versions}
        if sample.status not in called_for and sample.status not in _OK:
            error = str(sample.status)
    served = not error and sample.status in _OK
    return Seen(sample.intended_s, sample.done_s, error, served)


def longest_without(requests: Iterable[Seen], begun_s: float) -> float:
    """The longest stretch without a timely 2xx in which requests waited or failed, in s.

    From the end of one timely 2xx to that of the next, without the time in which no request was
    under way: with a thin load a gap between two requests is no outage. Requests that fail one
    after the other belong to one stretch, however long the pauses between them.

    Args:
        requests: of a window, in any order.
        begun_s: when the fault began: what came before is not looked at.
    """
    # A refusal that was called for is neither a failure nor a 2xx.
    ended = sorted(
        (one for one in requests if one.done_s > begun_s and (one.served or not one.timely)),
        key=lambda one: one.done_s,
    )
    # For each place, when the oldest of the requests that end there or later was due.
    oldest = [math.inf] * (len(ended) + 1)
    for place in range(len(ended) - 1, -1, -1):
        oldest[place] = min(oldest[place + 1], ended[place].due_s)
    longest, last_s = 0.0, begun_s
    first_bad_s, last_bad_s = math.inf, -math.inf
    for place, one in enumerate(ended):
        if not (one.served and one.timely):
            first_bad_s = min(first_bad_s, max(one.due_s, last_s))
            last_bad_s = one.done_s
            longest = max(longest, last_bad_s - first_bad_s)
            continue
        waited_s = max(oldest[place], last_s)
        if waited_s <= last_bad_s:
            # Failures, and then those that waited meanwhile, are one stretch.
            waited_s = min(waited_s, first_bad_s)
        longest = max(longest, one.done_s - waited_s)
        last_s = one.done_s
        first_bad_s, last_bad_s = math.inf, -math.inf
    return longest


def recovery(requests: Iterable[Seen], ended_s: float, until_s: float) -> float | None:
    """Seconds from a fault's end to the first of three good seconds in a row; None without them.

    A good second holds a timely 2xx, and every request that was due in it got the right answer in
    time. The first begins at the fault's end, or right after a request that did not.

    Args:
        requests: of the window, in any order.
        ended_s: when the last thing was mended.
        until_s: end of the window.
    """
    due = sorted((one for one in requests if one.due_s >= ended_s), key=lambda one: one.due_s)
    bad = [one.due_s for one in due if not one.timely]
    good = [one.due_s for one in due if one.timely and one.served]
    for start_s in (ended_s, *(one.due_s for one in due)):
        end_s = start_s + GOOD_SECONDS
        # It begins after the bad request, not with it.
        following = bisect_right(bad, start_s)
        if end_s > until_s or (following < len(bad) and bad[following] < end_s):
            continue
        within = good[bisect_left(good, start_s) : bisect_left(good, end_s)]
        if len({int(at_s - start_s) for at_s in within}) == GOOD_SECONDS:
            return start_s - ended_s
    return None


def named_reads(
    samples: Iterable[Sample], names: Mapping[int, Mapping[ObjectKind, str]]
) -> list[Read]:
    """The source reads that replies name, at the time of the reply.

    Args:
        samples: of a window.
        names: of the objects of each key, as `harness.domain.reads.objects_of` has them.
    """
    return [
        Read(sample.done_s, name, sample.worker or f"{sample.replica}", sample.replica)
        for sample in samples
        for entry in parse_served(sample.served)
        if entry.tier == SOURCE
        and (name := names.get(sample.key, {}).get(ObjectKind(entry.object))) is not None
    ]


def logged_reads(window: Evidence, names: Iterable[str], workers: int) -> list[Read] | None:
    """The source reads that workers logged, of some objects; None where no log can be used.

    The log of a worker that was killed is lost, and one with another clock cannot be placed.

    Args:
        window: with a fault.
        names: of the objects.
        workers: of each replica.
    """
    planned = None if window.fault is None else window.fault.planned
    if window.reads is None or (planned and (planned.skew_s or planned.what in FAILING)):
        return None
    known = {*names}
    return [
        Read(
            read.at_s - window.epoch_s,
            f"{read.object} {read.entry}",
            f"{read.worker}",
            read.worker // workers,
        )
        for read in window.reads
        if read.object in known
    ]


def stampede(
    reads: Iterable[Read],
    line_per_s: float,
    event: FaultEvent,
    *,
    ttl_s: float,
    before: bool = False,
) -> float:
    """Source reads in the worst second over those of a correct cache in that second.

    A correct cache reads an object once when its entry has expired, and a second is much shorter
    than a TTL: so it reads each object that was read in that second once. While a fault keeps
    workers from Redis, each of them reads for itself. Where few objects expired, a second that is
    below the reference line is none in which reads pile up: two workers that race for one object
    are no stampede. While Postgres gives no answer nothing can be cached: of such a fault, what
    comes after it counts.

    Args:
        reads: of the window.
        line_per_s: the reference line: reads per second of a correct cache at rest.
        event: the fault.
        ttl_s: time to live; with less than 2 s half of it is looked at, not a second.
        before: look at the time before it, not at the time from its beginning on.
    """
    from_s = event.ended_s if event.planned.what in SILENT else event.begun_s
    within = (read for read in reads if read.at_s < event.begun_s or read.at_s >= from_s)
    worst, span_s = 0.0, min(1.0, ttl_s / 2)
    second: deque[Read] = deque()
    ones: Counter[tuple[str, str]] = Counter()
    for read in sorted(within):
        if (read.at_s < event.begun_s) != before:
            continue
        second.append(read)
        ones[_once(read, event)] += 1
        while second[0].at_s <= read.at_s - span_s:
            gone = _once(second.popleft(), event)
            ones[gone] -= 1
            if not ones[gone]:
                del ones[gone]
        worst = max(worst, len(second) / max(len(ones), line_per_s * span_s))
    return worst


def _once(read: Read, event: FaultEvent) -> tuple[str, str]:
    """What a correct cache reads once in a second: an object, or an object in each worker."""
    planned = event.planned
    lasts = event.begun_s <= read.at_s <= event.ended_s + SETTLES_S
    alone = ALONE.get(planned.what)
    by_itself = alone == "all" or (alone == "replica" and read.replica == planned.replica)
    return read.object, read.worker if lasts and by_itself else ""


def line_per_s(
    requests_per_s: Mapping[str, float], workers: int, ttl_s: float, *, shared: bool
) -> float:
    """Source reads per second of a correct cache at rest.

    Args:
        requests_per_s: for each object, over all workers.
        workers: of the fleet.
        ttl_s: time to live.
        shared: whether there is a Redis tier.
    """
    # Two digits are enough for a line, and each figure takes a simulation.
    rates = Counter(float(f"{rate * ttl_s:.2g}") for rate in requests_per_s.values())
    return (
        sum(n * expected_reads(workers, rate, shared=shared) for rate, n in rates.items()) / ttl_s
    )


def timeline(
    requests: Iterable[Seen], reads: Iterable[Read], duration_s: float
) -> list[FaultSecond]:
    """Every second of a window, with the requests that were due in it; none is left out."""
    due: dict[int, list[Seen]] = {}
    for one in requests:
        due.setdefault(max(0, int(one.due_s)), []).append(one)
    read = Counter(max(0, int(one.at_s)) for one in reads)
    last = max(math.ceil(duration_s) - 1, *due, *read, 0)
    rows = []
    for second in range(last + 1):
        ones = due.get(second, [])
        rows.append(
            FaultSecond(
                second=second,
                ok=sum(one.timely for one in ones),
                late=sum(not one.error and not one.timely for one in ones),
                errors=sum(bool(one.error) for one in ones),
                reads=read[second],
                latency_max_ms=round(max((one.wait_s for one in ones), default=0.0) * 1000, 1),
            )
        )
    return rows


def fault_results(
    plan: RunPlan, arm: Arm, windows: Sequence[Evidence], samples_dir: Path
) -> dict[str, FaultResult]:
    """What each fault did to one variant, by the fault's name, in order of time.

    Args:
        plan: of the run, with the rate and TTL that were driven.
        arm: the variant.
        windows: of the variant, in order of time; of those without a fault only the one after a
            fault counts, whose answers are judged with it.
        samples_dir: folder of the raw samples.
    """
    planted = plan.arm_settings(arm).planted_null_user
    names = {key.index: objects_of(key, planted_null_user=planted) for key in plan.keys}
    following = after_faults(windows)
    return {
        window.fault.planned.name: _result(
            plan, window, window.fault, following.get(window.fault.planned.name), names, samples_dir
        )
        for window in windows
        if window.fault is not None
    }


def _result(
    plan: RunPlan,
    window: Evidence,
    event: FaultEvent,
    following: Evidence | None,
    names: Mapping[int, Mapping[ObjectKind, str]],
    samples_dir: Path,
) -> FaultResult:
    samples = list(read_samples(samples_dir / f"{window.name}.csv.gz"))
    requests = [seen(one, window.truths.get(one.key), window.promise_s) for one in samples]
    after = [one for one in requests if one.done_s > event.begun_s]
    errors = Counter(one.error for one in after if one.error)
    objects = (name for by_kind in names.values() for name in by_kind.values())
    logged = logged_reads(window, objects, plan.scenario.workers)
    reads = named_reads(samples, names) if logged is None else logged
    # Replies do not say which of a membership's two entries was missing.
    told = [one for one in reads if logged is not None or not one.object.startswith(_TWO_ENTRIES)]
    asked = Counter(name for one in samples for name in names.get(one.key, {}).values())
    line = line_per_s(
        {name: n / window.duration_s for name, n in asked.items()},
        plan.scenario.replicas * plan.scenario.workers,
        plan.ttl_s,
        shared=window.has_redis,
    )
    answers = judge_answers([window], plan.all_keys, samples_dir)
    later = judge_answers([following] if following else [], plan.all_keys, samples_dir)
    failed_later = later.unexpected.total()
    if following is not None:
        failed_later += sum(following.generator.unanswered.values())
    records, log_bytes = _logged(window, event)
    found = FaultResult(
        verdict="unaffected",
        reasons=[],
        bit=event.bit,
        bit_what=FAULTS[event.planned.what].proof,
        detail=event.detail,
        begun_s=round(event.begun_s, 3),
        ended_s=round(event.ended_s, 3),
        watched_s=round(window.duration_s - event.ended_s, 3),
        balancer=plan.scenario.faults.balancer,
        requests=len(after),
        errors=dict(sorted(errors.items())),
        errors_share=round(errors.total() / len(after), 6) if after else 0.0,
        errors_longest_s=round(longest_without(requests, event.begun_s), 3),
        latency_ms_max=round(max((one.wait_s for one in after), default=0.0) * 1000, 1),
        stampede=round(stampede(told, line, event, ttl_s=plan.ttl_s), 3),
        stampede_before=round(stampede(told, line, event, ttl_s=plan.ttl_s, before=True), 3),
        recovery_s=_rounded(recovery(requests, event.ended_s, window.duration_s)),
        log_records_per_request=_each(records, after),
        log_bytes_per_request=_each(log_bytes, after),
        spend_lost_micro=sum(
            max(0, due - gained) for due, gained in window.spend(ObjectKind.KEY).values()
        ),
        errors_share_after=(
            round(failed_later / following.generator.sent, 6)
            if following is not None and following.generator.sent
            else None
        ),
        wrong=answers.wrong.total() + later.wrong.total(),
        stale=answers.stale_replies.total() + later.stale_replies.total(),
        let_through=answers.let_through.total() + later.let_through.total(),
        timeline=timeline(requests, reads, window.duration_s),
    )
    worst, reasons = verdict(found, plan.scenario.faults)
    return found.model_copy(update={"verdict": worst, "reasons": reasons})


def _logged(window: Evidence, event: FaultEvent) -> tuple[float | None, float | None]:
    """Records and bytes that the replicas logged from the last scrape before a fault on."""
    before = [one for one in window.scrapes if one.at_s <= event.begun_s]
    if not before:
        return None, None
    log_bytes = window.scrapes[-1].log_bytes - before[-1].log_bytes
    pages = [page for page in before[-1].workers if page is not None]
    if len(pages) < len(window.before.workers):
        return None, log_bytes
    earlier = Counters.total(pages).sum(LOGS) - window.before.total.sum(LOGS)
    return max(0.0, window.counted.sum(LOGS) - earlier), log_bytes


def _each(count: float | None, requests: Sequence[Seen]) -> float | None:
    return None if count is None or not requests else round(count / len(requests), 3)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def verdict(found: FaultResult, limits: FaultWindow) -> tuple[Verdict, list[str]]:
    """The worst verdict that applies, and all that speaks for it and for lesser ones."""
    if not found.bit:
        return "invalid", [f"it took no effect: 0 {found.bit_what}"]
    said: dict[Verdict, list[str]] = {"wrong": [], "outage": [], "degraded": []}
    for n, what in (
        (found.wrong, "objects served were never right"),
        (found.let_through, "let through"),
        (found.stale, "stale"),
    ):
        if n:
            said["wrong"].append(f"{n:,} {what}")
    if found.errors_longest_s >= TIMELY_S:
        said["outage"].append(f"{found.errors_longest_s:.1f} s without a timely 2xx")
    for share, when in ((found.errors_share, ""), (found.errors_share_after or 0.0, " after it")):
        if share > limits.error_share_max:
            said["degraded"].append(f"errors {100 * share:.2g} %{when}")
    if found.latency_ms_max > limits.latency_ms_max:
        said["degraded"].append(
            f"latency {found.latency_ms_max:,.0f} ms, limit {limits.latency_ms_max:,.0f}"
        )
    if found.stampede is not None and found.stampede > limits.stampede_max:
        said["degraded"].append(f"source reads {found.stampede:.1f} times a correct cache's")
    worst: Verdict = next((word for word, reasons in said.items() if reasons), "unaffected")
    return worst, [reason for reasons in said.values() for reason in reasons]


def hold_faults(
    expectations: Sequence[FaultExpectation], faults: Mapping[str, Mapping[str, FaultResult]]
) -> list[ExpectationResult]:
    """Every limit of every expectation about faults, over all of the faults that it is about.

    What a fault did is no estimate: it has no interval. One that took no effect decides nothing.

    Args:
        expectations: about variants of the run.
        faults: by variant and name.
    """
    return [
        _hold(e, limit, {name: one for name, one in faults[e.variant].items() if _is_of(e, name)})
        for e in expectations
        if e.variant in faults
        for limit in _limits(e)
    ]


class _Limit(NamedTuple):
    """One thing that an expectation about faults asks for."""

    what: str
    limit: str
    kept: Callable[[FaultResult], bool]
    text: Callable[[FaultResult], str]
    figure: Callable[[FaultResult], float | None] | None = None
    """What is compared with the limit; None of a verdict, and for what has no number."""
    watch_s: float = 0.0
    """How long a window must go on after the fault for that."""

    def unseen(self, one: FaultResult) -> str:
        """Why a fault decides nothing; empty where it does."""
        if one.verdict == "invalid":
            return "took no effect"
        if one.recovery_s is None and one.watched_s < self.watch_s:
            return f"was watched for {one.watched_s:.3g} s after its end, not {self.watch_s:g}"
        return ""


def _limits(e: FaultExpectation) -> list[_Limit]:
    found = []
    if e.is_ is not None:
        found.append(
            _Limit("verdict", e.is_, lambda one: one.verdict == e.is_, lambda one: one.verdict)
        )
    if e.never:
        limit = f"never {' or '.join(e.never)}"
        found.append(
            _Limit("verdict", limit, lambda one: one.verdict not in e.never, lambda o: o.verdict)
        )
    if (most := e.stampede_max) is not None:
        found.append(
            _Limit(
                "stampede",
                f"<= {most:g}",
                lambda one: one.stampede is not None and one.stampede <= most,
                lambda one: "not seen" if one.stampede is None else f"{one.stampede:.3g}",
                lambda one: one.stampede,
            )
        )
    if (within_s := e.recovery_s_max) is not None:
        found.append(
            _Limit(
                "recovery",
                f"<= {within_s:g} s",
                lambda one: one.recovery_s is not None and one.recovery_s <= within_s,
                recovery_text,
                lambda one: one.recovery_s,
                within_s + GOOD_SECONDS,
            )
        )
    if (lost := e.spend_lost_micro_max) is not None:
        found.append(
            _Limit(
                "spend lost",
                f"<= {lost:g} micro-USD",
                lambda one: one.spend_lost_micro <= lost,
                lambda one: f"{one.spend_lost_micro:,} micro-USD",
                lambda one: float(one.spend_lost_micro),
            )
        )
    return found


def recovery_text(one: FaultResult) -> str:
    """The time to recover, in words."""
    if one.recovery_s is None:
        return f"not within {one.watched_s:.3g} s"
    return f"{one.recovery_s:.1f} s"


def _is_of(e: FaultExpectation, name: str) -> bool:
    return name not in e.but if e.fault == ALL else name == e.fault


def _hold(e: FaultExpectation, limit: _Limit, ones: Mapping[str, FaultResult]) -> ExpectationResult:
    bit = {name: one for name, one in ones.items() if limit.unseen(one) == ""}
    broken = {name: one for name, one in bit.items() if not limit.kept(one)}
    shown = broken or (bit if e.fault != ALL else {})
    state: State = "fails" if broken else "holds"
    reason = ""
    if not broken and len(bit) < max(len(ones), 1):
        state = "undecided"
        without = [f"{name} {limit.unseen(one)}" for name, one in ones.items() if name not in bit]
        reason = ", ".join(without) or "no fault was measured"
    figures = [n for one in bit.values() if limit.figure and (n := limit.figure(one)) is not None]
    worst = max(figures, default=None)
    about = f"{len(ones)} faults" if e.fault == ALL else e.fault
    text = ", ".join(f"{name} {limit.text(one)}" for name, one in shown.items())
    return ExpectationResult(
        name=f"{limit.what} under {about}",
        variant=e.variant,
        scope=ALL,
        measured=text or (f"kept in all {len(bit)}" if bit else "not measured"),
        limit=limit.limit,
        estimate=worst,
        low=worst,
        high=worst,
        state=state,
        reason=reason,
    )
