"""The fleets that a load can drive."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UnknownNameError, UsageError
from harness.load.fleets import LoadFleet, choose, even_hosts, parse_fleets

A = LoadFleet("a", ("http://h:1", "http://h:2"))
B = LoadFleet("litellm==1.84.0", ("http://h:3",))


def test_fleets_stand_between_semicolons() -> None:
    text = "a=http://h:1, http://h:2/ ; litellm==1.84.0=http://h:3;"
    assert parse_fleets(text) == [A, B]
    assert parse_fleets("http://h:1") == [LoadFleet("", ("http://h:1",))]
    assert parse_fleets("http://h:1/?a=http://b") == [LoadFleet("", ("http://h:1/?a=http://b",))]
    assert parse_fleets(" ") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=http://h:1;http://h:2", "has no usable name"),
        ("all=http://h:1", r"\[all\] has no usable name"),
        ("a=http://h:1;a=http://h:2", r"\[a\] is named twice"),
        ("a=http://h:1;b=http://h:1", "named twice, so that it would get twice the load"),
        ("a=", r"\[a\] has no replica"),
        ("a=h:1", "no base URL"),
    ],
)
def test_what_is_no_list_of_fleets_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_fleets(text)


def test_one_or_all_can_be_chosen() -> None:
    assert choose([A, B], "all") == [A, B]
    assert choose([A, B], "a") == [A]
    with pytest.raises(UnknownNameError, match=r"There is no fleet \[c\]"):
        choose([A, B], "c")


@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_every_fleet_gets_the_same_and_its_replicas_alike(sizes: list[int]) -> None:
    fleets = [
        LoadFleet(f"f{f}", tuple(f"http://{f}:{n}" for n in range(size)))
        for f, size in enumerate(sizes)
    ]
    hosts = even_hosts(fleets)
    assert len(set(Counter(name for name, _ in hosts).values())) == 1
    for fleet in fleets:
        assert len({Counter(hosts)[fleet.name, host] for host in fleet.hosts}) == 1
