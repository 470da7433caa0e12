"""Which figures a report has, and what each of them shows of a made-up run."""

from __future__ import annotations

import pytest

from harness.domain.result import Result
from harness.report.details import windows_table
from harness.report.figures import Figure, figures
from harness.report.series import series_of
from tests.report.sample import issue_27874, refused


def of(result: Result) -> dict[str, Figure]:
    return {one.name: one for one in figures(result, series_of(result))}


def test_a_run_with_data_has_all_figures_in_the_order_of_the_page() -> None:
    assert list(of(issue_27874())) == ["reads", "outcomes", "over-time", "latency", "payload"]


def test_what_has_no_data_has_no_figure() -> None:
    result = issue_27874()
    for variant in result.variants.values():
        variant.payload_bytes.clear()
        variant.codec_us.clear()
        variant.lookups.clear()
    assert list(of(result)) == ["reads", "over-time", "latency"]
    assert of(refused()) == {}


def test_reads_have_a_panel_a_scope_and_say_every_variant_aloud() -> None:
    result = issue_27874()
    reads = of(result)["reads"]
    assert [panel.title for panel in reads.panels][:1] == ["team"]
    for panel in reads.panels:
        assert all(name in panel.svg for name in result.variants)
        assert "reference line" in panel.note


def test_a_legend_names_each_variant_once_and_the_line_beside_lines() -> None:
    result = issue_27874()
    made = of(result)
    assert [key.label for key in made["latency"].legend] == list(result.variants)
    assert [key.label for key in made["over-time"].legend] == [*result.variants, "reference line"]
    assert {key.shape for key in made["over-time"].legend[:-1]} == {"line"}


def test_only_a_long_table_is_folded() -> None:
    made = of(issue_27874())
    assert made["over-time"].folded
    for figure in made.values():
        assert figure.folded == (len(figure.table.rows) >= 12)


@pytest.mark.parametrize("phase", ["refusals", "changes"])
def test_windows_of_other_keys_are_in_the_table_of_windows_and_in_no_chart(phase: str) -> None:
    result = issue_27874()
    variant = result.variants["recommended"]
    last = variant.windows[-1].model_copy(update={"name": "refused", "phase": phase})
    windows = [*variant.windows, last]
    changed = variant.model_copy(update={"windows": windows})
    result = result.model_copy(update={"variants": result.variants | {"recommended": changed}})
    names = {point.name for one in series_of(result) for point in one.points}
    assert "refused" not in names
    assert len(names) == sum(len(v.windows) for v in result.variants.values()) - 1
    row = next(row for row in windows_table(result).rows if row.head.text == "refused")
    assert row.cells[2].text == phase
