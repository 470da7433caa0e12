"""Two variants in one fleet, live: what the static matrix foretells, and a rollout."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.analysis.compat import ReadOutcome, ReferenceParty, matrix, rich_population
from harness.authcache.variants import load_variants
from harness.cli import main
from tests.runs.support import EVEN, Ended, harness, unhurried

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

FAILURE = "mixed:litellm_1_84+strict"
"""The old one leaves a team under the id of a user, where both have one id; the new one fails."""
OTHER_VALUE = "mixed:litellm_1_84+lenient"
"""The same team, which the second reads as the user."""
VARIANTS = """
[strict]
title = "1.94 without memory"
stands_for = "release 1.94.0, asking Redis with each request"
base = "litellm_1_94"
switches = { memory_entries = 0 }

[lenient]
title = "The same, taking a user without an id"
stands_for = "fix 1 of issue #27874 beside a release that stores teams under raw ids"
base = "litellm_1_94"
switches = { memory_entries = 0, codec = "optional_user_id" }
"""
"""Within each request of the old one the team is in the user's place only until the user is read
from Postgres again. So that others meet it there in a few seconds, that read takes longer, and they
ask Redis each time."""
SLOW = "false\nsource_latency_ms = 20.0"
SAME = "mixed:litellm_1_93+litellm_1_94"
APART = "mixed:litellm_1_84+recommended"
RELEASES = "mixed:litellm==1.92.2+litellm==1.94.0"


def foretold(name: str, variants: Path) -> set[tuple[str, str, str, str]]:
    """Outcome, writer, reader and object of what harms in the static matrix of a pair."""
    known = load_variants(variants)
    pair = [ReferenceParty(known[one]) for one in name.removeprefix("mixed:").split("+")]
    harmful = (ReadOutcome.FAILURE, ReadOutcome.OTHER_VALUE)
    return {
        (str(outcome), cell.writer, cell.reader, str(cell.kind))
        for cell in matrix(pair, rich_population())
        for outcome in harmful
        if cell.counts.get(outcome) and cell.writer != cell.reader
    }


def seen(ended: Ended, name: str) -> set[tuple[str, str, str, str]]:
    """The same, as the live fleet showed it."""
    members = ended.result["variants"][name]["by_member"]
    return {
        (outcome, writer, reader, kind)
        for reader, member in members.items()
        for outcome, field in (("failure", "unread"), ("other value", "wrong"))
        for writer, kinds in member[field].items()
        for kind in kinds
        if writer != reader
    }


@pytest.mark.long
def test_a_pair_of_each_kind_does_live_what_the_static_matrix_foretells(tmp_path: Path) -> None:
    names = (FAILURE, OTHER_VALUE, SAME, APART)
    scenario = str(
        unhurried("smoke", tmp_path, member_row='"budget"', null_user_for_team_keys=SLOW)
    )
    mine = tmp_path / "mine.toml"
    mine.write_text(VARIANTS)
    ended = harness(
        tmp_path / "runs",
        *("loadtest", "--scenario", scenario, "--replicas", "2"),
        *("--variants-file", str(mine)),
        *("--variants", ",".join(names), "--runs-dir", str(tmp_path / "runs")),
    )
    assert "variants" in ended.result, ended.output
    assert ended.result["ledger"]["balanced"] is True, ended.output

    assert ("failure", "litellm_1_84", "strict", "user") in foretold(FAILURE, mine)
    assert ("failure", "litellm_1_84", "strict", "user") in seen(ended, FAILURE)
    assert ("other value", "litellm_1_84", "lenient", "user") in foretold(OTHER_VALUE, mine)
    assert ("other value", "litellm_1_84", "lenient", "user") in seen(ended, OTHER_VALUE)
    for name in (SAME, APART):
        assert foretold(name, mine) == seen(ended, name) == set()
    for name in names:
        # What is seen of one variant's entries by the other is foretold; a budget that was cleared
        # is in the population of the matrix alone.
        assert seen(ended, name) <= foretold(name, mine)
        replicas = [one["replicas"] for one in ended.result["variants"][name]["by_member"].values()]
        assert replicas == [[0], [1]]


def test_a_rollout_of_reference_variants_goes_there_and_back(tmp_path: Path) -> None:
    scenario = str(unhurried("rollout", tmp_path, ttl_s="1.5", rate_per_s="60", mix=EVEN))
    ended = harness(
        tmp_path / "runs",
        *("rollout", "--from", "litellm_1_84", "--to", "recommended", "--replicas", "2"),
        *("--scenario", scenario, "--runs-dir", str(tmp_path / "runs")),
    )
    assert ended.code == 0, ended.output
    result = ended.result
    phases = result["rollout"]["phases"]

    assert list(phases) == ["old", "one", "all", "back-one", "back-old"]
    assert list(result["variants"]) == list(phases), "each phase has figures of its own"
    assert result["ledger"]["balanced"] is True, ended.output
    runs = [one["replicas"] for one in phases.values()]
    assert runs[1] == ["recommended", "litellm_1_84"]
    assert [len(one["replaced"]) for one in phases.values()] == [0, 1, 1, 1, 1]
    for phase in phases.values():
        for check in phase["checks"].values():
            assert check["chats"] == {"200": 10}
            assert set(check["calls"].values()) == {"200"}, check
            assert check["spend_micro"] == check["spend_due_micro"]
    # One has the collision of a shared id alone; the other never meets its entries.
    old = result["variants"]["one"]["by_member"]
    assert old["recommended"]["unread"] == old["recommended"]["wrong"] == {}
    assert set(old["litellm_1_84"]["unread"]) == {"litellm_1_84"}
    assert "rollout.md" in ended.output


@pytest.mark.long
def test_a_mixed_pair_of_releases_reads_each_others_entries(tmp_path: Path) -> None:
    short = {"ttl_s": "3.0", "cold_fill": "false", "warmup_ttls": "1", "shared_id": "1"}
    scenario = str(unhurried("smoke", tmp_path, **short, member_row='"budget"'))
    ended = harness(
        tmp_path / "runs",
        *("loadtest", "--scenario", scenario, "--replicas", "2", "--variants", RELEASES),
        *("--runs-dir", str(tmp_path / "runs")),
    )
    assert "variants" in ended.result, ended.output
    fleet = ended.result["variants"][RELEASES]
    old, new = fleet["by_member"].values()

    assert (old["version"], new["version"]) == ("1.92.2", "1.94.0")
    assert old["unread"] == new["unread"] == {}, ended.output
    assert old["wrong"] == new["wrong"] == {}
    assert sum(n for by in old["requests"].values() for n in by.values()) > 0
    assert fleet["not_instrumented"] == []
    assert ended.result["ledger"]["balanced"] is True, ended.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "litellm_1_84", "--to", "litellm_1_84"), "Name two variants"),
        (("--from", "litellm_1_84", "--to", "litellm_1_85"), "Did you mean [litellm_1_84]"),
        (("--from", "envelope", "--to", "recommended", "--replicas", "1"), "--replicas 2"),
        (("--from", "envelope", "--to", "litellm==1.94.0"), "cannot share a database"),
    ],
)
def test_bad_input_of_a_rollout_is_one_message(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    given = ("rollout", *arguments, "--runs-dir", str(tmp_path / "runs"))
    ended = CliRunner().invoke(main, given, catch_exceptions=False)

    assert ended.exit_code == 2
    assert words in ended.output
    assert not (tmp_path / "runs").exists()
