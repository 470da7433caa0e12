"""`harness referee`, `ask` and `git bisect run` on a repository of LiteLLM with known changes.

`make test-referee` runs them, some with the scenario as shipped, on two trees of the slowest
release that it is sized for. `make test` asks and judges reference variants (`test_referee.py`) and
runs each kind of source (`tests/targets/litellm/test_real_sources.py`).
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.releases import parse_release
from harness.targets.litellm.snapshot import remove_snapshots, snapshots
from tests.runs.support import ROOT
from tests.silence import Silence
from tests.targets.litellm.upstream import AUTH, OTHER_TABLE, Upstream, upstream

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

SAME = int(os.environ.get("AUTHCACHE_SAME") or 1)
"""Runs of two equal sides."""
QUESTION = "key reads per 1,000 < 500"
BROKEN = "\nraise ValueError('broken tree')\n"
SLOW = """

_before_slow = _user_api_key_auth_builder


async def _user_api_key_auth_builder(*args, **kwargs):
    import asyncio

    await asyncio.sleep(4)
    return await _before_slow(*args, **kwargs)
"""
"""Eight users of a closed loop get two replies a second."""
SHORT = """
name = "short"
title = "One round of one scope, at the pace of its users"
replicas = 1
ttl_s = 3.0
rounds = 1
rounds_max = 3
variants = ["recommended"]

[population]
user = 1

[load]
model = "closed"
users = 2
mix = { user = 1 }
cold_fill = false
warmup_ttls = 0
window_ttls = 3

[limits]
bad_share_max = 0.05
"""
CONFIG = """
litellm_settings:
  callbacks: hooks.reads
"""
HOOKS = """
from litellm.integrations.custom_logger import CustomLogger


class Reads(CustomLogger):
    async def async_pre_call_hook(self, *_, **__):
        from litellm.proxy.proxy_server import prisma_client

        await prisma_client.db.litellm_endusertable.find_unique(where={"user_id": "planted"})


reads = Reads()
"""
REFUSED = """
litellm_settings:
  max_budget: 1000.0
"""
"""LiteLLM asks for a budget_duration too, once it has started threads."""


def long(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test whose load is open: it judges lateness, too."""
    marked: Callable[..., None] = pytest.mark.long(pytest.mark.alone(test))
    return marked


@dataclass
class Ended:
    """A command that has ended."""

    code: int
    output: str
    runs: Path

    def read(self, name: str) -> str:
        return (self.runs / "latest" / name).read_text(encoding="utf-8")

    @property
    def ruling(self) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(self.read("referee.json"))
        return loaded

    def outcomes(self, outcome: str) -> set[tuple[str, str]]:
        return {
            (one["measure"], one["place"])
            for one in self.ruling["measures"]
            if one["outcome"] == outcome
        }


def harness(runs: Path, *words: str, cwd: Path = ROOT) -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "harness", *words, "--runs-dir", str(runs)],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return Ended(done.returncode, done.stdout + done.stderr, runs)


def made(release: str, folder: Path) -> Iterator[Upstream]:
    """A repository under a name of its own; what was made of it is removed in the end."""
    name = f"litellm, {secrets.token_hex(4)}"
    try:
        yield upstream(asyncio.run(environment_of(release)), folder / name)
    finally:
        remove_snapshots([path.name for path, one in snapshots() if one.name == name])


async def environment_of(release: str) -> Any:
    return await ensure_environment(parse_release(release), Silence())


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    yield from made("litellm==1.94.0", tmp_path_factory.mktemp("old"))


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    yield from made("litellm==1.105.7", tmp_path_factory.mktemp("new"))


@pytest.fixture
def short(tmp_path: Path) -> tuple[str, str]:
    path = tmp_path / "short.toml"
    path.write_text(SHORT, encoding="utf-8")
    return ("--scenario", str(path))


def sides(one: Upstream, base: str, head: str) -> tuple[str, ...]:
    return ("referee", "--repo", str(one.repository.folder), "--base", base, "--head", head)


def source(one: Upstream, commit: str) -> str:
    return f"litellm@{one.repository.folder}#{commit}"


@long
def test_a_read_of_another_table_is_worse_and_named(
    old: Upstream, tmp_path: Path, short: tuple[str, str]
) -> None:
    ended = harness(tmp_path, *sides(old, old.key_read, old.other_read), *short)
    assert ended.code == 1, ended.output
    assert ended.ruling["verdict"] == "worse"
    assert ("statements that read", "all") in ended.outcomes("worse")
    (only,) = [one for one in ended.ruling["only"] if OTHER_TABLE in one["statement"]]
    assert (only["side"], round(only["per_request"], 1)) == ("head", 1.0)
    assert f"Only the head runs SELECT {OTHER_TABLE}" in ended.output
    proof = ended.read("proof.md")
    assert old.key_read in proof
    assert old.other_read in proof


