"""The referee on runs that never happened: each planted difference is found, and chance is not."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.analysis import referee as module
from harness.analysis.cells import judge
from harness.analysis.referee import (
    RULES,
    SEEN_PER_1000,
    Count,
    RefereeOutcome,
    Ruling,
    judged_from,
    reading_text,
    referee,
    settled,
)
from harness.domain.rates import PER
from harness.domain.result import (
    Clock,
    Estimate,
    Freshness,
    Idle,
    KeptAlive,
    Result,
    Window,
)
from harness.errors import UsageError
from tests.analysis.simulated import Asked, poisson, read_late, regular
from tests.report.sample import issue_27874
from tests.report.sample_releases import RELEASES, change, change_windows, releases_run

BASE, HEAD = "base", "head"
REQUESTS = 1_000
SCOPES = ("team", "user", "shared_id", "member")
READ = "SELECT LiteLLM_VerificationToken WHERE token = ?"
OTHER = "SELECT LiteLLM_BudgetTable WHERE budget_id = ?"
WRITE = "UPDATE LiteLLM_UserTable WHERE user_id = ?"
HEALTHY = RELEASES["litellm==1.93.0"]


def pair(rounds: int = 4) -> Result:
    """Two healthy sides: 30 reads in 1,000 requests of each scope, one write a request."""
    result = issue_27874({BASE: HEALTHY, HEAD: HEALTHY})
    result = result.model_copy(update={"premises": [], "verdict": "observed", "expectations": []})
    for name in (BASE, HEAD):
        first = result.variants[name].windows[1]
        windows = [window(first, number) for number in range(1, rounds + 1)]
        requests = {scope: {"200": REQUESTS * rounds} for scope in SCOPES}
        change(
            result,
            name,
            windows=windows,
            requests=requests,
            unexpected_statuses={},
            wrong_values={},
            let_through={},
            reference_line_per_1000=dict.fromkeys((*SCOPES, "all"), 30.0),
        )
    return result


def window(like: Window, number: int) -> Window:
    return like.model_copy(
        update={
            "name": f"{like.variant}-{number}",
            "round": number,
            "requests": {scope: {"200": REQUESTS} for scope in SCOPES},
            "source_reads": {scope: {"key": 30} for scope in SCOPES},
            "source_reads_per_1000": dict.fromkeys((*SCOPES, "all"), 30.0),
            "log_pairs": {},
            "statements": {READ: 120, WRITE: 4 * REQUESTS},
        }
    )


def ruled(result: Result) -> Ruling:
    return referee(result, BASE, HEAD)


def outcome(ruling: Ruling, label: str, place: str) -> RefereeOutcome:
    (found,) = [x.outcome for x in ruling.lines if (x.rule.label, x.place) == (label, place)]
    return found


def head_windows(result: Result, **fields: Any) -> None:
    change_windows(result, HEAD, **fields)


def test_equal_sides_are_the_same_and_the_power_is_said() -> None:
    ruling = ruled(pair())
    assert (ruling.word, ruling.exit_code) == ("same", 0)
    assert ruling.seen_per_1000 is not None
    assert ruling.seen_per_1000 <= SEEN_PER_1000
    assert "would be seen" in ruling.reasons[-1]


def test_a_read_more_in_a_hundred_requests_is_worse() -> None:
    result = pair()
    head_windows(
        result,
        source_reads={scope: {"key": 40} for scope in SCOPES},
        source_reads_per_1000=dict.fromkeys((*SCOPES, "all"), 40.0),
    )
    ruling = ruled(result)
    assert (ruling.word, ruling.exit_code) == ("worse", 1)
    assert outcome(ruling, "source reads", "all") is RefereeOutcome.WORSE
    # The other way round it is better.
    assert referee(result, HEAD, BASE).word == "better"


def test_a_statement_of_another_table_is_worse_and_named() -> None:
    result = pair()
    head_windows(result, statements={READ: 120, WRITE: 4 * REQUESTS, OTHER: 4 * REQUESTS})
    ruling = ruled(result)
    assert ruling.word == "worse"
    assert outcome(ruling, "statements that read", "all") is RefereeOutcome.WORSE
    (named,) = ruling.statements
    assert (named.text, named.base, named.head) == (OTHER, None, 1000)


def test_a_statement_in_place_of_another_is_shown_and_not_judged() -> None:
    result = pair()
    head_windows(result, statements={OTHER: 120, WRITE: 4 * REQUESTS})
    ruling = ruled(result)
    assert ruling.word == "same"
    assert {one.text for one in ruling.statements} == {READ, OTHER}


def test_a_table_that_one_side_alone_reads_is_said_with_its_rate() -> None:
    result = pair()
    elsewhere = f"{READ} AND blocked"
    head_windows(result, statements={elsewhere: 120, OTHER: 400, "SELECT LiteLLM_Config": 1})
    (found,) = [one for one in ruled(result).only if one.side == "head"]
    assert (found.text, found.per_request) == ("SELECT LiteLLM_BudgetTable", 0.1)
    # The other way round it is the base's; a timer's four runs, and another WHERE, are left out.
    assert {(one.side, one.text) for one in referee(result, HEAD, BASE).only} == {
        ("base", "SELECT LiteLLM_BudgetTable"),
        ("head", "UPDATE LiteLLM_UserTable"),
    }


def test_writes_of_requests_that_only_the_head_admits_are_not_held_against_it() -> None:
    result = pair()
    refused = {scope: {"200": REQUESTS} for scope in SCOPES[:3]} | {"member": {"401": REQUESTS}}
    change_windows(result, BASE, requests=refused, statements={READ: 120, WRITE: 3 * REQUESTS})
    change(
        result,
        BASE,
        requests={s: {k: n * 4 for k, n in by.items()} for s, by in refused.items()},
        unexpected_statuses={"member": {"401": 4 * REQUESTS}},
        cells=result.variants[BASE].cells | {"member": ["broken"]},
    )
    ruling = ruled(result)
    assert (ruling.word, ruling.exit_code) == ("better", 0)
    assert outcome(ruling, "cell", "member") is RefereeOutcome.BETTER
    assert outcome(ruling, "wrong statuses", "member") is RefereeOutcome.BETTER
    assert outcome(ruling, "statements that read", "all") is RefereeOutcome.SAME


def test_a_write_more_in_every_request_is_worse() -> None:
    result = pair()
    head_windows(result, statements={READ: 120, WRITE: 8 * REQUESTS})
    ruling = ruled(result)
    assert outcome(ruling, "other statements", "all") is RefereeOutcome.WORSE
    assert ruling.word == "worse"


def test_writes_in_batches_do_not_take_the_power_from_reads() -> None:
    """As counted of two equal sides: 42 statements more in one round, 8 fewer in the other."""
    result = pair(rounds=2)
    for name, counts in ((BASE, (1482, 1532)), (HEAD, (1524, 1524))):
        windows = [
            one.model_copy(update={"statements": {READ: 120, WRITE: n}})
            for one, n in zip(result.variants[name].windows, counts, strict=True)
        ]
        change(result, name, windows=windows)
    assert ruled(result).word == "same"


def test_the_statements_of_a_batch_come_together() -> None:
    """As counted of two equal trees of 1.105.7: a side sent its spend in 8 batches or in 12."""
    texts = [f"UPDATE Table{number} WHERE id = ?" for number in range(12)]

    def ruling(of_base: int, of_head: int) -> Ruling:
        result = pair(rounds=2)
        for name, n in ((BASE, of_base), (HEAD, of_head)):
            counts = {READ: 120} | dict.fromkeys(texts, n)
            change_windows(result, name, statements=counts)
        return ruled(result)

    assert ruling(8, 12).word == "same"
    assert ruling(8, 8 + REQUESTS).word == "worse"


def test_a_count_must_exceed_three_standard_deviations() -> None:
    (rule,) = [rule for rule in RULES if rule.label == "source reads"]
    one = Count(100, 1000, 100.0)
    assert judged_from(rule, one, one) == pytest.approx(3 * 200**0.5)
    quiet = Count(100, 10_000, 0.0, ((50, 5000), (50, 5000)))
    assert judged_from(rule, quiet, quiet) == rule.least
    uneven = Count(100, 10_000, 0.0, ((10, 5000), (90, 5000)))
    # The rounds' own 8.0, shared with a model that says 0 and weighs as two more of them.
    assert judged_from(rule, quiet, uneven) == pytest.approx(3 * 8.0 / 3**0.5)
    noisy = Count(100, 10_000, 10_000.0, ((50, 5000), (50, 5000)))
    assert judged_from(rule, noisy, noisy) == judged_from(rule, noisy, noisy, by_model=True)


def test_a_lock_is_no_read() -> None:
    """1.105.7 takes it with its writes, as often as these happen to be sent."""
    result = pair()
    lock = "SELECT pg_advisory_xact_lock(hashtext(?)) IS NULL AS locked"
    head_windows(result, statements={READ: 120, WRITE: 4 * REQUESTS - 60, lock: 60, "SELECT ?": 60})
    ruling = ruled(result)
    assert ruling.word == "same"
    (reads,) = [x.head for x in ruling.lines if x.rule.label == "statements that read"]
    assert isinstance(reads, Count)
    assert reads.events == 4 * 120


def test_each_statement_that_reads_has_an_edge_in_each_window() -> None:
    """Most of a release's are of timers: one falls into a window, or just beyond."""

    def least(timers: int) -> float:
        result = pair(rounds=2)
        counts = {f"SELECT Table{number}": 3 for number in range(timers)}
        for name in (BASE, HEAD):
            change_windows(result, name, statements={READ: 120, WRITE: 4 * REQUESTS} | counts)
        (found,) = [x for x in ruled(result).lines if x.rule.label == "statements that read"]
        assert found.judged_from is not None
        return found.judged_from

    assert least(800) ** 2 - least(400) ** 2 == pytest.approx(
        9 * 2 * 400 / 6 * 2 * (1000 / (8 * REQUESTS)) ** 2
    )


