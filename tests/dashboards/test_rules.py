"""Rules and alerts: promtool's own tests of them, and that each alert can be looked up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.dashboards.boards import ALL_TARGETS, FOLDER, replaced
from tests.programs import promtool

pytestmark = pytest.mark.integration

RULES = FOLDER / "rules.yml"
TESTS = FOLDER / "rules_test.yml"
RUNBOOK = FOLDER.parent / "docs" / "runbook.md"
ALERTS = [
    rule
    for group in yaml.safe_load(RULES.read_text())["groups"]
    for rule in group["rules"]
    if "alert" in rule
]


def test_the_rules_are_rules() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 rules found" in done.stdout


def test_the_rules_do_what_their_tests_say() -> None:
    done = promtool("test", "rules", TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ('outcome="deserialize_failure"', 'outcome="hit"'),
        ("increase(authcache_stale_served_total[1m])", "authcache_stale_served_total"),
        ("authcache_stale_served_total", "authcache_changes_total"),
        ("5 * max by", "8 * max by"),
        ("min by (variant, replica)", "max by (variant, replica)"),
        ("or 0 * max by (variant) (authcache_replicas_expected)", ""),
        ("> 0.01", "> 0.001"),
        ("for: 5s", "for: 0s"),
        ('{route="/v1/chat/completions"}', ""),
    ],
)
def test_a_broken_rule_fails_them(tmp_path: Path, right: str, wrong: str) -> None:
    text = RULES.read_text()
    assert right in text
    (tmp_path / "rules.yml").write_text(text.replace(right, wrong))
    (tmp_path / "rules_test.yml").write_text(TESTS.read_text())
    done = promtool("test", "rules", tmp_path / "rules_test.yml")
    assert done.returncode != 0


def test_every_rule_and_alert_has_a_test() -> None:
    text = TESTS.read_text()
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            name = rule.get("record") or rule["alert"]
            assert name in text


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("Replicas missing, now A", {"down": 1, "gone": 1, "half": 1, "none": 1, "whole": 0}),
        ("Replicas up and expected A", {"down": 1, "gone": 1, "half": 0, "none": 0, "whole": 1}),
        ("Replicas up and expected B", {"down": 2, "gone": 2, "half": 1, "none": 1, "whole": 1}),
    ],
)
def test_a_panel_counts_the_replicas_of_the_fleets_that_the_alert_is_tested_with(
    tmp_path: Path, target: str, shown: dict[str, int]
) -> None:
    [series] = [
        test["input_series"]
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        if "all gone" in test["name"]
    ]
    samples = [{"labels": f'{{variant="{name}"}}', "value": n} for name, n in shown.items()]
    exprs = {one.expr for one in ALL_TARGETS if f"{one.panel} {one.ref}" == target}
    assert exprs
    asked = [{"expr": replaced(expr), "eval_time": "40s", "exp_samples": samples} for expr in exprs]
    case = {"interval": "1s", "input_series": series, "promql_expr_test": asked}
    whole = {"evaluation_interval": "1s", "tests": [case]}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(whole))
    done = promtool("test", "rules", tmp_path / "test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_is_tested_firing_and_not_firing(alert: dict[str, Any]) -> None:
    expected = [
        bool(case["exp_alerts"])
        for test in yaml.safe_load(TESTS.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
        if case["alertname"] == alert["alert"]
    ]
    assert set(expected) == {True, False}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_to_do(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning"}
    path, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    assert path == "docs/runbook.md"
    headings = re.findall(r"^## (.+)$", RUNBOOK.read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
    assert alert["alert"] in headings
