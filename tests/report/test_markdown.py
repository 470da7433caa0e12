import re

from harness.domain.rates import answered
from harness.domain.result import Cell, RefusalResult, Result
from harness.report.markdown import escape, summary_markdown
from harness.report.numbers import nothing_in
from tests.report.behaviours import MATRIX, PREMISE
from tests.report.reading import ReadTable, markdown_tables
from tests.report.sample import EMPTY, issue_27874, refused, with_changes
from tests.report.sample_pr import pr_26202


def tables(result: Result) -> list[ReadTable]:
    return markdown_tables(summary_markdown(result))


def test_the_matrix_comes_first() -> None:
    text = summary_markdown(issue_27874())
    assert text.startswith("## issue-27874: pass\n")
    assert text.index("| variant | team") < text.index("**Pass**") < text.index("Planted")
    matrix = tables(issue_27874())[0]
    assert matrix.head == ["variant", "team", "user", "shared_id", "member"]
    assert matrix.cell("fix_optional_user_id", "shared_id").startswith("\u25d0 **hidden**")
    assert "with the team's limits" in matrix.cell("fix_optional_user_id", "shared_id")
    assert matrix.cell("recommended", "team") == "\u2713 **healthy"


def test_a_run_that_measured_nothing_has_a_reason_and_no_table() -> None:
    text = summary_markdown(refused())
    assert tables(refused()) == []
    assert text.index("**Invalid run** (exit code 4)") < text.index("Name fewer variants.")
    assert "- Nothing was measured" in text
    for word in EMPTY:
        assert word.lower() not in text.lower()


def test_the_headline_has_the_reference_line() -> None:
    headline = tables(issue_27874())[1]
    assert headline.cell("litellm_1_84", "team") == "2,007<br><sub>2,003\u20132,017</sub>"
    assert headline.cell("reference line", "member") == "50.0"
    assert headline.cell("reference line", "all") == "47.0"


def test_all_tables_are_well_formed() -> None:
    # The reader fails on rows of another length than their heading.
    assert len(tables(issue_27874())) == 6
    assert len(tables(pr_26202())) == 5


def test_premises_are_named_as_planted() -> None:
    result = issue_27874().model_copy(update={"premises": [PREMISE, "Another | one"]})
    text = summary_markdown(result)
    assert f"> **Planted:** {PREMISE}" in text
    assert "> **Planted:** Another \\| one" in text
    assert "Nothing is planted in this run." in summary_markdown(pr_26202())


def test_text_from_elsewhere_cannot_break_a_table() -> None:
    result = issue_27874({"a|b`c": MATRIX["litellm_1_84"]})
    variant = result.variants["a|b`c"]
    variant.cell_reasons["team"] = "one\ntwo | three <img src=x>"
    matrix = tables(result)[0]
    assert matrix.rows[0][0] == "a\\|b\\`c"
    assert "one<br>two \\| three \\<img src=x\\>" in matrix.rows[0][1]


def test_a_cell_has_its_reason_in_a_few_words_and_all_of_them_stand_below() -> None:
    result = issue_27874()
    late = "old answers for at least 6.8 s, beyond the promise of 4.1 s"
    brief = f"{late}; 409 old answers"
    whole = (
        f"{late}: after key-block, of up to 8 of 8 workers; 409 old answers: key; key kept alive"
    )
    variant = result.variants["recommended"]
    variant.cells["user"], variant.cell_reasons["user"] = ["stale"], whole
    found = tables(result)
    assert found[0].cell("recommended", "user") == f"\u25f7 **stale**<br><sub>{brief}</sub>"
    below = next(table for table in found if table.head[-1] == "reasons")
    rows = [row[1:] for row in below.rows if "recommended" in row[0]]
    assert rows == [["user", "stale", whole]]


def test_names_keep_their_underscores() -> None:
    assert escape("litellm_1_84 _emphasis_") == "litellm_1_84 \\_emphasis\\_"
    assert escape("#27874 [x](y)") == "\\#27874 \\[x\\](y)"


def test_a_healthy_cell_that_was_not_expected_says_so() -> None:
    result = issue_27874()
    result.expectations[1] = result.expectations[1].model_copy(update={"state": "fails"})
    assert "fails an expectation" in tables(result)[0].cell("litellm_1_84", "user")


def test_what_decides_about_trust_is_there() -> None:
    text = summary_markdown(issue_27874())
    assert "- Ledger balanced: 92 balanced, 4 not checked, 0 unbalanced, 1 finding" in text
    assert "residual 4,250" in text
    assert "- Generator: 28,000 of 28,000" in text
    assert "- Expectations: 18 of 18 hold, 0 failed." in text


def test_scopes_without_requests_are_absent() -> None:
    text = summary_markdown(pr_26202())
    assert markdown_tables(text)[0].head == ["variant", "user"]
    assert "shared_id" not in text


