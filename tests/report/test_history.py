import io
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from harness.analysis.spend import users_cost_micro
from harness.domain.result import Result
from harness.errors import UsageError
from harness.report.history import history_table, releases_of, require_releases
from harness.report.history_report import history_files, history_markdown, print_history
from tests.report.reading import ReadTable, markdown_tables
from tests.report.sample import issue_27874
from tests.report.sample_releases import COST_MICRO, change, change_windows, releases_run
from tests.style.contrast import contrast

SVG = "{http://www.w3.org/2000/svg}"


def table(result: Result) -> ReadTable:
    (found,) = markdown_tables(history_markdown(result))
    return found


def column(result: Result, name: str) -> list[str]:
    read = table(result)
    return [read.cell(row[0].strip("`"), name) for row in read.rows]


def test_releases_stand_in_order_of_version() -> None:
    result = releases_run()
    assert next(iter(result.variants)) == "litellm==1.93.0"
    assert [r.version for r in releases_of(result)] == ["1.83.14", "1.84.0rc1", "1.90.0", "1.93.0"]
    assert [row[0] for row in table(result).rows] == ["1.83.14", "1.84.0rc1", "1.90.0", "1.93.0"]


def test_reference_variants_are_no_releases() -> None:
    result = releases_run()
    result.variants["recommended"] = issue_27874().variants["recommended"]
    assert [r.version for r in releases_of(result)] == ["1.83.14", "1.84.0rc1", "1.90.0", "1.93.0"]


def test_every_column_says_what_it_is_called() -> None:
    result = releases_run()
    found = {name: column(result, name) for name in table(result).head[1:]}
    broken, healthy = "\u2715 **broken", "\u2713 **healthy"
    assert found == {
        "team": [healthy] * 4,
        "user": [healthy] * 4,
        "shared_id": [healthy, broken, broken, healthy],
        "member": [healthy, broken, healthy, healthy],
        "log pairs, shared_id": ["0", "1,000", "1,000", "0"],
        "log pairs, member": ["0", "3,000", "0", "0"],
        "key reads": ["19.0"] * 4,
        "user reads": ["19.0", "219", "219", "19.0"],
        "team reads": ["4"] * 4,
        "membership reads": ["5", "405", "5", "5"],
        "user reads, shared_id": ["10.0", "1,011", "1,011", "10.0"],
        "status, member": ["200: 100.0 %", "401: 100.0 %", "200: 100.0 %", "200: 100.0 %"],
        "key payload, bytes": ["\u2013", "733", "733", "2,322"],
        "backfill TTL, s": ["\u2013", "600", "600", "key 60<br>membership 600"],
        "user spend lost": ["0 %", "40.0 %", "40.0 %", "0 %"],
    }


def test_several_statuses_stand_below_each_other_the_most_frequent_first() -> None:
    result = releases_run()
    statuses = {"200": 300, "401": 900}
    requests = result.variants["litellm==1.90.0"].requests | {"member": statuses}
    change(result, "litellm==1.90.0", requests=requests)
    assert table(result).cell("1.90.0", "status, member") == "401: 75.0 %<br>200: 25.0 %"


def test_reads_of_all_scopes_are_per_request_of_any_scope() -> None:
    result = releases_run()
    reads = {"team": {"key": 30}, "unknown": {"key": 10}}
    change_windows(result, "litellm==1.90.0", source_reads=reads)
    # 2,000 requests a window; reads of keys that were never resolved are reads all the same.
    assert table(result).cell("1.90.0", "key reads") == "20.0"


def test_a_scope_without_load_has_no_column() -> None:
    result = releases_run()
    for name, variant in result.variants.items():
        requests = {s: n for s, n in variant.requests.items() if s in ("team", "user")}
        change(result, name, requests=requests)
    assert table(result).head[1:4] == ["team", "user", "key reads"]


def test_a_scope_that_one_release_lacks_is_a_dash() -> None:
    result = releases_run()
    variant = result.variants["litellm==1.90.0"]
    windows = [
        w.model_copy(update={"requests": {s: n for s, n in w.requests.items() if s != "member"}})
        for w in variant.windows
    ]
    requests = {s: n for s, n in variant.requests.items() if s != "member"}
    cells = {s: c for s, c in variant.cells.items() if s != "member"}
    change(result, "litellm==1.90.0", windows=windows, requests=requests, cells=cells)
    read = table(result)
    for name in ("member", "log pairs, member", "status, member"):
        assert read.cell("1.90.0", name) == "\u2013"


