"""Draws charts with pygal: bars, grouped bars, stacked bars and lines, as inline SVG.

The page sets the colours: a mark has the class ``vN`` of its variant or ``oN`` of its outcome, so
one drawing works on light and dark pages and on paper. A chart is as wide as a phone; a page sets
several side by side.

pygal writes a script, a style sheet and links into every chart, and puts the text of its tooltips
into ``desc`` elements that only its script reads. The page has its own style; the texts become
``title`` elements, which browsers show without a script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import pygal  # type: ignore[import-untyped]  # pygal ships no types
from pygal.graph.graph import Graph  # type: ignore[import-untyped]  # pygal ships no types
from pygal.style import Style  # type: ignore[import-untyped]  # pygal ships no types

from harness.report.scale import LinearScale, LogScale, round_ticks

_UNWANTED = {"script", "style", "defs"}
_SERIES = re.compile(r"series serie-(\d+) ")
_DECIMALS = re.compile(r"-?\d+\.\d+(e-?\d+)?")

WIDTH = 440
"""Of most charts, in units of the view box: about CSS pixels."""
PAGE_WIDTH = 900
"""Of a chart that fills the page."""
_FONT = 12
_ROOM_FOR_LABEL = 0.17
"""Part of the axis kept free after the longest bar for its value."""
_BAR = 17
_COLUMNS_HEIGHT = 330
_LEGEND_LINE = 4
_LEGEND_HEIGHT = 24
"""Of a line of it."""
_BETWEEN_GROUPS = 7
_AROUND_PLOT = 26
"""Height of margins and tick labels, which pygal subtracts before it draws bars."""
_NO_LABEL = " "
"""Of an upright line: pygal takes its label for a major one's, and none for the value."""
_NO_MAJOR_TICK = -1.0
"""A position that no tick has. Without one, pygal chooses major ticks itself."""
_LEAST_SHARE_WITH_LABEL = 9.0
_STYLE = Style(
    label_font_size=_FONT,
    major_label_font_size=_FONT,
    value_font_size=_FONT,
    title_font_size=_FONT,
    font_family="sans-serif",
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, followed by its ``text``. None as ``value`` draws no bar."""

    label: str
    value: float | None
    text: str
    mark: str
    """Class of the bar: the variant's colour; empty if its series sets the colour."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One point of a line. A ``hollow`` point is a cold fill."""

    x: float
    y: float
    text: str
    hollow: bool = False


class _Bars(pygal.HorizontalBar):  # type: ignore[misc]  # pygal ships no types
    _series_margin = 0.12
    _serie_margin = 0.08


class _Stacks(pygal.HorizontalStackedBar):  # type: ignore[misc]  # pygal ships no types
    _series_margin = 0.12
    _serie_margin = 0.08


def log_bars(bars: Sequence[Bar], label: str, scale: LogScale, line: float | None = None) -> str:
    """One bar per row on a logarithmic scale; ``line`` draws the reference line across."""
    chart = _bars(_height(len(bars)), scale.length)
    # pygal draws rows from the bottom up.
    upward = list(reversed(bars))
    chart.x_labels = [bar.label for bar in upward]
    _ticks(chart, scale.ticks(), None if line is None else scale.place(line))
    chart.add("", [_value(bar, scale.place) for bar in upward])
    return inline(chart, label)


def grouped_bars(
    groups: Sequence[str], series: Sequence[Sequence[Bar]], label: str, line: float | None = None
) -> str:
    """One bar of each series per group, on a linear scale from 0; ``line`` is drawn across."""
    known = [bar.value for bars in series for bar in bars if bar.value is not None]
    known += [] if line is None else [line]
    ticks = round_ticks(max(known, default=0))
    # The same room between groups of any size; pygal takes it as a fraction of a group.
    group = _BAR * len(series) + 2 * _BETWEEN_GROUPS
    chart = _bars(_AROUND_PLOT + group * len(groups), max(known, default=0) or ticks[-1])
    chart._series_margin = _BETWEEN_GROUPS / group  # noqa: SLF001  # pygal has no option for it
    chart.x_labels = list(reversed(groups))
    _ticks(chart, [(tick, f"{tick:,.10g}") for tick in ticks[:-1] or ticks], line)
    for bars in series:
        chart.add("", [_value(bar, float) for bar in reversed(bars)])
    return inline(chart, label)


def columns(
    groups: Sequence[str],
    series: Mapping[str, Sequence[Bar]],
    label: str,
    *,
    title: str,
    line: float | None = None,
    turned: bool = False,
) -> str:
    """One upright bar of each series per group, with a legend; as wide as a page.

    A bar shows its text only on hover: the columns are too narrow for it. ``line`` is drawn across,
    and the names of the groups are ``turned`` where they are long.
    """
    known = [bar.value for bars in series.values() for bar in bars if bar.value is not None]
    known += [] if line is None else [line]
    ticks = round_ticks(max(known, default=0), most=4)
    # More do not fit in a line.
    in_line = len(series) if len(series) <= _LEGEND_LINE else 3
    full, rest = divmod(len(series), in_line or 1)
    height = _COLUMNS_HEIGHT + _LEGEND_HEIGHT * max(0, full - 2)
    chart = _configure(pygal.Bar, height=height, range=(0, ticks[-1]), y_title=title)
    chart.width = PAGE_WIDTH
    chart.show_legend = True
    chart.legend_at_bottom = True
    chart.legend_at_bottom_columns = in_line
    if rest:
        # pygal leaves no room for a last line that is not full.
        chart.margin_bottom = _LEGEND_HEIGHT
    chart.truncate_legend = -1
    chart.print_values = False
    chart.x_labels = list(groups)
    chart.x_label_rotation = 40 if turned else 0
    _ticks(chart, [(tick, f"{tick:,.10g}") for tick in ticks], line)
    for name, bars in series.items():
        chart.add(name, [_value(bar, float) for bar in bars])
    return inline(chart, label)


def stacked_shares(
    rows: Sequence[str], series: Mapping[str, Sequence[float | None]], label: str
) -> str:
    """Rows of 100 %, split by series; shares in percent, None if the whole is 0."""
    chart = _configure(_Stacks, height=_height(len(rows)), range=(0, 100))
    chart.x_labels = list(reversed(rows))
    _ticks(chart, [(n, f"{n} %") for n in (0, 25, 50, 75, 100)], None)
    for name, shares in series.items():
        chart.add(name, [_share(name, share) for share in reversed(shares)])
    return inline(chart, label)


def lines(
    series: Sequence[tuple[str, Sequence[Dot]]],
    label: str,
    x_title: str,
    scale: LogScale | LinearScale,
    line: float | None = None,
    edges: Sequence[float] = (),
) -> str:
    """One line per series over seconds; a class gives its colour.

    ``line`` is drawn across, and an upright one at each of the ``edges``.
    """
    dots = [dot for _, dots in series for dot in dots]
    seconds = round_ticks(max((dot.x for dot in dots), default=1.0))
    chart = _configure(
        pygal.XY,
        height=250,
        range=(0, scale.length),
        xrange=(0, seconds[-1]),
        dots_size=3.5,
        x_title=x_title,
    )
    chart.x_labels = [*seconds, *({"value": at, "label": _NO_LABEL} for at in edges)]
    if edges:
        chart.x_labels_major = [_NO_LABEL]
    chart.x_value_formatter = lambda x: f"{x:,.10g}"
    _ticks(chart, scale.ticks(), None if line is None else scale.place(line))
    for _, one in series:
        chart.add("", [_dot(dot, scale) for dot in one])
    return inline(chart, label, [mark for mark, _ in series])


def _configure(kind: type[pygal.graph.graph.Graph], **options: object) -> pygal.graph.graph.Graph:
    return kind(
        width=WIDTH,
        margin=4,
        margin_right=14,
        spacing=6,
        style=_STYLE,
        css=[],
        js=[],
        no_prefix=True,
        show_legend=False,
        print_values=True,
        print_values_position="center",
        truncate_label=-1,
        disable_xml_declaration=True,
        **options,
    )


def _bars(height: int, longest: float) -> pygal.graph.graph.Graph:
    # pygal widens the axis by a line of text, measured on the wrong side of the chart.
    widened = 1.1 * _FONT / (height - _AROUND_PLOT)
    chart = _configure(_Bars, height=height)
    chart.range = (0, longest * (1 + max(0.0, _ROOM_FOR_LABEL - widened)))
    chart.print_values_position = "top"
    return chart


def _height(rows: int) -> int:
    return 34 + 26 * rows


def _ticks(
    chart: pygal.graph.graph.Graph, ticks: Sequence[tuple[float, str]], line: float | None
) -> None:
    labels: list[dict[str, object]] = [{"value": v, "label": text} for v, text in ticks]
    if line is not None:
        labels.append({"value": line, "label": ""})
    chart.y_labels = labels
    # The page draws the guide of a major tick as the reference line.
    chart.y_labels_major = [_NO_MAJOR_TICK if line is None else line]


def _value(bar: Bar, place: Callable[[float], float]) -> dict[str, object] | None:
    if bar.value is None:
        return None
    return {
        "value": place(bar.value),
        "label": bar.label,
        "formatter": _says(bar.text),
        "node": {"class": f"rect {bar.mark}".rstrip()},
    }


def _share(name: str, share: float | None) -> dict[str, object] | None:
    if share is None:
        return None
    text = f"{share:.0f} %" if share >= _LEAST_SHARE_WITH_LABEL else ""
    return {"value": share, "label": f"{name} {share:.1f} %", "formatter": _says(text)}


def _dot(dot: Dot, scale: LogScale | LinearScale) -> dict[str, object]:
    node = {"class": "dot hollow" if dot.hollow else "dot"}
    value = (dot.x, scale.place(dot.y))
    return {"value": value, "label": dot.text, "formatter": _says(""), "node": node}


def _says(text: str) -> Callable[[object], str]:
    return lambda _value: text


def inline(chart: Graph, label: str, marks: Sequence[str] = ()) -> str:
    """The chart as an ``svg`` element for a page. Screen readers read ``label``.

    ``marks`` are classes of the series, in order: pygal has no option for them.
    """
    chart.add_xml_filter(_cleaner(label, marks))
    return str(chart.render(is_unicode=True))


def _cleaner(label: str, marks: Sequence[str]) -> Callable[[ET.Element], ET.Element]:
    def clean(root: ET.Element) -> ET.Element:
        _prune(root)
        for element in list(root.iter()):
            _titles(element)
            _shorten(element)
        _mark(root, marks)
        # Inline SVG needs no namespace, and the page must contain no URL, not even as a name.
        root.attrib.pop("xmlns", None)
        root.attrib.update({"role": "img", "aria-label": label, "focusable": "false"})
        return root

    return clean


def _prune(element: ET.Element) -> None:
    for child in list(element):
        if not isinstance(child.tag, str) or child.tag in _UNWANTED or _shows_nothing(child):
            element.remove(child)
        else:
            _prune(child)
    if element.tag == "svg":
        for title in element.findall("title"):
            element.remove(title)


def _mark(root: ET.Element, marks: Sequence[str]) -> None:
    for group in root.iter("g"):
        classes = group.get("class", "")
        if marks and (series := _SERIES.match(classes)):
            group.set("class", f"{classes} {marks[int(series[1])]}")


def _shorten(element: ET.Element) -> None:
    """Remove ids, which every chart would repeat, and round to a tenth of a pixel."""
    element.attrib.pop("id", None)
    for name in ("x", "y", "cx", "cy", "width", "height", "d"):
        if name in element.attrib:
            element.set(name, _DECIMALS.sub(_tenth, element.attrib[name]))


def _tenth(match: re.Match[str]) -> str:
    return f"{float(match[0]):.1f}"


def _shows_nothing(element: ET.Element) -> bool:
    """Whether it is the box of scripted tooltips, or the bar pygal draws for a missing value."""
    kinds = element.get("class", "").split()
    if "bar" in kinds:
        return not any(float(rect.get("width", 0)) for rect in element.iter("rect"))
    return "tooltip-overlay" in kinds


def _titles(element: ET.Element) -> None:
    if element.get("class") == "guides":
        # pygal would show the position on its axis here, not the figure.
        for title in element.findall("title"):
            element.remove(title)
    texts = {desc.get("class", "").split(" ")[0]: desc.text for desc in element.findall("desc")}
    for desc in element.findall("desc"):
        element.remove(desc)
    if "value" in texts:
        title = ET.Element("title")
        parts = (texts.get("label") or texts.get("x_label"), texts["value"])
        title.text = ": ".join(part for part in parts if part)
        element.insert(0, title)