def test_payload_and_latency_are_shown_and_never_judged() -> None:
    result = pair()
    change(result, HEAD, payload_bytes={"key": 9_000.0})
    ruling = ruled(result)
    assert ruling.word == "same"
    assert outcome(ruling, "payload", "key") is RefereeOutcome.SHOWN


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (["healthy"], ["hidden"]),
        (["stale"], ["broken"]),
        (["broken"], ["broken", "stale"]),
        (["broken", "stale"], ["hidden"]),
    ],
)
def test_cells_are_ranked_by_the_worst_and_then_by_the_next(
    better: list[str], worse: list[str]
) -> None:
    result = pair()
    for name, cells in ((BASE, better), (HEAD, worse)):
        change(result, name, cells=result.variants[name].cells | {"team": cells})
    assert ruled(result).word == "worse"
    assert referee(result, HEAD, BASE).word == "better"


def test_better_in_one_and_worse_in_another_is_mixed() -> None:
    result = pair()
    change(result, BASE, cells=result.variants[BASE].cells | {"team": ["broken"]})
    head_windows(result, log_pairs={"user": 500})
    ruling = ruled(result)
    assert (ruling.word, ruling.exit_code) == ("mixed", 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"wrong_values": {"team": {"user": 40}}},
        {"unexpected_statuses": {"team": {"500": 40}}},
        {"let_through": {"team": {"blocked_key": 40}}},
    ],
)
def test_what_must_never_happen_is_worse_where_it_does(fields: dict[str, Any]) -> None:
    result = pair()
    change(result, HEAD, **fields)
    assert ruled(result).word == "worse"


