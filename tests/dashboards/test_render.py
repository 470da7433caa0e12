"""The harness's own rendering, with a Prometheus that answers by heart."""

from __future__ import annotations

import math
import re
import shutil
import struct
from collections.abc import Mapping
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import SetupError
from harness.prometheus.api import PrometheusApi, Series
from tests.dashboards.boards import ALL_PANELS, BOARDS, FOLDER
from tests.programs import skip_loudly
from tools.dashboards.__main__ import main
from tools.dashboards.render import charts
from tools.dashboards.render.data import PanelSeries, Region, Span, regions, rows
from tools.dashboards.render.page import CHROMIUM, WIDTH, page, picture
from tools.dashboards.render.units import UNITS, written

SPAN = Span(1_700_000_000.0, 1_700_000_020.0)
COMPARED, FLEET = BOARDS["codec-variants-compared.json"], BOARDS["one-fleet.json"]
LABELS = {
    "variant": "a",
    "replica": "0",
    "outcome": "hit",
    "status": "200",
    "object": "key",
    "key_scope": "team",
}


EMPTY = '<p class="empty">No data</p>'


class ByHeart(PrometheusApi):
    """Answers every query with one line, and remembers what it was asked."""

    def __init__(self, value: float | None = 5.0) -> None:
        super().__init__("http://nowhere", httpx.AsyncClient())
        self.asked: list[str] = []
        self._value = value

    async def query_range(self, expr: str, start: float, end: float, step_s: float) -> list[Series]:
        self.asked.append(expr)
        if expr.startswith("authcache_window_active"):
            labels = {"variant": "a", "phase": "measured", "round": "1"}
            active = (start + 3, start + 4, start + 5, start + 9)
            return [Series(labels, tuple((moment, 1.0) for moment in active))]
        if self._value is None:
            return []
        points = [start + n * step_s for n in range(int((end - start) / step_s) + 1)]
        value = self._value
        return [Series(LABELS, tuple((moment, value) for moment in points[2:]))]

    async def label_values(self, label: str, match: str) -> list[str]:
        del match
        return {"replica": ["10", "2", "0"]}[label]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0 s"),
        (0.00002, "s", "20 µs"),
        (0.0153, "s", "15.3 ms"),
        (2, "s", "2 s"),
        (5e-10, "s", "0.5 ns"),
        (913, "bytes", "913 B"),
        (1023, "bytes", "1023 B"),
        (1024, "bytes", "1 KiB"),
        (1024 * 1536, "bytes", "1.5 MiB"),
        (1491, "short", "1.49 K"),
        (43.333, "short", "43.3"),
        (148.2, "reqps", "148 req/s"),
        (0.0123, "percentunit", "1.23 %"),
        (8, "none", "8"),
        (1000, "none", "1000"),
    ],
)
def test_values_are_written_as_grafana_does(value: float, unit: str, text: str) -> None:
    assert written(value, unit) == text


@given(st.floats(0, 1e15), st.sampled_from(sorted(UNITS)))
def test_every_value_has_a_short_text(value: float, unit: str) -> None:
    assert re.fullmatch(r"[0-9.]+ ?[^\d]*", written(value, unit))


def test_a_span_has_no_more_points_than_a_panel_can_show() -> None:
    assert Span(0, 20).step_s == 1
    assert len(Span(0, 20).moments) == 21
    assert Span(0, 3600).step_s == 15
    assert len(Span(0, 86_400).moments) <= 241


async def test_every_query_is_sent_with_its_variables_substituted() -> None:
    api = ByHeart()
    await rows(api, COMPARED, SPAN, {"variant": ["a", "b"]})
    assert len(api.asked) == sum(len(p["targets"]) for p in ALL_PANELS if p in COMPARED["panels"])
    assert all("$" not in expr for expr in api.asked)
    assert all('variant=~"(a|b)"' in expr for expr in api.asked)
    assert any("[4000ms]" in expr for expr in api.asked)


async def test_a_repeated_row_comes_once_for_each_value_in_order() -> None:
    api = ByHeart()
    found = await rows(api, FLEET, SPAN, {})
    titles = [row.title for row in found]
    assert titles[-3:] == ["Replica 0", "Replica 2", "Replica 10"]
    assert 'replica=~"10"' in api.asked[-1]
    [once] = (await rows(api, FLEET, SPAN, {"replica": ["2"]}))[-1:]
    assert once.title == "Replica 2"
    assert len(once.panels) == 4


async def test_what_was_not_recorded_is_a_gap_and_no_zero() -> None:
    [row, *_] = await rows(ByHeart(), COMPARED, SPAN, {})
    [line] = row.panels[0].lines
    assert line.values[:3] == (None, None, 5.0)
    [row, *_] = await rows(ByHeart(math.nan), COMPARED, SPAN, {})
    assert row.panels[0].lines[0].numbers == []


