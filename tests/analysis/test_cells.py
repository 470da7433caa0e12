from __future__ import annotations

from typing import Any

import pytest

from harness.analysis.cells import judge
from harness.domain.result import Estimate, KeptAlive

CLEAN: dict[str, Any] = {
    "requests": 1000,
    "failures": {},
    "unexpected": {},
    "wrong": {},
    "let_through": {},
    "stale": {},
    "reads_per_1000": 40.0,
    "reference_per_1000": 50.0,
    "elasticity": {},
    "uncached": {},
}


def slope(value: float, low: float | None) -> Estimate:
    return Estimate(value=value, low=low, high=None, n=100)


@pytest.mark.parametrize(
    ("changes", "cells", "words"),
    [
        ({}, "healthy", "0.80 x"),
        ({"reads_per_1000": 9000.0}, "healthy", "180.00 x"),
        ({"reference_per_1000": 0.0}, "healthy", "0.00 x"),
        ({"elasticity": {"user": slope(0.9, 0.5)}}, "healthy", "0.80 x"),
        ({"elasticity": {"user": slope(0.9, None)}}, "healthy", "0.80 x"),
        (
            {"elasticity": {"key": slope(0, -1), "user": slope(0.9, 0.51)}},
            "wasteful",
            "reads of the user grow with requests: slope 0.90, at least 0.51",
        ),
        (
            {"elasticity": {"user": slope(1, 0.9)}, "wrong": {"user": 1}},
            "hidden wasteful",
            "0.001 wrong user",
        ),
        (
            {"uncached": {"key": 0.974}},
            "wasteful",
            "reads of the key grow with requests: 0.97 of them read it, at least",
        ),
        ({"elasticity": {"user": slope(1, 0.9)}, "failures": {"user": 1}}, "broken", "0.001 user"),
        ({"wrong": {"user": 500}}, "hidden", "0.50 wrong user"),
        ({"failures": {"user": 1}}, "broken", "0.001 user"),
        ({"failures": {"user": 4}}, "broken", "0.004 user"),
        ({"failures": {"user": 5}}, "broken", "0.01 user"),
        # Wrong data is never masked by what else is wrong.
        ({"failures": {"user": 1}, "wrong": {"user": 500}}, "hidden broken", "0.50 wrong user"),
        ({"let_through": {"expired": 3}}, "hidden", "3 replies let through: expired"),
        ({"stale": {"key": 2}}, "stale", "2 old answers: key"),
        (
            {"stale": {"key": 2}, "unexpected": {"500": 1}, "let_through": {"blocked": 1}},
            "hidden broken stale",
            "blocked",
        ),
        ({"unexpected": {"401": 1000}}, "broken", "100.0% answered 401"),
        (
            {"kept_alive": {"user": KeptAlive(rarely_read=3, objects=4)}},
            "stale",
            "user kept alive: 3 of 4 hardly read",
        ),
        (
            {"kept_alive": {"user": KeptAlive(age_max_s=9.25)}, "failures": {"key": 1}},
            "broken stale",
            "user kept alive: served up to 9.2 s after the read",
        ),
        ({"late": ["after team-block"], "stale": {"status": 1}}, "stale", "after team-block; 1"),
    ],
)
def test_all_cells_that_apply_the_worst_first(
    changes: dict[str, Any], cells: str, words: str
) -> None:
    verdict = judge(**(CLEAN | changes))
    assert verdict.cells == cells.split()
    assert words in verdict.reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"reads_per_1000": 41.25}, "41.2 source reads per 1,000, 0.82 x the reference line"),
        (
            {"wrong": {"user": 500, "team": 250}},
            ("0.50 wrong user values per request; 0.25 wrong team values per request"),
        ),
        (
            {"failures": {"key": 10, "user": 900, "team": 20}, "unexpected": {"401": 5, "429": 1}},
            (
                "0.90 user values do not decode per request; "
                "0.02 team values do not decode per request; "
                "0.01 key values do not decode per request; 0.5% answered 401; 0.1% answered 429"
            ),
        ),
    ],
)
def test_a_reason_names_everything_and_the_most_frequent_failure_first(
    changes: dict[str, Any], reason: str
) -> None:
    assert judge(**(CLEAN | changes)).reason == reason
