"""Metric families, merged from the counts of several fleets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST

Values = Mapping[tuple[str, ...], float]
"""By label values; the variant is the last."""


class Samples(NamedTuple):
    """A part of one family: what one fleet adds to it."""

    name: str
    """Of the series; prometheus_client strips ``_total`` from a counter's family name."""
    text: str
    labels: tuple[str, ...]
    """Without ``variant``."""
    kind: type[CounterMetricFamily | GaugeMetricFamily]
    values: Values


def counter(name: str, text: str, values: Values, *labels: str) -> Samples:
    """Samples of a counter."""
    return Samples(name, text, labels, CounterMetricFamily, values)


def gauge(name: str, text: str, values: Values, *labels: str) -> Samples:
    """Samples of a gauge."""
    return Samples(name, text, labels, GaugeMetricFamily, values)


def merge(parts: Iterable[Samples]) -> Metric:
    """Merge the same family of several fleets into one."""
    rows = list(parts)
    first = rows[0]
    family = first.kind(first.name, first.text, labels=(*first.labels, "variant"))
    for row in rows:
        for labels, value in row.values.items():
            family.add_metric(labels, value)
    return family


def merge_all(parts: Iterable[Samples]) -> list[Metric]:
    """All families of a page, each name once."""
    by_name: dict[str, list[Samples]] = {}
    for part in parts:
        by_name.setdefault(part.name, []).append(part)
    return [merge(rows) for rows in by_name.values()]


def render(families: Iterable[Metric]) -> tuple[bytes, str]:
    """Prometheus text and its content type. Raises ValueError for a duplicate name."""
    registry = CollectorRegistry()
    registry.register(_Collected(list(families)))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collected:
    """A collector, as a registry expects it, of families that were collected before."""

    def __init__(self, families: list[Metric]) -> None:
        names = [family.name for family in families]
        if len(set(names)) != len(names):
            raise ValueError(f"a family comes twice on one page: {sorted(names)}")
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families
