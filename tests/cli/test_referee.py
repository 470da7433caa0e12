"""`harness referee`, `ask` and `bisect`: what they run, write and end with."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Ended

from harness.analysis.referee import settled
from harness.archive.directory import write_result, write_verdict
from harness.cli import main
from harness.cli.commands import referee as commands
from harness.cli.commands.running import FinishedRun
from harness.domain.result import ExpectationResult, Result, SourceResult
from harness.errors import SetupError, UsageError
from harness.plan.plan import Arm
from harness.scenario.schema import RatioExpectation, Scenario
from harness.targets.litellm import install, snapshot
from harness.targets.litellm.environment import Environment
from harness.targets.litellm.listing import parse_index
from harness.targets.litellm.releases import parse_release
from harness.targets.litellm.snapshot import BRIDGE
from harness.targets.litellm.target import LiteLLMTarget
from tests.analysis.test_referee import BASE, SCOPES, head_windows, pair
from tests.plan.build import DescribedTarget
from tests.targets.litellm.repository import (
    Repository,
    pyproject,
    small_environment,
    wheel,
)

HEALTHY_TEAM = "team is healthy"


class Runs:
    """Stands in for the run: notes what it was asked for, and returns a result."""

    def __init__(self, folder: Path, result: Result | Exception) -> None:
        self.folder = folder
        self.result = result
        self.scenario: Scenario | None = None
        self.names: list[str] = []
        self.choices: list[Any] = []
        self.options: dict[str, Any] = {}

    def __call__(self, scenario: Scenario, choices: Any, _: object, **options: Any) -> FinishedRun:
        self.scenario, self.names = scenario, [one.name for one in choices]
        self.choices, self.options = choices, options
        assert scenario.variants == self.names
        if isinstance(self.result, Exception):
            raise self.result
        if BASE in self.result.variants and len(self.names) > 1:
            variants = dict(zip(self.names, self.result.variants.values(), strict=True))
            self.result = self.result.model_copy(update={"variants": variants})
        run_dir = self.folder / self.result.run_id
        run_dir.mkdir(exist_ok=True)
        write_result(run_dir, self.result)
        write_verdict(run_dir, self.result.verdict, 0, ())
        return FinishedRun(self.result, run_dir, 0)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Result | Exception], Runs]:
    def replaced(result: Result | Exception) -> Runs:
        runs = Runs(tmp_path, result)
        monkeypatch.setattr(commands, "run_to_end", runs)
        return runs

    return replaced


def harness(*arguments: str) -> Ended:
    return CliRunner().invoke(main, arguments, env={"POSTGRES_DSN": None, "REDIS_URL": None})


def answered(state: str, **fields: Any) -> Result:
    asked = ExpectationResult(
        name="cell in team",
        variant=BASE,
        scope="team",
        measured="healthy",
        limit="healthy",
        state=state,
    )
    return pair().model_copy(update={"expectations": [asked], **fields})


def test_the_same_source_twice_runs_under_two_names(
    run: Callable[[Result | Exception], Runs], tmp_path: Path
) -> None:
    runs = run(pair())
    ended = harness("referee", "--source", "recommended", "--against", "recommended")
    assert ended.exit_code == 0, ended.output
    assert runs.names == ["recommended", "recommended-again"]
    assert runs.scenario is not None
    assert runs.scenario.name == "referee"
    assert not runs.scenario.expect
    # Rounds are made until the ruling has its power, and a native file on one side is refused.
    decided = runs.options["enough"]
    assert decided.func is settled
    assert decided.keywords == {"base": "recommended", "head": "recommended-again"}
    assert runs.options["check"] is commands.refuse_other_code
    files = {path.name for path in (tmp_path / pair().run_id).iterdir()}
    assert {"proof.md", "comment.md", "bench.json", "bencher.json", "referee.json"} <= files


def test_a_worse_head_ends_with_1_and_every_file_says_so(
    run: Callable[[Result | Exception], Runs], tmp_path: Path
) -> None:
    result = pair()
    head_windows(result, source_reads={scope: {"key": 900} for scope in SCOPES})
    run(result)
    ended = harness("referee", "--source", "recommended", "--against", "litellm_1_84")
    assert ended.exit_code == 1, ended.output
    folder = tmp_path / result.run_id
    assert (folder / "comment.md").read_text().startswith("**The head is worse.**")
    assert "<details>" in (folder / "comment.md").read_text()
    proof = (folder / "proof.md").read_text()
    assert "**Before:** litellm\\_1\\_84" in proof or "**Before:** litellm_1_84" in proof
    assert "mock" in proof
    assert "Ledger" in proof
    (line,) = (folder / "verdict.json").read_text().splitlines()
    verdict = json.loads(line)
    assert (verdict["verdict"], verdict["exit_code"]) == ("worse", 1)
    assert {"proof.md", "result.json"} <= {*verdict["files"]}
    assert all((folder / name).exists() for name in verdict["files"] if name.startswith("b"))
    numbers = json.loads((folder / "bench.json").read_text())
    assert all({"name", "unit", "value"} <= one.keys() for one in numbers)
    (reads,) = [one for one in numbers if one["name"] == "source reads, all"]
    assert reads["value"] == pytest.approx(900)
    metric = json.loads((folder / "bencher.json").read_text())
    assert metric["source reads, all"] == {"per-1000-requests": {"value": pytest.approx(900)}}


def test_the_proof_repeats_the_command_without_what_names_servers(
    run: Callable[[Result | Exception], Runs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(pair())
    sides = ("--source", "fix_keep_none", "--against", "litellm_1_84", "--replicas", "2")
    for servers in (
        ("--postgres-dsn", "postgresql://u:secret@h/d", "--redis-url", "redis://h"),
        ("--postgres-dsn=postgresql://u:secret@h/d", "--redis-url=redis://h"),
        ("--postgres-dsn", "password=secret"),
    ):
        monkeypatch.setattr("sys.argv", ["harness", "referee", *sides, *servers])
        assert harness("referee", *sides, *servers).exit_code == 0
        proof = (tmp_path / pair().run_id / "proof.md").read_text()
        assert f"\nharness referee {' '.join(sides)}\n" in proof
        assert "secret" not in proof


def test_json_goes_to_standard_output_and_all_talk_to_standard_error(
    run: Callable[[Result | Exception], Runs],
) -> None:
    run(pair())
    ended = harness(
        "referee", "--source", "recommended", "--against", "litellm_1_84", "--json", "-"
    )
    body = json.loads(ended.stdout)
    assert (body["verdict"], body["head"]["label"]) == ("same", "recommended")
    assert "The head is the same" in ended.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "--repo, or a head with --source"),
        (("--source", "recommended"), "takes --against"),
        (("--repo", ".", "--source", "recommended"), "not both"),
        (("--repo", ".", "--against", "recommended"), "--base REV"),
        (("--source", "litellm==1.94.0", "--against", "plain"), "--config FILE"),
        (("--source", "recommended", "--against", "plain", "--config", "x"), "none takes part"),
        (("--source", "litellm==1.94.0", "--against", "plain", "--config", "none.yaml"), "[none"),
    ],
)
def test_options_that_do_not_go_together(options: tuple[str, ...], said: str) -> None:
    ended = harness("referee", *options)
    assert ended.exit_code == 2
    assert said in ended.output


def test_a_configuration_is_compared_with_the_same_source_without_it(
    run: Callable[[Result | Exception], Runs], tmp_path: Path
) -> None:
    runs = run(pair())
    config = tmp_path / "my.yaml"
    config.write_text("general_settings: {}\n")
    sides = ("--source", "litellm==1.94.0", "--against", "plain", "--config", str(config))
    ended = harness("referee", *sides, "--keep-callbacks")
    assert ended.exit_code == 0, ended.output
    base, head = runs.choices
    assert (base.name, head.name) == ("plain", "configured")
    assert (base.config, base.release) == (None, head.release)
    assert (head.config.path, head.config.keep_callbacks) == (config, True)
    proof = (tmp_path / pair().run_id / "proof.md").read_text()
    assert "with my.yaml" in proof
    assert "without my.yaml" in proof


def test_a_tree_is_configured_in_the_environment_that_is_named(
    run: Callable[[Result | Exception], Runs], tmp_path: Path
) -> None:
    runs = run(pair())
    config = tmp_path / "my.yaml"
    config.write_text("general_settings: {}\n")
    (tmp_path / "litellm").mkdir()
    sides = ("--source", f"litellm@{tmp_path / 'litellm'}", "--against", "plain")
    ended = harness("referee", *sides, "--config", str(config), "--environment", "litellm==1.94.0")
    assert ended.exit_code == 0, ended.output
    assert [one.config is None for one in runs.choices] == [True, False]
    assert [one.within.version for one in runs.choices] == ["1.94.0", "1.94.0"]


def test_files_of_a_tree_that_are_in_no_commit_are_named(
    run: Callable[[Result | Exception], Runs], repo: Path, tmp_path: Path
) -> None:
    result = pair()
    base, head = result.variants.values()
    base.source = SourceResult(kind="commit", name="litellm", native=False)
    head.source = SourceResult(kind="tree", name="litellm", uncommitted=1, native=False)
    run(result)
    ended = harness("referee", "--repo", str(repo))
    assert ended.exit_code == 0, ended.output
    commits = [git(repo, "rev-parse", rev)[:7] for rev in ("HEAD~1", "HEAD")]
    proof = (tmp_path / result.run_id / "proof.md").read_text()
    assert f"**Before:** {commits[0]} (" in proof
    assert f"**After:** {commits[1]} + 1 file not committed (" in proof


def test_the_same_release_twice_and_two_trees_of_one_name_have_names_of_their_own(
    run: Callable[[Result | Exception], Runs], tmp_path: Path
) -> None:
    runs = run(pair())
    release = "litellm==1.94.0"
    assert harness("referee", "--source", release, "--against", release).exit_code == 0
    assert runs.names == [release, "again"]
    trees = [tmp_path / side / "litellm" for side in ("one", "two")]
    for tree in trees:
        tree.mkdir(parents=True)
    runs = run(pair())
    ended = harness(
        "referee", "--source", f"litellm@{trees[0]}", "--against", f"litellm@{trees[1]}"
    )
    assert ended.exit_code == 0, ended.output
    assert runs.names == ["base", "head"]


def test_a_native_file_on_one_side_alone_is_refused() -> None:
    def arm(name: str, *, lacks: bool) -> Arm:
        target = DescribedTarget()
        target.lacks_native = lacks
        return Arm(name, name, target)

    with pytest.raises(UsageError, match=r"\[head\] has no native file.*--environment"):
        commands.refuse_other_code([arm("base", lacks=False), arm("head", lacks=True)])
    commands.refuse_other_code([arm("base", lacks=True), arm("head", lacks=True)])
    commands.refuse_other_code([arm("base", lacks=False), arm("head", lacks=False)])


@pytest.mark.parametrize(
    ("looks", "has", "lacks"), [(True, True, False), (True, False, True), (False, False, False)]
)
def test_code_that_looks_for_a_native_file_lacks_it_where_it_is_not(
    tmp_path: Path, *, looks: bool, has: bool, lacks: bool
) -> None:
    environment = small_environment(tmp_path, native=has)
    bridge = environment.site_packages / BRIDGE
    if looks and not has:
        bridge.mkdir()
    assert bridge.is_dir() == looks
    target = LiteLLMTarget(parse_release("litellm==1.105.7"), environment)
    assert target.lacks_native == lacks


@pytest.fixture
def trees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: tuple[Path, Environment]
) -> Path:
    """The sources, with an environment for each release."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, environment = sources

    async def ensured(*_: object) -> Environment:
        return environment

    monkeypatch.setattr(install, "ensure_environment", ensured)
    monkeypatch.setattr(snapshot, "ensure_environment", ensured)
    return folder


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Environment]:
    """A folder with sources that cannot be run, each for a reason of its own."""
    folder = tmp_path_factory.mktemp("trees")
    texts = {
        "good": pyproject("1.105.7", [], []),
        "compromised": pyproject("1.107.2", [], []),
        "other": pyproject("1.0", [], [], name="other"),
        "unreadable": "[project",
    }
    for name, text in texts.items():
        repository_at(folder / name, text)
    part = repository_at(folder / "part", texts["good"])
    dirty = repository_at(folder / "dirty", texts["good"])
    allowed = ("-c", "protocol.file.allow=always")
    dirty.git(*allowed, "submodule", "--quiet", "add", str(part.folder), "litellm/part")
    dirty.commit("with a submodule")
    dirty.write("litellm/part/pyproject.toml", "changed")
    (folder / "plain").mkdir()
    (folder / "no.yaml").write_text("a: [1\n")
    wheel(folder, name="other", version="1.0")
    return folder, small_environment(tmp_path_factory.mktemp("environment"))


