"""What budgets let through, from samples made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.expectations import METRICS
from harness.analysis.spend import open_at_once, owner_budgets
from harness.analysis.twin_measures import MEASURES, places
from harness.domain.result import OwnerBudget, Result, VariantResult
from harness.domain.samples import Sample, SampleWriter
from harness.errors import UsageError
from harness.report.measures import measures_table
from harness.report.numbers import NOT_MEASURED
from harness.scenario.loader import load_scenario
from harness.scenario.schema import Scenario
from harness.scenario.sizing import population
from tests.report.sample import issue_27874

BUDGETS = {"user": {"key": 3}, "member": {"team": 2, "membership": 5}}


def scenario(**changes: Any) -> Scenario:
    people = {"user": 2, "member": 1, "team": 1, "budgets": BUDGETS, **changes}
    return Scenario.model_validate(
        {
            "name": "made-up",
            "title": "Made up",
            "ttl_s": 2.0,
            "variants": ["a"],
            "population": people,
            "load": {
                "rate_per_s": 100,
                "warmup_ttls": 0,
                "mix": {"user": 1, "member": 1, "team": 1},
            },
        }
    )


def sample(key: int, status: int, sent_s: float = 0.0, done_s: float = 0.1) -> Sample:
    return Sample("w", "user", key, 0, sent_s, sent_s, done_s, status, "", 250, "")


def budgets_of(tmp_path: Path, *windows: Sequence[Sample]) -> Mapping[Any, OwnerBudget]:
    files = []
    for number, window in enumerate(windows):
        files.append(tmp_path / f"{number}.csv.gz")
        with SampleWriter(files[-1]) as writer:
            for one in window:
                writer.write(one)
    made = scenario()
    found = owner_budgets(made, population(made), files)
    return {(one.owner, *one.keys): one for one in found}


def test_the_population_has_the_budgets_and_no_other_within_reach() -> None:
    by_scope = {key.scope: key for key in population(scenario())}

    assert by_scope["user"].key_limits.max_budget == pytest.approx(3 * 0.00025)
    member = by_scope["member"]
    assert member.team_limits is not None
    assert member.team_limits.max_budget == pytest.approx(2 * 0.00025)
    assert member.member_max_budget == pytest.approx(5 * 0.00025)
    assert (member.key_limits.max_budget or 0) > 1_000_000
    assert (by_scope["team"].key_limits.max_budget or 0) > 1_000_000


def test_replies_are_counted_by_owner_over_all_windows(tmp_path: Path) -> None:
    # The population's order is team, user, user, member.
    first = [sample(1, 200, i, i + 0.1) for i in range(3)] + [sample(2, 200), sample(2, 500)]
    second = [sample(1, 200), sample(1, 200), sample(1, 429), sample(3, 200), sample(1, 0)]

    found = budgets_of(tmp_path, first, second)

    assert found.keys() == {("key", 1), ("key", 2), ("team", 3), ("membership", 3)}
    one = found["key", 1]
    assert (one.affordable, one.admitted, one.refused, one.overshoot) == (3, 5, 1, 2)
    assert one.open_at_once == 4  # the one without an answer too
    assert (found["key", 2].admitted, found["key", 2].refused) == (1, 1)
    assert (found["team", 3].overshoot, found["membership", 3].overshoot) == (-1, -4)


def test_without_budgets_nothing_is_read(tmp_path: Path) -> None:
    made = scenario(budgets={})

    assert owner_budgets(made, population(made), [tmp_path / "none"]) == []


@given(
    st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 20)).map(
            lambda pair: sample(0, 200, pair[0], pair[0] + pair[1])
        ),
        max_size=12,
    )
)
def test_open_at_once_is_the_fullest_moment(samples: list[Sample]) -> None:
    moments = [m + 0.5 for m in range(42)]
    fullest = max(sum(s.sent_s < m < s.done_s for s in samples) for m in moments)

    assert open_at_once(samples) == fullest


def budgeted(*owners: tuple[str, str, int, int]) -> VariantResult:
    variant: VariantResult = next(iter(issue_27874().variants.values()))
    rows = [
        OwnerBudget(
            owner=owner, scope=scope, keys=[0], affordable=200, admitted=admitted,
            refused=7, open_at_once=at_once,
        )
        for owner, scope, admitted, at_once in owners
    ]  # fmt: skip
    return variant.model_copy(update={"budgets": rows})


def test_an_expectation_goes_by_the_worst_owner() -> None:
    variant = budgeted(("key", "user", 203, 1), ("team", "team", 210, 20))
    figures = {
        (name, scope): METRICS[name].figure(variant, scope, None)
        for name in ("overshoot", "overshoot_beyond_open")
        for scope in ("all", "user", "team", "member")
    }

    assert figures == {
        ("overshoot", "all"): 10,
        ("overshoot", "user"): 3,
        ("overshoot", "team"): 10,
        ("overshoot", "member"): None,
        ("overshoot_beyond_open", "all"): 2,
        ("overshoot_beyond_open", "user"): 2,
        ("overshoot_beyond_open", "team"): -10,
        ("overshoot_beyond_open", "member"): None,
    }


def test_the_report_says_how_many_of_how_many() -> None:
    result: Result = issue_27874()
    name = next(iter(result.variants))
    result.variants[name] = budgeted(("key", "user", 318, 3))
    (row,) = [r for r in measures_table(result).rows if "budget" in r.head.text]

    assert row.head.text == "key budget, scope user: replies"
    assert (row.cells[0].text, row.cells[0].note) == ("318 of 200", "3 open at once, 7 refused")
    assert row.cells[1].text == NOT_MEASURED
    assert not [r for r in measures_table(issue_27874()).rows if "budget" in r.head.text]


def test_twins_are_compared_by_what_they_let_through() -> None:
    (measure,) = [one for one in MEASURES if one.name == "overshoot"]
    variant = budgeted(("key", "user", 318, 3))

    assert places(measure, variant) == [("user", "key")]
    reading = measure.read(variant, "user", "key")
    assert getattr(reading, "value", None) == 118
    assert places(measure, budgeted()) == []


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("[population]\nuser = 1\nbudgets = { user = { team = 5 } }", "user have no team"),
        (
            "[population]\nmember = 1\nmember_row = 'cleared'\nbudgets.member.membership = 5",
            "member have no membership",
        ),
        ("[population]\nuser = 1\nbudgets = { user = { key = 0 } }", "greater than or equal to 1"),
        ("[population]\nuser = 1\nbudgets = { user = { kee = 5 } }", "kee"),
        (
            "[population]\nuser = 1\nbudgets = { user = { key = 5 } }\n[mock]\ncost_micro = 0",
            "cost_micro > 0",
        ),
    ],
)
def test_budgets_that_no_run_can_use(tmp_path: Path, table: str, words: str) -> None:
    scope = "member" if "member = 1" in table else "user"
    head = f'name = "a"\ntitle = "A"\nttl_s = 2\nvariants = ["recommended"]\n{table}\n'
    load = f"[load]\nrate_per_s = 100\nwarmup_ttls = 0\nmix = {{ {scope} = 1 }}\n"
    path = tmp_path / "mine.toml"
    path.write_text(head + load)

    with pytest.raises(UsageError, match=words):
        load_scenario(str(path))
    path.write_text(head.partition("budgets")[0] + load)
    load_scenario(str(path))


def test_a_warm_up_would_hide_what_it_admits() -> None:
    with pytest.raises(ValueError, match="warmup_ttls = 0"):
        Scenario.model_validate(
            scenario().model_dump(by_alias=True)
            | {"load": {"rate_per_s": 100, "mix": {"user": 1}, "warmup_ttls": 1}}
        )
