"""The page's data, as JSON. Every number counts from the start of the test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from harness.authcache.words import LOAD_SCOPES, KeyScope, Outcome, Tier
from harness.domain.series import ALL, FAILURE, LOG_PAIR, LOGS, LOOKUPS, READS
from harness.load.counts import LoadCounts
from harness.load.fleets import known_as
from harness.load.options import Drive
from harness.load.plan import OPEN
from harness.observe.counters import Counters
from harness.plan.reference_line import line_reads
from harness.style import marks
from harness.ui.history import FIELDS, totals
from harness.ui.options import Reference
from harness.ui.watcher import Watch

_OK = range(200, 300)


def nothing_yet(problems: list[str]) -> dict[str, Any]:
    """The page before the first test."""
    return {"state": "no_load", "problems": problems}


def render(
    watch: Watch, load: LoadCounts, reference: Reference | None, note: str, after_s: float
) -> dict[str, Any]:
    """The page during and after a test.

    Args:
        watch: the test.
        load: what the users have counted.
        reference: the inputs of the reference line.
        note: a sentence above the numbers.
        after_s: the history after this moment is sent; the page has the rest.
    """
    fleets = watch.tally.fleets() or {fleet.name: Counters() for fleet in watch.drive.fleets}
    state = "running" if watch.ended is None else "at_rest" if watch.at_rest else "settling"
    return {
        "state": state,
        "test": watch.number,
        "elapsed_s": round(watch.elapsed_s, 1),
        "problems": watch.tally.problems,
        "note": note,
        "drive": _drive(watch.drive),
        "generator": _generator(load),
        "cut": watch.cut,
        "variants": [
            {"mark": mark, **_variant(name, fleets, load, watch, reference)}
            for name, mark in marks(fleets).items()
        ],
        "lookups": [row for name, counted in fleets.items() for row in _lookups(name, counted)],
        "replicas": _replicas(watch),
        "history": {
            "fields": FIELDS,
            "thinned": watch.history.thinned,
            "points": watch.history.after(after_s),
        },
    }


def _drive(drive: Drive) -> dict[str, Any]:
    return {
        "fleets": [fleet.name for fleet in drive.fleets if fleet.name],
        "model": drive.model,
        "rate": drive.arrival_rate if drive.model == OPEN else drive.rate,
        "mix": [[scope, drive.mix[scope]] for scope in LOAD_SCOPES if scope in drive.mix],
        "seed": drive.seed if drive.model == OPEN else None,
    }


def _generator(load: LoadCounts) -> dict[str, Any]:
    unanswered: Counter[str] = Counter()
    for (_, kind), n in load.unanswered.items():
        unanswered[kind] += n
    return {
        "answered": sum(load.answered.values()),
        "unanswered": dict(unanswered),
        "rate_per_s": round(load.rate_per_s, 3),
        "late": load.late,
        "delay_ms_max": round(load.delay_s_max * 1000),
    }


def _variant(
    name: str,
    fleets: Mapping[str, Counters],
    load: LoadCounts,
    watch: Watch,
    reference: Reference | None,
) -> dict[str, Any]:
    counted = fleets[name]
    answered = {
        (scope, status): n
        for (fleet, scope, status), n in load.answered.items()
        if known_as(fleet, fleets) == name
    }
    scopes: dict[str, dict[str, Any]] = {}
    for scope in LOAD_SCOPES:
        requests = sum(n for (of, _), n in answered.items() if of == scope)
        if requests:
            where = {"key_scope": scope.value}
            scopes[scope.value] = {
                "requests": requests,
                "refused": sum(
                    n for (of, status), n in answered.items() if of == scope and status not in _OK
                ),
                "source_reads": counted.sum(READS, **where),
                "deserialize_failures": counted.sum(LOOKUPS, **where, **FAILURE),
                "log_pairs": counted.sum(LOGS, **where, **LOG_PAIR),
                "reference": _line(reference, watch, scope),
            }
    whole = dict(zip(FIELDS, totals(counted), strict=True))
    lines = [one["reference"] for one in scopes.values()]
    scopes[ALL] = {
        **whole,
        "requests": sum(answered.values()),
        "refused": sum(n for (_, status), n in answered.items() if status not in _OK),
        "reference": None if not lines or None in lines else sum(lines),
    }
    return {
        "name": name,
        "completed": whole["requests"],
        "scopes": scopes,
        "outcomes": {
            tier.value: {
                outcome.value: counted.sum(LOOKUPS, tier=tier.value, outcome=outcome.value)
                for outcome in Outcome
            }
            for tier in Tier
        },
    }


def _line(reference: Reference | None, watch: Watch, scope: KeyScope) -> float | None:
    """Source reads of a scope at one read for each object and TTL."""
    objects = reference.objects.get(scope) if reference else None
    if reference is None or objects is None:
        return None
    return round(line_reads(objects, watch.elapsed_s, reference.ttl_s), 1)


def _lookups(name: str, counted: Counters) -> list[dict[str, Any]]:
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for (tier, kind, scope, outcome), n in counted.by(
        LOOKUPS, "tier", "object", "key_scope", "outcome"
    ).items():
        rows.setdefault((tier, kind, scope), {})[outcome] = n
    return [
        {"variant": name, "tier": tier, "object": kind, "key_scope": scope, **outcomes}
        for (tier, kind, scope), outcomes in sorted(rows.items())
    ]


def _replicas(watch: Watch) -> list[dict[str, Any]]:
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for worker in watch.tally.workers():
        row = rows.setdefault(
            (worker.place.fleet, worker.place.replica),
            {
                "variant": worker.place.fleet,
                "replica": worker.place.replica,
                "addresses": [],
                "problem": "",
                "restarts": 0,
                **dict.fromkeys(FIELDS, 0.0),
            },
        )
        row["addresses"].append(worker.place.address)
        row["problem"] = row["problem"] or worker.problem
        row["restarts"] += worker.restarts
        for field, n in zip(FIELDS, totals(worker.counted), strict=True):
            row[field] += n
    return list(rows.values())
