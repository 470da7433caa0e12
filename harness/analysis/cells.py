"""Cells: the finding for one key scope under one variant; `CELLS` defines each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from harness.analysis.reads import WASTEFUL_SLOPE, grows
from harness.domain.result import Cell, Estimate

CELLS: Mapping[Cell, str] = {
    "broken": (
        "any deserialize failure, or a status other than the one that Postgres' state calls for"
    ),
    "hidden": "none of that, but wrong data served",
    "wasteful": (
        "right data, no failure, but source reads grow with requests: over keys of different "
        f"weight, the slope of log reads on log requests has a lower bound above {WASTEFUL_SLOPE:g}"
    ),
    "healthy": "none of the above",
}
"""When each applies; the first that applies is the cell. docs/method.md has it (`make docs`)."""


class Verdict(NamedTuple):
    """A cell and its reason."""

    cell: Cell
    reason: str


def judge(
    *,
    requests: int,
    failures: Mapping[str, int],
    unexpected: Mapping[str, int],
    wrong: Mapping[str, int],
    reads_per_1000: float,
    reference_per_1000: float,
    elasticity: Mapping[str, Estimate],
) -> Verdict:
    """The cell of one scope.

    Args:
        requests: answered, all statuses.
        failures: deserialize failures by object.
        unexpected: answers whose status does not fit Postgres' state, by status.
        wrong: wrong objects served, by object.
        reads_per_1000: source reads per 1,000 requests.
        reference_per_1000: the reference line in the same unit.
        elasticity: by object, as `harness.analysis.reads.elasticity` has it.
    """
    if failures or unexpected:
        parts = [
            f"{_rate(n, requests)} {kind} values do not decode per request"
            for kind, n in sorted(failures.items(), key=lambda item: -item[1])
        ]
        parts += [f"{n / requests:.1%} answered {status}" for status, n in unexpected.items()]
        return Verdict("broken", "; ".join(parts))
    if wrong:
        parts = [
            f"{_rate(n, requests)} wrong {kind} values per request" for kind, n in wrong.items()
        ]
        return Verdict("hidden", "no failure, but " + "; ".join(parts))
    times = reads_per_1000 / reference_per_1000 if reference_per_1000 else 0.0
    text = f"{reads_per_1000:.1f} source reads per 1,000, {times:.2f} x the reference line"
    growing = [
        f"reads of the {kind} grow with requests: slope {slope.value:.2f}, at least {slope.low:.2f}"
        for kind, slope in elasticity.items()
        if grows(slope)
    ]
    return Verdict("wasteful" if growing else "healthy", "; ".join([text, *growing]))


def _rate(count: int, requests: int) -> str:
    return f"{count / requests:.2f}" if count / requests >= 0.005 else f"{count / requests:.1g}"  # noqa: PLR2004 - where two decimals would print 0.00
