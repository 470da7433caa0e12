"""Pages find every colour they ask for, and both themes can be read: contrast as in WCAG 2.2."""

import re
from importlib.resources import files

import pytest

from harness.report.html import report_html
from harness.style import PALETTE
from tests.report.sample import issue_27874
from tests.style.contrast import contrast

THEMES = ("light", "dark")
MARKED = ("broken", "hidden", "wasteful", "healthy")
OUTCOMES = ("hit", "miss", "deserialize_failure", "backend_error")
BACKGROUNDS = ("paper", "broken-wash", "hidden-wash", "wasteful-wash", "healthy-wash")


def report() -> str:
    return report_html(issue_27874())


def tab() -> str:
    static = files("harness.ui").joinpath("static")
    pages = [static.joinpath(name) for name in ("page.css", "page.html", "page.js", "chart.js")]
    return "".join(file.read_text(encoding="utf-8") for file in (PALETTE, *pages))


PAGES = {"report": report(), "tab": tab()}
both = pytest.mark.parametrize("theme", THEMES)
each = pytest.mark.parametrize("page", PAGES)


def colours(page: str, theme: str) -> dict[str, str]:
    """Those that hold in a theme; the last word on a colour counts."""
    found = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", PAGES[page])
    return {name: day if theme == "light" else night for name, day, night in found}


@each
def test_a_page_has_the_colours_that_it_asks_for(page: str) -> None:
    defined = set(re.findall(r"--([\w-]+): ", PAGES[page]))
    asked = set(re.findall(r"var\(--([\w-]+)\)", PAGES[page]))
    assert {"ink", "paper", "v0", "v7", "o-miss", "broken"} <= asked
    assert asked <= defined


@each
@both
def test_text_has_contrast(page: str, theme: str) -> None:
    c = colours(page, theme)
    pairs = [("ink", b) for b in BACKGROUNDS] + [("soft", "paper")]
    pairs += [(cell, b) for cell in MARKED for b in ("paper", f"{cell}-wash")]
    pairs += [(f"on-{o}", f"o-{o}") for o in OUTCOMES]
    weak = {pair: round(contrast(c[pair[0]], c[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


@each
@both
def test_marks_have_contrast(page: str, theme: str) -> None:
    c = colours(page, theme)
    marks = [f"v{n}" for n in range(8)] + ["reference"]
    ratios = {mark: round(contrast(c[mark], c["paper"]), 2) for mark in marks}
    assert {mark: ratio for mark, ratio in ratios.items() if ratio < 3} == {}
