"""The rules of grafana/dashboard-linter, and what this project asks on top.

The linter itself is a Go program; its rules on a Prometheus dashboard are few, and each is a test
here under the linter's own name. What it excludes is in dashboards/.lint, with reasons.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from tests.dashboards.boards import ALL_PANELS, ALL_TARGETS, BOARDS, FOLDER
from tools.dashboards.render.units import UNITS
from tools.dashboards.substitute import panels

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
VARIABLES = ["datasource", "variant", "replica", "key_scope", "object"]

each_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


@each_board
def test_template_datasource_rule(board: dict[str, Any]) -> None:
    [source] = [v for v in board["templating"]["list"] if v["type"] == "datasource"]
    assert (source["name"], source["query"], source["label"]) == (
        "datasource",
        "prometheus",
        "Data source",
    )


@each_board
def test_template_label_promql_rule(board: dict[str, Any]) -> None:
    assert [v["name"] for v in board["templating"]["list"]] == VARIABLES
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            assert variable["datasource"] == SOURCE
            pattern = rf"label_values\(authcache_\w+(\{{.*\}})?, {variable['name']}\)"
            assert re.fullmatch(pattern, variable["query"])


@each_board
def test_template_on_time_change_reload_rule(board: dict[str, Any]) -> None:
    queries = [v for v in board["templating"]["list"] if v["type"] == "query"]
    assert {v["refresh"] for v in queries} == {2}


@each_board
def test_variables_take_several_values(board: dict[str, Any]) -> None:
    queries = [v for v in board["templating"]["list"] if v["type"] == "query"]
    assert all(v["multi"] for v in queries)


def test_panel_datasource_rule() -> None:
    for panel in ALL_PANELS:
        assert panel["datasource"] == SOURCE, panel["title"]
        assert all(target["datasource"] == SOURCE for target in panel["targets"]), panel["title"]


def test_panel_title_description_rule() -> None:
    for panel in ALL_PANELS:
        assert panel["title"].strip(), panel["title"]
        assert panel["description"].strip().endswith("."), panel["title"]


def test_panel_units_rule() -> None:
    for panel in ALL_PANELS:
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]


def test_panel_no_targets_rule() -> None:
    for panel in ALL_PANELS:
        assert panel["targets"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs), panel["title"]


def test_every_panel_has_thresholds() -> None:
    for panel in ALL_PANELS:
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert steps[0]["value"] is None, panel["title"]
        values = [step["value"] for step in steps[1:]]
        assert values == sorted(values), panel["title"]


def test_target_rate_interval_rule() -> None:
    for target in ALL_TARGETS:
        ranges = re.findall(r"\[([^\]]*)\]", target.expr)
        assert set(ranges) <= {"$__rate_interval"}, target.name
        assert len(ranges) == target.expr.count("rate("), target.name


def test_target_counter_agg_rule() -> None:
    """A counter is only ever looked at as a rate."""
    for target in ALL_TARGETS:
        for name in re.findall(r"\b\w+_(?:total|count|sum|bucket)\b(?=\{)", target.expr):
            for place in re.finditer(rf"\b{name}\b(?=\{{)", target.expr):
                assert target.expr[: place.start()].endswith("rate("), target.name


def test_every_query_follows_the_chosen_variant() -> None:
    for target in ALL_TARGETS:
        selectors = re.findall(r"\b[a-z_]+\{([^}]*)\}", target.expr)
        assert selectors, target.name
        assert all('variant=~"$variant"' in selector for selector in selectors), target.name


def test_every_series_has_a_name_that_tells_the_variant() -> None:
    for target in ALL_TARGETS:
        assert "{{variant}}" in target.legend, target.name


@each_board
def test_uneditable_dashboard_rule(board: dict[str, Any]) -> None:
    excluded = yaml.safe_load((FOLDER / ".lint").read_text())["exclusions"]
    assert board["editable"] is True
    assert "uneditable-dashboard-rule" in excluded


def test_every_exclusion_of_the_linter_has_a_reason() -> None:
    excluded = yaml.safe_load((FOLDER / ".lint").read_text())["exclusions"]
    assert all(len(entry["reason"]) > 40 for entry in excluded.values())


@each_board
def test_one_file_both_imports_and_provisions(board: dict[str, Any]) -> None:
    text = json.dumps(board)
    assert "__inputs" not in board
    assert "__requires" not in board
    assert "DS_PROMETHEUS" not in text
    assert board["id"] is None
    assert re.fullmatch(r"authcache-[a-z]+", board["uid"])
    assert set(re.findall(r'"uid": "([^"]*)"', text)) == {"${datasource}", board["uid"]}


def test_no_two_dashboards_share_a_uid() -> None:
    uids = [board["uid"] for board in BOARDS.values()]
    assert len(set(uids)) == len(uids)


@each_board
def test_panels_fit_the_grid_and_do_not_overlap(board: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


@each_board
def test_ids_of_panels_are_distinct(board: dict[str, Any]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)


@each_board
def test_windows_are_annotated(board: dict[str, Any]) -> None:
    [annotation] = board["annotations"]["list"]
    assert annotation["datasource"] == SOURCE
    assert annotation["expr"].startswith("authcache_window_active{")


def test_only_the_rows_of_replicas_repeat() -> None:
    repeats = [
        (name, panel["title"], panel["repeat"])
        for name, board in BOARDS.items()
        for panel in board["panels"]
        if panel.get("repeat")
    ]
    assert repeats == [("one-fleet.json", "Replica $replica", "replica")]
