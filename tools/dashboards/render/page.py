"""A dashboard as one page of HTML, and the page as a picture."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from harness.errors import SetupError, UsageError
from harness.process import groups
from harness.prometheus.api import PrometheusApi
from tools.dashboards.render import charts
from tools.dashboards.render.data import PanelData, PanelRow, Region, Span, regions, rows

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
"""Names of a browser that makes pictures; the first on PATH."""
WIDTH = 1480
_COLUMN = WIDTH / 24
_LINE = 34
"""CSS pixels of one unit of the grid's height."""
_HEAD = 26
_LEGEND_LINE = 15
_LEGEND_LINES = 6
_PICTURE_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    width: float
    height: int
    svg: str
    entries: Sequence[charts.LegendEntry]
    more: int
    numbers: Sequence[tuple[str, str, str]]
    empty: bool


def read_board(path: Path) -> dict[str, Any]:
    """A dashboard's JSON. Raises UsageError."""
    try:
        board = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"The dashboard [{path}] cannot be read: {error}.") from error
    if not isinstance(board, dict) or "panels" not in board:
        raise UsageError(f"[{path}] is no dashboard. Name one of dashboards/*.json.")
    return board


async def page(
    api: PrometheusApi, board: Mapping[str, Any], span: Span, values: Mapping[str, Sequence[str]]
) -> str:
    """A dashboard with its data, as HTML. Raises SetupError where Prometheus does not answer.

    Args:
        api: the Prometheus to query.
        board: the dashboard's JSON.
        span: which stretch of time.
        values: chosen values by variable; a missing variable means all.
    """
    found = await rows(api, board, span, values)
    environment = Environment(
        loader=PackageLoader("tools.dashboards.render"), autoescape=True, trim_blocks=True
    )
    return environment.get_template("dashboard.html.j2").render(
        title=board["title"],
        description=board["description"],
        choices={name: " + ".join(several) for name, several in values.items() if several},
        start=_moment(span.start),
        end=_moment(span.end),
        width=WIDTH,
        head=_HEAD,
        regions=_placed(await regions(api, board, span, values), span),
        rows=[(row.title, _lines(row, span)) for row in found],
    )


async def picture(html: str, path: Path) -> None:
    """A page as PNG, by a headless Chromium. Raises SetupError."""
    if importlib.util.find_spec("PIL") is None:
        raise SetupError("[Pillow] is not installed: it is for development. Run `make test-unit`.")
    browser = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    if browser is None:
        raise SetupError(f"There is none of [{', '.join(CHROMIUM)}] on PATH to make a picture.")
    with tempfile.TemporaryDirectory(prefix="authcache-picture-") as name:
        folder = Path(name)
        (folder / "page.html").write_text(html, encoding="utf-8")
        height = await _height(browser, folder)
        shot = folder / "page.png"
        await _browse(browser, folder, f"--screenshot={shot}", f"--window-size={WIDTH},{height}")
        if not shot.is_file():
            raise SetupError(f"[{browser}] made no picture. Try another one, or open the HTML.")
        await asyncio.to_thread(_shrink, shot, path)


def _shrink(shot: Path, path: Path) -> None:
    """Write the picture with 256 colours of its own: a third of the bytes, looks the same."""
    from PIL import Image  # noqa: PLC0415 - of the development group

    with Image.open(shot) as whole:
        few = whole.convert("RGB").quantize(dither=Image.Dither.NONE)
        few.save(path, "PNG", optimize=True)


async def _height(browser: str, folder: Path) -> int:
    """The page's own height, which its script writes into an attribute of its body."""
    text = await _browse(browser, folder, "--dump-dom", f"--window-size={WIDTH},800")
    with contextlib.suppress(ValueError, IndexError):
        return int(text.split('data-height="')[1].split('"')[0])
    raise SetupError(f"[{browser}] did not lay the page out. Try another one, or open the HTML.")


async def _browse(browser: str, folder: Path, *arguments: str) -> str:
    command = [
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *(
            "--disable-lcd-text",
            "--force-device-scale-factor=1",
            f"--user-data-dir={folder / 'profile'}",
        ),
        *(*arguments, (folder / "page.html").as_uri()),
    ]
    try:
        return (await groups.run(*command, timeout_s=_PICTURE_TIMEOUT_S)).out
    except TimeoutError as error:
        raise SetupError(f"[{browser}] did not end in [{_PICTURE_TIMEOUT_S}] s.") from error


def _lines(row: PanelRow, span: Span) -> list[list[_Panel]]:
    """Panels side by side, line by line, as the grid places them."""
    lines: dict[int, list[_Panel]] = {}
    for data in row.panels:
        lines.setdefault(data.panel["gridPos"]["y"], []).append(_panel(data, span))
    return list(lines.values())


def _panel(data: PanelData, span: Span) -> _Panel:
    place = data.panel["gridPos"]
    width, height = place["w"] * _COLUMN - 10, place["h"] * _LINE
    title = data.panel["title"]
    if data.panel["type"] == "stat":
        numbers = charts.reduced(data.lines, data.panel)
        return _Panel(title, width, height, "", (), 0, numbers, empty=not numbers)
    if not any(line.numbers for line in data.lines):
        return _Panel(title, width, height, "", (), 0, (), empty=True)
    # Active series come first; a legend has room for a few.
    active = sorted(data.lines, key=lambda line: -max(line.numbers, default=-1.0))
    shown = min(len(active), _LEGEND_LINES)
    plot = height - _HEAD - (shown + 1) * _LEGEND_LINE - 16
    drawn = charts.draw(data.panel, data.lines, span, round(width) - 12, plot)
    names = [line.name for line in active]
    entries = sorted(drawn.entries, key=lambda entry: names.index(entry.name))
    return _Panel(
        title,
        width,
        height,
        drawn.svg,
        entries[:_LEGEND_LINES],
        max(0, len(entries) - _LEGEND_LINES),
        (),
        empty=False,
    )


def _placed(found: Sequence[Region], span: Span) -> list[tuple[Region, float, float]]:
    """Regions with their left edge and width, in percent of the stretch of time."""
    whole = span.end - span.start
    return [
        (one, (one.start - span.start) / whole * 100, max(0.3, (one.end - one.start) / whole * 100))
        for one in found
    ]


def _moment(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S} UTC"
