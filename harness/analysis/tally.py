"""Evidence of all windows of one variant, added up for the report."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.authcache.words import ObjectKind
from harness.domain.rates import answered, per_answered
from harness.domain.result import Range, Window
from harness.domain.series import ALL, LOG_PAIR, LOGS, LOOKUPS, READS
from harness.observe.evidence import Evidence


@dataclass(frozen=True, slots=True)
class Tally:
    """The measured windows of one variant."""

    windows: tuple[Evidence, ...]

    @property
    def scopes(self) -> list[str]:
        """Scopes that had requests, in order of first appearance."""
        seen = [scope for w in self.windows for scope in w.generator.statuses]
        return list(dict.fromkeys(seen))

    def requests(self) -> dict[str, dict[str, int]]:
        """Answered requests by scope and status."""
        sums: dict[str, Counter[str]] = {}
        for window in self.windows:
            for scope, statuses in window.generator.statuses.items():
                sums.setdefault(scope, Counter()).update(statuses)
        return {scope: dict(sorted(counts.items())) for scope, counts in sums.items()}

    def by(self, name: str, *labels: str, **where: str) -> dict[tuple[str, ...], int]:
        """A counter over all windows, by the values of some labels, without zeros."""
        sums: Counter[tuple[str, ...]] = Counter()
        for window in self.windows:
            for key, value in window.counted.by(name, *labels, **where).items():
                sums[key] += round(value)
        return {key: n for key, n in sums.items() if n}

    def total(self, name: str, **where: str) -> float:
        """A counter over all windows and series."""
        return sum(window.counted.sum(name, **where) for window in self.windows)

    def reads_per_1000(self, scope: str, kind: ObjectKind | None = None) -> float | None:
        """Source reads per 1,000 answered requests of all windows; None without requests."""
        where = ({} if scope == ALL else {"key_scope": scope}) | (
            {} if kind is None else {"object": kind.value}
        )
        return per_answered(self.total(READS, **where), answered(self.requests(), scope))

    def per_round(self, scope: str, kind: ObjectKind | None = None) -> Range | None:
        """Source reads per 1,000 answered requests: median and range over the windows."""
        values = [
            value
            for window in self.windows
            if (value := reads_per_1000(window, scope, kind)) is not None
        ]
        if not values:
            return None
        return Range(
            median=statistics.median(values), min=min(values), max=max(values), rounds=len(values)
        )


def reads_per_1000(window: Evidence, scope: str, kind: ObjectKind | None = None) -> float | None:
    """Source reads per 1,000 answered requests of a scope; None without requests."""
    where = {} if scope == ALL else {"key_scope": scope}
    if kind is not None:
        where["object"] = kind.value
    reads = window.counted.sum(READS, **where)
    return per_answered(reads, answered(window.generator.statuses, scope))


def nested(counts: Mapping[Any, int]) -> dict[str, dict[str, int]]:
    """Counts by pair as nested dictionaries."""
    table: dict[str, dict[str, int]] = {}
    for (first, second), n in sorted(counts.items()):
        table.setdefault(first, {})[second] = n
    return table


def window_result(window: Evidence) -> Window:
    """One window as ``result.json`` has it."""
    counted = window.counted
    reads = {key: round(n) for key, n in counted.by(READS, "key_scope", "object").items()}
    lookups = {key: round(n) for key, n in counted.by(LOOKUPS, "tier", "outcome").items()}
    rates = {scope: reads_per_1000(window, scope) for scope in (ALL, *window.generator.statuses)}
    return Window(
        name=window.name,
        variant=window.variant,
        phase=window.phase,
        round=window.round,
        started_s=round(window.started_s, 3),
        duration_s=window.duration_s,
        requests=window.generator.statuses,
        source_reads=nested(reads),
        source_reads_per_1000={s: round(v, 3) for s, v in rates.items() if v is not None},
        lookups=nested(lookups),
        log_pairs=log_pairs([window]),
        statements=None
        if window.statements is None
        else dict(sorted(window.statements.shapes.items())),
    )


def log_pairs(windows: Sequence[Evidence]) -> dict[str, int]:
    """Log pairs by scope, counted by their ERROR."""
    sums: Counter[str] = Counter()
    for window in windows:
        for (scope,), n in window.counted.by(LOGS, "key_scope", **LOG_PAIR).items():
            sums[scope] += round(n)
    return dict(sums)
