"""Counters as cheap as an addition, exported through prometheus_client.

prometheus_client takes a lock for every increment and walks the buckets of a histogram one by one.
A worker counts a dozen times per request, from one thread: plain numbers suffice, and the library
only writes the page. Every combination of label values starts at 0.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.utils import floatToGoString

K = TypeVar("K")
Labels = Sequence[str]


class _Family(ABC):
    """One metric family, which the registry collects when a page is written."""

    def __init__(
        self, registry: CollectorRegistry, name: str, text: str, labels: Iterable[str]
    ) -> None:
        self._name = name
        self._text = text
        self._labels = tuple(labels)
        registry.register(self)

    @abstractmethod
    def empty(self) -> Any:
        """The family without samples."""

    @abstractmethod
    def fill(self, family: Any) -> None:
        """Add every sample to an empty family."""

    def describe(self) -> Iterator[Metric]:
        """The family without samples, from which the registry takes its names."""
        yield self.empty()

    def collect(self) -> Iterator[Metric]:
        """The family with its current samples."""
        family = self.empty()
        self.fill(family)
        yield family


class CounterFamily(_Family):
    """A counter. `table` returns the numbers themselves: ``table[key] += 1`` counts."""

    def __init__(
        self, registry: CollectorRegistry, name: str, text: str, labels: Iterable[str]
    ) -> None:
        super().__init__(registry, name, text, labels)
        self._tables: list[tuple[dict[Any, int], dict[Any, Labels]]] = []

    def table(self, values: Mapping[K, Iterable[Any]]) -> dict[K, int]:
        """Add counters to the family: ``values`` has the label values of each, by any key."""
        numbers = dict.fromkeys(values, 0)
        self._tables.append((numbers, _texts(values)))
        return numbers

    def empty(self) -> Any:
        """The family without samples."""
        return CounterMetricFamily(self._name, self._text, labels=self._labels)

    def fill(self, family: Any) -> None:
        """Add every sample."""
        for numbers, labels in self._tables:
            for key, number in numbers.items():
                family.add_metric(labels[key], number)


class CommandFamily(_Family):
    """A counter by command, whose numbers and names are kept elsewhere, as in a Redis client."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        text: str,
        variant: str,
        numbers: Mapping[str, int],
    ) -> None:
        super().__init__(registry, name, text, ("command", "variant"))
        self._variant = variant
        self._numbers = numbers

    def empty(self) -> Any:
        """The family without samples."""
        return CounterMetricFamily(self._name, self._text, labels=self._labels)

    def fill(self, family: Any) -> None:
        """Add every sample."""
        for command, number in self._numbers.items():
            family.add_metric([command, self._variant], number)


class Distribution:
    """One histogram."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value; a bucket includes its bound."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def snapshot(self) -> tuple[list[tuple[str, float]], float]:
        """Cumulative counts by bound, as text, and the sum of all values."""
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets: list[tuple[str, float]] = []
        so_far = 0
        for bound, count in zip(bounds, self._counts, strict=True):
            so_far += count
            buckets.append((bound, so_far))
        return buckets, self._sum


class Histograms(_Family):
    """A histogram. `table` returns one distribution per key."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        text: str,
        labels: Iterable[str],
        bounds: Sequence[float],
    ) -> None:
        super().__init__(registry, name, text, labels)
        self._bounds = bounds
        self._tables: list[tuple[dict[Any, Distribution], dict[Any, Labels]]] = []

    def table(self, values: Mapping[K, Iterable[Any]]) -> dict[K, Distribution]:
        """Add histograms to the family: ``values`` has the label values of each, by any key."""
        distributions = {key: Distribution(self._bounds) for key in values}
        self._tables.append((distributions, _texts(values)))
        return distributions

    def empty(self) -> Any:
        """The family without samples."""
        return HistogramMetricFamily(self._name, self._text, labels=self._labels)

    def fill(self, family: Any) -> None:
        """Add every sample."""
        for distributions, labels in self._tables:
            for key, one in distributions.items():
                family.add_metric(labels[key], *one.snapshot())


class Gauge(_Family):
    """A gauge of one series: ``gauge.value += 1``."""

    def __init__(
        self,
        registry: CollectorRegistry,
        name: str,
        text: str,
        labels: Mapping[str, str],
        value: int = 0,
    ) -> None:
        super().__init__(registry, name, text, labels)
        self._values = list(labels.values())
        self.value = value

    def empty(self) -> Any:
        """The family without samples."""
        return GaugeMetricFamily(self._name, self._text, labels=self._labels)

    def fill(self, family: Any) -> None:
        """Add the one sample."""
        family.add_metric(self._values, self.value)


class Gauges(_Family):
    """A gauge of several series; set ``values``, by label values."""

    def __init__(
        self, registry: CollectorRegistry, name: str, text: str, labels: Iterable[str]
    ) -> None:
        super().__init__(registry, name, text, labels)
        self.values: dict[tuple[str, ...], float] = {}

    def empty(self) -> Any:
        """The family without samples."""
        return GaugeMetricFamily(self._name, self._text, labels=self._labels)

    def fill(self, family: Any) -> None:
        """Add every sample."""
        for labels, value in self.values.items():
            family.add_metric(labels, value)


def _texts(values: Mapping[K, Iterable[Any]]) -> dict[Any, Labels]:
    return {key: [str(value) for value in each] for key, each in values.items()}
