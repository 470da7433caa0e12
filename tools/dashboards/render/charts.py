"""Draws the lines of a panel with pygal, in the colours that the JSON asks for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import pygal  # type: ignore[import-untyped]  # pygal ships no types
from pygal.style import Style  # type: ignore[import-untyped]  # pygal ships no types

from tools.dashboards.render.data import PanelSeries, Span
from tools.dashboards.render.units import written

PALETTE = (
    *("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0"),
    *("#508642", "#cca300", "#447ebc", "#c15c17", "#890f02", "#0a437c", "#6d1f62", "#584477"),
)
NAMED = {
    "green": "#73bf69",
    "yellow": "#fade2a",
    "red": "#f2495c",
    "blue": "#5794f2",
    "purple": "#b877d9",
    "gray": "#8e8e8e",
}
_FONT = 11
_TICKS = 5
_SHADES = 12
_CALCULATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "lastNotNull": lambda values: values[-1],
    "max": max,
}
"""By Grafana's id, as far as the dashboards use them."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A chart and its legend."""

    svg: str
    entries: tuple[LegendEntry, ...]


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """One line of a legend."""

    name: str
    colour: str
    mean: str
    greatest: str
    latest: str
    dashed: bool


def draw(
    panel: Mapping[str, Any], lines: Sequence[PanelSeries], span: Span, width: int, height: int
) -> Drawn:
    """A chart of these many CSS pixels; lines that are 0 throughout are drawn and listed too."""
    defaults = panel["fieldConfig"]["defaults"]
    custom, unit = defaults.get("custom", {}), defaults["unit"]
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    colours = [_colour(panel, line.name, place) for place, line in enumerate(lines)]
    entries = tuple(
        _entry(line, colour, unit, dashed=bool(_property(panel, line.name, "custom.lineStyle")))
        for line, colour in zip(lines, colours, strict=True)
    )
    kind = pygal.StackedLine if stacked else pygal.Line
    chart = kind(
        width=width,
        height=height,
        style=_style(colours),
        js=[],
        show_legend=False,
        show_dots=False,
        fill=stacked,
        margin=4,
        margin_right=26,
        spacing=4,
        include_x_axis=True,
        range=(0, _top(lines, stacked=stacked)),
        y_labels_major_count=_TICKS,
        show_minor_x_labels=False,
        truncate_label=-1,
        value_formatter=lambda value: written(value, unit),
        disable_xml_declaration=True,
        pretty_print=False,
    )
    moments = span.moments
    labels = [_clock(moment) for moment in moments]
    chart.x_labels = labels
    chart.x_labels_major = labels[:: max(1, len(labels) // _TICKS)]
    top = _top(lines, stacked=stacked)
    chart.y_labels = [top * place / 4 for place in range(5)]
    for line, entry in zip(lines, entries, strict=True):
        stroke: dict[str, Any] = {"width": 1.0 if stacked else 1.6}
        if entry.dashed:
            stroke = {"width": 1.2, "dasharray": "6, 4"}
        values = [value or 0.0 for value in line.values] if stacked else list(line.values)
        chart.add(line.name, values, stroke_style=stroke)
    return Drawn(chart.render(is_unicode=True), entries)


def reduced(lines: Sequence[PanelSeries], panel: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Of a panel of numbers: name, the value that its calculation picks as text, and its colour."""
    defaults = panel["fieldConfig"]["defaults"]
    [calc] = panel["options"]["reduceOptions"]["calcs"]
    found = []
    for line in lines:
        if line.numbers:
            value = _CALCULATIONS[calc](line.numbers)
            fixed = _property(panel, line.name, "color")
            colour = fixed["fixedColor"] if fixed else _threshold(defaults, value)
            found.append((line.name, written(value, defaults["unit"]), colour))
    return found


def _threshold(defaults: Mapping[str, Any], value: float) -> str:
    colour = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    return NAMED[colour]


def _top(lines: Sequence[PanelSeries], *, stacked: bool) -> float:
    if stacked and lines:
        columns = zip(*(line.values for line in lines), strict=True)
        top = max((sum(value or 0.0 for value in column) for column in columns), default=0.0)
    else:
        top = max((max(line.numbers, default=0.0) for line in lines), default=0.0)
    return _round_up(top) if top > 0 else 1.0


def _round_up(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 6, 8, 10 times a power of ten."""
    power = 10.0 ** (len(f"{value:.0f}") - 1) if value >= 1 else 1e-9
    while power * 10 <= value:
        power *= 10
    for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 5, 6, 8):
        if value <= step * power:
            return step * power
    return 10 * power


def _property(panel: Mapping[str, Any], name: str, wanted: str) -> Any:
    for override in panel["fieldConfig"]["overrides"]:
        pattern = override["matcher"]["options"].strip("/")
        if re.search(pattern, name):
            for item in override["properties"]:
                if item["id"] == wanted:
                    return item["value"]
    return None


def _colour(panel: Mapping[str, Any], name: str, place: int) -> str:
    given = _property(panel, name, "color")
    if not given:
        return PALETTE[crc32(name.encode()) % len(PALETTE)]
    colour = NAMED.get(given["fixedColor"], given["fixedColor"])
    return _shade(colour, place) if given["mode"] == "shades" else colour


def _shade(colour: str, place: int) -> str:
    """As Grafana does it: lighter and darker by turns, in six steps of up to 35 %."""
    step = (place % _SHADES + 1) // 2 / (_SHADES // 2) * 0.35
    towards = 255 if place % 2 else 0
    parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(part + (towards - part) * step):02x}" for part in parts)


def _entry(line: PanelSeries, colour: str, unit: str, *, dashed: bool) -> LegendEntry:
    numbers = line.numbers
    if not numbers:
        return LegendEntry(line.name, colour, "-", "-", "-", dashed)
    mean = written(sum(numbers) / len(numbers), unit)
    greatest, last = written(max(numbers), unit), written(numbers[-1], unit)
    return LegendEntry(line.name, colour, mean, greatest, last, dashed)


def _style(colours: Sequence[str]) -> Style:
    return Style(
        background="transparent",
        plot_background="transparent",
        foreground="#9aa0a8",
        foreground_strong="#9aa0a8",
        foreground_subtle="#2c3036",
        opacity=".45",
        colors=tuple(colours) or PALETTE,
        label_font_size=_FONT,
        major_label_font_size=_FONT,
        font_family="sans-serif",
        guide_stroke_color="#2c3036",
        major_guide_stroke_color="#2c3036",
        guide_stroke_dasharray="",
        major_guide_stroke_dasharray="",
    )


def _clock(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S}"
