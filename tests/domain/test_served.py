from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.domain.served import Served, format_served, parse_served

_word = st.text(
    st.characters(codec="ascii", categories=["L", "N"], include_characters="_"), min_size=1
)
_entries = st.lists(
    st.builds(
        Served,
        object=_word,
        tier=_word,
        digest=_word,
        age_ms=st.none() | st.integers(0, 10**9),
        writer=st.just("") | _word,
    )
)


@given(entries=_entries)
def test_what_a_replica_says_is_what_the_load_side_reads(entries: list[Served]) -> None:
    assert parse_served(format_served(entries)) == entries


def test_as_it_stands_in_a_header() -> None:
    entries = [Served("key", "memory", "3f2a", 1520), Served("user", "source", "absent", None)]

    assert format_served(entries) == "key;memory;3f2a;1520,user;source;absent;-"


def test_a_writer_is_named_only_where_it_is_known() -> None:
    entries = [Served("key", "redis", "3f2a", 40, "litellm_1_84"), Served("team", "source", "9", 0)]

    assert format_served(entries) == "key;redis;3f2a;40;litellm_1_84,team;source;9;0"


@pytest.mark.parametrize(
    "value",
    [
        "key",
        "key;memory;3f2a",
        "key;memory;3f2a;1520;a;b",
        "key;memory;3f2a;1520;",
        "key;memory;3f2a;soon",
        ",",
        ";;;",
    ],
)
def test_anything_else_is_a_value_error(value: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|int"):
        parse_served(value)
