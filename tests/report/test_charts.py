from xml.etree import ElementTree as ET

from harness.report.charts import (
    Bar,
    Dot,
    grouped_bars,
    lines,
    log_bars,
    stacked_shares,
)
from harness.report.scale import LogScale

NAMES = ("a", "b", "c")


def by_height(svg: str, tag: str, wanted: str) -> list[ET.Element]:
    """Elements of a class from the top of a chart down."""
    found = [e for e in ET.fromstring(svg).iter(tag) if wanted in (e.get("class") or "").split()]
    return sorted(found, key=lambda e: (float(e.get("y", 0)), float(e.get("x", 0))))


def row_labels(svg: str) -> list[str | None]:
    axis = next(e for e in ET.fromstring(svg).iter("g") if e.get("class") == "axis y")
    texts = sorted(axis.iter("text"), key=lambda e: float(e.get("y", 0)))
    return [text.text for text in texts]


def titles(svg: str) -> list[str | None]:
    return [e.text for e in ET.fromstring(svg).iter("title")]


def bars(values: list[float | None]) -> list[Bar]:
    return [
        Bar(n, v, f"<{v}>", f"v{i}") for i, (n, v) in enumerate(zip(NAMES, values, strict=True))
    ]


def test_log_bars_stand_in_order_with_their_values() -> None:
    svg = log_bars(bars([2000, 0, 50]), "read me", LogScale(0, 4), 48.6)
    assert row_labels(svg) == ["a", "b", "c"]
    drawn = by_height(svg, "rect", "rect")
    # A value of 0 has a text, but no length.
    assert [e.get("class") for e in drawn] == ["rect v0", "rect v2"]
    assert float(drawn[0].get("width", 0)) > float(drawn[1].get("width", 0)) > 0
    assert [e.text for e in by_height(svg, "text", "value")] == ["<2000>", "<0>", "<50>"]
    assert ET.fromstring(svg).get("aria-label") == "read me"


def test_a_bar_without_a_value_is_not_drawn() -> None:
    svg = log_bars(bars([2000, None, 50]), "", LogScale(0, 4))
    assert len(by_height(svg, "rect", "rect")) == 2
    assert row_labels(svg) == ["a", "b", "c"]


def test_the_reference_line_stands_where_its_value_is() -> None:
    svg = log_bars(bars([48.6, 100, 10]), "", LogScale(0, 3), 48.6)
    guide = next(e for e in ET.fromstring(svg).iter("path") if e.get("class") == "major guide line")
    at = float((guide.get("d") or "").split()[0].lstrip("M"))
    bar = by_height(svg, "rect", "rect")[0]
    end = float(bar.get("x", 0)) + float(bar.get("width", 0))
    assert abs(at - end) < 0.5


def test_grouped_bars_stand_in_order_of_groups_then_series() -> None:
    series = [
        [Bar("p50", 1 + i, f"{i}-p50", f"v{i}"), Bar("p95", 5 + i, f"{i}-p95", f"v{i}")]
        for i in range(3)
    ]
    svg = grouped_bars(["p50", "p95"], series, "")
    assert row_labels(svg) == ["p50", "p95"]
    texts = [e.text for e in by_height(svg, "text", "value")]
    assert texts == ["0-p50", "1-p50", "2-p50", "0-p95", "1-p95", "2-p95"]
    assert [e.get("class") for e in by_height(svg, "rect", "rect")] == 2 * [
        "rect v0",
        "rect v1",
        "rect v2",
    ]


def test_grouped_bars_of_nothing_but_0() -> None:
    svg = grouped_bars(["p50"], [[Bar("p50", 0.0, "0", "v0")]], "")
    assert [e.text for e in by_height(svg, "text", "value")] == ["0"]


def test_stacked_shares_stand_in_order_and_fill_their_row() -> None:
    svg = stacked_shares(["a", "b"], {"hit": [100, 60], "miss": [None, 40]}, "")
    assert row_labels(svg) == ["a", "b"]
    assert titles(svg) == ["hit 60.0 %: 60 %", "hit 100.0 %: 100 %", "miss 40.0 %: 40 %"]
    rows = by_height(svg, "rect", "rect")
    widths = [float(e.get("width", 0)) for e in rows]
    assert len(rows) == 3
    assert abs(widths[0] - (widths[1] + widths[2])) < 0.5


def test_a_small_share_has_no_label_but_a_title() -> None:
    svg = stacked_shares(["a"], {"hit": [97.0], "miss": [3.0]}, "")
    assert [e.text for e in by_height(svg, "text", "value")] == ["97 %", None]
    assert "miss 3.0 %" in titles(svg)


def test_lines_have_hollow_points_for_the_cold_fill() -> None:
    series = [
        ("v4", [Dot(1, 300, "cold", hollow=True), Dot(5, 50, "one")]),
        ("v6", []),
        ("v5 again", [Dot(3, 0, "zero")]),
    ]
    svg = lines(series, "", "s", LogScale.over([300, 50, 0]), 48.6)
    dots = {e.get("cx"): e for e in ET.fromstring(svg).iter("circle")}
    assert [e.get("class") for e in dots.values()] == ["dot hollow", "dot", "dot"]
    assert titles(svg) == ["cold", "one", "zero"]
    heights = [float(e.get("cy", 0)) for e in dots.values()]
    # Further down is less; 0 stands at the bottom.
    assert heights == sorted(heights)
    # A series without points keeps its place, so the next one keeps its colour.
    drawn = {
        g.get("class"): [e.get("cx") for e in g.iter("circle")]
        for g in ET.fromstring(svg).iter("g")
        if next(g.iter("circle"), None) is not None and "series" in (g.get("class") or "")
    }
    assert drawn == {
        "series serie-0 color-0 v4": [x for x, e in dots.items()][:2],
        "series serie-2 color-2 v5 again": [x for x, e in dots.items()][2:],
    }


def test_nothing_of_pygal_s_own_is_left() -> None:
    svg = log_bars(bars([1, 2, 3]), "", LogScale(0, 1))
    kinds = {e.tag for e in ET.fromstring(svg).iter()}
    assert kinds <= {"svg", "g", "rect", "path", "text", "title"}
    assert "<!--" not in svg
    assert "pygal.org" not in svg
