"""Metrics pages whose names and labels are written once.

A page has a thousand lines, and only their numbers change. prometheus_client writes, checks and
escapes every name and label again at each scrape: eleven milliseconds of a worker's CPU, which at a
scrape a second is one percent of a core for every worker. Here the library writes each line once;
later scrapes only append its number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import Metric, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

_ZERO = " 0.0\n"
_number: Callable[[float], str] = floatToGoString


class PageWriter:
    """Writes the pages of one registry, whose families keep their names and label names."""

    def __init__(self) -> None:
        self._heads: dict[str, str] = {}
        self._starts: dict[tuple[str, ...], str] = {}

    def write(self, families: Iterable[Metric]) -> bytes:
        """What `prometheus_client.generate_latest` writes for the same families.

        Only for samples without time stamp and exemplar; a worker's have neither.
        """
        heads, starts = self._heads, self._starts
        parts: list[str] = []
        for family in families:
            parts.append(heads.get(family.name) or self._head(family))
            for sample in family.samples:
                start = starts.get((sample.name, *sample.labels.values()))
                parts.append(start or self._start(family, sample))
                parts.append(_number(sample.value))
                parts.append("\n")
        return "".join(parts).encode()

    def _head(self, family: Metric) -> str:
        head = _written(family, [])
        self._heads[family.name] = head
        return head

    def _start(self, family: Metric, sample: Sample) -> str:
        line = _written(family, [sample._replace(value=0.0)])
        start = line.removeprefix(self._heads[family.name]).removesuffix(_ZERO) + " "
        assert "\n" not in start, "a sample is one line"
        self._starts[sample.name, *sample.labels.values()] = start
        return start


def _written(family: Metric, samples: list[Sample]) -> str:
    """What the library writes for a family with these samples only."""
    only = Family(family.name, family.documentation, family.type, family.unit)
    only.samples = samples
    return generate_latest(_One(only)).decode()


class _One:
    """As much of a registry as the library needs to write a page."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> list[Metric]:
        return [self._family]