CLEAN: dict[str, Any] = {
    "requests": 4 * REQUESTS,
    "failures": {},
    "unexpected": {},
    "wrong": {},
    "let_through": {},
    "stale": {},
    "reads_per_1000": 30.0,
    "reference_per_1000": 30.0,
    "elasticity": {},
    "uncached": {},
}
FIELDS = {
    "failures": "deserialize_failures",
    "unexpected": "unexpected_statuses",
    "wrong": "wrong_values",
    "let_through": "let_through",
    "stale": "stale",
    "elasticity": "elasticity",
    "uncached": "uncached",
    "kept_alive": "kept_alive",
}


def seen(result: Result, name: str, **found: Any) -> None:
    """Counts of the scope ``team`` with the cells that they make, as a run has both."""
    cells = result.variants[name].cells | {"team": judge(**CLEAN | found).cells}
    fields = {FIELDS[key]: {"team": counts} for key, counts in found.items() if key in FIELDS}
    change(result, name, cells=cells, **fields)


@pytest.mark.parametrize(
    "found",
    [
        {"unexpected": {"503": 1}},
        {"failures": {"user": 1}, "unexpected": {"503": 1}},
        {"wrong": {"user": 1}, "let_through": {"blocked": 1}},
        {"stale": {"user": 2}},
        {"unexpected": {"503": 1}, "stale": {"user": 1}},
    ],
)
def test_one_time_out_is_no_behaviour(found: dict[str, Any]) -> None:
    result = pair()
    seen(result, HEAD, **found)
    assert result.variants[HEAD].cells["team"] != ["healthy"]
    assert (ruled(result).word, ruled(result).exit_code) == ("same", 0)
    assert referee(result, HEAD, BASE).word == "same"
    (line,) = [x for x in ruled(result).lines if (x.rule.label, x.place) == ("cell", "team")]
    assert reading_text(line.head) == (
        f"healthy (suspect: {', '.join(result.variants[HEAD].cells['team'])})"
    )