def test_lost_spend_is_a_share_of_what_the_users_cost() -> None:
    result = releases_run()
    # 500, 400 and 400 requests a window of user, shared_id and member; member is 401 in rc1.
    assert users_cost_micro(result, "litellm==1.90.0") == 3 * 1300 * COST_MICRO
    assert users_cost_micro(result, "litellm==1.84.0rc1") == 3 * 900 * COST_MICRO
    change(result, "litellm==1.90.0", spend_drift_micro={"user": -39 * COST_MICRO})
    assert table(result).cell("1.90.0", "user spend lost") == "\u22121.0 %"


def test_lost_spend_without_a_cost_is_not_measured() -> None:
    result = releases_run()
    for equation in result.ledger.equations:
        if equation.name == "key_spend" and equation.variant == "litellm==1.90.0":
            equation.left = None
    assert users_cost_micro(result, "litellm==1.90.0") is None
    assert table(result).cell("1.90.0", "user spend lost") == "\u2013"
    assert table(result).cell("1.84.0rc1", "user spend lost") == "40.0 %"


def test_points_that_were_not_wrapped_are_named() -> None:
    result = releases_run()
    assert "ot instrumented" not in history_markdown(result)
    change(result, "litellm==1.83.14", not_instrumented=["codec"])
    assert "- Not instrumented in litellm==1.83.14: codec. No figure" in history_markdown(result)


def test_a_run_without_releases_is_refused() -> None:
    with pytest.raises(UsageError, match=r"has no measured release, only \[litellm_1_84, "):
        require_releases(issue_27874())
    require_releases(releases_run())


def test_an_invalid_run_without_any_release_still_has_a_page() -> None:
    result = releases_run().model_copy(
        update={
            "variants": {},
            "verdict": "invalid",
            "exit_code": 4,
            "reasons": ["A replica died."],
        }
    )
    files = history_files(result)
    assert list(files) == ["history.md"], "a chart of nothing"
    assert "A replica died." in files["history.md"]
    assert "Nothing was measured" in files["history.md"]
    assert "|" not in files["history.md"]
    assert history_table(result).rows == ()


def bars(svg: ET.Element) -> dict[str, float]:
    """Height of every bar that is drawn, by its text."""
    found = {}
    for bar in svg.iter(f"{SVG}g"):
        title = bar.find(f"{SVG}title")
        rect = bar.find(f"{SVG}rect")
        if bar.get("class") == "bar" and title is not None and rect is not None:
            found[str(title.text)] = float(rect.get("height", 0))
    return found


def test_the_chart_has_a_bar_for_each_release_scope_and_measure() -> None:
    files = history_files(releases_run())
    assert list(files) == ["history.md", "history.svg"]
    assert "](history.svg)" in files["history.md"]
    svg = ET.fromstring(files["history.svg"])
    heights = bars(svg)
    assert len(heights) == 4 * 2 * 2
    assert heights["1.83.14, member, log pairs: 0"] == 0
    pairs = heights["1.84.0rc1, member, log pairs: 3,000"]
    assert pairs == pytest.approx(3 * heights["1.84.0rc1, shared_id, log pairs: 1,000"], abs=0.5)
    # Reads of a window are medians of sums, and so a little off the sum of medians by object.
    assert heights["1.84.0rc1, member, source reads: 2,050"] < pairs
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert "1.84.0rc1" in texts
    assert "member: source reads" in texts
    assert "per 1,000 requests" in texts


def test_the_chart_stands_by_itself() -> None:
    text = history_files(releases_run())["history.svg"]
    svg = ET.fromstring(text)
    assert svg.tag == f"{SVG}svg"
    assert svg.get("aria-label", "").startswith("Log pairs and source reads")
    (style,) = svg.iter(f"{SVG}style")
    assert "prefers-color-scheme: dark" in str(style.text)
    # The name of the format is the only address in it.
    assert text.count("://") == 1
    assert "script" not in text


def test_the_chart_can_be_read_in_both_themes() -> None:
    (style,) = ET.fromstring(history_files(releases_run())["history.svg"]).iter(f"{SVG}style")
    light, dark = str(style.text).split("prefers-color-scheme: dark")
    for theme in (light, dark):
        colours = dict(
            part.strip().removeprefix("--").split(": ")
            for part in theme.replace("{", ";").split(";")
            if part.strip().startswith("--")
        )
        for name, least in {"ink": 4.5, "soft": 4.5, **{f"c{n}": 3 for n in range(4)}}.items():
            assert contrast(colours[name], colours["paper"]) >= least, name
        for pair in (("c0", "c1"), ("c2", "c3")):
            assert contrast(*(colours[name] for name in pair)) > 1.5, pair


@pytest.mark.parametrize("width", [60, 100])
def test_the_terminal_says_the_same_within_its_width(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    print_history(releases_run(), console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    for part in ("1.84.0rc1", "3,000", "401: 100.0 %", "membership 600", "40.0 %"):
        assert part in text
