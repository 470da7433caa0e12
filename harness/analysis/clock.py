"""Clocks: how long each worker served what a change had made untrue.

Time counts from the answer to the change. A worker's clock lies between the start of the last
request that was sent after it and got an old answer, and the start of the first one with a new
answer after which no old one came.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

from harness.analysis.answers import judge_answers
from harness.analysis.cells import OLD_ANSWERS
from harness.authcache.words import ObjectKind
from harness.domain.changes import ACTIONS, NEWS_S, ChangeEvent
from harness.domain.population import VirtualKey
from harness.domain.result import (
    AgeShare,
    ChangeCost,
    Clock,
    Ended,
    Freshness,
    Idle,
    IdleAnswer,
    WorkerClock,
)
from harness.domain.samples import Sample, read_samples
from harness.domain.series import PAYLOAD_BYTES
from harness.domain.served import parse_served
from harness.observe.evidence import Evidence
from harness.targets.base import KeyTruth

LEAST_BEYOND = 10
"""A percentile is given only with so many pairs beyond it."""
_OK = range(200, 300)
_MADE = ("done", "committed")

Side = Literal["old", "new", ""]
"""What an answer says about a change; empty where it fits both versions, or none."""
Figures = dict[str, dict[str, Freshness]]
"""By action and key scope."""


class _Versions(NamedTuple):
    """What a key was before a change and after it."""

    old: tuple[KeyTruth, ...]
    new: KeyTruth
    until_s: float
    """When the next change of the same key may have taken effect."""

    @property
    def told_apart(self) -> bool:
        before = self.old[-1]
        return (before.status, before.digests) != (self.new.status, self.new.digests)


class _Reply(NamedTuple):
    sample: Sample
    side: Side
    age_s: float | None
    """Of the changed object, where an old answer names it."""


def side(sample: Sample, old: Iterable[KeyTruth], new: KeyTruth) -> Side:
    """What an answer says about a change.

    Old: its status or one of its objects is that of an older version and not of the new one. New:
    all of it is of the new version, and something in it is of no older one.

    Args:
        sample: an answered request.
        old: the versions before the change.
        new: the version after it.
    """
    named = [(one.object, one.digest) for one in parse_served(sample.served)]
    old = tuple(old)
    if sample.status != new.status and any(sample.status == one.status for one in old):
        return "old"
    others = [(kind, digest) for kind, digest in named if new.digests.get(kind) != digest]
    if any(one.digests.get(kind) == digest for one in old for kind, digest in others):
        return "old"
    if others or sample.status != new.status or any(_fits(sample, named, one) for one in old):
        return ""
    return "new"


def _fits(sample: Sample, named: Iterable[tuple[str, str]], version: KeyTruth) -> bool:
    return sample.status == version.status and all(
        version.digests.get(kind) == digest for kind, digest in named
    )


def freshness(
    windows: Iterable[Evidence],
    keys: Sequence[VirtualKey],
    samples_dir: Path,
    *,
    ttl_s: float,
    kept_by_code_s: float | None = None,
    broadcasts: Callable[[str], bool | None] = lambda _: None,
    alone: bool = False,
) -> Figures:
    """What became of the changes of one variant, by action and key scope.

    Args:
        windows: of phase ``changes``, of one variant.
        keys: of the run; the index of a key is its place.
        samples_dir: folder of the raw samples, one file for each window.
        ttl_s: time to live of one tier.
        kept_by_code_s: how long the target keeps what has changed, by its code; None if unknown.
        broadcasts: whether an action is broadcast to other workers, by the target's code.
        alone: whether the fleet has one worker, so that there are no others to time.
    """
    found: dict[tuple[str, str], list[_Change]] = {}
    promise_s = 0.0
    windows = [window for window in windows if window.changes]
    stale = judge_answers(windows, keys, samples_dir).stale_replies
    for window in windows:
        promise_s = max(promise_s, window.promise_s)
        changed = {event.key for event in window.changes}
        samples: dict[int, list[Sample]] = {key: [] for key in changed}
        for sample in read_samples(samples_dir / f"{window.name}.csv.gz"):
            if sample.key in changed and not sample.error:
                samples[sample.key].append(sample)
        for event in window.changes:
            one = _change(window, event, samples[event.key], ttl_s)
            found.setdefault((event.action, event.scope), []).append(one)
    table: Figures = {}
    for (action, scope), changes in found.items():
        table.setdefault(action, {})[scope] = _pooled(
            changes,
            ends_s=sorted({1.0, ttl_s, promise_s}),
            promise_s=promise_s,
            kept_by_code_s=kept_by_code_s,
            stale_replies=stale[action, scope],
            told_by_code=broadcasts(action) if all(map(_is_of_a_replica, changes)) else None,
            alone=alone,
        )
    return table


def change_cost(windows: Iterable[Evidence]) -> ChangeCost | None:
    """What the windows in which one variant was changed cost; None without an answer in them."""
    windows = [window for window in windows if window.changes]
    requests = sum(window.generator.answered for window in windows)
    if not requests:
        return None

    def per_1000(counts: Sequence[Iterable[int] | None]) -> float | None:
        known = [sum(count) for count in counts if count is not None]
        return round(1000 * sum(known) / requests, 1) if len(known) == len(counts) else None

    def written(part: str, kind: ObjectKind) -> float:
        return sum(w.counted.sum(f"{PAYLOAD_BYTES}_{part}", object=kind.value) for w in windows)

    asked, servers = [w.statements for w in windows], [w.redis for w in windows]
    reads = [None if s is None else [one.calls for one in s.reads.values()] for s in asked]
    commands = [None if r is None else r.calls.values() for r in servers]
    return ChangeCost(
        requests=requests,
        source_reads_per_1000=per_1000(reads),
        redis_commands_per_1000=per_1000(commands),
        payload_bytes={
            kind.value: round(written("sum", kind) / count, 1)
            for kind in ObjectKind
            if (count := written("count", kind))
        },
    )


class _Change(NamedTuple):
    """One change and what came after it."""

    event: ChangeEvent
    told_apart: bool
    workers: list[WorkerClock]
    after: list[_Reply]
    """Answers that were sent after it and tell the versions apart."""
    judged: int
    """Answers that were sent longer after it than the promise."""
    idle: IdleAnswer | None = None


def _is_of_a_replica(change: _Change) -> bool:
    """Whether a replica that is known took the change: no other case says who was told."""
    return change.event.way == "api" and change.event.handler is not None


def _change(
    window: Evidence, event: ChangeEvent, samples: Sequence[Sample], ttl_s: float
) -> _Change:
    versions = _versions(window.truths.get(event.key), event)
    if versions is None or not versions.told_apart or event.outcome not in _MADE:
        return _Change(event, versions is not None and versions.told_apart, [], [], 0)
    by_worker: dict[str, list[_Reply]] = {}
    for sample in sorted(samples, key=lambda one: one.sent_s):
        if sample.done_s <= versions.until_s:
            name = sample.worker or str(sample.replica)
            by_worker.setdefault(name, []).append(_reply(sample, versions, event.action))
    clocks: list[WorkerClock] = []
    after: list[_Reply] = []
    for name, replies in sorted(by_worker.items()):
        if event.idle_s is None:
            clock = _worker_clock(event, name, replies, ttl_s)
            clocks += [] if clock is None else [clock]
        after += [r for r in replies if r.side and r.sample.sent_s >= event.answered_s]
    judged = sum(
        r.sample.sent_s > event.answered_s + window.promise_s
        for replies in by_worker.values()
        for r in replies
    )
    return _Change(event, True, clocks, after, judged, _idle_answer(event, by_worker, after))


def _versions(truth: KeyTruth | None, event: ChangeEvent) -> _Versions | None:
    """The versions on both sides of a change; None where it made none."""
    if truth is None:
        return None
    versions = (*truth.earlier, truth)
    made = [
        number
        for number, one in enumerate(versions)
        if number
        and one.since is not None
        and one.since[0] <= event.answered_s
        and one.since[1] >= event.sent_s
    ]
    if not made:
        return None
    after = [one.since[0] for one in versions[made[-1] + 1 :] if one.since is not None]
    return _Versions(versions[: made[-1]], versions[made[-1]], min(after, default=math.inf))


def _reply(sample: Sample, versions: _Versions, action: str) -> _Reply:
    found = side(sample, versions.old, versions.new)
    changed = ACTIONS[action].object
    ages = [
        item.age_ms / 1000
        for item in parse_served(sample.served if found == "old" else "")
        if item.object == changed
        and item.age_ms is not None
        and any(one.digests.get(changed) == item.digest for one in versions.old)
    ]
    return _Reply(sample, found, max(ages, default=None))


def _worker_clock(
    event: ChangeEvent, name: str, replies: Sequence[_Reply], ttl_s: float
) -> WorkerClock | None:
    """The clock of one worker; None where it cannot be measured.

    Without an old answer, before the change or after it, the worker had nothing to forget. Without
    an answer after it that tells the versions apart, it was not asked.

    Args:
        event: the change.
        name: of the worker.
        replies: its answers, in the order in which the requests were sent.
        ttl_s: time to live of one tier.
    """
    told = [r for r in replies if r.side]
    after = [r for r in told if r.sample.sent_s >= event.answered_s]
    # An answer that was under way while the object changed speaks for neither side.
    before = [r for r in told if r.sample.done_s <= event.sent_s]
    if not after or all(r.side != "old" for r in (*before, *after)):
        return None
    olds = [r for r in after if r.side == "old"]
    news = [r for r in after if r.side == "new"]
    last = olds[-1] if olds else None
    low_s = 0.0 if last is None else last.sample.sent_s - event.answered_s
    first = [r for r in news if last is None or r.sample.sent_s > last.sample.sent_s]
    high_s = first[0].sample.sent_s - event.answered_s if first else None
    first_new_s = min((r.sample.done_s for r in news), default=math.inf)
    ended: Ended = "open"
    if high_s is not None:
        # Without an old answer after the change, one before it tells the age, if it is close.
        near = next((r for r in reversed(before) if r.side == "old"), None)
        close = last or (near if high_s <= 2 * _gap(replies) else None)
        age_s = None if close is None else _age_at(first[0], close)
        young = age_s is not None and age_s < ttl_s
        own = _took(event, name)
        if name in event.dropped and (own or name in event.told) and (low_s <= NEWS_S or young):
            ended = "evicted" if own else "message"
        elif age_s is None:
            ended = "not_checked"
        else:
            ended = "re-read" if young else "expiry"
    return WorkerClock(
        change=event.number,
        worker=name,
        handler=_took(event, name),
        low=round(low_s, 4),
        high=None if high_s is None else round(high_s, 4),
        ended_by=ended,
        old_replies=len(olds),
        resurrected=sum(r.sample.sent_s >= first_new_s for r in olds),
    )


def _idle_answer(
    event: ChangeEvent, by_worker: Mapping[str, Sequence[_Reply]], after: Sequence[_Reply]
) -> IdleAnswer | None:
    """The first answer after the change of an idle object, if its worker had an old copy before."""
    if event.idle_s is None or not after:
        return None
    first = min(after, key=lambda r: r.sample.sent_s)
    name = first.sample.worker or str(first.sample.replica)
    if not any(r.side == "old" and r.sample.done_s <= event.sent_s for r in by_worker[name]):
        return None
    return IdleAnswer(
        change=event.number,
        worker=name,
        handler=_took(event, name),
        due_s=round(event.idle_s, 4),
        after_s=round(first.sample.sent_s - event.answered_s, 4),
        old=first.side == "old",
    )


def _took(event: ChangeEvent, name: str) -> bool:
    """Whether a worker took a change."""
    return event.handler is not None and name == (event.worker or str(event.handler))


def _idle(changes: Sequence[_Change]) -> Idle | None:
    if all(change.event.idle_s is None for change in changes):
        return None
    answers = [change.idle for change in changes if change.idle is not None]
    return Idle(
        handler_s=_between([one for one in answers if one.handler]),
        others_s=_between([one for one in answers if not one.handler]),
        answers=answers,
    )


def _between(answers: Sequence[IdleAnswer]) -> Clock | None:
    """The greatest clock that single answers of clones allow.

    Clones differ in the age of their copies, so some give new answers when others, asked as late
    or later, still give old ones: only moments after the last old answer bound the clock.
    """
    if not answers:
        return None
    olds = [one for one in answers if one.old]
    last_s = max((one.due_s for one in olds), default=0.0)
    news = [one.after_s for one in answers if one.due_s > last_s]
    return Clock(
        low=max((one.after_s for one in olds), default=0.0),
        high=min(news, default=None),
        pairs=len(answers),
        open=0 if news else sum(one.due_s == last_s for one in olds),
    )


def _gap(replies: Sequence[_Reply]) -> float:
    """The usual time between two requests for this key at this worker."""
    gaps = [b.sample.sent_s - a.sample.sent_s for a, b in pairwise(replies)]
    return median(gaps) if gaps else 0.0


def _age_at(first_new: _Reply, last_old: _Reply) -> float | None:
    """How old the last old copy would have been at the first new answer; None if not known.

    What disappears by expiry is a TTL old or older, whichever tier it was in: memory may have
    taken it from Redis late, but Redis must have dropped it too.
    """
    if last_old.age_s is None:
        return None
    return last_old.age_s + first_new.sample.sent_s - last_old.sample.sent_s


def _pooled(
    changes: Sequence[_Change],
    *,
    ends_s: Sequence[float],
    promise_s: float,
    kept_by_code_s: float | None,
    stale_replies: int,
    told_by_code: bool | None,
    alone: bool,
) -> Freshness:
    clocks = [clock for change in changes for clock in change.workers]
    olds = [r for change in changes for r in change.after if r.side == "old"]
    speaks = next((change for change in changes if change.workers or change.idle), changes[0])
    outcome = speaks.event.outcome
    there = outcome in _MADE
    in_use = [c for c in changes if c.event.outcome in _MADE and c.event.idle_s is None]
    slowest = max(clocks, key=lambda one: (one.longest, one.low), default=None)
    return Freshness(
        outcome="not_told_apart" if there and not speaks.told_apart else outcome,
        detail=speaks.event.detail,
        changes=sum(change.event.outcome in _MADE for change in changes),
        committed=Counter(
            str(change.event.status) for change in changes if change.event.outcome == "committed"
        ),
        untimed=sum(not any(alone or not one.handler for one in c.workers) for c in in_use),
        handler_untimed=sum(
            _is_of_a_replica(c) and not any(one.handler for one in c.workers) for c in in_use
        ),
        handler_s=_greatest([one for one in clocks if one.handler]),
        others_s=_greatest([one for one in clocks if not one.handler]),
        promise_s=round(promise_s, 4),
        kept_by_code_s=kept_by_code_s,
        ended_by=None if slowest is None else slowest.ended_by,
        workers=clocks,
        old_replies=len(olds),
        old_cost_micro=sum(r.sample.cost_micro for r in olds if r.sample.status in _OK),
        resurrected=sum(one.resurrected for one in clocks),
        stale_replies=stale_replies,
        judged_replies=sum(change.judged for change in changes),
        told_by_code=told_by_code,
        idle=_idle(changes),
        right_by_age=_right_by_age(changes, ends_s),
    )


def _greatest(clocks: Sequence[WorkerClock]) -> Clock | None:
    if not clocks:
        return None
    ranked = sorted(math.inf if one.high is None else one.low for one in clocks)
    highs = [one.high for one in clocks if one.high is not None]
    return Clock(
        low=max(one.low for one in clocks),
        high=max(highs) if len(highs) == len(clocks) else None,
        pairs=len(clocks),
        open=len(clocks) - len(highs),
        p50=_percentile(ranked, 0.5),
        p99=_percentile(ranked, 0.99),
    )


def _percentile(ranked: Sequence[float], share: float) -> float | None:
    at = math.ceil(share * len(ranked)) - 1
    if len(ranked) - 1 - at < LEAST_BEYOND or math.isinf(ranked[at]):
        return None
    return ranked[at]


def _right_by_age(changes: Sequence[_Change], ends_s: Sequence[float]) -> dict[str, AgeShare]:
    table: dict[str, AgeShare] = {}
    for change in changes:
        for r in change.after:
            age_s = r.sample.sent_s - change.event.answered_s
            end = next((f"{end:g} s" for end in ends_s if age_s <= end), "later")
            share = table.setdefault(end, AgeShare(replies=0, right=0))
            share.replies += 1
            share.right += r.side == "new"
    return {name: table[name] for name in (*(f"{e:g} s" for e in ends_s), "later") if name in table}


def was_tested(found: Mapping[str, Mapping[str, Freshness]], scope: str) -> bool:
    """Whether any worker was measured after a change in a scope."""
    return any(by[scope].workers for by in found.values() if scope in by)


def is_over(one: Freshness) -> bool:
    """Whether any worker gave an old answer later than the promise."""
    return any(clock.low > one.promise_s for clock in one.workers)


def is_over_idle(one: Freshness) -> bool:
    """Whether any worker gave an old answer of an idle object later than the promise."""
    answers = [] if one.idle is None else one.idle.answers
    return any(answer.old and answer.after_s > one.promise_s for answer in answers)


def others_ended(one: Freshness) -> list[Ended]:
    """How old answers of the workers ended that did not take the change, each way once."""
    return list(dict.fromkeys(clock.ended_by for clock in one.workers if not clock.handler))


def others_were_told(one: Freshness) -> bool | None:
    """Whether the workers that did not take the change were told of it, as far as can be seen.

    One that kept its copy until it expired, or longer, was not told, and neither was one that gave
    an old answer later than a message takes and did not hear of it. None where there are no others,
    or where the end of one cannot be seen.
    """
    ways = others_ended(one)
    unseen = [w for w in one.workers if not w.handler and w.ended_by == "not_checked"]
    if {"open", "expiry", "re-read"} & {*ways} or any(w.low > NEWS_S for w in unseen):
        return False
    return True if ways and not unseen else None


def was_timed(one: Freshness) -> bool:
    """Whether every change of a kind has a clock, or the target has no such action to time."""
    return not one.untimed and (bool(one.workers) or one.outcome == "not_there")


def late(found: Mapping[str, Mapping[str, Freshness]], scope: str) -> list[str]:
    """What workers of a scope served after changes; empty where nothing was stale.

    What was seen comes before a colon, where after it, as in `harness.analysis.cells`.

    An old answer after a new one of the same worker is stale at once: the worker knew better.
    """
    said = []
    slow = {
        action: [w for w in by[scope].workers if w.low > by[scope].promise_s]
        for action, by in found.items()
        if scope in by
    }
    if over := [w for workers in slow.values() for w in workers]:
        actions = [action for action, workers in slow.items() if workers]
        one = found[actions[0]][scope]
        longest = max(over, key=lambda w: (w.longest, w.low))
        most = max(map(len, slow.values()))
        said.append(
            f"{OLD_ANSWERS} for {'at least ' if longest.high is None else ''}{longest.low:.1f} s, "
            f"beyond the promise of {one.promise_s:.1f} s: after {', '.join(actions)}, of up to "
            f"{most} of {len(one.workers)} workers"
        )
    if again := [a for a, by in found.items() if scope in by and by[scope].resurrected]:
        n = sum(found[action][scope].resurrected for action in again)
        after = ", ".join(again)
        said.append(f"{n} {OLD_ANSWERS} of workers that had given a new one: after {after}")
    return said