def test_a_cell_needs_three_replies_of_one_side_and_then_holds_for_the_other_too() -> None:
    result = pair()
    seen(result, HEAD, unexpected={"503": 3})
    assert outcome(ruled(result), "cell", "team") is RefereeOutcome.WORSE
    seen(result, BASE, unexpected={"503": 1})
    assert outcome(ruled(result), "cell", "team") is RefereeOutcome.SAME


@pytest.mark.parametrize(
    "grown",
    [
        {"elasticity": {"user": Estimate(value=1, low=0.9, high=None, n=100)}},
        {"uncached": {"user": 0.97}},
    ],
    ids=lambda one: next(iter(one)),
)
def test_a_time_out_does_not_hide_reads_that_grow(grown: dict[str, Any]) -> None:
    result = pair()
    seen(result, BASE, **grown)
    seen(result, HEAD, **grown, unexpected={"503": 1})
    assert result.variants[BASE].cells["team"] == ["wasteful"]
    assert outcome(ruled(result), "cell", "team") is RefereeOutcome.SAME
    assert referee(result, HEAD, BASE).word == "same"


def test_a_stale_cell_of_a_clock_or_of_what_is_kept_alive_needs_no_reply() -> None:
    result = pair()
    alive = {"user": KeptAlive(rarely_read=1, objects=1)}
    seen(result, HEAD, stale={"user": 1}, kept_alive=alive)
    assert outcome(ruled(result), "cell", "team") is RefereeOutcome.WORSE
    again = pair()
    seen(again, HEAD, stale={"user": 1})
    back = freshness(None).model_copy(update={"resurrected": 1})
    again = again.model_copy(update={"freshness": {HEAD: {"key-block": {"team": back}}}})
    assert outcome(ruled(again), "cell", "team") is RefereeOutcome.WORSE


