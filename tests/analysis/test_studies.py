"""Which variants and which scenario the studies run."""

from collections import Counter
from typing import Any

import pytest

from harness.analysis.studies import (
    IDLE_TTLS,
    chosen_pairs,
    clock,
    clock_notes,
    history,
    known_pairs,
    twins,
)
from harness.domain.changes import ACTIONS
from harness.errors import UnknownNameError, UsageError
from harness.plan.plan import make_plan
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import Scenario
from harness.targets.litellm.releases import known_releases


def test_the_pairs_are_those_of_the_table_of_releases() -> None:
    assert [tuple(pair) for pair in known_pairs()] == [
        ("litellm_1_83", "litellm==1.83.14"),
        ("litellm_1_84", "litellm==1.84.0rc1"),
        ("litellm_1_91", "litellm==1.91.0"),
        ("litellm_1_93", "litellm==1.93.0"),
        ("litellm_1_94", "litellm==1.94.0"),
    ]
    named = {release.twin for release in known_releases().values()} - {None}
    assert {pair.twin for pair in known_pairs()} == named


@pytest.mark.parametrize(
    ("names", "twins_of"),
    [
        (None, ["litellm_1_83", "litellm_1_84", "litellm_1_91", "litellm_1_93", "litellm_1_94"]),
        (["litellm_1_94", "litellm_1_84"], ["litellm_1_84", "litellm_1_94"]),
        (["litellm==1.84.0-rc.1", "litellm_1_84"], ["litellm_1_84"]),
    ],
)
def test_pairs_are_chosen_by_either_name(names: list[str] | None, twins_of: list[str]) -> None:
    assert [pair.twin for pair in chosen_pairs(names)] == twins_of


def test_a_name_without_a_pair_is_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"no twin \[litellm_1_85\]. Did you mean"):
        chosen_pairs(["litellm_1_85"])
    # A release whose variant has an older release for its pair.
    with pytest.raises(UnknownNameError, match=r"no twin \[litellm==1.84.10\]"):
        chosen_pairs(["litellm==1.84.10"])
    with pytest.raises(UsageError, match="No pair is named"):
        chosen_pairs([])
    with pytest.raises(UsageError, match="compromised"):
        chosen_pairs(["litellm==1.107.2"])


def test_twins_stand_side_by_side_and_nothing_is_planted() -> None:
    study = twins(chosen_pairs(["litellm_1_84", "litellm_1_94"]))
    scenario = study.load()
    assert scenario.name == "issue-27874"
    assert scenario.variants == [
        "litellm_1_84",
        "litellm==1.84.0rc1",
        "litellm_1_94",
        "litellm==1.94.0",
    ]
    assert not scenario.premises.null_user_for_team_keys
    assert (scenario.replicas, scenario.rounds, scenario.time_scale) == (2, 5, 1.0)
    # What the scenario says of a run with releases holds for the reference variants as well.
    assert scenario.load.rate_per_s == scenario.with_releases.rate_per_s


def test_a_release_gets_the_ttl_of_its_twin_and_otherwise_its_own() -> None:
    assert twins(known_pairs()).load().with_releases.management_ttl
    assert not history().load().with_releases.management_ttl


def test_the_command_line_wins() -> None:
    scenario = twins(known_pairs()).load(replicas=4, rounds=1)
    assert (scenario.replicas, scenario.rounds) == (4, 1)


def test_the_history_runs_all_known_releases_in_their_order() -> None:
    scenario = history().load()
    assert scenario.variants == [one.name for one in known_releases().values() if one.history]
    assert (scenario.replicas, scenario.rounds) == (2, 2)
    assert not scenario.premises.null_user_for_team_keys


def test_the_history_of_named_releases_is_oldest_first_each_once() -> None:
    study = history(["1.94.0", "litellm==1.84.0-rc.1", "1.86.0", "1.94"])
    assert study.variants == ("litellm==1.84.0rc1", "litellm==1.86.0", "litellm==1.94.0")


