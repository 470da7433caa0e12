"""Questions in a sentence: each form, and near misses."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.questions import BOUNDS, FIGURES, SCOPES, parse_question
from harness.errors import UsageError
from harness.scenario.schema import CellExpectation, LimitExpectation, RatioExpectation


@pytest.mark.parametrize("scope", SCOPES)
def test_a_cell(scope: str) -> None:
    asked = parse_question(f"{scope} is healthy", "v")
    assert isinstance(asked, CellExpectation)
    assert (asked.variant, asked.scope, asked.is_) == ("v", scope, "healthy")
    also = parse_question(f"{scope} has stale?", "v")
    assert isinstance(also, CellExpectation)
    assert (also.has, also.is_) == ("stale", None)


@pytest.mark.parametrize(
    ("text", "metric", "scope", "kind", "least", "most"),
    [
        ("key reads per 1,000 < 10", "source_reads_per_1000", "all", "key", None, 10),
        (
            "key reads per 1,000 in team at most 10",
            "source_reads_per_1000",
            "team",
            "key",
            None,
            10,
        ),
        ("source reads per 1000>=0.5", "source_reads_per_1000", "all", None, 0.5, None),
        ("ttl_kept in user above 0.9", "ttl_kept", "user", None, 0.9, None),
        ("log pairs per 1,000 in all <= 1,000", "log_pairs_per_1000", "all", None, None, 1000),
        ("wrong values < 1", "wrong_values", "all", None, None, 1),
    ],
)
def test_a_limit(
    text: str, metric: str, scope: str, kind: str | None, least: float | None, most: float | None
) -> None:
    asked = parse_question(text, "v")
    assert isinstance(asked, LimitExpectation)
    assert (asked.metric, asked.scope, asked.object) == (metric, scope, kind)
    assert (asked.min, asked.max) == (least, most)


def test_a_ratio() -> None:
    asked = parse_question("reads per 1,000 in team < 1.1 times that of litellm==1.92.2", "v")
    assert isinstance(asked, RatioExpectation)
    assert (asked.metric, asked.scope, asked.to, asked.max) == (
        "source_reads_per_1000",
        "team",
        "litellm==1.92.2",
        1.1,
    )


@pytest.mark.parametrize(
    ("said", "to"),
    [
        ("litellm@.", "litellm@."),
        ("litellm@..", "litellm@.."),
        ("litellm@../my tree#v1.2?", "litellm@../my tree#v1.2"),
        ("recommended.", "recommended"),
    ],
)
def test_the_other_of_a_ratio_may_be_a_path(said: str, to: str) -> None:
    asked = parse_question(f"reads per 1,000 < 1.1 times that of {said}", "v")
    assert isinstance(asked, RatioExpectation)
    assert asked.to == to


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shared is healthy", r"scope \[shared\]. Did you mean \[shared_id\]"),
        ("team is helthy", r"Did you mean \[healthy\]"),
        ("key reds per 1,000 < 10", r"figure \[key reds per 1000\]"),
        ("reads per 1,000 in teem < 10", r"Did you mean \[team\]"),
        ("", "is no question"),
        ("is it good?", "is no question"),
        ("reads per 1,000 < 1.2.3", "is no number"),
        ("reads per 1,000 > 2 times that of v", "upper bound"),
        ("entry age in team < 3", "leave both out"),
    ],
)
def test_what_is_no_question_says_what_is(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_question(text, "v")


@given(
    st.sampled_from(sorted(FIGURES)),
    st.sampled_from(sorted(BOUNDS)),
    st.floats(0, 1e6).map(lambda number: round(number, 3)),
)
def test_every_figure_takes_every_bound(figure: str, bound: str, number: float) -> None:
    asked = parse_question(f"{figure} {bound} {number:.3f}", "v")
    assert isinstance(asked, LimitExpectation)
    assert asked.metric == FIGURES[figure]
    assert (asked.min if BOUNDS[bound] == "min" else asked.max) == number


@given(st.text(max_size=60))
def test_any_text_is_a_question_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(UsageError):
        parse_question(text, "v")