def test_two_sides_with_more_than_one_wrong_object_a_request_are_the_same() -> None:
    """A wrong user in every request, and a wrong membership in half of them, by chance."""
    rng, outcomes = random.Random(3), []
    result, requests = pair(), 4 * REQUESTS
    for _ in range(200):
        for name in (BASE, HEAD):
            half = rng.getrandbits(requests).bit_count()
            change(result, name, wrong_values={"team": {"user": requests, "membership": half}})
        outcomes.append(outcome(ruled(result), "wrong data", "team"))
    assert outcomes.count(RefereeOutcome.SAME) >= 196
    more = requests * 6 // 10
    change(result, HEAD, wrong_values={"team": {"user": requests, "membership": more}})
    assert outcome(ruled(result), "wrong data", "team") is RefereeOutcome.WORSE


def test_wrong_objects_beyond_one_a_request_have_a_variance() -> None:
    """As where a result does not list all windows that were judged."""
    result, requests = pair(), 4 * REQUESTS
    for name, more in ((BASE, 100), (HEAD, 140)):
        change(result, name, wrong_values={"team": {"user": requests + more}})
    assert outcome(ruled(result), "wrong data", "team") is RefereeOutcome.SAME


@pytest.mark.parametrize("phase", ["refusals", "changes", "recovered"])
@pytest.mark.parametrize(
    "fields",
    [{"wrong_values": {"team": {"user": 200}}}, {"unexpected_statuses": {"team": {"500": 200}}}],
)
def test_wrong_answers_are_set_against_all_requests_that_were_judged(
    fields: dict[str, Any], phase: str
) -> None:
    """The head was asked as much again in windows of another kind, and as often wrong there."""
    result = pair()
    change(result, BASE, **fields)
    change(result, HEAD, **fields)
    windows = result.variants[HEAD].windows
    more = [one.model_copy(update={"phase": phase}) for one in windows if one.phase == "measured"]
    twice = {
        name: {"team": {part: 2 * n for part, n in counts["team"].items()}}
        for name, counts in fields.items()
    }
    change(result, HEAD, windows=[*windows, *more], **twice)
    label = "wrong data" if "wrong_values" in fields else "wrong statuses"
    (found,) = [x for x in ruled(result).lines if (x.rule.label, x.place) == (label, "team")]
    assert isinstance(found.base, Count)
    assert isinstance(found.head, Count)
    assert found.head.value == found.base.value == 50


@pytest.mark.parametrize(
    ("value", "text"),
    [(999.4, "999"), (999.5, "1,000"), (999.97, "1,000"), (1234.0, "1,234"), (0.125, "0.125")],
)
def test_no_figure_has_an_exponent_of_thousands(value: float, text: str) -> None:
    assert reading_text(value) == text
    assert reading_text(Count(value, PER, 1.0)) == text


def test_a_reply_has_one_status_refused_or_let_through() -> None:
    result = pair()
    for name, let in ((BASE, 120), (HEAD, 40)):
        change(
            result,
            name,
            unexpected_statuses={"team": {"401": 3_800}},
            let_through={"team": {"blocked": let}},
        )
    assert outcome(ruled(result), "wrong statuses", "team") is RefereeOutcome.BETTER


def test_lost_spend_is_worse() -> None:
    result = pair()
    spend = [
        e.model_copy(
            update={
                "name": "key_spend",
                "variant": name,
                "window": f"{name}-{number}",
                "left": 1e6,
                "right": 1e6 - lost,
                "residual": lost,
            }
        )
        for e in result.ledger.equations[:1]
        for name, lost in ((BASE, 0.0), (HEAD, 60_000.0))
        for number in range(1, 5)
    ]
    ledger = result.ledger.model_copy(update={"equations": spend})
    ruling = ruled(result.model_copy(update={"ledger": ledger}))
    assert outcome(ruling, "spend lost", "key") is RefereeOutcome.WORSE


def freshness(clock: Clock | None) -> Freshness:
    return Freshness(
        outcome="done",
        changes=3,
        handler_s=clock,
        others_s=None,
        promise_s=4.1,
        ended_by="expiry",
        workers=[],
        old_replies=1,
        old_cost_micro=1,
        resurrected=0,
        stale_replies=0,
        judged_replies=10,
    )


