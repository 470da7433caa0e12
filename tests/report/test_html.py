import re
from itertools import pairwise

import pytest

from harness.domain.result import Result
from harness.report.html import report_html
from harness.report.series import series_of
from harness.style import marks
from tests.report.behaviours import MATRIX, PREMISE
from tests.report.reading import Page, words
from tests.report.sample import EMPTY, issue_27874, refused
from tests.report.sample_pr import pr_26202

DASH = "\u2013"


def page(result: Result) -> Page:
    return Page(report_html(result))


@pytest.fixture(scope="module")
def issue() -> Page:
    return page(issue_27874())


@pytest.mark.parametrize("result", [issue_27874(), pr_26202()], ids=lambda r: r.scenario)
def test_the_page_loads_nothing(result: Result) -> None:
    text = report_html(result)
    read = Page(text)
    assert read.open == []
    assert not read.all("script")
    assert not read.all("link")
    assert not [tag for tag, a in read.elements if "src" in a or "xlink:href" in a]
    assert all(str(a["href"]).startswith("#") for a in read.all("a"))
    # Not even the name of a namespace: nothing here looks like an address.
    assert not re.search(r"https?:|//[a-z]", text)
    assert "url(" not in text
    assert "@import" not in text


def test_it_says_the_same_twice() -> None:
    # pygal puts random ids and today's date into its charts.
    assert report_html(issue_27874()) == report_html(issue_27874())


def test_ids_are_unique_and_links_lead_somewhere(issue: Page) -> None:
    ids = [a["id"] for _, a in issue.elements if "id" in a]
    assert len(ids) == len(set(ids))
    targets = {str(a["href"])[1:] for a in issue.all("a")}
    assert targets <= set(ids)
    assert {a["aria-labelledby"] for _, a in issue.elements if "aria-labelledby" in a} <= set(ids)


def test_the_matrix_has_words_marks_and_reasons(issue: Page) -> None:
    matrix = issue.tables["matrix"]
    cell = matrix.cell("fix_optional_user_id", "shared_id")
    assert words(cell).startswith("\u25d0 hidden |")
    assert "with the team's limits" in cell
    assert all("|" in field for row in matrix.rows for field in row[1:])


def test_the_headline_has_figures_in_their_places(issue: Page) -> None:
    headline = issue.tables["headline"]
    assert words(headline.cell("litellm_1_84", "team")) == "2,007 | 2,003\u20132,017"
    assert words(headline.cell("litellm_1_84", "shared_id")) == "1,040 | 1,038\u20131,045"
    assert headline.cell("reference line", "shared_id") == "40.0"
    assert headline.cell("reference line", "all") == "47.0"


def test_other_tables_have_figures_in_their_places(issue: Page) -> None:
    measures = issue.tables["measures"]
    assert words(measures.cell("wrong values", "fix_optional")) == "1,188 | shared_id user 1,188"
    assert measures.cell("key payload", "fix_keep_none") == "2,253"
    outcomes = issue.tables["outcomes"]
    assert words(outcomes.cell("litellm_1_84", "deserialize")) == "8,937 | 37.2 %"
    by_object = issue.tables["reads-by-object"]
    assert by_object.cell("litellm_1_84", "times the line") == "41.32 \u00d7"
    drift = issue.tables["drift"]
    assert drift.cell("litellm_1_84", "user") == "\u22124,250"
    assert drift.cell("recommended", "user") == "0"
    assert issue.tables["coalesced"].cell("recommended", "before_source") == "31"


def test_planted_premises_stand_in_a_note_before_the_matrix() -> None:
    premises = [PREMISE, "Memberships are <removed>."]
    result = issue_27874().model_copy(update={"premises": premises})
    text = words(" ".join(page(result).text))
    assert text.index("Planted in this run") < text.index(PREMISE) < text.index("What each variant")
    assert "Memberships are <removed>." in text
    assert "Nothing is planted" not in text


def test_a_run_without_premises_says_so() -> None:
    text = " ".join(page(pr_26202()).text)
    assert "Nothing is planted in this run." in text
    assert "Planted in this run" not in text


def test_charts_have_names_and_tables(issue: Page) -> None:
    charts = [a for a in issue.all("svg") if a.get("role") == "img"]
    # Four scopes twice, two tiers, two latencies, payload and decoding.
    assert len(charts) == 4 + 2 + 4 + 2 + 2
    assert all(a["aria-label"] for a in charts)
    assert "litellm_1_84 2,007" in str(charts[0]["aria-label"])
    for table in ("reads-by-object", "outcomes", "windows", "latency", "payload"):
        assert issue.tables[table].rows
    decorations = [a for a in issue.all("svg") if a.get("role") != "img"]
    assert all(a.get("aria-hidden") == "true" for a in decorations)


