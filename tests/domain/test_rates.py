from __future__ import annotations

import pytest

from harness.domain.rates import answered, of_scope, per_answered

REQUESTS = {"team": {"200": 3, "401": 1}, "user": {"200": 6}}


@pytest.mark.parametrize(("scope", "expected"), [("team", 4), ("user", 6), ("all", 10), ("x", 0)])
def test_every_status_counts_as_answered(scope: str, expected: int) -> None:
    assert answered(REQUESTS, scope) == expected


def test_all_scopes_are_meant_unless_one_is_named() -> None:
    assert answered(REQUESTS) == 10
    assert answered({}) == 0


def test_a_scope_without_an_entry_gives_nothing() -> None:
    assert of_scope({"team": 0, "user": 2}, "team") == [0]
    assert of_scope({"team": 0, "user": 2}, "member") == []
    assert of_scope({"team": 0, "user": 2}, "all") == [0, 2]


def test_a_rate_is_per_1000_unless_another_number_is_given() -> None:
    assert per_answered(3, 4) == 750
    assert per_answered(3, 4, 100) == 75
    assert per_answered(0, 4) == 0


def test_without_a_request_there_is_no_rate() -> None:
    assert per_answered(3, 0) is None