@long
def test_ask_answers_no_of_a_tree_that_reads_on_every_request(
    old: Upstream, tmp_path: Path, short: tuple[str, str]
) -> None:
    folder = old.repository.folder
    ended = harness(tmp_path, "ask", "--source", "litellm@.", QUESTION, *short, cwd=folder)
    assert ended.code == 1, ended.output


@long
def test_a_tree_that_does_not_import_ends_with_the_end_of_its_traceback(
    old: Upstream, tmp_path: Path, short: tuple[str, str]
) -> None:
    broken = commit_beside(old, BROKEN)
    ended = harness(tmp_path, *sides(old, old.release, broken), *short)
    assert ended.code == 2, ended.output
    assert "ValueError: broken tree" in ended.output
    assert AUTH in ended.output


def commit_beside(one: Upstream, text: str) -> str:
    """A commit after the release, on no branch."""
    git = one.repository.git
    git("checkout", "--quiet", one.release)
    try:
        one.repository.append(AUTH, text)
        return one.repository.commit("beside")
    finally:
        git("checkout", "--quiet", "main")


@long
@pytest.mark.parametrize("number", range(SAME))
def test_a_comment_is_the_same(new: Upstream, tmp_path: Path, number: int) -> None:
    ended = harness(tmp_path, *sides(new, new.release, new.comment))
    assert ended.code == 0, f"{number}: {ended.output}"
    assert ended.ruling["verdict"] == "same"
    assert ended.ruling["seen_per_1000"] <= 10


@long
def test_a_read_of_the_key_is_worse(new: Upstream, tmp_path: Path) -> None:
    ended = harness(tmp_path, *sides(new, new.comment, new.key_read))
    assert ended.code == 1, ended.output
    assert {("statements that read", "all"), ("source reads", "all")} <= ended.outcomes("worse")
    assert any(
        "LiteLLM_VerificationToken" in one["statement"] for one in ended.ruling["statements"]
    )


@long
def test_a_read_of_another_table_is_worse_under_the_shipped_load(
    new: Upstream, tmp_path: Path
) -> None:
    ended = harness(tmp_path, *sides(new, new.key_read, new.other_read))
    assert ended.code == 1, ended.output
    assert [one["statement"] for one in ended.ruling["only"]] == [f"SELECT {OTHER_TABLE}"]


@long
def test_a_side_that_is_too_slow_is_worse(old: Upstream, tmp_path: Path) -> None:
    ended = harness(tmp_path, *sides(old, old.release, commit_beside(old, SLOW)))
    assert ended.code == 1, ended.output
    assert "Too slow to be measured: head" in ended.output


@long
def test_a_configuration_is_compared_with_none(
    old: Upstream, tmp_path: Path, short: tuple[str, str]
) -> None:
    config = tmp_path / "my.yaml"
    config.write_text(CONFIG, encoding="utf-8")
    (tmp_path / "hooks.py").write_text(HOOKS, encoding="utf-8")
    words = ("--source", source(old, old.release), "--config", str(config), "--against", "plain")
    ended = harness(tmp_path, "referee", *words, "--keep-callbacks", *short)
    assert ended.code == 1, ended.output
    assert [(one["side"], one["statement"]) for one in ended.ruling["only"]] == [
        ("head", f"SELECT {OTHER_TABLE}")
    ]
    assert "with my.yaml" in ended.read("proof.md")


@long
def test_a_configuration_that_the_proxy_refuses_ends_with_what_it_said(
    old: Upstream, tmp_path: Path, short: tuple[str, str]
) -> None:
    config = tmp_path / "my.yaml"
    config.write_text(REFUSED, encoding="utf-8")
    words = ("--source", source(old, old.release), "--config", str(config), "--against", "plain")
    ended = harness(tmp_path, "referee", *words, *short)
    assert ended.code == 2, ended.output
    assert "budget_duration is required to use max_budget" in ended.output
    assert "did not answer within" not in ended.output


@long
def test_ask_says_yes_no_and_that_it_cannot_tell(old: Upstream, tmp_path: Path) -> None:
    for commit, code in (
        (old.comment, 0),
        (old.key_read, 1),
        (commit_beside(old, BROKEN), 125),
    ):
        ended = harness(tmp_path, "ask", "--source", source(old, commit), QUESTION)
        assert ended.code == code, ended.output


@long
def test_git_bisect_run_finds_the_commit(
    old: Upstream, tmp_path: Path, short: tuple[str, str]
) -> None:
    git, folder = old.repository.git, old.repository.folder
    git("bisect", "start", old.other_read, old.release)
    asked = [sys.executable, "-m", "harness", "ask", "--source", "litellm@.", QUESTION, *short]
    try:
        done = subprocess.run(
            ["git", "bisect", "run", *asked, "--runs-dir", str(tmp_path)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        git("bisect", "reset")
    assert f"{old.key_read} is the first bad commit" in done.stdout, done.stdout + done.stderr
