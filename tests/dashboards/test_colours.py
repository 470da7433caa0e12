"""A variant has one colour on every panel, and it is that of the report and of the web UI."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from harness.live.compose_sidecars import with_colours
from harness.style import NAMED, colour
from tests.dashboards.boards import ALL_PANELS, FOLDER, NAMES
from tools.dashboards.parts import OUTCOME_COLOURS
from tools.dashboards.render import charts
from tools.dashboards.render.data import PanelSeries, Span
from tools.dashboards.substitute import panels

SPAN = Span(1_700_000_000.0, 1_700_000_010.0)


def series(panel: Mapping[str, Any], variant: str) -> list[str]:
    """Names as Grafana makes them of the legends, every further label with some value."""
    legends = [
        target["legendFormat"].replace("{{variant}}", variant) for target in panel["targets"]
    ]
    return [re.sub(r"\{\{\w+\}\}", "x", legend) for legend in legends]


def by_outcome(panel: Mapping[str, Any]) -> bool:
    return any("{{outcome}}" in t["legendFormat"] for t in panel["targets"]) and any(
        f"/{outcome}$/" == override["matcher"]["options"]
        for outcome in OUTCOME_COLOURS
        for override in panel["fieldConfig"]["overrides"]
    )


def is_judged(panel: Mapping[str, Any]) -> bool:
    """A number whose colour says good or bad."""
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return panel["type"] == "stat" and len(steps) > 1


def coloured(all_panels: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [p for p in all_panels if not by_outcome(p) and not is_judged(p)]


COLOURED = coloured(ALL_PANELS)
OWN = ("mine", "litellm@my-branch", "base", "head", "mixed:recommended+envelope", "litellm_1_840")
"""Names that the committed files do not know."""
WITH_OWN = coloured(
    panel
    for name in NAMES
    for panel in panels(json.loads(with_colours((FOLDER / name).read_text(), OWN)))
)
"""The panels as `harness up` writes them for fleets of these names."""


def overridden(panel: Mapping[str, Any], name: str) -> list[dict[str, str]]:
    """Of all overrides that match, as Grafana applies them."""
    return [
        item["value"]
        for override in panel["fieldConfig"]["overrides"]
        if override["matcher"]["id"] == "byRegexp"
        and re.search(override["matcher"]["options"].strip("/"), name)
        for item in override["properties"]
        if item["id"] == "color"
    ]


def test_few_panels_mean_something_else_by_colour() -> None:
    assert [p["title"] for p in ALL_PANELS if by_outcome(p)].count("Outcomes, redis tier") == 2
    assert len(COLOURED) > 25


@pytest.mark.parametrize(
    ("variant", "shown"),
    [*((name, COLOURED) for name in NAMED), *((name, WITH_OWN) for name in (*NAMED, *OWN))],
    ids=lambda value: value if isinstance(value, str) else f"{len(value)} panels",
)
def test_every_panel_has_the_one_colour_of_a_variant(
    variant: str, shown: list[Mapping[str, Any]]
) -> None:
    for panel in shown:
        for name in series(panel, variant):
            [given] = overridden(panel, name)
            assert given["fixedColor"] == colour(variant), (panel["title"], name)
            shaded = any(t["legendFormat"].count("{{") > 1 for t in panel["targets"])
            assert given["mode"] == ("shades" if shaded else "fixed")


@pytest.mark.parametrize("panel", COLOURED, ids=lambda p: p["title"])
def test_an_unknown_variant_takes_no_other_s_colour(panel: Mapping[str, Any]) -> None:
    for name in (*OWN, "my_recommended", "litellm==1.84.0rc10", "litellm==1x90x0"):
        assert all(overridden(panel, one) == [] for one in series(panel, name))
    if panel["type"] == "timeseries":
        mode = panel["fieldConfig"]["defaults"]["color"]["mode"]
        assert mode == "palette-classic-by-name"


@pytest.mark.parametrize("panel", COLOURED, ids=lambda p: p["title"])
def test_two_lines_of_one_variant_can_be_told_apart(panel: Mapping[str, Any]) -> None:
    if panel["type"] != "timeseries":
        return
    lines = [PanelSeries(name, (1.0,) * 11) for name in series(panel, "recommended")]
    lines += [
        PanelSeries(line.name + "y", line.values) for line in lines if line.name.endswith("x")
    ]
    drawn = charts.draw(panel, lines, SPAN, 300, 200)
    assert len({(entry.colour, entry.dashed) for entry in drawn.entries}) == len(lines)