def test_a_clock_is_worse_where_the_intervals_do_not_meet() -> None:
    def fresh(low: float, high: float) -> dict[str, Any]:
        return {"key-block": {"team": freshness(Clock(low=low, high=high, pairs=3))}}

    result = pair().model_copy(update={"freshness": {BASE: fresh(1, 1.5), HEAD: fresh(2, 2.4)}})
    assert outcome(ruled(result), "freshness", "key-block, team, handler") is RefereeOutcome.WORSE
    meet = result.model_copy(update={"freshness": {BASE: fresh(1, 2.1), HEAD: fresh(2, 2.4)}})
    assert ruled(meet).word == "same"


def test_one_round_has_too_little_power() -> None:
    ruling = ruled(pair(rounds=1))
    assert (ruling.word, ruling.exit_code) == ("undecided", 3)
    assert "Too little power" in ruling.reasons[-1]


def test_few_requests_have_too_little_power_and_the_message_says_how_many_rounds() -> None:
    result = pair(rounds=2)
    for name in (BASE, HEAD):
        few = {scope: {"200": 60} for scope in SCOPES}
        reads = {scope: {"key": 2} for scope in SCOPES}
        change_windows(result, name, requests=few, source_reads=reads, statements={READ: 8})
        change(result, name, requests={scope: {"200": 120} for scope in SCOPES})
    ruling = ruled(result)
    assert (ruling.word, ruling.exit_code) == ("undecided", 3)
    assert "--rounds" in ruling.reasons[-1]


def test_only_a_lack_of_power_asks_for_another_round() -> None:
    assert ruled(pair(rounds=1)).short_of_power
    assert not ruled(pair()).short_of_power
    unseen = pair()
    change(unseen, HEAD, not_instrumented=["log_records"], target="litellm", version="1.93.0")
    assert (ruled(unseen).word, ruled(unseen).short_of_power) == ("undecided", False)
    worse = pair(rounds=1)
    head_windows(worse, source_reads={scope: {"key": 900} for scope in SCOPES})
    assert not ruled(worse).short_of_power


def test_a_difference_that_is_barely_judged_asks_for_another_round() -> None:
    def more(reads: int) -> Ruling:
        result = pair(rounds=2)
        few = {scope: {"200": 100} for scope in SCOPES}
        for name in (BASE, HEAD):
            change_windows(result, name, requests=few, statements={READ: 12})
            change(result, name, requests={scope: {"200": 200} for scope in SCOPES})
        change_windows(result, BASE, source_reads={scope: {"key": 3} for scope in SCOPES})
        head_windows(result, source_reads={scope: {"key": 3 + reads} for scope in SCOPES})
        return ruled(result)

    assert (more(2).word, more(2).short_of_power) == ("worse", True)
    assert (more(6).word, more(6).short_of_power) == ("worse", False)


@pytest.mark.parametrize(("rounds", "enough"), [(1, False), (4, True)])
def test_a_run_is_settled_once_it_has_the_power(
    monkeypatch: pytest.MonkeyPatch, *, rounds: int, enough: bool
) -> None:
    monkeypatch.setattr(module, "analyse", lambda *_, **__: pair(rounds))
    plan: Any = None
    assert settled(plan, [], Path(), base=BASE, head=HEAD) == enough


def test_rounds_that_differ_by_chance_do_not_take_the_power_from_a_run_of_two() -> None:
    """As of regular arrivals: a read of an object more or less at the edge of a window."""
    rng, words = random.Random(11), []
    for _ in range(100):
        result = pair(rounds=2)
        for name in (BASE, HEAD):
            windows = []
            for one in result.variants[name].windows:
                reads = {s: {"key": 30 + rng.choice((-1, 0, 0, 1))} for s in SCOPES}
                total = sum(by["key"] for by in reads.values())
                counts = {READ: total, WRITE: 4 * REQUESTS}
                windows.append(one.model_copy(update={"source_reads": reads, "statements": counts}))
            change(result, name, windows=windows)
        words.append(ruled(result).word)
    assert words.count("same") == len(words)


