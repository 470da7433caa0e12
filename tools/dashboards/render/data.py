"""The data of every panel, from a live Prometheus, by the panels' own queries."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.domain.series import BUILD_INFO
from harness.prometheus.api import PrometheusApi
from tools.dashboards.substitute import EVERYTHING, chosen, legend, rate_interval, substituted

_POINTS = 240
"""About as many points as a panel has pixels to tell apart."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time and its resolution. Unix seconds."""

    start: float
    end: float
    scrape_s: float = 1.0

    @property
    def step_s(self) -> float:
        """Between two points; a whole number of seconds, as Grafana chooses it."""
        return float(max(1, math.ceil((self.end - self.start) / _POINTS)))

    @property
    def moments(self) -> list[float]:
        """Of all points."""
        count = int((self.end - self.start) / self.step_s) + 1
        return [self.start + place * self.step_s for place in range(count)]


@dataclass(frozen=True, slots=True)
class PanelSeries:
    """One series of a panel. A value is None where there is none."""

    name: str
    values: tuple[float | None, ...]

    @property
    def numbers(self) -> list[float]:
        """The values that are there."""
        return [value for value in self.values if value is not None]


@dataclass(frozen=True, slots=True)
class PanelData:
    """A panel's JSON, with its lines."""

    panel: Mapping[str, Any]
    lines: tuple[PanelSeries, ...]


@dataclass(frozen=True, slots=True)
class PanelRow:
    """A row and its panels."""

    title: str
    panels: tuple[PanelData, ...]


@dataclass(frozen=True, slots=True)
class Region:
    """A stretch of load, from the annotations."""

    name: str
    text: str
    start: float
    end: float


async def rows(
    api: PrometheusApi, board: Mapping[str, Any], span: Span, values: Mapping[str, Sequence[str]]
) -> list[PanelRow]:
    """Every row with its data; a repeated row once for each value.

    Args:
        api: the Prometheus to query.
        board: the dashboard's JSON.
        span: which stretch of time.
        values: chosen values by variable; a missing variable means all.
    """
    found: list[PanelRow] = []
    for row, panels in _split(board["panels"]):
        for choice in await _repeats(api, row, values):
            texts = _texts(board, choice, span)
            data = [PanelData(panel, await _lines(api, panel, span, texts)) for panel in panels]
            shown = {name: "+".join(several) for name, several in choice.items()}
            found.append(PanelRow(substituted(row["title"], shown), tuple(data)))
    return found


async def regions(
    api: PrometheusApi, board: Mapping[str, Any], span: Span, values: Mapping[str, Sequence[str]]
) -> list[Region]:
    """The regions of every annotation, in the order of time."""
    found: list[Region] = []
    texts = _texts(board, values, span)
    for annotation in board["annotations"]["list"]:
        expr = substituted(annotation["expr"], texts)
        for series in await api.query_range(expr, span.start, span.end, 1.0):
            name = legend(annotation["titleFormat"], series.labels)
            text = legend(annotation["textFormat"], series.labels)
            moments = [moment for moment, _ in series.points]
            found += [Region(name, text, *edge) for edge in _edges(moments)]
    return sorted(found, key=lambda region: region.start)


def _edges(moments: Sequence[float]) -> list[tuple[float, float]]:
    """First and last moment of every stretch without a gap of more than a second."""
    edges: list[tuple[float, float]] = []
    for moment in moments:
        if edges and moment - edges[-1][1] <= 1.0:
            edges[-1] = (edges[-1][0], moment)
        else:
            edges.append((moment, moment))
    return edges


def _split(
    panels: Sequence[Mapping[str, Any]],
) -> list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]]:
    """Rows with the panels below them."""
    found: list[tuple[Mapping[str, Any], list[Mapping[str, Any]]]] = []
    for panel in panels:
        if panel["type"] == "row":
            found.append((panel, list(panel.get("panels") or [])))
        else:
            found[-1][1].append(panel)
    return found


async def _repeats(
    api: PrometheusApi, row: Mapping[str, Any], values: Mapping[str, Sequence[str]]
) -> list[dict[str, Sequence[str]]]:
    name = row.get("repeat")
    if not name:
        return [dict(values)]
    every = values.get(name) or await api.label_values(name, BUILD_INFO)
    return [{**values, name: [value]} for value in sorted(every, key=lambda v: (len(v), v))]


def _texts(
    board: Mapping[str, Any], values: Mapping[str, Sequence[str]], span: Span
) -> dict[str, str]:
    texts = {variable["name"]: EVERYTHING for variable in board["templating"]["list"]}
    texts |= {name: chosen(several) for name, several in values.items()}
    texts["__rate_interval"] = rate_interval(span.step_s, span.scrape_s)
    return texts


async def _lines(
    api: PrometheusApi, panel: Mapping[str, Any], span: Span, texts: Mapping[str, str]
) -> tuple[PanelSeries, ...]:
    lines: list[PanelSeries] = []
    for target in panel["targets"]:
        expr = substituted(target["expr"], texts)
        mine: list[PanelSeries] = []
        for series in await api.query_range(expr, span.start, span.end, span.step_s):
            at = {round(moment, 3): value for moment, value in series.points}
            values = tuple(_number(at.get(round(moment, 3))) for moment in span.moments)
            mine.append(PanelSeries(legend(target["legendFormat"], series.labels), values))
        # Query by query, as Grafana hands out its colours.
        lines += sorted(mine, key=lambda line: line.name)
    return tuple(lines)


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
