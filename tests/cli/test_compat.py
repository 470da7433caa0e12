"""The command `compat`: what it prints, what it refuses, and its exit codes."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.analysis.recorded import recorded
from harness.cli import main
from harness.cli.commands import compat
from harness.targets.base import ProcessSpec

ECHO = """
import json, sys
print("a line of a library")
print(json.dumps([{"fields": one} for _, one in json.load(sys.stdin)]))
"""


def run(*options: str) -> Result:
    return CliRunner().invoke(main, ["compat", *options])


@dataclass
class Target:
    reader: ProcessSpec | None

    def payload_reader(self) -> ProcessSpec | None:
        return self.reader


@dataclass
class Arm:
    name: str
    target: Target


def read_by(monkeypatch: pytest.MonkeyPatch, *scripts: str | None) -> tuple[str, ...]:
    """Have recorded releases read by these scripts; None for one that has no reader."""

    async def arms(choices: list[Any], *_: object) -> list[Arm]:
        specs = [one and ProcessSpec((sys.executable, "-c", one)) for one in scripts]
        return [Arm(c.name, Target(spec or None)) for c, spec in zip(choices, specs, strict=True)]

    monkeypatch.setattr(compat, "arms_unless_stopped", arms)
    return tuple(recorded()[: len(scripts)])


def test_json_has_every_cell_and_every_rollout() -> None:
    done = run("--variants", "litellm_1_93,all_prefixed,litellm_1_94", "--json")

    assert done.exit_code == 0
    data = json.loads(done.output)
    assert len(data["cells"]) == 3 * 3 * 4
    assert {(one["from"], one["to"]): one["safe"] for one in data["upgrades"]}[
        "litellm_1_93", "litellm_1_94"
    ]
    assert data["safe_order"] == ["litellm_1_93", "litellm_1_94"]
    (cell,) = (
        one
        for one in data["cells"]
        if (one["writer"], one["reader"], one["object"]) == ("litellm_1_94", "all_prefixed", "user")
    )
    assert cell["outcome"] == cell["added"] == "not read"
    assert cell["smallest"]["not read"]["written"] == {"user": {"user_id": "u"}}


def test_the_words_name_the_cost_the_flush_and_the_way_round_it() -> None:
    names_of_releases = ("--override", "recommended:key_layout=all_prefixed")
    variants = ("--variants", "litellm_1_84,fix_optional_user_id,recommended")
    done = run(*variants, *names_of_releases, "--markdown")

    assert done.exit_code == 0
    words = done.output[done.output.index("**Upgrades**") :]
    assert "fix_optional_user_id reads other values in litellm_1_84's user" not in words
    assert "recommended fails on fix_optional_user_id's team, membership" in words
    assert "stop fix_optional_user_id, flush Redis, then start recommended" in words
    assert "No chain of these variants leads safely" in words


def test_an_object_in_anothers_place_is_named() -> None:
    done = run("--variants", "litellm_1_84,litellm_1_91", "--markdown")

    assert (
        "fails on litellm_1_84's user (its key holds a team where both have one id)" in done.output
    )


def test_a_rollout_without_a_difference_is_safe_and_the_terminal_says_so() -> None:
    done = run("--variants", "litellm_1_93,litellm_1_94")

    assert done.exit_code == 0
    assert "Each reads what the other writes. No flush." in done.output.replace("\n", " ")


def test_an_override_changes_the_matrix() -> None:
    options = ("--variants", "litellm_1_93,litellm_1_94", "--json")
    done = run(*options, "--override", "litellm_1_94:codec=msgspec")

    assert json.loads(done.output)["safe_order"] is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--markdown", "--json"), "Choose one"),
        (("--releases", "--variants", "litellm_1_84"), "Give one of"),
        (("--variants", "litellm_1_84,litellm==1.94.0"), "Name releases alone"),
        (("--variants", "litellm==1.94.0", "--override", "x:codec=raw"), "no switches"),
        (("--variants", "litellm==9.9.9"), "harness compat --record litellm==9.9.9"),
        (("--variants", "litellm_1_48"), "litellm_1_84"),
        (("--record", "recommended"), "is no release"),
        (("--variants", "litellm_1_84", "--override", "recommended:codec=raw"), "override"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(options: tuple[str, ...], said: str) -> None:
    done = run(*options)

    assert done.exit_code == 2
    assert said in done.output


def test_releases_are_read_by_their_own_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    names = read_by(monkeypatch, ECHO, ECHO)
    done = run("--variants", ",".join(names), "--json")

    assert done.exit_code == 0
    assert json.loads(done.stdout)["variants"] == list(names)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; sys.exit('no such model')", "its reader failed: no such model"),
        ("print('[]')", "its reader wrote no answers"),
        (None, "it keeps no auth object in Redis"),
    ],
)
def test_a_release_that_cannot_read_is_left_out_and_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, script: str | None, said: str
) -> None:
    names = read_by(monkeypatch, ECHO, script)
    done = run("--variants", ",".join(names), "--json")

    assert done.exit_code == 3
    assert f"{names[1]} is left out: {said}" in done.stderr
    assert json.loads(done.stdout)["variants"] == [names[0]]


@pytest.mark.integration
def test_real_releases_fail_on_the_team_that_1_84_leaves_in_place_of_a_user() -> None:
    """The payloads of issue #27874, read by the releases' own codecs."""
    done = run("--variants", "litellm==1.84.0rc1,litellm==1.94.0", "--json")

    assert done.exit_code == 0
    data = json.loads(done.stdout)
    cells = {(one["writer"][9:], one["reader"][9:], one["object"]): one for one in data["cells"]}
    for reader in ("1.84.0rc1", "1.94.0"):
        failure = cells["1.84.0rc1", reader, "user"]["smallest"]["failure"]
        assert failure["found"] == "team"
        assert "user_id Field required" in failure["read"]
    # A membership whose budget was cleared: the reader of 1.84 requires the field, 1.94's does not.
    assert cells["1.84.0rc1", "1.84.0rc1", "membership"]["outcome"] == "failure"
    assert cells["1.84.0rc1", "1.94.0", "membership"]["outcome"] == "same"
    assert cells["1.94.0", "1.94.0", "user"]["outcome"] == "same"
    assert data["safe_order"] is None