def test_what_one_side_cannot_see_is_undecided_unless_another_figure_is_worse() -> None:
    result = pair()
    change(result, HEAD, not_instrumented=["log_records"], target="litellm", version="1.93.0")
    ruling = ruled(result)
    assert (ruling.word, ruling.exit_code) == ("undecided", 3)
    assert outcome(ruling, "log pairs", "team") is RefereeOutcome.UNSEEN
    head_windows(result, source_reads={scope: {"key": 900} for scope in SCOPES})
    assert ruled(result).word == "worse"


@pytest.mark.parametrize(
    ("label", "place"),
    [("statements that read", "all"), ("other statements", "all"), ("cell", "all")],
)
def test_what_neither_side_can_see_is_undecided(label: str, place: str) -> None:
    result = pair()
    for name in (BASE, HEAD):
        if label == "cell":
            change(result, name, cells={})
        else:
            change_windows(result, name, statements=None)
    ruling = ruled(result)
    assert (ruling.word, ruling.exit_code, ruling.short_of_power) == ("undecided", 3, False)
    assert outcome(ruling, label, place) is RefereeOutcome.UNSEEN
    assert any(reason.startswith(label) for reason in ruling.reasons)


def test_changes_without_a_clock_on_either_side_are_undecided() -> None:
    def ruling(one: Freshness) -> Ruling:
        fresh = {name: {"key-block": {"team": one}} for name in (BASE, HEAD)}
        return ruled(pair().model_copy(update={"freshness": fresh}))

    unseen = ruling(freshness(None))
    assert (unseen.word, unseen.exit_code) == ("undecided", 3)
    assert outcome(unseen, "freshness", "all") is RefereeOutcome.UNSEEN
    idle = Idle(handler_s=None, others_s=None, answers=[])
    # A release without the action was not changed, and idle objects have no clocks.
    for fields in ({"outcome": "not_there"}, {"idle": idle}):
        assert ruling(freshness(None).model_copy(update=fields)).word == "same"


def test_a_window_without_a_statement_was_seen() -> None:
    result = pair()
    for name in (BASE, HEAD):
        change_windows(result, name, statements={})
    assert outcome(ruled(result), "statements that read", "all") is RefereeOutcome.SAME


def too_slow(base: float, head: float, *slow: str) -> Result:
    return pair().model_copy(
        update={
            "variants": {},
            "verdict": "invalid",
            "too_slow": slow or [HEAD],
            "sustained_per_s": {BASE: base, HEAD: head},
            "reasons": ["The release sustains too little."],
        }
    )


def test_a_side_that_is_too_slow_is_worse_if_the_other_is_not() -> None:
    result = too_slow(20.0, 2.0)
    assert (ruled(result).word, ruled(result).exit_code) == ("worse", 1)
    assert referee(result, HEAD, BASE).word == "better"
    both = too_slow(4.0, 1.0, BASE, HEAD)
    assert (ruled(both).word, ruled(both).exit_code) == ("invalid", 4)


def test_two_sides_near_the_least_rate_are_invalid_and_the_advice_is_given() -> None:
    result = too_slow(5.02, 4.98)
    for ruling in (ruled(result), referee(result, HEAD, BASE)):
        assert (ruling.word, ruling.exit_code) == ("invalid", 4)
        assert "Too slow to be measured: head" in ruling.reasons[0]
        assert "does not sustain 2 times as much" in ruling.reasons[1]
        assert "run again" in ruling.reasons[1]
    assert ruled(too_slow(9.9, 4.95)).word == "worse"
    alone = result.model_copy(update={"sustained_per_s": {HEAD: 2.0}})
    assert ruled(alone).word == "invalid"


