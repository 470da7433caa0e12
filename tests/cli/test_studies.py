"""`harness twins` and `harness history`: what they run, print, write and end with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from click.testing import Result as Ended

from harness.analysis.calibration import names_of
from harness.analysis.explained import load_register
from harness.archive.directory import write_result
from harness.authcache.variants import Variant
from harness.cli import main
from harness.cli.commands import runs as loadtest_commands
from harness.cli.commands import studies as commands
from harness.cli.commands.running import FinishedRun
from harness.domain.result import Result
from harness.scenario.schema import Scenario
from harness.targets.litellm.releases import Release
from tests.analysis.test_calibration import calibrated, fleets
from tests.analysis.test_twins import FEWER_PAIRS, fewer_log_pairs
from tests.observe.build import evidence
from tests.report.sample import issue_27874, with_changes
from tests.report.sample_releases import PAIR, change_windows, releases_run, twins_run
from tests.report.test_faults import alone
from tests.report.test_rollout import LOST, rolled

ONLY = "litellm_1_84,litellm_1_93"
Run = Callable[..., FinishedRun]


class Runs:
    """Stands in for the run: notes what it was asked for, and returns a result."""

    def __init__(self, folder: Path, result: Result, signal_code: int = 0) -> None:
        self.folder = folder
        self.result = result
        self.signal_code = signal_code
        self.scenario: Scenario | None = None
        self.choices: list[Variant | Release] = []
        self.options: dict[str, Any] = {}

    def __call__(self, scenario: Scenario, choices: Any, _: object, **options: Any) -> FinishedRun:
        self.scenario, self.choices, self.options = scenario, list(choices), options
        return FinishedRun(self.result, keep(self.folder, self.result), self.signal_code)


def keep(folder: Path, result: Result) -> Path:
    run_dir = folder / result.run_id
    run_dir.mkdir()
    write_result(run_dir, result)
    return run_dir


def harness(*arguments: str) -> Ended:
    return CliRunner().invoke(main, arguments, env={"POSTGRES_DSN": None, "REDIS_URL": None})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Runs]:
    def replaced(result: Result, signal_code: int = 0) -> Runs:
        runs = Runs(tmp_path, result, signal_code)
        monkeypatch.setattr(commands, "run_to_end", runs)
        return runs

    return replaced


def test_twins_runs_the_pairs_and_writes_its_page(run: Callable[..., Runs], tmp_path: Path) -> None:
    runs = run(twins_run())
    ended = harness("twins", "--only", ONLY, "--replicas", "3", "--runs-dir", str(tmp_path))
    assert ended.exit_code == 0, ended.output
    assert runs.scenario is not None
    assert runs.scenario.variants == [
        "litellm_1_84",
        "litellm==1.84.0rc1",
        "litellm_1_93",
        "litellm==1.93.0",
    ]
    assert runs.scenario.replicas == 3
    assert not runs.scenario.premises.null_user_for_team_keys
    assert [type(choice) for choice in runs.choices] == [Variant, Release, Variant, Release]
    assert runs.options["runs_dir"] == tmp_path
    assert "litellm_1_84 and litellm==1.84.0rc1" in ended.output
    page = (tmp_path / runs.result.run_id / "twins.md").read_text(encoding="utf-8")
    assert page.startswith("## Twins")
    assert "twins.md" in ended.output


def test_twins_ends_with_1_for_what_is_not_explained(
    run: Callable[..., Runs], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(fewer_log_pairs())
    assert harness("twins", "--only", ONLY).exit_code == 1
    verdict = tmp_path / twins_run().run_id / "verdict.json"
    said = json.loads(verdict.read_text(encoding="utf-8"))
    assert (said["verdict"], said["exit_code"]) == ("regression", 1)
    assert "twins.md" in said["files"]
    assert "unexplained difference" in said["reasons"][0]
    register = load_register(FEWER_PAIRS, "test")
    monkeypatch.setattr(commands, "known_explanations", lambda: register)
    # The same run again, now from its folder.
    ended = harness("twins", "--from", "latest", "--runs-dir", str(tmp_path))
    assert ended.exit_code == 2, "there is no latest"
    ended = harness("twins", "--from", twins_run().run_id, "--runs-dir", str(tmp_path))
    assert ended.exit_code == 0, ended.output
    assert "fewer-pairs" in ended.output
    assert json.loads(verdict.read_text(encoding="utf-8")) == said, "the run's own, not rewritten"


def test_twins_of_a_run_that_lacks_an_asked_pair_is_inconclusive(
    run: Callable[..., Runs],
) -> None:
    run(twins_run())
    ended = harness("twins")
    assert ended.exit_code == 3
    assert "Not compared, litellm_1_94" in ended.output


def test_of_a_finished_run_twins_takes_the_pairs_that_it_has(tmp_path: Path) -> None:
    run_dir = keep(tmp_path, twins_run())
    ended = harness("twins", "--from", str(run_dir))
    assert ended.exit_code == 0, ended.output
    assert "litellm_1_94" not in ended.output
    assert (run_dir / "twins.md").is_file()
    assert harness("twins", "--from", str(run_dir), "--only", "litellm_1_94").exit_code == 3


def test_a_run_with_a_premise_has_no_twins(tmp_path: Path) -> None:
    ended = harness("twins", "--from", str(keep(tmp_path, issue_27874())))
    assert ended.exit_code == 2
    assert "plants a premise" in ended.output


def test_history_runs_the_named_releases_and_writes_its_files(
    run: Callable[..., Runs], tmp_path: Path
) -> None:
    runs = run(releases_run())
    ended = harness("history", "--releases", "1.90.0,1.84.0rc1", "--rounds", "2")
    assert ended.exit_code == 0, ended.output
    assert runs.scenario is not None
    assert runs.scenario.variants == ["litellm==1.84.0rc1", "litellm==1.90.0"]
    assert (runs.scenario.replicas, runs.scenario.rounds) == (2, 2)
    assert all(isinstance(choice, Release) for choice in runs.choices)
    run_dir = tmp_path / runs.result.run_id
    assert "401: 100.0 %" in (run_dir / "history.md").read_text(encoding="utf-8")
    assert (run_dir / "history.svg").read_text(encoding="utf-8").startswith("<svg xmlns=")
    assert "401: 100.0 %" in ended.output


def test_history_is_made_again_from_a_finished_run(tmp_path: Path) -> None:
    run_dir = keep(tmp_path, releases_run())
    (tmp_path / "latest").symlink_to(run_dir.name)
    ended = harness("history", "--from", "latest", "--runs-dir", str(tmp_path))
    assert ended.exit_code == 0, ended.output
    assert (run_dir / "history.md").is_file()


def test_a_run_without_releases_has_no_history(tmp_path: Path) -> None:
    ended = harness("history", "--from", str(keep(tmp_path, issue_27874())))
    assert ended.exit_code == 2
    assert "has no measured release" in ended.output


@pytest.mark.parametrize("command", [["twins", "--only", ONLY], ["history"]])
@pytest.mark.parametrize(
    ("verdict", "code", "signal_code", "expected"),
    [("invalid", 4, 0, 4), ("interrupted", 130, 130, 130), ("regression", 1, 0, 1)],
)
def test_the_run_s_verdict_is_the_exit_code(
    run: Callable[..., Runs],
    command: list[str],
    verdict: str,
    code: int,
    signal_code: int,
    expected: int,
) -> None:
    result = twins_run().model_copy(
        update={"verdict": verdict, "exit_code": code, "reasons": ["The reason."]}
    )
    run(result, signal_code)
    ended = harness(*command)
    assert ended.exit_code == expected
    assert "The reason." in ended.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["twins", "--only", "litellm_1_85"], "There is no twin [litellm_1_85]"),
        (["twins", "--only", ","], "No pair is named"),
        (["twins", "--from", "latest", "--rounds", "3"], "cannot be changed"),
        (["twins", "--from", "nowhere"], "There is no run [nowhere]"),
        (["twins", "--replicas", "0"], "0 is not in the range"),
        (["history", "--releases", "1.107.1"], "compromised"),
        (["clock", "--only", "key-blok"], "no action [key-blok]"),
        (["clock", "--variants", "recomended"], "Did you mean [recommended]"),
        (["clock", "--from", "nowhere"], "There is no run [nowhere]"),
        (["faults", "--from", "nowhere"], "There is no run [nowhere]"),
        (["faults", "--only", "redis-hangs"], "redis-hang"),
        (["faults", "--scenario", "smoke"], "has no [[fault]]"),
        (["history", "--from", "latest", "--releases", "1.90.0"], "Leave RELEASES out"),
        (["history", "--from", "latest", "--replicas", "4"], "cannot be changed"),
    ],
)
def test_bad_input_ends_with_2_before_anything_runs(
    run: Callable[..., Runs], arguments: list[str], said: str
) -> None:
    runs = run(twins_run())
    ended = harness(*arguments)
    assert ended.exit_code == 2
    assert said in " ".join(ended.output.split())
    assert runs.scenario is None


def test_clock_runs_its_changes_alone_and_writes_its_files(
    run: Callable[..., Runs], tmp_path: Path
) -> None:
    result = with_changes(issue_27874()).model_copy(update={"variants": {}, "exit_code": 0})
    runs = run(result)
    arguments = ["--only", "team-block,key-block", "--ttl-s", "2", "--override"]
    ended = harness("clock", *arguments, "recommended:invalidation=none")
    assert ended.exit_code == 0, ended.output
    assert runs.scenario is not None
    assert (runs.scenario.ttl_s, runs.scenario.time_scale) == (2.0, 1.0)
    assert [change.action for change in runs.scenario.change] == ["key-block", "team-block"]
    assert "team-block, team" in ended.output
    files = {path.name for path in (tmp_path / result.run_id).iterdir()}
    assert {"clock.md", "clock.svg", "issue-team-block.md"} <= files
    again = harness("clock", "--from", str(tmp_path / result.run_id), "--strict")
    assert again.exit_code == 1, again.output


def test_faults_plants_what_is_named_and_writes_its_files(
    run: Callable[..., Runs], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = alone(issue_27874())
    runs = run(result)
    named = ["--only", "redis-hang,redis-poison", "--variants", "recommended,litellm_1_84"]
    ended = harness("faults", *named, "--replicas", "4", "--runs-dir", str(tmp_path))
    assert ended.exit_code == 0, ended.output
    assert runs.scenario is not None
    assert {fault.what for fault in runs.scenario.fault} == {"redis-hang", "redis-poison"}
    assert (runs.scenario.replicas, runs.scenario.faults.alone) == (4, True)
    assert [choice.name for choice in runs.choices] == ["recommended", "litellm_1_84"]
    assert "5.0 s without a timely 2xx" in ended.output
    assert "redis-hang" in (tmp_path / result.run_id / "faults.md").read_text(encoding="utf-8")
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(commands, "checkout", lambda: tmp_path)
    again = harness("faults", "--from", str(tmp_path / result.run_id), "--write")
    assert again.exit_code == 0, again.output
    page = (tmp_path / "docs" / "faults.md").read_text(encoding="utf-8")
    assert page.startswith("# What happens when a part fails")
    assert "outage" in page


def verdict_of(run_dir: Path) -> dict[str, Any]:
    """What a study left, whose files besides those of every run are there."""
    said: dict[str, Any] = json.loads((run_dir / "verdict.json").read_text(encoding="utf-8"))
    _, _, _, *files = said["files"]
    assert files
    assert all((run_dir / name).is_file() for name in files)
    return said


@pytest.mark.parametrize(("options", "code"), [((), 0), (("--strict",), 1)])
def test_a_strict_rollout_says_in_its_verdict_what_failed(
    run: Callable[..., Runs], tmp_path: Path, options: tuple[str, ...], code: int
) -> None:
    result = rolled(replaced=LOST).model_copy(update={"verdict": "observed", "exit_code": 0})
    run(result)
    ended = harness("rollout", "--from", "litellm_1_84", "--to", "recommended", *options)
    assert ended.exit_code == code, ended.output
    assert "15 of 200 requests failed" in ended.output
    said = verdict_of(tmp_path / result.run_id)
    assert (said["verdict"], said["exit_code"]) == ("regression" if code else "observed", code)
    assert any("15 of 200 requests failed" in reason for reason in said["reasons"]) == bool(code)
    assert "rollout.md" in said["files"]


def test_a_strict_clock_says_in_its_verdict_who_was_over_the_promise(
    run: Callable[..., Runs], tmp_path: Path
) -> None:
    result = with_changes(issue_27874()).model_copy(update={"variants": {}, "exit_code": 0})
    run(result)
    assert harness("clock", "--strict").exit_code == 1
    said = verdict_of(tmp_path / result.run_id)
    assert (said["verdict"], said["exit_code"]) == ("regression", 1)
    assert any("beyond the promise" in reason for reason in said["reasons"])


def test_the_fault_sheet_is_among_the_files_of_the_verdict(
    run: Callable[..., Runs], tmp_path: Path
) -> None:
    result = alone(issue_27874())
    run(result)
    assert harness("faults", "--only", "redis-hang").exit_code == result.exit_code
    said = verdict_of(tmp_path / result.run_id)
    assert (said["verdict"], said["exit_code"]) == (result.verdict, result.exit_code)
    assert "faults.md" in said["files"]


@pytest.mark.parametrize(("moves", "verdict", "code"), [(1.0, "pass", 0), (0.0, "regression", 1)])
def test_a_calibration_has_a_verdict_of_its_own(
    run: Callable[..., Runs],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    moves: float,
    verdict: str,
    code: int,
) -> None:
    result = issue_27874().model_copy(
        update={"verdict": "observed", "exit_code": 0, "complete": True}
    )
    runs = run(result)
    names = names_of("recommended")
    windows = [replace(evidence(), variant=name) for name in names]
    monkeypatch.setattr(commands, "driven_on_time", lambda *_: (windows, []))
    monkeypatch.setattr(commands, "round_figures", lambda *_: {})
    monkeypatch.setattr(
        commands, "calibrate", lambda *_, **__: calibrated(fleets(60, 0.002, moves))
    )

    def driven(scenario: Scenario, choices: Any, console: object, **options: Any) -> FinishedRun:
        done = runs(scenario, choices, console, **options)
        options["also"](None, windows, done.run_dir)
        return done

    monkeypatch.setattr(commands, "run_to_end", driven)
    assert harness("aa", "--scenario", "smoke").exit_code == code
    said = verdict_of(tmp_path / result.run_id)
    assert (said["verdict"], said["exit_code"]) == (verdict, code)
    assert "calibration.json" in said["files"]
    assert said["reasons"][0].startswith("Passed" if verdict == "pass" else "Not passed")


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    result = twins_run()
    change_windows(result, PAIR.release, log_pairs={"shared_id": 300, "member": 1200})
    run_dir = keep(tmp_path, result)
    (run_dir / "twins.md").mkdir()
    ended = harness("twins", "--from", str(run_dir))
    assert ended.exit_code == 2
    assert "Cannot write" in ended.output


def test_the_result_alone_is_on_standard_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = issue_27874()
    monkeypatch.setattr(loadtest_commands, "run_to_end", Runs(tmp_path, result))
    ended = harness("loadtest", "--json", "-", "--runs-dir", str(tmp_path))
    assert Result.model_validate_json(ended.stdout) == result
    assert "issue-27874" in ended.stderr
    assert ended.exit_code == result.exit_code