def test_tables_are_marked_up_for_screen_readers(issue: Page) -> None:
    assert len(issue.all("caption")) == len(issue.all("table"))
    assert all(t.caption for t in issue.tables.values())
    assert {a.get("scope") for a in issue.all("th")} == {"col", "row"}
    levels = [int(tag[1]) for tag, _ in issue.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_a_bar_that_is_not_the_reference_line_has_no_reference_line() -> None:
    # pygal marks ticks of its own choice as major, which is what the reference line is drawn by.
    text = report_html(issue_27874())
    for figure, expected in (("reads", 4), ("over-time", 4), ("latency", 0), ("outcomes", 0)):
        part = figure_of(text, figure)
        assert part.count('class="major guide line"') == expected, figure


def figure_of(text: str, name: str) -> str:
    start = text.index(f'id="figure-{name}"')
    return text[start : text.index("</figure>", start)]


def test_rows_of_a_chart_stand_in_the_order_of_the_tables() -> None:
    # pygal draws from the bottom up.
    chart = figure_of(report_html(issue_27874()), "reads").split("</svg>")[1]
    rows = re.findall(r'<text x="-5" y="([\d.]+)"[^>]*>(\w+)</text>', chart)
    assert [name for _, name in sorted(rows, key=lambda row: float(row[0]))] == list(MATRIX)
    bars = re.findall(r'y="([\d.]+)"[^>]*class="rect (v\d)"', chart)
    assert [m for _, m in sorted(bars, key=lambda bar: float(bar[0]))] == ["v0", "v1", "v2", "v3"]


def test_panels_of_a_figure_share_one_scale_that_holds_all_points() -> None:
    text = report_html(issue_27874())
    tick = r'<path d="M([-\d.]+ [-\d.]+) [hv][^>]*><text[^>]*>([\d,]+)</text>'
    for name in ("reads", "over-time"):
        panels = figure_of(text, name).split("</svg>")
        ticks = [found for panel in panels if (found := re.findall(tick, panel))]
        assert len(ticks) == 4, name
        assert ticks == [ticks[0]] * 4, name
    dots = re.findall(r'<circle cx="([-\d.]+)" cy="([-\d.]+)"', figure_of(text, "over-time"))
    assert len(dots) == 4 * 4 * 4
    assert all(0 <= float(x) <= 440 and 0 <= float(y) <= 210 for x, y in dots)


def test_what_was_not_measured_is_a_dash() -> None:
    result = issue_27874()
    variant = result.variants["litellm_1_84"]
    nothing = variant.latency_ms.service.model_copy(update={"p50": None, "p95": None, "p99": None})
    result.variants["litellm_1_84"] = variant.model_copy(
        update={
            "latency_ms": variant.latency_ms.model_copy(update={"service": nothing}),
            "lookups": {"memory": variant.lookups["memory"]},
            "payload_bytes": {"key": 733.0},
            "codec_us": {},
            "entry_age_max_s": {},
            "source_reads_per_1000": {"team": 0.0},
            "source_reads_per_1000_range": {},
            "cold_fill_source_reads": None,
        }
    )
    read = page(result)
    latency = read.tables["latency"].rows[0]
    assert latency[4:7] == [DASH] * 3
    redis = next(r for r in read.tables["outcomes"].rows if r[:2] == ["litellm_1_84", "redis"])
    assert redis[2:] == [DASH] * 4
    payload = read.tables["payload"].rows[0]
    assert payload == ["litellm_1_84", "733", *[DASH] * 7]
    assert read.tables["age"].rows[0][1:] == [DASH, DASH]
    headline = read.tables["headline"]
    assert headline.cell("litellm_1_84", "team") == "0"
    assert headline.cell("litellm_1_84", "user") == DASH


def test_scopes_without_requests_are_absent() -> None:
    read = page(pr_26202())
    assert [words(h) for h in read.tables["matrix"].head] == ["variant", "user | a user, no team"]
    assert "shared_id" not in " ".join(h for t in read.tables.values() for h in t.head)
    assert len(read.tables["combined-view"].rows) == 4


def test_what_did_not_happen_is_0() -> None:
    result = issue_27874()
    assert result.variants["recommended"].wrong_values == {}
    read = page(result)
    assert read.tables["measures"].cell("wrong values", "recommended").startswith("0 (<")
    rows = [r for r in read.tables["wrong"].rows if r[0] == "recommended"]
    assert [row[1] for row in rows] == ["team", "user", "shared_id", "member"]
    assert all(re.fullmatch(r"0 \(<0\.\d+ %\)", row[2]) for row in rows), rows
    by_object = read.tables["reads-by-object"]
    assert by_object.cell("litellm_1_84", "membership") == "0"


def test_a_run_that_measured_nothing_has_a_page() -> None:
    read = page(refused())
    assert not read.tables
    text = report_html(refused())
    assert text.index("Invalid run") < text.index("Name fewer variants.")
    assert "Nothing was measured" in text
    body = text[text.index("<body") :].lower()
    for word in EMPTY:
        assert word.lower() not in body
    assert not [a for a in read.all("svg") if a.get("role") == "img"]


def test_unbalanced_equations_stand_in_the_open() -> None:
    result = issue_27874()
    result.ledger.equations[3] = result.ledger.equations[3].model_copy(
        update={"status": "unbalanced", "right": 7.0, "residual": 1802.0, "reason": "<lost>"}
    )
    ledger = result.ledger.model_copy(update={"balanced": False})
    text = report_html(
        result.model_copy(update={"ledger": ledger, "verdict": "invalid", "exit_code": 4})
    )
    before_folds = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert "against 7, residual 1,802: &lt;lost&gt;" in before_folds
    assert "Not balanced" in before_folds
    assert "The run is invalid" in before_folds
    rows = Page(text).tables["ledger-0"].rows
    assert rows[3][:2] == ["loads", "litellm_1_84-cold"]
    assert rows[3][4:] == ["1,802", "unbalanced", "validity", "<lost>"]
    assert rows[2][2:] == [
        *[DASH] * 3, "not checked", "validity", "the connection handshake sends commands"
    ]  # fmt: skip


def test_failed_expectations_come_first() -> None:
    result = issue_27874()
    result.expectations[9] = result.expectations[9].model_copy(
        update={"state": "fails", "measured": "wasteful"}
    )
    read = page(result)
    first = read.tables["expectations"].rows[0]
    assert first == [
        "fix_keep_none", "user", "cell is healthy", "wasteful", "\u2013", "healthy", "fails"
    ]  # fmt: skip
    assert "fails an expectation" in read.tables["matrix"].cell("fix_keep_none", "user")


def test_names_cannot_break_the_page() -> None:
    odd = '<b>&"odd"</b>'
    result = issue_27874({odd: MATRIX["litellm_1_84"]})
    read = page(result)
    assert read.tables["latency"].rows[0][0] == odd
    assert not read.all("b")


def test_switches_and_settings_are_there(issue: Page) -> None:
    switches = issue.tables["switches"]
    assert switches.cell("codec", "recommended") == "keep_required_none"
    text = words(" ".join(issue.text))
    for fact in ("seed 42", "time scale 0.4", "Valkey 9.1.2", "reference 0.1.0"):
        assert fact in text
    assert issue.tables["sizing"].cell("team", "objects") == "17"
    assert words(issue.tables["generator"].cell("late", "value")) == "3 | <0.1 %"


def test_the_series_over_time_can_be_given() -> None:
    result = issue_27874()
    series = [s for s in series_of(result) if s.variant == "recommended"]
    text = report_html(result, series)
    part = figure_of(text, "over-time")
    assert "recommended, recommended-1" in part
    assert "litellm_1_84-1" not in part
    assert 'id="figure-over-time"' not in report_html(result, [])


def test_a_variant_has_the_same_colour_in_every_chart() -> None:
    # In another order than usual: the place in a run gives no colour.
    result = issue_27874()
    result.variants = dict(reversed(result.variants.items()))
    text = report_html(result)
    expected = set(marks(MATRIX).items())
    bars = re.findall(r"<title>([^<]*)</title><rect[^>]*class=\"rect (v\d)", text)
    assert {
        (label.split(":")[0], m) for label, m in bars if label.split(":")[0] in MATRIX
    } == expected
    legend = re.findall(r'class="k-(?:box|line) (v\d)"[^>]*/></svg>(\w+)', text)
    assert {(name, m) for m, name in legend} == expected
    over_time = figure_of(text, "over-time")
    lines = re.findall(r'<g class="series serie-\d color-\d (v\d)">(.*?)</g></g>', over_time)
    titles = {(m, t) for m, part in lines for t in re.findall(r"<title>(\w+), ", part)}
    assert {(name, m) for m, name in titles} == expected
