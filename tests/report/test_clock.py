"""The reports of `harness clock`: table, chart, issues, exit code."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree as ET

import pytest

from harness.domain.changes import ACTIONS
from harness.domain.result import Clock, Idle, IdleAnswer, Result
from harness.errors import UsageError
from harness.report.clock import (
    clock_exit_code,
    clock_files,
    clock_svg,
    issues,
    remarks,
    require_clocks,
)
from harness.report.freshness import freshness_table
from harness.report.html import report_html
from harness.report.markdown import summary_markdown
from harness.report.numbers import NOT_MEASURED, between
from harness.style import NAMED, colour
from tests.report.sample import issue_27874, with_changes


def only_changes(**updates: object) -> Result:
    """A run that drove nothing but windows of changes."""
    result = with_changes(issue_27874())
    return result.model_copy(
        update={"variants": {}, "verdict": "observed", "exit_code": 0, "reasons": [], **updates}
    )


def test_the_table_has_a_row_for_each_action_and_what_it_is_judged_by() -> None:
    table = freshness_table(only_changes())
    assert [column.label for column in table.columns] == ["litellm_1_84", "recommended"]
    heads = [row.head.text for row in table.rows]
    assert heads == [
        "key-block, team",
        "key-block, user",
        "team-block, team",
        "promise",
        "kept by the code",
    ]
    assert table.rows[0].cells[0].text.startswith("≥ 8.00 / ≥ 8.10")
    assert [cell.text for cell in table.rows[-1].cells] == ["242 s", "242 s"]
    notes = [row.cells[0].note for row in table.rows[-2:]]
    assert notes == ["memory 2 + Redis 2 + read 0.1", "times of its own"]


def test_the_files_are_a_page_a_chart_and_an_issue_for_each_action_over_its_promise() -> None:
    files = clock_files(only_changes())
    assert set(files) == {"clock.md", "clock.svg", "issue-key-block.md", "issue-team-block.md"}
    assert "| `key-block, team` |" in files["clock.md"]
    chart = ET.fromstring(files["clock.svg"])
    bars = [e for e in chart.iter() if "rect" in e.get("class", "").split()]
    assert len([bar for bar in bars if "open" in bar.get("class", "").split()]) == 6
    assert not issues(
        only_changes(freshness={"recommended": only_changes().freshness["recommended"]})
    )


def test_an_issue_has_versions_steps_and_the_measured_table_of_its_variant_alone() -> None:
    text = issues(only_changes())["issue-key-block.md"]
    assert text.startswith("# /key/block: workers answer as before the change for ≥ 8.10 s")
    assert "variant litellm_1_84" in text
    assert "recommended" not in text
    assert "team-block" not in text
    assert "not measured" not in text
    assert '$A/key/block -H "Authorization: Bearer $MASTER"' in text


@pytest.mark.parametrize("action", ACTIONS)
def test_the_steps_of_every_action_are_calls_that_a_shell_can_send(action: str) -> None:
    result = only_changes()
    (never,) = result.freshness["litellm_1_84"]["team-block"].values()
    for scope in ACTIONS[action].scopes:
        over = {"litellm==1.92.2": {action: {scope: never}}}
        (text,) = issues(result.model_copy(update={"freshness": over})).values()
        assert "- LiteLLM 1.92.2" in text
        bodies = [json.loads(body) for body in re.findall(r"-d '([^']*)'", text)]
        # What is changed by name was made by that name.
        named = [v for body in bodies[:-2] for v in body.values() if isinstance(v, str)]
        subject = next(iter(bodies[-1].values()))
        subject = subject[0] if isinstance(subject, list) else subject
        assert (subject in named) != (action == "key-new")


def test_an_invalid_run_has_nothing_to_report() -> None:
    assert not issues(only_changes(verdict="invalid", exit_code=4))
    assert clock_files(only_changes(verdict="invalid", exit_code=4)).keys() == {
        "clock.md",
        "clock.svg",
    }


def test_a_change_that_no_status_shows_says_so() -> None:
    result = only_changes()
    (never,) = result.freshness["litellm_1_84"]["team-block"].values()
    (text,) = issues(only_changes(freshness={"a": {"key-limits": {"user": never}}})).values()
    assert "the steps alone do not show it" in text
    assert "the steps alone do not show it" not in issues(result)["issue-key-block.md"]


def test_the_exit_code_asks_for_clocks_and_only_if_strict_for_the_promise() -> None:
    result = only_changes()
    assert clock_exit_code(result, strict=False) == 0
    assert clock_exit_code(result, strict=True) == 1
    assert clock_exit_code(only_changes(exit_code=4), strict=True) == 4
    kept = only_changes(freshness={"recommended": result.freshness["recommended"]})
    # Its team-block is not there, which is no clock that is missing.
    assert clock_exit_code(kept, strict=True) == 0
    (never,) = result.freshness["litellm_1_84"]["team-block"].values()
    for outcome in ("done", "refused", "not_told_apart"):
        blind = never.model_copy(update={"workers": [], "outcome": outcome})
        untimed = only_changes(freshness={"a": {"key-limits": {"user": blind}}})
        assert clock_exit_code(untimed, strict=True) == 3
        assert any("was not timed" in line for line in remarks(untimed))
    quick = kept.freshness["recommended"]["key-block"]["team"]
    some = quick.model_copy(update={"changes": 3, "untimed": 2})
    partly = only_changes(freshness={"a": {"key-block": {"team": some}}})
    assert clock_exit_code(partly, strict=False) == 3
    assert "a: key-block in team was not timed after 2 of its changes" in remarks(partly)[-1]
    assert clock_exit_code(only_changes(freshness={}), strict=False) == 3


def test_a_run_without_changes_has_no_clock() -> None:
    with pytest.raises(UsageError, match="Nothing was changed in the run"):
        require_clocks(issue_27874())
    assert clock_files(only_changes(freshness={})).keys() == {"clock.md"}


def test_every_report_of_a_run_of_changes_alone_shows_them_and_misses_nothing() -> None:
    result = only_changes()
    for text in (report_html(result), summary_markdown(result)):
        assert "8.10" in text
        assert "Nothing was measured" not in text
    assert 'id="freshness-section"' in report_html(result)


def with_idle() -> Result:
    """`recommended` keeps a blocked key that is not in use for ever; the other was not measured."""
    result = only_changes()

    def answer(due_s: float, handler: bool, old: bool) -> IdleAnswer:
        name = "0.0" if handler else "1.0"
        return IdleAnswer(
            change=2, worker=name, handler=handler, due_s=due_s, after_s=due_s, old=old
        )

    answers = [answer(s, False, True) for s in (1.0, 2.0, 4.5)] + [answer(1.0, True, False)]
    result.freshness["recommended"]["key-block"]["team"].idle = Idle(
        handler_s=Clock(low=0.0, high=1.0, pairs=1),
        others_s=Clock(low=4.5, high=None, pairs=3, open=1),
        answers=answers,
    )
    result.freshness["litellm_1_84"]["key-block"]["team"].idle = Idle(
        handler_s=None, others_s=None, answers=[]
    )
    return result


def rules_of(svg: str) -> dict[str, str]:
    """What the sheet of a picture says of each class ``color-N``."""
    return dict(re.findall(r"rect\.(color-\d+) \{ (.*?) \}", svg))


def test_every_variant_has_its_own_colour_and_a_paler_one_for_its_handler() -> None:
    by_action = only_changes().freshness["litellm_1_84"]
    names = [*NAMED][:10]
    svg = clock_svg(only_changes(freshness=dict.fromkeys(names, by_action)))
    rules = rules_of(svg)
    used = {
        word
        for element in ET.fromstring(svg).iter()
        for word in element.get("class", "").split()
        if word.startswith("color-")
    }
    assert used == {f"color-{n}" for n in range(20)} <= rules.keys()
    assert len({rules[one] for one in used}) == 20
    for place, name in enumerate(names):
        handler, others = rules[f"color-{2 * place}"], rules[f"color-{2 * place + 1}"]
        assert others == f"fill: {colour(name)};"
        assert colour(name) in handler


@pytest.mark.parametrize("variants", [1, 2, 3, 4, 7, 10])
def test_the_legend_is_within_the_picture(variants: int) -> None:
    by_action = only_changes().freshness["litellm_1_84"]
    names = [*NAMED][:variants]
    root = ET.fromstring(clock_svg(only_changes(freshness=dict.fromkeys(names, by_action))))
    (legends,) = [one for one in root.iter() if one.get("class") == "legends"]
    (top,) = re.findall(r"translate\([\d.]+, ?([\d.]+)\)", legends.get("transform", ""))
    texts = list(legends.iter("{http://www.w3.org/2000/svg}text"))
    assert len(texts) == 2 * variants
    lowest = float(top) + max(float(text.get("y", 0)) for text in texts)
    assert lowest < float(root.get("viewBox", "").split()[-1])


def test_two_variants_of_one_colour_are_told_apart() -> None:
    by_action = only_changes().freshness["litellm_1_84"]
    names = ("litellm_1_84", "litellm==1.105.7")
    assert len({*map(colour, names)}) == 1
    rules = rules_of(clock_svg(only_changes(freshness=dict.fromkeys(names, by_action))))
    assert len({rules[f"color-{n}"] for n in range(4)}) == 4


def test_bars_of_an_action_in_several_scopes_name_the_scope() -> None:
    svg = clock_svg(with_idle())
    axis = [
        "".join(text.itertext())
        for one in ET.fromstring(svg).iter()
        if one.get("class") == "axis x"
        for text in one.iter("{http://www.w3.org/2000/svg}text")
    ]
    labels = [label for label in axis if label.strip()]
    assert {"key-block, team", "key-block, team, idle", "key-block, user"} < {*labels}
    assert "team-block" in labels, "its scope is the only one"
    assert len(labels) == len({*labels})
    bars = re.findall(r"<title>(.*?): ", svg)
    assert len(bars) == len({*bars}) > 6


def test_idle_keys_have_rows_and_bars_of_their_own() -> None:
    table = freshness_table(with_idle())
    heads = [row.head.text for row in table.rows]
    assert heads[:3] == ["key-block, team", "key-block, team, idle", "key-block, user"]
    none, over = table.rows[1].cells
    assert none.text == NOT_MEASURED
    assert (over.text, over.tone) == ("≤ 1.00 / ≥ 4.50 ✕", "stale")
    assert over.note == "3 of 4 answers old"
    files = clock_files(with_idle())
    assert "`key-block, team, idle`" in files["clock.md"]
    assert "key-block, team, idle" in files["clock.svg"]
    assert "idle" not in clock_files(only_changes())["clock.svg"]
    said = " ".join(remarks(with_idle()))
    assert "recommended: key-block in team is beyond the promise of 4.1 s in idle" in said
    assert "litellm_1_84: key-block in team was not timed in idle workers" in said
    # The text is of keys in use where any of them was over its promise; the table has both.
    assert "for ≥ 8.10 s, with a TTL of 2 s\n" in files["issue-key-block.md"]
    assert "while sleep" in files["issue-key-block.md"]


def test_a_key_that_was_not_in_use_has_an_issue_of_its_own_kind() -> None:
    result = with_idle()
    (text,) = issues(
        result.model_copy(update={"freshness": {"recommended": result.freshness["recommended"]}})
    ).values()
    assert "for ≥ 4.50 s, with a TTL of 2 s, of a key that was not in use" in text
    assert "| `key-block, team, idle` |" in text
    assert "while sleep" not in text
    assert "5. Ask none for more than 4.1 s." in text


def test_an_idle_clock_that_is_open_within_the_promise_claims_nothing() -> None:
    result = with_idle()
    one = result.freshness["recommended"]["key-block"]["team"]
    assert one.idle is not None
    del one.idle.answers[1:3]
    one.idle.others_s = Clock(low=1.0, high=None, pairs=1, open=1)
    assert freshness_table(result).rows[1].cells[1].text == "≤ 1.00 / ≥ 1.00"
    one.idle.others_s = Clock(low=1.0, high=2.0, pairs=1)
    assert freshness_table(result).rows[1].cells[1].text == f"≤ 1.00 / {between('1.00', '2.00')} ✓"


def test_a_strict_exit_code_is_of_idle_workers_too() -> None:
    result = with_idle()
    kept = result.model_copy(update={"freshness": {"recommended": result.freshness["recommended"]}})
    assert (clock_exit_code(kept, strict=False), clock_exit_code(kept, strict=True)) == (0, 1)
