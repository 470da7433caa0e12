from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from harness.stack.databases import safe_name


@given(st.text())
def test_any_name_becomes_an_identifier(name: str) -> None:
    assert re.fullmatch(r"[a-z0-9_]{6,31}", safe_name(name))


@given(st.text(), st.text())
def test_different_names_stay_different(first: str, second: str) -> None:
    assert (safe_name(first) == safe_name(second)) == (first == second)


def test_a_name_can_be_recognised() -> None:
    assert safe_name("litellm==1.84.0rc1").startswith("litellm_1_84_0rc1_")