async def test_regions_end_where_there_is_a_gap() -> None:
    start = SPAN.start
    assert await regions(ByHeart(), COMPARED, SPAN, {}) == [
        Region("a: measured", "round 1", start + 3, start + 5),
        Region("a: measured", "round 1", start + 9, start + 9),
    ]


def _panel(title: str) -> Mapping[str, Any]:
    [found] = [panel for panel in ALL_PANELS if panel["title"] == title][:1]
    return found


def test_a_chart_draws_every_line_in_the_colour_that_the_json_asks_for() -> None:
    values = tuple(float(n) for n in range(len(SPAN.moments)))
    lines = [PanelSeries("a hit", values), PanelSeries("a deserialize_failure", values)]
    drawn = charts.draw(_panel("Outcomes, memory tier"), lines, SPAN, 400, 200)
    assert [entry.colour for entry in drawn.entries] == [charts.NAMED["green"], charts.NAMED["red"]]
    assert (drawn.entries[0].mean, drawn.entries[0].greatest) == ("10 ops/s", "20 ops/s")
    assert drawn.svg.startswith("<svg")
    for entry in drawn.entries:
        assert entry.colour in drawn.svg
    assert len(re.findall(r'<path[^>]* class="line', drawn.svg)) == 2


def test_a_line_to_compare_with_is_dashed() -> None:
    values = (1.0,) * len(SPAN.moments)
    lines = [PanelSeries("a", values), PanelSeries("a reference line", values)]
    drawn = charts.draw(
        _panel("Source reads per 1,000 requests, by variant"), lines, SPAN, 400, 200
    )
    assert [entry.dashed for entry in drawn.entries] == [False, True]
    assert len(re.findall(r"dasharray: ?6, ?4", drawn.svg)) == 1


@pytest.mark.parametrize(
    ("title", "unit", "value", "colour"),
    [
        ("Deserialize failures, most in view", "ops", 0.0, "green"),
        ("Deserialize failures, most in view", "ops", 0.5, "red"),
        ("Replicas missing, now", "none", 0.0, "green"),
        ("Replicas missing, now", "none", 1.0, "red"),
    ],
)
def test_a_number_has_the_colour_of_its_threshold(
    title: str, unit: str, value: float, colour: str
) -> None:
    values = (None, 0.0, value) if unit == "none" else (None, value, 0.0)
    [(name, text, found)] = charts.reduced([PanelSeries("a", values)], _panel(title))
    assert (name, text, found) == ("a", written(value, unit), charts.NAMED[colour])


def test_the_latest_number_is_the_last_that_is_there() -> None:
    panel = _panel("Work in hand")
    assert charts.reduced([PanelSeries("a", (3.0, 7.0, None))], panel)[0][1] == "7"
    assert charts.reduced([PanelSeries("a", (None, None))], panel) == []


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)
async def test_a_page_says_whose_rendering_it_is_and_shows_every_panel(
    board: dict[str, Any],
) -> None:
    html = await page(ByHeart(), board, SPAN, {"variant": ["a"]})
    assert "harness's own rendering" in html
    assert "not Grafana" in html
    for panel in board["panels"]:
        if panel["type"] != "row":
            assert f"<h3>{panel['title']}</h3>" in unescape(html)
    assert EMPTY not in html
    assert "a: measured" in html
    fetched = re.findall(r'(?:src|href)="([^"]*)"', html)
    assert fetched == [], "a page stands by itself"


async def test_a_panel_without_data_says_so() -> None:
    html = await page(ByHeart(None), COMPARED, SPAN, {})
    panels = [panel for panel in COMPARED["panels"] if panel["type"] != "row"]
    assert html.count(EMPTY) == len(panels)


@pytest.mark.integration
async def test_a_picture_is_a_png_as_wide_as_the_page(tmp_path: Path) -> None:
    if not any(map(shutil.which, CHROMIUM)):
        skip_loudly("no Chromium, so no picture of a dashboard was made")
    path = tmp_path / "board.png"
    await picture(await page(ByHeart(), COMPARED, SPAN, {}), path)
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:])
    assert width == WIDTH
    assert height > 1000, "the whole page, not the first screen of it"


async def test_without_a_browser_a_picture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match="chromium"):
        await picture("<html>", tmp_path / "board.png")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([str(FOLDER / "one-fleet.json")], "does not answer"),
        (["--set", "variant", str(FOLDER / "one-fleet.json")], "NAME=VALUE"),
        ([str(FOLDER / "rules.yml")], "cannot be read"),
        ([str(FOLDER / "gone.json")], "cannot be read"),
    ],
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, arguments: list[str], words: str) -> None:
    command = ["render", "--prometheus", "http://127.0.0.1:1", "--out", str(tmp_path)]
    done = CliRunner().invoke(main, [*command, *arguments])
    assert done.exit_code == 2
    assert words in done.output


def test_the_pictures_of_the_readme_are_light() -> None:
    for name in BOARDS:
        path = FOLDER.parent / "docs" / name.replace(".json", ".png")
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.stat().st_size < 300_000