def test_the_combined_view_is_there_where_it_was_measured() -> None:
    view = next(t for t in tables(pr_26202()) if "calls" in t.head)
    assert view.rows[2] == ["litellm_1_84", "30", "77", "16.17", "0.210", "77", "75.0"]
    assert not any("calls" in t.head for t in tables(issue_27874()))


def test_details_are_closed() -> None:
    text = summary_markdown(issue_27874())
    assert len(re.findall("<details>", text)) == len(re.findall("</details>", text)) == 4


def _refusing(*cells: Cell) -> Result:
    """The default scenario, of which one cell and the refusals of one variant are others."""
    result = issue_27874()
    variant = result.variants["recommended"]
    refusals = {
        "team": {
            "expired": RefusalResult(expected=401, answers={"401": 20, "200": 3}),
            "no_limits": RefusalResult(expected=200, answers={"200": 9}),
        },
        "user": {"expired": RefusalResult(expected=401, answers={"401": 5})},
    }
    changes = {
        "cells": variant.cells | {"team": list(cells)},
        "cell_reasons": variant.cell_reasons | {"team": "why"},
        "let_through": {"team": {"expired": 3}},
        "refusals": refusals,
    }
    changed = result.variants | {"recommended": variant.model_copy(update=changes)}
    return result.model_copy(update={"variants": changed})


def test_the_worst_cell_is_shown_and_the_others_are_named_below_it() -> None:
    matrix = tables(_refusing("hidden", "broken", "wasteful"))[0]
    assert matrix.cell("recommended", "team") == (
        "\u25d0 **hidden**<br><sub>also broken, wasteful; why</sub>"
    )


def test_what_was_let_through_is_counted_and_what_was_not_asked_is_a_dash() -> None:
    measures = _measures(_refusing("hidden"))
    assert measures.cell("let through", "recommended").startswith("3<br><sub>team expired 3")
    assert measures.cell("let through", "litellm_1_84") == "\u2013"


def test_none_let_through_is_one_of_the_requests_that_should_be_refused() -> None:
    result = _refusing("healthy")
    refusing = result.variants["recommended"].model_copy(update={"let_through": {}})
    result = result.model_copy(
        update={"variants": result.variants | {"recommended": refusing}, "bound_error": 0.05}
    )
    # 20 + 3 + 5 answers called for a refusal; the 9 to a key without limits did not.
    found = _measures(result).cell("let through", "recommended")
    assert found == escape(nothing_in(28, 0.05))


def _measures(result: Result) -> ReadTable:
    return next(t for t in tables(result) if t.head[0] == "measure")


def _with_stale(result: Result, stale: dict[str, dict[str, int]]) -> Result:
    update = {"stale": stale, "wrong_values": {}, "unexpected_statuses": {}}
    variants = {n: v.model_copy(update=update) for n, v in result.variants.items()}
    return result.model_copy(update={"variants": variants, "bound_error": 0.05})


def test_where_nothing_changed_there_is_no_count_of_stale_answers() -> None:
    found = _measures(_with_stale(issue_27874(), {}))
    assert found.cell("stale answers", "recommended") == "\u2013"
    assert found.cell("wrong values", "recommended").startswith("0 (")


def test_no_stale_answer_is_one_of_the_replies_that_could_be_stale() -> None:
    result = with_changes(issue_27874())
    found = _measures(_with_stale(result, {}))
    # Two clocks, of 32 replies each, after the promise.
    assert found.cell("stale answers", "recommended") == escape(nothing_in(64, 0.05))
    assert found.cell("stale answers", "fix_keep_none") == "\u2013"


def test_a_stale_answer_after_a_fault_is_shown_without_any_other_change() -> None:
    found = _measures(_with_stale(issue_27874(), {"team": {"status": 3}}))
    assert found.cell("stale answers", "recommended").startswith("3<br>")


def test_no_wrong_value_is_one_of_all_requests_that_were_judged() -> None:
    result = _with_stale(issue_27874(), {})
    variant = result.variants["recommended"]
    asked = variant.windows[-1].model_copy(
        update={"phase": "refusals", "requests": {"team": {"401": 50_000}}}
    )
    result.variants["recommended"] = variant.model_copy(
        update={"windows": [*variant.windows, asked]}
    )
    found = _measures(result)
    bound = escape(nothing_in(answered(variant.requests) + 50_000, 0.05))
    assert found.cell("wrong values", "recommended") == bound
    assert found.cell("unexpected statuses", "recommended") == bound
    assert found.cell("wrong values", "fix_keep_none") != bound


def test_refusals_are_listed_by_kind_over_all_scopes() -> None:
    listed = next(t for t in tables(_refusing("hidden")) if t.head[0] == "key")
    assert [row[0] for row in listed.rows] == ["expired", "no_limits"]
    assert listed.cell("expired", "recommended") == (
        "401: 25<br><sub>not called for<br>200: 3</sub>"
    )
    assert listed.cell("no_limits", "recommended") == "200: 9"
    assert listed.cell("expired", "litellm_1_84") == "\u2013"
    assert not any(t.head[0] == "key" for t in tables(issue_27874()))
