"""Makes pygal's SVG fit for a page: no script, no style, no address, a name for screen readers.

pygal writes a script, a style sheet and links into every chart, and puts the text of its tooltips
into ``desc`` elements that only its script reads. The page has its own style; the texts become
``title`` elements, which browsers show by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

from pygal.graph.graph import Graph  # type: ignore[import-untyped]  # pygal ships no types

_UNWANTED = {"script", "style", "defs"}
_SERIES = re.compile(r"series serie-(\d+) ")
_DECIMALS = re.compile(r"-?\d+\.\d+(e-?\d+)?")


def inline(chart: Graph, label: str, marks: Sequence[str] = ()) -> str:
    """The chart as an ``svg`` element for a page. ``label`` is read out in its place.

    ``marks`` are classes for the series in their order: pygal has no option for them.
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
        # Inline SVG needs no namespace, and the page no address, not even as a name.
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
    """No ids, which would occur once in every chart, and a tenth of a pixel is exact enough."""
    element.attrib.pop("id", None)
    for name in ("x", "y", "cx", "cy", "width", "height", "d"):
        if name in element.attrib:
            element.set(name, _DECIMALS.sub(_tenth, element.attrib[name]))


def _tenth(match: re.Match[str]) -> str:
    return f"{float(match[0]):.1f}"


def _shows_nothing(element: ET.Element) -> bool:
    """The box for scripted tooltips, and bars of no length: pygal draws those of absent values."""
    kinds = element.get("class", "").split()
    if "bar" in kinds:
        return not any(float(rect.get("width", 0)) for rect in element.iter("rect"))
    return "tooltip-overlay" in kinds


def _titles(element: ET.Element) -> None:
    if element.get("class") == "guides":
        # What pygal would show here is the position on its axis, not the figure.
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
