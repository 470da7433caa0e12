from __future__ import annotations

from typing import Any

import pytest

from harness.analysis.cells import judge

CLEAN: dict[str, Any] = {
    "requests": 1000,
    "failures": {},
    "unexpected": {},
    "wrong": {},
    "reads_per_1000": 40.0,
    "reference_per_1000": 50.0,
}


@pytest.mark.parametrize(
    ("changes", "cell", "words"),
    [
        ({}, "healthy", "0.80 x"),
        ({"reads_per_1000": 250.0}, "healthy", "5.00 x"),
        ({"reads_per_1000": 251.0}, "wasteful", "5.02 x"),
        ({"wrong": {"user": 500}}, "hidden", "0.50 wrong user"),
        ({"wrong": {"user": 1}, "reads_per_1000": 9000.0}, "hidden", "0.001 wrong user"),
        ({"failures": {"user": 1}}, "broken", "0.001 user"),
        ({"failures": {"user": 1}, "wrong": {"user": 500}}, "broken", "user"),
        ({"unexpected": {"401": 1000}}, "broken", "100.0% answered 401"),
    ],
)
def test_the_first_cell_that_applies(changes: dict[str, Any], cell: str, words: str) -> None:
    verdict = judge(**(CLEAN | changes))
    assert verdict.cell == cell
    assert words in verdict.reason
