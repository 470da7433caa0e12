"""The reference line, in code and as the dashboards' query restates it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from harness.domain import series
from harness.domain.population import make_population
from harness.domain.rates import per_answered
from harness.plan.reference_line import line_reads, reference_line
from tests.programs import promtool
from tools.dashboards import promql
from tools.dashboards.substitute import EVERYTHING, substituted

KEYS = make_population({"team": 2, "user": 3}, {}, seed=1, model="m")
"""Each key with its team or user: four objects in scope team, six in scope user."""
RATES = {"team": 30.0, "user": 10.0}
LINE = reference_line(KEYS, RATES, seconds=1.0, ttl_s=2.0, planted=False)


def test_one_read_for_each_object_and_ttl() -> None:
    assert line_reads(4, 6.0, 2.0) == 12


def test_the_line_of_all_scopes_counts_each_by_its_share_of_the_requests() -> None:
    # Two reads a second for 30 requests, three for 10.
    expected = {"team": 2 / 30 * 1000, "user": 3 / 10 * 1000, "all": 5 / 40 * 1000}
    assert pytest.approx(expected) == LINE


def test_it_does_not_depend_on_how_long_is_counted() -> None:
    requests = {scope: rate * 7 for scope, rate in RATES.items()}
    line = reference_line(KEYS, requests, seconds=7.0, ttl_s=2.0, planted=False)
    assert line == pytest.approx(LINE)


def test_a_planted_user_is_an_object_of_its_team_key() -> None:
    planted = reference_line(KEYS, RATES, seconds=1.0, ttl_s=2.0, planted=True)
    assert planted["team"] == pytest.approx(LINE["team"] * 6 / 4)
    assert planted["user"] == LINE["user"]


def test_a_scope_without_requests_has_no_line() -> None:
    line = reference_line(KEYS, RATES | {"user": 0}, seconds=1.0, ttl_s=2.0, planted=False)
    assert line == pytest.approx({"team": LINE["team"], "all": LINE["team"]})
    assert reference_line(KEYS, {}, seconds=1.0, ttl_s=2.0, planted=False) == {}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("expr", "expected"),
    [
        (promql.reference_line(), LINE[series.ALL]),
        (promql.reads_per_1000(), per_answered(80.0 + 20.0, sum(RATES.values()))),
    ],
    ids=["reference line", "reads per 1,000"],
)
def test_the_dashboards_query_gives_the_same_as_the_code(
    tmp_path: Path, expr: str, expected: float
) -> None:
    everything = dict.fromkeys(("variant", "replica", "key_scope", "object"), EVERYTHING)
    query = substituted(expr, everything | {"__rate_interval": "1m"})
    worker = 'variant="v",replica="0"'
    shown = [
        (f'{series.REFERENCE_LINE}{{variant="v",key_scope="{scope}"}}', f"{value!r}x10")
        for scope, value in LINE.items()
    ]
    counted = [
        (series.REQUESTS, f'key_scope="{scope}",route="{series.CHAT_ROUTE}"', rate)
        for scope, rate in RATES.items()
    ]
    counted += [
        (series.REQUESTS, f'key_scope="team",route="{series.MODELS_ROUTE}"', 1000.0),
        (series.READS, 'key_scope="team",object="key"', 80.0),
        (series.READS, 'key_scope="user",object="user"', 20.0),
    ]
    shown += [
        # promtool adds up every 15 s.
        (f"{name}{{{worker},{labels}}}", f"0+{15 * rate}x10")
        for name, labels, rate in counted
    ]
    case = {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in shown],
        "promql_expr_test": [
            {
                # promtool knows no tolerance, and a sum in another order may end otherwise.
                "expr": f"round({query}, 0.000001)",
                "eval_time": "2m",
                "exp_samples": [{"labels": '{variant="v"}', "value": round(expected, 6)}],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"tests": [case]}))
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
