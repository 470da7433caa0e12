"""What the windows of one variant say about its source reads, by scope and for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.analysis.reads import (
    LEAST_PER_TTL,
    PLAIN_ERROR,
    RARE_SHARE,
    elasticity,
    expected_reads,
    grows,
    intervals,
    per_object_and_ttl,
    ttl_kept,
    uncached,
)
from harness.analysis.tally import Tally
from harness.authcache.words import SOURCE, ObjectKind, ReadReason, Tier
from harness.domain.rates import answered
from harness.domain.reads import ObjectRead, Owned, objects_of, owned_objects
from harness.domain.result import Estimate, KeptAlive
from harness.domain.samples import read_samples
from harness.domain.series import ALL, LOOKUPS, READS
from harness.domain.served import parse_served
from harness.domain.window import warmup_name
from harness.load.plan import key_shares_of
from harness.observe.evidence import Evidence
from harness.plan.plan import Arm, RunPlan

EXPIRES = (ReadReason.MISS, ReadReason.REFRESH)
"""Reasons of a read that a TTL causes, early or on time."""
OTHER_SHARE_MAX = 0.05
"""If more of the reads of an object have other reasons, its intervals say nothing about its TTL."""
MEMBERSHIP = ObjectKind.MEMBERSHIP


@dataclass
class ReadFigures:
    """Fields of `harness.domain.result.VariantResult`, which describes them."""

    ttl_kept: dict[str, Estimate] = field(default_factory=dict)
    per_object_and_ttl: dict[str, float] = field(default_factory=dict)
    expected: dict[str, float] = field(default_factory=dict)
    over_expected: dict[str, Estimate] = field(default_factory=dict)
    other_per_request: dict[str, float] = field(default_factory=dict)
    elasticity: dict[str, dict[str, Estimate]] = field(default_factory=dict)
    kept_alive: dict[str, dict[str, KeptAlive]] = field(default_factory=dict)
    uncached: dict[str, dict[str, float]] = field(default_factory=dict)


def read_figures(
    plan: RunPlan,
    arm: Arm,
    windows: Sequence[Evidence],
    samples_dir: Path,
    *,
    error: float = PLAIN_ERROR,
) -> ReadFigures:
    """The figures of one variant's measured windows.

    Args:
        plan: of the run, with the rate and TTL that were driven.
        arm: the variant.
        windows: measured windows of the variant.
        samples_dir: folder of the raw samples. Where no worker logs its reads, those that replies
            name count, at the time of the reply.
        error: of each bound, but for those of the elasticity.
    """
    planted = plan.arm_settings(arm).planted_null_user
    objects = owned_objects(plan.keys, planted_null_user=planted)
    tally = Tally(tuple(windows))
    answers, counts = tally.requests(), tally.by(READS, "key_scope", "object", "reason")
    requests = _requests_by_object(plan, answers, objects)
    stretches = [_stretches(plan, window, samples_dir, planted) for window in windows]
    seen = Counter(read.object for _, in_window in stretches for read in in_window)
    loaded_ttls = sum(window.duration_s for window in windows) / plan.ttl_s
    # Entries expire in the pause before a window too, and are read at its beginning.
    ttls = loaded_ttls + sum(min(window.pause_s / plan.ttl_s, 1.0) for window in windows)
    # Not by a switch: a release can have a Redis that its auth cache does not ask.
    shared = any(window.after.total.sum(LOOKUPS, tier="redis") for window in windows)
    workers = plan.scenario.replicas * plan.scenario.workers
    logged = all(window.reads is not None for window in windows)
    kinds = {scope: _kinds(scope, objects, requests) for scope in answers}
    figures = ReadFigures(
        elasticity={scope: _elasticities(kinds[scope], seen) for scope in answers},
        uncached={
            scope: _uncached(kinds[scope], scope, counts, workers, loaded_ttls) for scope in answers
        },
        kept_alive=_kept_alive(
            objects,
            [
                (window, in_window)
                for window, (_, in_window) in zip(windows, stretches, strict=True)
                if window.reads is not None or (samples_dir / f"{window.name}.csv.gz").is_file()
            ],
            ttl_s=plan.ttl_s,
            workers=workers,
            shared=shared,
            all_named=logged or arm.target.names_reads,
        ),
    )
    for scope in (ALL, *answers):
        expiring = {
            name: one
            for name, one in objects.items()
            if scope in (ALL, one.scope) and name in requests and _expires(one, counts, figures)
        }
        places = {(one.scope, one.kind) for one in expiring.values()}
        reads = sum(n for (where, kind, _), n in counts.items() if (where, kind) in places)
        whole = sum(n for (where, *_), n in counts.items() if scope in (ALL, where))
        if answered(answers, scope):
            other = (whole - reads) / answered(answers, scope)
            figures.other_per_request[scope] = round(other, 4)
        if not expiring:
            continue
        expected = {
            name: ttls * expected_reads(workers, requests[name] / loaded_ttls, shared=shared)
            for name in expiring
        }
        by_key = _by_key(expected, expiring)
        _, low, high = per_object_and_ttl(_by_key(seen, expiring), by_key, error)
        if high is not None:
            # A long pause lets the keys begin their window together, so that they no longer count
            # as independent: the upper bound is that without the pause.
            high *= ttls / loaded_ttls
        if sum(seen[name] for name in expiring) != reads:
            low = high = None
        over = reads / sum(expected.values())
        figures.per_object_and_ttl[scope] = round(reads / len(expiring) / ttls, 4)
        figures.expected[scope] = round(sum(expected.values()) / len(expiring) / ttls, 4)
        figures.over_expected[scope] = _rounded(
            Estimate(value=over, low=low, high=high, n=len(by_key))
        )
        # Replies do not say which of a membership's two cache entries was missing.
        timed = {name for name in expiring if logged or expiring[name].kind != MEMBERSHIP}
        found = intervals(
            (
                [read for read in reads_of_stretch if read.object in timed]
                for both in stretches
                for reads_of_stretch in both
            ),
            plan.ttl_s,
            per_worker=not shared,
        )
        kept = ttl_kept(found, together=len(expiring) / len(by_key), error=error)
        if kept is not None:
            figures.ttl_kept[scope] = _rounded(kept)
    return figures


def _kept_alive(
    objects: Mapping[str, Owned],
    windows: Sequence[tuple[Evidence, Sequence[ObjectRead]]],
    *,
    ttl_s: float,
    workers: int,
    shared: bool,
    all_named: bool,
) -> dict[str, dict[str, KeptAlive]]:
    """Objects whose entries requests keep alive, by scope and kind.

    Args:
        objects: by name.
        windows: with the reads that were seen in each.
        ttl_s: time to live of one tier.
        workers: of the fleet.
        shared: whether there is a Redis tier.
        all_named: whether every read was seen; else no object is called hardly read.
    """
    names = {(key, one.kind): name for name, one in objects.items() for key in one.keys}
    served: Counter[str] = Counter()
    read: Counter[str] = Counter()
    ages: dict[tuple[str, str], float] = {}
    ttls = 0.0
    for window, reads in windows:
        long_enough = 0 < window.promise_s < window.duration_s
        if long_enough:
            ttls += window.duration_s / ttl_s
            read.update(one.object for one in reads)
        for item in window.generator.served:
            name = names.get((item.key_index, item.object))
            if name is None:
                continue
            if long_enough and item.tier in (Tier.MEMORY, Tier.REDIS):
                served[name] += item.count
            age_s = (item.age_ms_max or 0) / 1000
            if 0 < window.promise_s < age_s:
                place = objects[name].scope, objects[name].kind
                ages[place] = max(age_s, ages.get(place, 0.0))
    often = [name for name, n in served.items() if all_named and n >= LEAST_PER_TTL * ttls]
    rare = {
        name
        for name in often
        if read[name]
        < RARE_SHARE * ttls * expected_reads(workers, served[name] / ttls, shared=shared)
    }
    places = {(objects[name].scope, objects[name].kind) for name in rare} | set(ages)
    found: dict[str, dict[str, KeptAlive]] = {}
    for scope, kind in sorted(places):
        group = [n for n in often if (objects[n].scope, objects[n].kind) == (scope, kind)]
        found.setdefault(scope, {})[kind] = KeptAlive(
            rarely_read=len(rare.intersection(group)),
            objects=len(group),
            age_max_s=ages.get((scope, kind)),
        )
    return found


def _stretches(
    plan: RunPlan, window: Evidence, samples_dir: Path, planted: bool
) -> tuple[Sequence[ObjectRead], Sequence[ObjectRead]]:
    """The reads of the warm-up and of the window."""
    if window.reads is not None:
        return window.warmup_reads, window.reads
    names = {key.index: objects_of(key, planted_null_user=planted) for key in plan.keys}
    files = (samples_dir / f"{name}.csv.gz" for name in (warmup_name(window.name), window.name))
    before, during = (_named_reads(file, names) if file.is_file() else () for file in files)
    return before, during


def _named_reads(
    file: Path, names: Mapping[int, Mapping[ObjectKind, str]]
) -> tuple[ObjectRead, ...]:
    """The reads that replies name, at the time of the reply, in order of time.

    Args:
        file: of raw samples.
        names: by key and kind, as `objects_of` has them.
    """
    reads = [
        ObjectRead(sample.done_s, sample.replica, name, entry.object, "", sample.scope)
        for sample in read_samples(file)
        for entry in parse_served(sample.served)
        if entry.tier == SOURCE
        and (name := names[sample.key].get(ObjectKind(entry.object))) is not None
    ]
    return tuple(sorted(reads))


def _requests_by_object(
    plan: RunPlan, answers: Mapping[str, Mapping[str, int]], objects: Mapping[str, Owned]
) -> dict[str, float]:
    """Answered requests for each object that got any, by the planned shares of its keys."""
    each: dict[int, float] = {}
    for scope in answers:
        keys = [key.index for key in plan.keys if key.scope == scope]
        load = plan.scenario.load
        shares = key_shares_of(scope, keys, load.key_weights, load.zipf)
        each |= {key: share * answered(answers, scope) for key, share in shares.items()}
    sums = {name: sum(each.get(key, 0.0) for key in one.keys) for name, one in objects.items()}
    return {name: count for name, count in sums.items() if count}


def _expires(
    one: Owned,
    counts: Mapping[tuple[str, ...], int],
    figures: ReadFigures,
) -> bool:
    """Whether a TTL causes the reads of this kind of object in this scope."""
    slope = figures.elasticity.get(one.scope, {}).get(one.kind)
    if one.kind in figures.uncached.get(one.scope, {}) or (slope is not None and grows(slope)):
        return False
    reads = {
        reason: n
        for (scope, kind, reason), n in counts.items()
        if (scope, kind) == (one.scope, one.kind)
    }
    other = sum(n for reason, n in reads.items() if reason not in EXPIRES)
    return other <= OTHER_SHARE_MAX * sum(reads.values())


def _by_key(counts: Mapping[str, float], objects: Mapping[str, Owned]) -> dict[int, float]:
    """Sums by the first key of each object: what requests of one key read at once."""
    sums: dict[int, float] = {}
    for name, one in objects.items():
        sums[one.keys[0]] = sums.get(one.keys[0], 0.0) + counts.get(name, 0)
    return sums


def _kinds(
    scope: str, objects: Mapping[str, Owned], requests: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """Requests for the objects of a scope that got any, by kind and name."""
    found: dict[str, dict[str, float]] = {kind.value: {} for kind in ObjectKind}
    for name, one in objects.items():
        if one.scope == scope and name in requests:
            found[one.kind][name] = requests[name]
    return {kind: asked for kind, asked in found.items() if asked}


def _elasticities(
    kinds: Mapping[str, Mapping[str, float]], seen: Mapping[str, int]
) -> dict[str, Estimate]:
    """`elasticity` of a scope by kind of object; kinds that were never read are left out."""
    slopes = {
        kind: elasticity([*asked.values()], [seen.get(name, 0) for name in asked])
        for kind, asked in kinds.items()
    }
    return {kind: _rounded(slope) for kind, slope in slopes.items() if slope is not None}


def _uncached(
    kinds: Mapping[str, Mapping[str, float]],
    scope: str,
    counts: Mapping[tuple[str, ...], int],
    workers: int,
    ttls: float,
) -> dict[str, float]:
    """`uncached` of a scope by kind of object."""
    found = {}
    for kind, asked in kinds.items():
        reads = sum(n for (where, of, _), n in counts.items() if (where, of) == (scope, kind))
        share = uncached([*asked.values()], reads, workers, ttls)
        if share is not None:
            found[kind] = round(share, 4)
    return found


def _rounded(one: Estimate) -> Estimate:
    low, high = (None if bound is None else round(bound, 4) for bound in (one.low, one.high))
    return Estimate(value=round(one.value, 4), low=low, high=high, n=one.n)
