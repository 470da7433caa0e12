import pytest

from harness.domain.result import CombinedViewRow
from harness.report.combined_view import check_combined_view, combined_view_table
from harness.report.numbers import NOT_MEASURED
from tests.report.sample import issue_27874
from tests.report.sample_pr import pr_26202


def row(
    window_s: float = 300,
    calls: int = 100,
    total_ms: float = 21.0,
    avg_ms: float = 0.21,
    rows: int = 100,
    variant: str = "a",
) -> CombinedViewRow:
    return CombinedViewRow(
        variant=variant,
        window_s=window_s,
        calls=calls,
        total_ms=total_ms,
        avg_ms=avg_ms,
        rows=rows,
        expected_calls=100,
    )


WITHOUT_REDIS = [
    row(300, 1249, 269.35, 0.22, 1249, "without"),
    row(600, 1858, 394.99, 0.21, 1858, "without"),
]
WITH_REDIS = [
    row(300, 52, 35.36, 0.68, 51, "with"),
    row(600, 93, 35.36, 0.68, 51, "with"),
]


def test_the_published_table_without_redis_adds_up() -> None:
    assert check_combined_view(WITHOUT_REDIS) == []


def test_the_published_table_with_redis_does_not() -> None:
    faults = check_combined_view([*WITHOUT_REDIS, *WITH_REDIS])
    assert len(faults) == 2
    assert all(fault.startswith("with, 600 s: ") for fault in faults)
    assert "avg_ms is 0.68, but total_ms / calls is 35.36 / 93 = 0.38" in faults[0]
    assert "41 more calls" in faults[1]
    assert "in the same total_ms" in faults[1]


def test_rows_that_this_harness_makes_add_up() -> None:
    assert check_combined_view(pr_26202().combined_view) == []


def test_nothing_is_wrong_with_no_rows_and_no_calls() -> None:
    assert check_combined_view([]) == []
    assert check_combined_view([row(calls=0, total_ms=0, avg_ms=0, rows=0)]) == []


def test_no_calls_have_no_time_and_no_rows() -> None:
    assert check_combined_view([row(calls=0, total_ms=0, avg_ms=0, rows=1)]) == [
        "a, 300 s: no calls, but time or rows"
    ]


@pytest.mark.parametrize("avg_ms", [0.215, 0.205, 0.2146, 0.21, 21 / 100])
def test_rounding_is_forgiven(avg_ms: float) -> None:
    # 21.0 may stand for 20.995 to 21.005, 0.215 for 0.2145 to 0.2155: the first is no rounding.
    faults = check_combined_view([row(avg_ms=avg_ms)])
    assert bool(faults) == (abs(avg_ms - 0.21) > 0.004)


def test_an_average_with_many_digits_must_fit_with_many_digits() -> None:
    exact = row(calls=7, total_ms=1.0, avg_ms=1 / 7, rows=7)
    assert check_combined_view([exact]) == []
    assert check_combined_view([exact.model_copy(update={"avg_ms": 0.14486785714})])


def test_a_point_query_returns_no_more_rows_than_calls() -> None:
    assert check_combined_view([row(rows=101)]) == [
        "a, 300 s: 101 rows from 100 calls of a point query"
    ]
    assert check_combined_view([row(rows=40)]) == []


@pytest.mark.parametrize("field", ["calls", "total_ms", "rows"])
def test_a_longer_window_holds_at_least_what_it_contains(field: str) -> None:
    # Given in the wrong order on purpose: windows are recognised by their length.
    longer = row(600, 200, 42.0, 0.21, 200)
    less = longer.model_copy(update={field: 10})
    assert check_combined_view([longer, row()]) == []
    faults = check_combined_view([less, row()])
    assert any(f"{field} is smaller than in the 300 s" in fault for fault in faults)


def test_windows_of_two_variants_do_not_contain_each_other() -> None:
    assert check_combined_view([row(300), row(600, 10, 2.1, 0.21, 10, variant="b")]) == []


def test_the_table_has_the_columns_of_the_pull_request() -> None:
    table = combined_view_table(pr_26202())
    assert table is not None
    assert [c.label for c in table.columns][:5] == [
        "window, s",
        "calls",
        "total_ms",
        "avg_ms",
        "rows",
    ]
    assert [c.text for c in table.rows[2].cells] == ["30", "77", "16.17", "0.210", "77", "75.0"]
    assert combined_view_table(issue_27874()) is None


def test_a_dash_stands_where_no_formula_holds() -> None:
    result = pr_26202()
    result.combined_view[2] = result.combined_view[2].model_copy(update={"expected_calls": None})
    table = combined_view_table(result)
    assert table is not None
    assert [row.cells[-1].text for row in table.rows] == ["1,200", "2,400", NOT_MEASURED, "150"]
