"""Cells: the finding for one key scope under one variant; `CELLS` defines each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from harness.domain.result import Cell

WASTEFUL_ABOVE = 5.0
"""Times the reference line."""

CELLS: Mapping[Cell, str] = {
    "broken": (
        "any deserialize failure, or a status other than the one that Postgres' state calls for"
    ),
    "hidden": "none of that, but wrong data served",
    "wasteful": (
        f"right data, no failure, source reads above {WASTEFUL_ABOVE:g} times the reference line"
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
) -> Verdict:
    """The cell of one scope.

    Args:
        requests: answered, all statuses.
        failures: deserialize failures by object.
        unexpected: answers whose status does not fit Postgres' state, by status.
        wrong: wrong objects served, by object.
        reads_per_1000: source reads per 1,000 requests.
        reference_per_1000: the reference line in the same unit.
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
    return Verdict("wasteful" if times > WASTEFUL_ABOVE else "healthy", text)


def _rate(count: int, requests: int) -> str:
    return f"{count / requests:.2f}" if count / requests >= 0.005 else f"{count / requests:.1g}"  # noqa: PLR2004 - where two decimals would print 0.00
