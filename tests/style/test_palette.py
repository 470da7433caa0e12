"""Pages find every colour they ask for, and both themes can be read: contrast as in WCAG 2.2.

A variant has one colour, by its name, wherever it is drawn.
"""

import re
from importlib.resources import files

import pytest

from harness.authcache.variants import load_variants
from harness.report.html import report_html
from harness.scenario.loader import load_scenario, scenario_names
from harness.style import COLOURS, NAMED, PALETTE, colour, marks, place
from harness.targets.litellm.releases import known_releases
from tests.report.sample import issue_27874
from tests.style.contrast import contrast

THEMES = ("light", "dark")
MARKED = ("hidden", "broken", "stale", "wasteful", "healthy")
OUTCOMES = ("hit", "miss", "deserialize_failure", "backend_error")
BACKGROUNDS = ("paper", "broken-wash", "hidden-wash", "stale-wash", "wasteful-wash", "healthy-wash")


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
    assert {"ink", "paper", "link", "v0", "v15", "o-miss", "broken"} <= asked
    assert asked <= defined


@each
@both
def test_text_has_contrast(page: str, theme: str) -> None:
    c = colours(page, theme)
    pairs = [("ink", b) for b in BACKGROUNDS] + [("soft", "paper"), ("link", "paper")]
    pairs += [(cell, b) for cell in MARKED for b in ("paper", f"{cell}-wash")]
    pairs += [(f"on-{o}", f"o-{o}") for o in OUTCOMES]
    weak = {pair: round(contrast(c[pair[0]], c[pair[1]]), 2) for pair in pairs}
    assert {pair: ratio for pair, ratio in weak.items() if ratio < 4.5} == {}


@each
@both
def test_marks_have_contrast(page: str, theme: str) -> None:
    c = colours(page, theme)
    # The last two are the panels of Grafana's light and dark theme.
    papers = [c["paper"], "#ffffff" if theme == "light" else "#181b1f"]
    ratios = {
        (mark, paper): round(contrast(mark, paper), 2)
        for mark in (*COLOURS, c["reference"])
        for paper in papers
    }
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 3} == {}


def test_every_colour_of_a_variant_is_on_the_pages() -> None:
    assert len(set(COLOURS)) == 16
    for text in PAGES.values():
        for number, value in enumerate(COLOURS):
            assert f"--v{number}: {value};" in text
            assert f".v{number} {{ --mark: var(--v{number});" in text


def test_every_name_that_the_harness_knows_has_a_colour_of_its_own_choice() -> None:
    variants, releases = set(load_variants()), {r.name for r in known_releases().values()}
    assert set(NAMED) == variants | releases
    drawn = {r.name for r in known_releases().values() if r.history}
    # There are more releases than colours; those that one picture shows differ.
    for names in (variants, drawn, releases - drawn):
        assert len({colour(name) for name in names}) == len(names)


def test_no_release_has_the_colour_of_a_twin() -> None:
    # Twins draws all pairs in one picture.
    releases = [release for release in known_releases().values() if release.twin]
    twins = {str(release.twin) for release in releases}
    assert not {colour(twin) for twin in twins} & {colour(release.name) for release in releases}


@pytest.mark.parametrize("scenario", scenario_names())
def test_the_variants_of_a_scenario_look_different(scenario: str) -> None:
    names = load_scenario(scenario).variants
    assert len(set(marks(names).values())) == len(names)
    assert not any("again" in mark for mark in marks(names).values())


def test_a_colour_hangs_on_the_name_alone() -> None:
    # An unknown name is hashed, and the same by every process.
    assert (place("mine"), place("litellm@../litellm")) == (3, 5)
    assert marks(["recommended"]) == {"recommended": "v3"}
    assert marks(["litellm_1_84", "recommended"])["recommended"] == "v3"
    assert marks(["recommended", "litellm_1_84"])["recommended"] == "v3"


def test_a_second_variant_of_one_colour_is_drawn_otherwise() -> None:
    assert colour("envelope") == colour("litellm==1.83.14")
    assert marks(["envelope", "litellm==1.83.14"]) == {
        "envelope": "v6",
        "litellm==1.83.14": "v6 again",
    }