def repository_at(folder: Path, text: str) -> Repository:
    made = Repository(folder)
    made.write("pyproject.toml", text)
    made.write("litellm/__init__.py", "")
    made.git("init", "--quiet")
    made.commit("one")
    return made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--repo plain --base HEAD", "[plain] is no git repository. Give --repo the folder"),
        ("--repo good --base nonsense", "no revision [nonsense] in [good]"),
        ("--repo good --base HEAD --head nonsense", "no revision [nonsense] in [good]"),
        ("--repo good --head nonsense", "no revision [nonsense] in [good]"),
        ("--repo good --head --all", "no revision [--all] in [good]"),
        ("--repo good", "[good] has no merge base with origin/HEAD. Name the base with --base"),
        ("--repo compromised --base HEAD", "compromised"),
        ("--repo other --base HEAD", "is a repository of [other]"),
        ("--repo unreadable --base HEAD", "no pyproject.toml that can be read"),
        ("--repo dirty --base HEAD", "submodule [litellm/part]"),
        ("--source litellm@plain --against litellm@good", "plain] is in no git repository"),
        ("--source litellm@nothing --against litellm@good", "neither a folder nor a file"),
        (
            "--source litellm@other-1.0-py3-none-any.whl --against litellm@good",
            "a wheel of [other]",
        ),
        ("--source litellm@good --against plain --config no.yaml", "[no.yaml] is no YAML"),
        ("--source litellm@good --against plain --config nil.yaml", "no configuration file [nil"),
        ("--source litellm@good --against recommended --environment x", "[x]"),
    ],
)
def test_what_cannot_be_run_has_one_message_and_nothing_is_started(
    trees: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    monkeypatch.chdir(trees)
    ended = harness("referee", *words.split())
    assert ended.exit_code == 2, ended.output
    message = [line for line in ended.output.splitlines() if line.startswith("error:")]
    assert len(message) == 1, ended.output
    assert said in " ".join(ended.output.split())
    assert not (trees / "runs").exists()


@pytest.mark.parametrize("source", ["litellm@compromised", "litellm@dirty", "litellm@plain"])
def test_ask_cannot_tell_of_what_cannot_be_run(
    trees: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(trees)
    ended = harness("ask", "--source", source, HEALTHY_TEAM)
    assert ended.exit_code == 125, ended.output
    assert "cannot tell" in ended.output


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A clone whose branch is one commit ahead of origin/HEAD, with one file not committed."""
    upstream = tmp_path / "up, stream #1"
    upstream.mkdir()
    git(upstream, "init", "-q", "-b", "main")
    commit(upstream, "a")
    commit(upstream, "b")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(upstream), str(clone))
    commit(upstream, "later")
    commit(clone, "change")
    (clone / "untracked").write_text("x")
    return clone


def commit(folder: Path, name: str) -> None:
    (folder / name).write_text(name)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", name)


def test_base_is_the_merge_base_and_head_the_working_tree(repo: Path) -> None:
    sides = commands._of_repo(repo, None, None)
    base, head = git(repo, "rev-parse", "HEAD~1"), git(repo, "rev-parse", "HEAD")
    assert sides.base == f"base=litellm@{repo}#{base}"
    assert sides.head == f"head=litellm@{repo}"
    assert (sides.base_label, sides.head_label) == (base[:7], head[:7])
    named = commands._of_repo(repo, "HEAD~1", "HEAD")
    assert named.head == f"head=litellm@{repo}#{head}"


def test_nothing_is_written_into_the_checkout_and_a_hook_does_not_mislead(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = commands._of_repo(repo, None, None)
    # Git would now write the index, with the new time of a file that has not changed.
    os.utime(repo / "a", (1, 1))
    before = (repo / ".git" / "index").stat().st_mtime_ns
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert commands._of_repo(repo, None, None) == expected
    assert (repo / ".git" / "index").stat().st_mtime_ns == before


def test_a_repository_of_another_user_is_no_missing_one(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "git"
    said = "fatal: detected dubious ownership in repository"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 128\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SetupError, match=r"safe\.directory"):
        commands._of_repo(repo, None, None)
    program.unlink()
    with pytest.raises(SetupError, match="git cannot be started"):
        commands._of_repo(repo, None, None)


def test_no_origin_asks_for_a_base(repo: Path) -> None:
    git(repo, "remote", "remove", "origin")
    with pytest.raises(UsageError, match="--base REV"):
        commands._of_repo(repo, None, None)
    assert commands._of_repo(repo, "HEAD~1", None).base_label


def test_a_shallow_clone_is_refused_with_the_command_that_fetches(
    repo: Path, tmp_path: Path
) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repo}", str(shallow))
    commit(repo, "upstream")
    git(shallow, "fetch", "-q", "--depth", "1")
    commit(shallow, "mine")
    with pytest.raises(UsageError, match="fetch --unshallow"):
        commands._of_repo(shallow, None, None)
    with pytest.raises(UsageError, match="fetch --unshallow"):
        commands._of_repo(shallow, "HEAD~5", None)


def test_what_is_no_repository_or_no_revision(repo: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no git repository"):
        commands._of_repo(tmp_path, None, None)
    with pytest.raises(UsageError, match=r"no revision \[nonsense\]"):
        commands._of_repo(repo, "nonsense", None)


@pytest.mark.parametrize(("state", "code"), [("holds", 0), ("fails", 1), ("undecided", 125)])
def test_ask_ends_with_yes_no_or_cannot_tell(
    run: Callable[[Result | Exception], Runs], tmp_path: Path, state: str, code: int
) -> None:
    runs = run(answered(state))
    ended = harness("ask", "--source", "recommended", HEALTHY_TEAM)
    assert ended.exit_code == code, ended.output
    assert runs.scenario is not None
    (asked,) = runs.scenario.expect
    assert asked.variant == "recommended"
    verdict = json.loads((tmp_path / pair().run_id / "verdict.json").read_text())
    word = {0: "yes", 1: "no", 125: "cannot tell"}[code]
    assert (verdict["verdict"], verdict["exit_code"]) == (word, code)
    # One round may answer; the scenario says how many more there may be.
    assert (runs.scenario.rounds, runs.scenario.rounds_max) == (1, 5)


def test_a_question_is_about_the_source_under_the_name_that_it_has_in_the_run(
    run: Callable[[Result | Exception], Runs], tmp_path: Path
) -> None:
    (tmp_path / "litellm").mkdir()
    runs = run(answered("holds"))
    source = f"litellm@{tmp_path / 'litellm'}"
    question = "reads per 1,000 < 1.1 times that of litellm==1.94.0"
    assert harness("ask", "--source", source, question, "--rounds", "2").exit_code == 0
    assert runs.scenario is not None
    (asked,) = runs.scenario.expect
    assert isinstance(asked, RatioExpectation)
    assert [asked.variant, asked.to] == runs.names == ["litellm@litellm", "litellm==1.94.0"]
    assert (runs.scenario.rounds, runs.scenario.rounds_max) == (2, None)


FULL = OSError(errno.ENOSPC, "No space left on device", "runs/x/result.json")
FAILURES = (
    (FULL, "error: [runs/x/result.json]: No space left on device. Remove"),
    (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero\nerror: The harness has a bug."),
)


@pytest.mark.parametrize(("failure", "said"), FAILURES)
def test_a_failure_of_the_harness_is_no_verdict(
    run: Callable[[Result | Exception], Runs], failure: Exception, said: str
) -> None:
    run(failure)
    ended = harness("referee", "--source", "fix_keep_none", "--against", "litellm_1_84")
    assert ended.exit_code == 4
    assert said in ended.stderr
    assert ("Traceback" in ended.stderr) == (failure is not FULL)


def test_an_answer_that_cannot_be_written_is_none(
    run: Callable[[Result | Exception], Runs], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> str:
        raise FULL

    run(answered("holds"))
    monkeypatch.setattr(Result, "model_dump_json", full)
    asked = ("ask", "--source", "recommended", HEALTHY_TEAM)
    assert harness(*asked).exit_code == 0
    assert harness(*asked, "--json", "-").exit_code == 125


def test_ask_cannot_tell_of_an_invalid_run_or_a_source_that_does_not_start(
    run: Callable[[Result | Exception], Runs],
) -> None:
    run(answered("holds", verdict="invalid"))
    assert harness("ask", "--source", "recommended", HEALTHY_TEAM).exit_code == 125
    run(SetupError("it does not import"))
    ended = harness("ask", "--source", "recommended", HEALTHY_TEAM)
    assert ended.exit_code == 125
    assert "does not import" in ended.output
    # A crash would end with 1, which is an answer.
    for failure, said in FAILURES:
        run(failure)
        ended = harness("ask", "--source", "recommended", HEALTHY_TEAM)
        assert ended.exit_code == 125
        assert said in ended.output
    # Refused however it is named.
    assert harness("ask", "--source", "litellm==1.107.2", HEALTHY_TEAM).exit_code == 125


def test_the_other_variant_of_a_question_may_be_the_users_own(
    run: Callable[[Result | Exception], Runs], tmp_path: Path
) -> None:
    runs = run(answered("holds"))
    mine = tmp_path / "mine.toml"
    mine.write_text('[mine]\ntitle = "x"\nstands_for = "x"\nbase = "recommended"\n')
    asked = ("reads per 1,000 < 2 times that of mine", "--variants-file", str(mine))
    ended = harness("ask", "--source", "recommended", *asked)
    assert ended.exit_code == 0, ended.output
    assert runs.names == ["recommended", "mine"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--source", "recommended", "team is helthy"),
        ("--source", "recommended", "reads per 1,000 < 2 times that of nothing"),
        (HEALTHY_TEAM,),
        ("--source", "recommended", "--rounds", "x", HEALTHY_TEAM),
        ("--source", "recommended"),
        ("--source", "recommended", "--scenario", "nothing", HEALTHY_TEAM),
        ("--source", "recommended", "--variants-file", "none.toml", HEALTHY_TEAM),
        ("--source", "litellm==1.94.0", "--config", "none.yaml", HEALTHY_TEAM),
        ("--source", "litellm==1.94.0", "--keep-callbacks", HEALTHY_TEAM),
        ("--source", "litellm==1.94.0", "--relax", "a==1", HEALTHY_TEAM),
        ("--source", "litellm==1.94.0", "--environment", "x", HEALTHY_TEAM),
    ],
)
def test_a_wrong_question_or_option_is_129(
    run: Callable[[Result | Exception], Runs], arguments: tuple[str, ...]
) -> None:
    run(answered("holds"))
    ended = harness("ask", *arguments)
    assert ended.exit_code == 129, ended.output
    assert "error: " in ended.output.lower()


VERSIONS = [f"1.{n}.0" for n in range(80, 100)]


def test_bisect_asks_the_ends_first_and_finds_the_first_no() -> None:
    asked: list[str] = []

    def answer(version: str) -> int:
        asked.append(version)
        return 1 if VERSIONS.index(version) >= 13 else 0

    found = commands.walk(VERSIONS, answer)
    assert asked[:2] == [VERSIONS[0], VERSIONS[-1]]
    assert len(asked) <= 2 + 5
    assert found.text.startswith(f"{VERSIONS[13]} is the first")
    assert found.exit_code == 0


@pytest.mark.parametrize("first_no", range(1, 20))
def test_bisect_skips_what_cannot_be_asked(first_no: int) -> None:
    unasked = {VERSIONS[i] for i in (3, 4, 9, 10, 11, 17)}

    def answer(version: str) -> int:
        if version in unasked:
            return 125
        return 1 if VERSIONS.index(version) >= first_no else 0

    found = commands.walk(VERSIONS, answer)
    near = {VERSIONS[first_no], VERSIONS[first_no - 1]}
    assert (found.exit_code == 0) == (not near & unasked)
    if found.exit_code == 0:
        assert found.text.startswith(f"{VERSIONS[first_no]} is the first")
    else:
        assert "cannot be asked" in found.text
        assert near & unasked & {*found.text.replace(",", "").split()}


def test_bisect_refuses_ends_that_answer_otherwise() -> None:
    with pytest.raises(UsageError, match=r"\[1.80.0\] is \[no\]"):
        commands.walk(VERSIONS, lambda _: 1)
    with pytest.raises(UsageError, match=r"\[1.99.0\] is \[cannot tell\]"):
        commands.walk(VERSIONS, lambda version: 0 if version == "1.80.0" else 125)
    with pytest.raises(UsageError, match="the same release"):
        commands.walk(["1.80.0"], lambda _: 0)


def test_bisect_goes_back_where_the_good_release_is_newer() -> None:
    assert commands.between(VERSIONS, "1.83.0", "1.81.0") == ["1.83.0", "1.82.0", "1.81.0"]


def test_the_index_is_read_without_the_refused_release() -> None:
    text = "litellm (1.108.1)\nAvailable versions: 1.108.1, 1.107.2, 1.84.0rc1, 1.83.14, junk\n"
    assert parse_index(text) == ["1.83.14", "1.84.0rc1", "1.108.1"]


def test_bisect_walks_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "index_versions", lambda: ["1.92.2", "1.93.0", "1.94.0"])

    def answer(source: str, *_: Any, **__: Any) -> tuple[int, None]:
        return (1 if source == "litellm==1.94.0" else 0), None

    monkeypatch.setattr(commands, "_answer", answer)
    question = "key reads per 1,000 < 10"
    ended = harness("bisect", "--good", "litellm==1.92.2", "--bad", "litellm==1.94.0", question)
    assert ended.exit_code == 0, ended.output
    assert "1.94.0 is the first with no; 1.93.0 says yes." in ended.output


def test_bisect_can_keep_to_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def answer(source: str, *_: Any, **__: Any) -> tuple[int, None]:
        asked.append(source)
        return (1 if source == "litellm==1.94.0" else 0), None

    monkeypatch.setattr(commands, "installed_versions", lambda: ["1.92.2", "1.94.0"])
    monkeypatch.setattr(commands, "_answer", answer)
    ends = ("--good", "litellm==1.92.2", "--bad", "litellm==1.94.0")
    ended = harness("bisect", *ends, "--installed", "key reads per 1,000 < 10")
    assert ended.exit_code == 0, ended.output
    assert asked == ["litellm==1.92.2", "litellm==1.94.0"]


def test_base_comes_first(run: Callable[[Result | Exception], Runs]) -> None:
    runs = run(pair())
    harness("referee", "--source", "fix_keep_none", "--against", "litellm_1_84")
    assert runs.names == ["litellm_1_84", "fix_keep_none"]
