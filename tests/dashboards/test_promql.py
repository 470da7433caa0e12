"""Every query, parsed by Prometheus' own grammar, and held against the series that exist."""

from __future__ import annotations

import re
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from harness.exporter.families import counter, merge_all, render
from harness.exporter.servers import FleetServers, ServerReader
from harness.exporter.state import RunState
from harness.targets.metrics import Metrics
from tests.dashboards.boards import ALL_TARGETS, BOARDS, FOLDER, replaced
from tools.dashboards.substitute import chosen, legend, rate_interval, substituted

RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
EXPRESSIONS = {
    **{target.name: replaced(target.expr) for target in ALL_TARGETS},
    **{
        f"{name} / annotation": replaced(annotation["expr"])
        for name, board in BOARDS.items()
        for annotation in board["annotations"]["list"]
    },
    **{rule.get("record") or rule["alert"]: rule["expr"] for rule in RULES},
}


def test_every_query_parses() -> None:
    refused = {}
    for name, expr in EXPRESSIONS.items():
        try:
            promql_parser.parse(expr)
        except ValueError as error:
            refused[name] = str(error)
    assert refused == {}


def test_the_parser_refuses_what_is_no_query() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        promql_parser.parse("sum by (variant (up)")


async def _known_series() -> dict[str, set[str]]:
    """Label names by series, from the real pages of a worker and of the exporter."""
    worker, _ = Metrics("v", {"codec": "c", "layout": "l", "target": "t", "version": "1"}).render()
    servers = ServerReader(FleetServers("v", None, "", None))
    state = RunState.planned({"v": 1}, {"v": {"all": 1.0, "team": 1.0}}, [("v", "measured", 1)])
    samples = await servers.read()
    statements = [
        counter(name, "-", {("key", "v"): 1}, "object")
        for name in ("authcache_statement_calls_total", "authcache_statement_seconds_total")
    ]
    exporter, _ = render([*state.metrics(), *merge_all([*samples, *statements])])
    known: dict[str, set[str]] = {}
    for text, added in ((worker, {"replica", "worker", "job"}), (exporter, {"job"})):
        for family in text_string_to_metric_families(text.decode()):
            for sample in family.samples:
                known.setdefault(sample.name, {"variant"} | added).update(sample.labels)
    known["up"] = {"variant", "replica", "worker", "job"}
    for rule in RULES:
        if "record" in rule:
            levels = rule["record"].split(":")[0].replace("scope", "key_scope")
            known[rule["record"]] = set(re.findall("variant|key_scope|tier|outcome", levels))
    return known


async def test_every_series_and_label_that_is_asked_for_exists() -> None:
    known = await _known_series()
    for name, expr in EXPRESSIONS.items():
        for selector in _selectors(promql_parser.parse(expr)):
            assert selector.name in known, f"{name} asks for {selector.name}"
            labels = {matcher.name for matcher in selector.matchers.matchers}
            assert labels <= known[selector.name], f"{name}: {selector.name} has no {labels}"


def _selectors(node: Any) -> list[Any]:
    """Every selector below a node."""
    match node:
        case promql_parser.VectorSelector():
            return [node]
        case promql_parser.MatrixSelector():
            return [node.vector_selector]
        case promql_parser.BinaryExpr():
            return _selectors(node.lhs) + _selectors(node.rhs)
        case promql_parser.Call():
            return [one for argument in node.args for one in _selectors(argument)]
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr():
            return _selectors(node.expr)
        case promql_parser.NumberLiteral():
            return []
    raise AssertionError(f"the test does not know {type(node)}")


NARROWED_IN_PART = {
    # Requests have no object.
    "Source reads per 1,000 requests": {"object"},
    "Source reads per 1,000 requests, by key scope": {"object"},
    # A replica is compared with the mean of its fleet.
    "Load of a replica, 1 is its fair share": {"replica"},
    # The line is the fleet's; a replica has its share of reads and requests alike.
    "Source reads per 1,000 requests, by variant": {"replica"},
}
"""Panels of which a variable narrows only a part, and why this compares nothing that differs."""


def test_a_variable_narrows_all_that_a_panel_compares() -> None:
    chosen_by: dict[str, list[set[str]]] = {}
    for target in ALL_TARGETS:
        # Text that the parser leaves alone stands for each variable.
        expr = substituted(
            target.expr,
            {name: f"${name}" for name in ("variant", "replica", "key_scope", "object")}
            | {"__rate_interval": "4s"},
        )
        chosen_by.setdefault(target.panel, []).extend(
            {m.name for m in one.matchers.matchers if m.value == f"${m.name}"}
            for one in _selectors(promql_parser.parse(expr))
        )
    in_part = {
        panel: {name for one in names for name in one if any(name not in o for o in names)}
        for panel, names in chosen_by.items()
    }
    assert {panel: names for panel, names in in_part.items() if names} == NARROWED_IN_PART


def test_a_legend_uses_labels_that_the_query_keeps() -> None:
    for target in ALL_TARGETS:
        kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target.expr))))
        assert set(re.findall(r"\{\{(\w+)\}\}", target.legend)) <= kept, target.name


def test_rate_interval_is_four_scrapes_or_a_step_and_a_scrape() -> None:
    assert rate_interval(1, 1) == "4000ms"
    assert rate_interval(10, 1) == "11000ms"


def test_values_are_substituted_as_regular_expressions() -> None:
    assert chosen([]) == ".*"
    assert chosen(["litellm_1_84"]) == "litellm_1_84"
    assert chosen(["a", "litellm==1.84.0rc1"]) == r"(a|litellm==1\\.84\\.0rc1)"
    text = substituted(
        'x{v=~"$v",w=~"${v:regex}"}[$__rate_interval]', {"v": "a", "__rate_interval": "4s"}
    )
    assert text == 'x{v=~"a",w=~"a"}[4s]'
    with pytest.raises(KeyError):
        substituted("$unknown", {})


def test_a_legend_is_written_from_labels() -> None:
    assert (
        legend("{{variant}} {{ outcome }} {{none}}", {"variant": "a", "outcome": "hit"}) == "a hit "
    )
