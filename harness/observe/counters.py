"""Counters of one worker, read from its ``/metrics`` page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from prometheus_client.parser import text_string_to_metric_families

Series = tuple[str, frozenset[tuple[str, str]]]
"""Sample name and labels."""

_CUMULATIVE = ("_total", "_count", "_bucket")
"""Without sums: those of ages fall where a clock is set back."""


class Counters:
    """Sample values by name and labels; adds up and subtracts."""

    def __init__(self, values: Mapping[Series, float] | None = None) -> None:
        self._values: dict[Series, float] = dict(values or {})
        self._by_name: dict[str, list[Series]] = {}
        for series in self._values:
            self._by_name.setdefault(series[0], []).append(series)

    @classmethod
    def parse(cls, text: str) -> Counters:
        """The counters and gauges of one page, without ``_created`` times.

        Raises:
            ValueError: a line is not a series and a value.
        """
        values: dict[Series, float] = {}
        for line in text.split("\n"):
            if line and not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                found = _series(series)
                if not found[0].endswith("_created"):
                    values[found] = float(value)
        return cls(values)

    @classmethod
    def total(cls, pages: Iterable[Counters]) -> Counters:
        """Several workers added up."""
        values: dict[Series, float] = {}
        for page in pages:
            for series, value in page.items():
                values[series] = values.get(series, 0.0) + value
        return cls(values)

    def items(self) -> Iterator[tuple[Series, float]]:
        """Series and values."""
        return iter(self._values.items())

    def since(self, earlier: Counters) -> Counters:
        """What was counted after ``earlier``. A series that is missing there counts from 0."""
        return Counters({s: v - earlier._values.get(s, 0.0) for s, v in self._values.items()})

    def fallen(self, earlier: Counters) -> list[str]:
        """Names of counters that are smaller than before, or missing: a worker was replaced."""
        return sorted(
            {
                name
                for (name, labels), value in earlier._values.items()
                if name.endswith(_CUMULATIVE) and self._values.get((name, labels), -1.0) < value
            }
        )

    def sum(self, name: str, **labels: str) -> float:
        """The sum over all series of a name that have the given labels."""
        wanted = labels.items()
        return sum(
            self._values[series] for series in self._by_name.get(name, ()) if wanted <= series[1]
        )

    def by(self, name: str, *labels: str, **where: str) -> dict[tuple[str, ...], float]:
        """Sums of a name by the values of some labels, without zeros."""
        sums: dict[tuple[str, ...], float] = {}
        wanted = where.items()
        for series in self._by_name.get(name, ()):
            value = self._values[series]
            if value and wanted <= series[1]:
                have = dict(series[1])
                key = tuple(have.get(label, "") for label in labels)
                sums[key] = sums.get(key, 0.0) + value
        return sums


@lru_cache(maxsize=65_536)
def _series(text: str) -> Series:
    """A series as a page names it; the pages of a fleet name the same ones again and again."""
    [family] = text_string_to_metric_families(f"{text} 0")
    [sample] = family.samples
    if sample.timestamp is not None:
        raise ValueError(f"The sample of [{text}] is not one value alone.")
    return sample.name, frozenset(sample.labels.items())
