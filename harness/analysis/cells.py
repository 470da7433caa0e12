"""Cells: the findings for one key scope under one variant; `CELLS` defines each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from harness.analysis.reads import (
    LEAST_PER_TTL,
    RARE_SHARE,
    UNCACHED_TIMES,
    WASTEFUL_SLOPE,
    grows,
)
from harness.domain.result import Cell, Estimate, KeptAlive

CELLS: Mapping[Cell, str] = {
    "hidden": "wrong data served, or a reply let through that should have been refused",
    "broken": (
        "any deserialize failure, or another status than Postgres' state called for at any moment "
        "of the promise"
    ),
    "stale": (
        "an answer that was right once, but longer ago than the promise; an old answer of a worker "
        "that had given a new one (resurrected); or an entry kept alive: "
        "served when older than the promise, or of an object that is requested "
        f"{LEAST_PER_TTL} times per TTL or more and read less than {RARE_SHARE:g} times as often "
        "as by a correct cache"
    ),
    "wasteful": (
        "source reads grow with requests, though nothing failed: over keys of different weight, "
        "the slope of log reads on log requests has a lower bound above "
        f"{WASTEFUL_SLOPE:g}; of keys of one weight, reads per request are over "
        f"{UNCACHED_TIMES:g} times those of workers that share no Redis"
    ),
    "healthy": "none of the above",
}
"""When each applies, the worst first: a scope has all that apply. docs/method.md has it
(`make docs`)."""

OLD_ANSWERS = "old answers"
"""In the reason of each `stale` that is not of an entry kept alive."""


class Verdict(NamedTuple):
    """The cells of one scope, the worst first, and their reasons in that order."""

    cells: list[Cell]
    reason: str
    """Parts with a semicolon between them; details of a part follow a colon."""


def judge(
    *,
    requests: int,
    failures: Mapping[str, int],
    unexpected: Mapping[str, int],
    wrong: Mapping[str, int],
    let_through: Mapping[str, int],
    stale: Mapping[str, int],
    reads_per_1000: float,
    reference_per_1000: float,
    elasticity: Mapping[str, Estimate],
    uncached: Mapping[str, float],
    late: Sequence[str] = (),
    kept_alive: Mapping[str, KeptAlive] | None = None,
) -> Verdict:
    """The cells of one scope.

    Args:
        requests: answered, all statuses.
        failures: deserialize failures by object.
        unexpected: answers whose status does not fit Postgres' state, by status.
        wrong: wrong objects served, by object.
        let_through: replies that should have been refused, by reason.
        stale: answers that were right longer ago than the promise, by object.
        reads_per_1000: source reads per 1,000 requests.
        reference_per_1000: the reference line in the same unit.
        elasticity: by object, as `harness.analysis.reads.elasticity` has it.
        uncached: by object, as `harness.analysis.reads.uncached` has it.
        late: as `harness.analysis.clock.late` has it; explains ``stale``.
        kept_alive: by object, the entries that requests keep alive.
    """
    reasons: dict[Cell, list[str]] = {
        "hidden": [
            f"{_rate(n, requests)} wrong {kind} values per request" for kind, n in wrong.items()
        ]
        + [f"{n} replies let through: {why}" for why, n in let_through.items()],
        "broken": [
            f"{_rate(n, requests)} {kind} values do not decode per request"
            for kind, n in sorted(failures.items(), key=lambda item: -item[1])
        ]
        + [f"{n / requests:.1%} answered {status}" for status, n in unexpected.items()],
        "stale": [
            *late,
            *([f"{sum(stale.values())} {OLD_ANSWERS}: {', '.join(stale)}"] if stale else []),
            *([_kept(kept_alive)] if kept_alive else []),
        ],
    }
    times = reads_per_1000 / reference_per_1000 if reference_per_1000 else 0.0
    text = f"{reads_per_1000:.1f} source reads per 1,000, {times:.2f} x the reference line"
    growing = [
        f"reads of the {kind} grow with requests: slope {slope.value:.2f}, at least {slope.low:.2f}"
        for kind, slope in elasticity.items()
        if grows(slope)
    ]
    growing += [
        f"reads of the {kind} grow with requests: {share:.2f} of them read it, at least"
        for kind, share in uncached.items()
    ]
    # Failures cause reads; only without them are the reads the cache's own.
    if growing and not reasons["broken"]:
        reasons["wasteful"] = [text, *growing]
    found = [cell for cell in CELLS if reasons.get(cell)]
    said = "; ".join(part for cell in found for part in reasons[cell])
    return Verdict(found or ["healthy"], said or text)


def _kept(kept_alive: Mapping[str, KeptAlive]) -> str:
    rare = sum(one.rarely_read for one in kept_alive.values())
    ages_s = [one.age_max_s for one in kept_alive.values() if one.age_max_s is not None]
    said = [f"{rare} of {sum(one.objects for one in kept_alive.values())} hardly read"]
    said = said if rare else []
    said += [f"served up to {max(ages_s):.1f} s after the read"] if ages_s else []
    return f"{', '.join(kept_alive)} kept alive: {', '.join(said)}"


def _rate(count: int, requests: int) -> str:
    return f"{count / requests:.2f}" if count / requests >= 0.005 else f"{count / requests:.1g}"  # noqa: PLR2004 - where two decimals would print 0.00