@pytest.mark.parametrize(
    ("versions", "said"),
    [([], "No release is named"), (["newest"], "names no release"), (["1.107.0"], "compromised")],
)
def test_a_history_of_nothing_or_of_what_is_refused_is_an_error(
    versions: list[str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        history(versions)


def timed(*, workers: int = 1, ttl_s: float = 10.0, **options: Any) -> Scenario:
    return clock(load_scenario("clock", Changes(workers=workers, ttl_s=ttl_s)), **options)


def test_a_clock_has_every_action_once_in_windows_of_changes_alone() -> None:
    scenario = timed()
    assert [change.action for change in scenario.change] == list(ACTIONS)
    assert {change.scope for change in scenario.change} == {"user", "team", "member"}
    assert scenario.changes.alone
    assert scenario.batches() == [1, 2]
    assert [sum(c.batch == b for c in scenario.change) for b in (1, 2)] == [11, 11]
    assert (scenario.ttl_s, scenario.time_scale, scenario.changes.tail_ttls) == (10.0, 1.0, 1.0)
    # Objects that one window changes differ in kind.
    kinds = {ACTIONS[c.action].object for c in scenario.change if c.batch == 1}
    assert kinds == {"key", "team", "user", "membership"}


def test_a_clock_takes_what_is_named_and_repeats_it() -> None:
    only = timed(only=["team-block", "key-block:member"], changes=7, watch_ttls=6.0)
    pairs = [(change.action, change.scope) for change in only.change]
    assert sorted(pairs) == sorted([("key-block", "member"), ("team-block", "team")] * 7)
    assert only.batches() == [1, 2]
    assert only.changes.window_ttls == 8.0
    everywhere = timed(scopes=["shared_id", "member"], only=["team-block", "key-block"])
    assert len(everywhere.change) == 4
    assert len(timed(scopes=["team", "user", "shared_id", "member"]).change) == sum(
        len(action.scopes) for action in ACTIONS.values()
    )


def test_a_window_has_no_more_keys_than_its_rate_can_probe() -> None:
    # 400 requests/s, 8 probes in 2 s: 100 pairs of a key and a worker.
    few = timed(workers=8, ttl_s=2.0)
    assert max(sum(c.batch == b for c in few.change) for b in few.batches()) == 6
    assert "at most 6 keys" in " ".join(clock_notes(few, 2))
    # Not even one key: the probes are farther apart, and the note says how far.
    one = timed(workers=16, ttl_s=0.5)
    assert len(one.batches()) == len(one.change)
    assert "every 0.093 s on each of 32 workers, 344 requests/s" in " ".join(clock_notes(one, 1))


def test_a_clock_says_where_its_keys_may_push_one_another_out() -> None:
    every = timed(scopes=["team", "user", "shared_id", "member"])
    assert "come to 232 entries" in " ".join(clock_notes(every, 1))
    assert "entries" not in " ".join(clock_notes(timed(), 1))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"only": ["team-blok"]}, r"no action \[team-blok\]. Did you mean \[team-block\]"),
        ({"only": ["team-block:user"]}, r"no scope of the action team-block \[user\]"),
        ({"scopes": ["everyone"]}, r"no scope \[everyone\]"),
        ({"scopes": ["user"], "only": ["team-block"]}, "No action is left to time"),
        ({"only": []}, "No action is left to time"),
    ],
)
def test_a_clock_of_nothing_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        timed(**options)


def test_a_clock_of_idle_keys_has_clones_of_each_change_in_windows_after_the_others() -> None:
    only = timed(only=["team-block", "key-block:member", "user-models"], idle=True)
    hot = [change for change in only.change if change.idle_ttls is None]
    idle = [change for change in only.change if change.idle_ttls is not None]
    assert hot == timed(only=["team-block", "key-block:member", "user-models"]).change
    assert Counter((c.action, c.idle_asks, c.idle_ttls) for c in idle) == Counter(
        (action, asks, ttls)
        for action in ("team-block", "key-block", "user-models")
        for asks in ("handler", "others")
        for ttls in IDLE_TTLS
    )
    assert {change.batch for change in hot} == {1}
    assert Counter(change.batch for change in idle) == {2: 12, 3: 6}
    said = " ".join(clock_notes(only, 1))
    assert "at most 3 keys in use" in said
    assert "18 of the changes are of keys that are idle" in said
    assert "idle" not in " ".join(clock_notes(timed(), 1))
    # More entries than a worker of a release holds.
    assert "push one another out" in " ".join(clock_notes(timed(idle=True), 1))


def test_a_single_worker_is_the_handler() -> None:
    alone = clock(load_scenario("clock", Changes(replicas=1)), only=["key-block"], idle=True)
    assert {c.idle_asks for c in alone.change if c.idle_ttls is not None} == {"handler"}


def test_the_last_question_about_an_idle_key_is_after_the_promise() -> None:
    scenario = timed(ttl_s=1.0)
    plan = make_plan(scenario, [], stack="embedded")
    assert max(IDLE_TTLS) * plan.ttl_s > plan.promise_s(redis=True)