def test_an_invalid_run_proves_nothing() -> None:
    result = pair().model_copy(update={"verdict": "invalid", "reasons": ["late"]})
    assert (ruled(result).word, ruled(result).exit_code) == ("invalid", 4)


def test_a_premise_or_an_absent_side_is_refused() -> None:
    with pytest.raises(UsageError, match="premise"):
        referee(releases_run().model_copy(update={"premises": ["x"]}), BASE, HEAD)
    with pytest.raises(UsageError, match="did not measure"):
        referee(pair(), BASE, "nothing")


def test_equal_sides_with_the_noise_of_expiry_are_seldom_anything_but_the_same() -> None:
    """As the model of the noise has it: an edge for each object, a second read in ten."""
    rng, words = random.Random(7), []
    for _ in range(200):
        result = pair()
        for name in (BASE, HEAD):
            windows = []
            for one in result.variants[name].windows:
                reads = {s: {"key": 30 + noise(rng)} for s in SCOPES}
                total = sum(by["key"] for by in reads.values())
                statements = {READ: total, WRITE: 4 * REQUESTS}
                windows.append(
                    one.model_copy(update={"source_reads": reads, "statements": statements})
                )
            change(result, name, windows=windows)
        words.append(ruled(result).word)
    assert words.count("worse") + words.count("better") + words.count("mixed") <= 10
    assert words.count("same") >= 150


def simulated_difference(
    arrivals: Callable[[dict[str, float], float, random.Random], Iterator[Asked]],
    rng: random.Random,
    *,
    per_s: float,
) -> tuple[Count, Count]:
    """Two equal sides as the scenario drives a release: 12 objects, two rounds of 3 TTLs."""
    ttl_s, objects = 8.0, 12
    rates = {str(number): per_s / 4 for number in range(objects)}
    parts: tuple[list[tuple[float, float]], list[tuple[float, float]]] = ([], [])
    for begin in (1.05 * ttl_s, 1.35 * ttl_s):
        end_s = begin + 3 * ttl_s
        asked = list(arrivals(rates, end_s, rng))
        for side in parts:
            reads = read_late(asked, ttl_s, read_s=0.02, rng=rng)
            side.append((sum(at >= begin for at in reads), per_s * 3 * ttl_s))
    variance = 0.1 * objects * 2 + 0.2 * objects * 3 * 2
    base, head = (
        Count(sum(n for n, _ in side), sum(of for _, of in side), variance, tuple(side))
        for side in parts
    )
    return base, head


def test_the_model_of_the_noise_holds_for_regular_arrivals() -> None:
    (rule,) = [rule for rule in RULES if rule.label == "source reads"]
    rng, alarms, least = random.Random(5), 0, []
    for _ in range(40):
        base, head = simulated_difference(regular, rng, per_s=40.0)
        found = judged_from(rule, base, head)
        assert found is not None
        least.append(found)
        alarms += abs(base.value - head.value) > found
    assert alarms <= 1
    assert sorted(least)[36] <= SEEN_PER_1000


def test_two_sides_differ_less_where_arrivals_are_regular() -> None:
    rng = random.Random(6)

    def variance(arrivals: Any) -> float:
        pairs = [simulated_difference(arrivals, rng, per_s=40.0) for _ in range(20)]
        return statistics.variance(head.events - base.events for base, head in pairs)

    def at_random(rates: dict[str, float], end_s: float, rng: random.Random) -> Iterator[Asked]:
        return poisson(rates, 1, end_s, rng)

    assert variance(regular) < variance(at_random) / 3


def noise(rng: random.Random) -> int:
    edges = sum(rng.choice((0, 1)) for _ in range(3))
    return edges + sum(rng.random() < 0.1 for _ in range(30))


def test_every_judged_count_has_a_least_difference() -> None:
    for rule in RULES:
        assert rule.label
        counted = rule.judged and rule.unit not in ("", "s")
        assert not counted or rule.least or rule.least_events, rule.label
