"""The mix and the hosts that a user types."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.authcache.words import LOAD_SCOPES
from harness.errors import UnknownNameError, UsageError
from harness.load.mix import parse_hosts, parse_mix

WEIGHTS = st.dictionaries(
    st.sampled_from([s.value for s in LOAD_SCOPES]),
    st.floats(min_value=0, exclude_min=True, allow_infinity=False),
)


@given(WEIGHTS)
def test_a_mix_is_read_as_it_is_written(mix: dict[str, float]) -> None:
    text = ", ".join(f"{scope} = {weight!r}" for scope, weight in mix.items())
    assert parse_mix(text) == mix


def test_a_scope_alone_has_weight_one() -> None:
    assert parse_mix("team,user=2,") == {"team": 1.0, "user": 2.0}


@pytest.mark.parametrize("text", ["", " ", ","])
def test_nothing_is_an_empty_mix(text: str) -> None:
    assert parse_mix(text) == {}


@given(st.text(max_size=20))
def test_any_text_is_a_mix_or_a_usage_error(text: str) -> None:
    try:
        mix = parse_mix(text)
    except UsageError:
        return
    assert all(scope in LOAD_SCOPES and weight > 0 for scope, weight in mix.items())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("team=0", r"\[team\] is \[0\]"),
        ("team=-1", r"\[team\] is \[-1\]"),
        ("team=inf", r"\[team\] is \[inf\]"),
        ("team=nan", r"\[team\] is \[nan\]"),
        ("team=", r"\[team\] is \[\]"),
        ("team=lots", r"\[team\] is \[lots\]"),
        ("team=1,team=2", r"\[team\] twice"),
        ("=1", r"no key scope \[\]"),
    ],
)
def test_a_bad_weight_or_scope_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_mix(text)


def test_an_unknown_scope_gets_the_nearest_one_suggested() -> None:
    with pytest.raises(UnknownNameError, match=r"\[shared-id\].*Did you mean \[shared_id\]"):
        parse_mix("shared-id=1")


def test_hosts_lose_spaces_and_trailing_slashes() -> None:
    text = " http://127.0.0.1:4000/ , https://gateway.test/base ,"
    assert parse_hosts(text) == ["http://127.0.0.1:4000", "https://gateway.test/base"]
    assert parse_hosts("") == []


@pytest.mark.parametrize("host", ["127.0.0.1:4000", "ftp://a", "http://", "localhost"])
def test_what_is_no_base_url_is_named(host: str) -> None:
    with pytest.raises(UsageError, match=rf"\[{host}\] is no base URL"):
        parse_hosts(f"http://a,{host}")


def test_a_host_named_twice_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\[http://a/\] is named twice"):
        parse_hosts("http://a,http://b,http://a/")
