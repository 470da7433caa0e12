"""Which answers were right: every reply is judged key by key, by what Postgres held at its time.

An answer is right if a version that may have been true at some moment from its start minus the
promise until its end calls for it. An answer that only an older version calls for is stale. One
that no version ever called for is wrong: data of another object, a refusal let through, or an
unexpected status.

A key with one version is judged by the generator's counts. Only where a key has several does the
moment of each reply matter: then the raw samples are read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from harness.domain.population import VirtualKey
from harness.domain.result import RefusalResult
from harness.domain.samples import Sample, read_samples
from harness.domain.served import parse_served
from harness.observe.evidence import Evidence
from harness.targets.base import KeyTruth

Counts = Counter[tuple[str, str]]
Versions = Sequence[KeyTruth]

_OK = range(200, 300)
_UNTIL_USED_UP = frozenset({200, 429})
STATUS = "status"
"""Stands for the object where a whole answer was stale, not one of the objects it named."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers that were not right, over the windows that were judged."""

    wrong: Counts = field(default_factory=Counter)
    """Served objects that no version of Postgres held, by scope and object."""
    let_through: Counts = field(default_factory=Counter)
    """2xx replies that every version called to refuse, by scope and reason of the refusal."""
    unexpected: Counts = field(default_factory=Counter)
    """Other replies by a status that no version called for, by scope and status."""
    stale: Counts = field(default_factory=Counter)
    """What only a version older than the promise called for, by scope and object, or `STATUS`."""
    stale_replies: Counts = field(default_factory=Counter)
    """Replies with any of it after a change of their key, by action and scope."""


def judge_answers(
    windows: Iterable[Evidence],
    keys: Sequence[VirtualKey],
    samples_dir: Path,
    *,
    within_reach: Collection[int] = (),
) -> Answers:
    """Judge every answer of some windows.

    Args:
        windows: of one variant.
        keys: of the run; the index of a key is its place.
        samples_dir: folder of the raw samples, one file for each window; read only for windows in
            which a key had several versions.
        within_reach: indices of keys with a budget that the load can use up. They are admitted
            until then and refused after it, so both answers are right in their time: how far such a
            budget was overdrawn says `harness.analysis.spend.owner_budgets`.
    """
    found = Answers()
    for window in windows:
        _judge_window(found, window, keys, samples_dir / f"{window.name}.csv.gz", within_reach)
    return found


def after_faults(windows: Sequence[Evidence]) -> dict[str, Evidence]:
    """The window that follows each window of a fault, by the fault's name.

    Its keys have the versions that the fault's window saw, with their times: a cache that was cut
    off may serve what an earlier version called for until the promise ends.

    Args:
        windows: of one variant, in order of time.
    """
    return {
        before.fault.planned.name: replace(
            window,
            truths={
                index: _moved_on(truth, before.truths.get(index), before.duration_s)
                for index, truth in window.truths.items()
            },
        )
        for before, window in pairwise(windows)
        if before.fault is not None and window.phase == "recovered"
    }


def _moved_on(now: KeyTruth, then: KeyTruth | None, by_s: float) -> KeyTruth:
    """What is true now after the versions of an earlier window, which began at least `by_s` ago."""
    if then is None or then.since is None:
        return now

    def moved(one: KeyTruth) -> KeyTruth:
        if one.since is None:
            return one
        return replace(one, since=(one.since[0] - by_s, one.since[1] - by_s))

    # In the pause between the windows nothing changes it.
    return replace(now, since=moved(then).since, earlier=tuple(map(moved, then.earlier)))


def _judge_window(
    found: Answers,
    window: Evidence,
    keys: Sequence[VirtualKey],
    samples: Path,
    within_reach: Collection[int],
) -> None:
    changed = {index for index, truth in window.truths.items() if truth.earlier}
    for index, statuses in window.generator.statuses_by_key.items():
        if index not in changed:
            either = _either(window, index) if index in within_reach else ()
            for status in map(int, statuses):
                if status not in either:
                    n = statuses[str(status)]
                    _note_status(found, keys[index].scope, status, n, _only(window, index))
    for item in window.generator.served:
        if item.key_index not in changed:
            scope, versions = keys[item.key_index].scope, _only(window, item.key_index)
            _note_object(found, scope, item.object, item.digest, item.count, versions)
    if changed:
        for sample in read_samples(samples):
            if sample.key in changed and not sample.error:
                _judge_sample(found, window, keys[sample.key].scope, sample)


def _last_change(window: Evidence, sample: Sample) -> str:
    """The last action on the key that had been answered when a request was sent."""
    return next(
        (
            event.action
            for event in reversed(window.changes)
            if event.key == sample.key and event.answered_s <= sample.sent_s
        ),
        "",
    )


def _either(window: Evidence, index: int) -> frozenset[int]:
    """What a key with a budget within reach may be answered, used up or not."""
    return _UNTIL_USED_UP | {window.truths[index].status}


def _only(window: Evidence, index: int) -> tuple[Versions, Versions]:
    truth = window.truths.get(index)
    return (() if truth is None else (truth,)), ()


def _judge_sample(found: Answers, window: Evidence, scope: str, sample: Sample) -> None:
    truth, stale_before = window.truths[sample.key], found.stale.total()
    oldest_s = sample.sent_s - window.promise_s
    versions = truth.true_within(oldest_s, sample.done_s), truth.true_before(oldest_s)
    _note_status(found, scope, sample.status, 1, versions)
    for one in parse_served(sample.served):
        _note_object(found, scope, one.object, one.digest, 1, versions)
    if found.stale.total() > stale_before:
        found.stale_replies[_last_change(window, sample), scope] += 1


def _note_status(
    found: Answers, scope: str, status: int, n: int, versions: tuple[Versions, Versions]
) -> None:
    current, older = versions
    if any(status == version.status or status in version.also for version in current):
        return
    if any(status == version.status or status in version.also for version in older):
        found.stale[scope, STATUS] += n
    elif status in _OK and current and all(version.refusal for version in current):
        found.let_through[scope, current[-1].refusal] += n
    else:
        found.unexpected[scope, str(status)] += n


def _note_object(
    found: Answers,
    scope: str,
    kind: str,
    digest: str,
    n: int,
    versions: tuple[Versions, Versions],
) -> None:
    current, older = versions
    if any(version.digests.get(kind) == digest for version in current):
        return
    if any(version.digests.get(kind) == digest for version in older):
        found.stale[scope, kind] += n
    else:
        found.wrong[scope, kind] += n


def refusal_results(
    windows: Iterable[Evidence], keys: Sequence[VirtualKey]
) -> dict[str, dict[str, RefusalResult]]:
    """What the keys that test refusals were answered, by scope and kind.

    Args:
        windows: the windows of refusals of one variant.
        keys: of the run; the index of a key is its place.
    """
    table: dict[str, dict[str, RefusalResult]] = {}
    for window in windows:
        for index, statuses in window.generator.statuses_by_key.items():
            key, truth = keys[index], window.truths[index]
            row = table.setdefault(key.scope, {}).setdefault(
                key.kind, RefusalResult(expected=truth.status, answers={})
            )
            for status, n in statuses.items():
                row.answers[status] = row.answers.get(status, 0) + n
    return table
