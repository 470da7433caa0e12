"""Dashboards from files to pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx

from harness.errors import UsageError
from harness.prometheus.api import TIMEOUT_S, PrometheusApi
from tools.dashboards.render.data import Span
from tools.dashboards.render.page import page, picture, read_board


async def draw_all(
    url: str,
    files: Sequence[Path],
    out: Path,
    values: Mapping[str, Sequence[str]],
    *,
    start: float | None = None,
    end: float | None = None,
    scrape_s: float = 1.0,
    pictures: bool = True,
) -> list[Path]:
    """Draw every dashboard; returns the files.

    Args:
        url: of a live Prometheus.
        files: dashboards' JSON.
        out: where ``NAME.png``, or ``NAME.html``, goes.
        values: chosen values by variable; a missing variable means all.
        start: Unix seconds; None begins with the first sample in memory.
        end: Unix seconds; None ends with the last.
        scrape_s: seconds between two scrapes, for ``$__rate_interval``.
        pictures: PNG by a headless Chromium; False leaves it at HTML.

    Raises:
        UsageError: a file is no dashboard, or there is nothing to draw.
        SetupError: Prometheus does not answer, or there is no Chromium.
    """
    boards = {path: read_board(path) for path in files}
    await asyncio.to_thread(out.mkdir, parents=True, exist_ok=True)
    made = []
    async with httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False) as http:
        api = PrometheusApi(url, http)
        head = await api.head()
        if head is None and (start is None or end is None):
            raise UsageError(f"Prometheus [{url}] holds no sample. Give --start and --end.")
        first, last = head or (0.0, 0.0)
        span = Span(first if start is None else start, last if end is None else end, scrape_s)
        if span.end <= span.start:
            raise UsageError(f"Nothing lies between [{span.start}] and [{span.end}].")
        for path, board in boards.items():
            html = await page(api, board, span, values)
            target = out / f"{path.stem}.{'png' if pictures else 'html'}"
            if pictures:
                await picture(html, target)
            else:
                await asyncio.to_thread(target.write_text, html, encoding="utf-8")
            made.append(target)
    return made
