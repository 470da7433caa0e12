"""Both themes can be read: contrast as WCAG 2.2 counts it."""

import re

import pytest

from harness.report.html import report_html
from tests.report.sample import issue_27874

THEMES = ("light", "dark")
MARKED = ("broken", "hidden", "wasteful", "healthy")
OUTCOMES = ("hit", "miss", "deserialize_failure", "backend_error")
BACKGROUNDS = ("paper", "broken-wash", "hidden-wash", "wasteful-wash", "healthy-wash")


def colours(theme: str) -> dict[str, str]:
    text = report_html(issue_27874())
    light, dark = text.split("@media screen and (prefers-color-scheme: dark)", 1)
    found = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    if theme == "dark":
        block = dark[: dark.index("* {")]
        found |= dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    return found


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, from the relative luminance of both."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES)
def test_text_has_contrast(theme: str) -> None:
    c = colours(theme)
    pairs = [("ink", b) for b in BACKGROUNDS] + [("soft", "paper")]
    pairs += [(cell, b) for cell in MARKED for b in ("paper", f"{cell}-wash")]
    pairs += [(f"on-{o}", f"o-{o}") for o in OUTCOMES]
    weak = {pair: round(contrast(c[pair[0]], c[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("theme", THEMES)
def test_marks_have_contrast(theme: str) -> None:
    c = colours(theme)
    marks = [f"v{n}" for n in range(8)] + ["reference"]
    ratios = {mark: round(contrast(c[mark], c["paper"]), 2) for mark in marks}
    assert {mark: ratio for mark, ratio in ratios.items() if ratio < 3} == {}
