import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.archive.directory import (
    kept_if_used,
    load_result,
    make_run_dir,
    point_latest,
    resolve_run,
    run_ids,
    write_verdict,
)
from harness.errors import EXIT_USAGE, SetupError, UnknownNameError, UsageError
from tests.report.sample import issue_27874
from tests.report.sample_pr import pr_26202
from tests.report.test_write import stored


def test_a_run_directory_is_never_used_twice(tmp_path: Path) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    first = make_run_dir(tmp_path, "smoke", moment)
    second = make_run_dir(tmp_path, "smoke", moment)
    assert first.name == "20260102-030405-smoke"
    assert second != first
    notes: list[str] = []
    point_latest(tmp_path, first, notes.append)
    point_latest(tmp_path, second, notes.append)
    assert notes == []
    assert (tmp_path / "latest").resolve() == second.resolve()
    assert sorted(p.name for p in tmp_path.iterdir()) == [first.name, second.name, "latest"]


def test_a_folder_in_place_of_the_link_is_kept_and_noted(tmp_path: Path) -> None:
    # As a tool that follows links has copied it.
    stored(tmp_path / "latest")
    run = make_run_dir(tmp_path, "smoke", datetime(2026, 1, 2, tzinfo=UTC))
    notes: list[str] = []
    point_latest(tmp_path, run, notes.append)
    (note,) = notes
    assert f"[{tmp_path / 'latest'}] cannot be made a link" in note
    assert f"[{run}]" in note
    assert {p.name for p in tmp_path.iterdir()} == {run.name, "latest"}


def test_a_file_system_without_links_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "symlink", refuse)
    notes: list[str] = []
    point_latest(tmp_path, tmp_path / "run", notes.append)
    assert "Operation not permitted" in notes[0]


@pytest.mark.parametrize("link", [True, False])
def test_a_folder_of_runs_that_is_none(tmp_path: Path, link: bool) -> None:
    runs = tmp_path / "runs"
    if link:
        runs.symlink_to(tmp_path / "nowhere")
    else:
        runs.touch()
    with pytest.raises(SetupError, match=r"runs\] cannot be created: a file or a broken link"):
        make_run_dir(runs, "smoke", datetime(2026, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize("files", [[], ["one.log"]])
def test_a_run_that_failed_keeps_its_directory_once_a_file_is_in_it(
    tmp_path: Path, files: list[str]
) -> None:
    run = make_run_dir(tmp_path, "smoke", datetime(2026, 1, 2, tzinfo=UTC))

    def fails() -> None:
        with kept_if_used(run):
            for file in files:
                (run / "logs" / file).touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert run.exists() == bool(files)


@pytest.mark.parametrize("result", [issue_27874(), pr_26202()], ids=lambda r: r.scenario)
def test_a_result_is_read_as_it_was_written(tmp_path: Path, result: object) -> None:
    run = stored(tmp_path / "run", result.model_dump_json())  # type: ignore[attr-defined]  # a Result
    assert load_result(run) == result


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no run folder \[.*nowhere\]"):
        load_result(tmp_path / "nowhere")


def test_a_folder_without_a_result(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no result\.json") as error:
        load_result(tmp_path)
    assert error.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize("text", ["", "{", "not json", '{"schema_version": 1'])
def test_what_is_not_json(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="is not JSON"):
        load_result(stored(tmp_path / "run", text))


def test_what_is_not_text(tmp_path: Path) -> None:
    run = stored(tmp_path / "run")
    (run / "result.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="Cannot read"):
        load_result(run)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('{"schema_version": 3}', "3"),
        ("{}", "None"),
        ("[]", "None"),
        ('{"schema_version": "1"}', "1"),
    ],
)
def test_another_schema_version_is_named(tmp_path: Path, text: str, version: str) -> None:
    with pytest.raises(UsageError, match=rf"schema_version \[{version}\], this harness reads 2"):
        load_result(stored(tmp_path / "run", text))


def test_a_run_of_version_1_is_read(tmp_path: Path) -> None:
    data = json.loads(issue_27874().model_dump_json())
    blind = {"state": "undecided", "not_instrumented": ["codec"]}
    states = [
        e | other
        for e, other in zip(data["expectations"], ({}, {"state": "fails"}, blind), strict=False)
    ]
    data["expectations"] = [
        {name: value for name, value in e.items() if name in FIRST}
        | {"passed": e["state"] == "holds"}
        for e in states
    ]
    run = load_result(stored(tmp_path / "a", json.dumps(data | {"schema_version": 1})))
    assert [e.state for e in run.expectations] == ["holds", "fails", "undecided"]
    assert (run.schema_version, run.verdict) == (2, "pass")
    asked = data | {"schema_version": 1, "expectations": []}
    assert load_result(stored(tmp_path / "b", json.dumps(asked))).verdict == "observed"
    with pytest.raises(UsageError, match="expectations"):
        load_result(stored(tmp_path / "c", json.dumps(asked | {"expectations": [1]})))


FIRST = ("name", "variant", "scope", "measured", "limit", "not_instrumented")
"""Fields of an expectation in version 1, besides ``passed``."""


def test_content_that_does_not_fit_is_named_with_its_place(tmp_path: Path) -> None:
    data = json.loads(issue_27874().model_dump_json())
    data["variants"]["litellm_1_84"]["cells"]["team"] = "splendid"
    with pytest.raises(UsageError, match=r"in 1 place, first at \[variants\.litellm_1_84\.cells"):
        load_result(stored(tmp_path / "a", json.dumps(data)))
    data["surprise"] = 1
    with pytest.raises(UsageError, match="in 2 places"):
        load_result(stored(tmp_path / "b", json.dumps(data)))


def test_a_run_is_found_by_id_path_result_and_latest(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    run = stored(runs / "20260714-101502-issue-27874")
    (runs / "latest").symlink_to(run.name, target_is_directory=True)
    for name in (run.name, str(run), str(run / "result.json"), "latest"):
        assert resolve_run(name, runs) == run.resolve(), name


def test_a_run_outside_of_the_runs_folder_is_found_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stored(tmp_path / "elsewhere" / "run")
    monkeypatch.chdir(tmp_path)
    assert resolve_run(str(Path("elsewhere") / "run"), tmp_path / "runs") == run.resolve()


def test_an_unknown_run_suggests_the_nearest(tmp_path: Path) -> None:
    stored(tmp_path / "20260714-101502-issue-27874")
    stored(tmp_path / "20260714-111640-pr-26202")
    with pytest.raises(UnknownNameError) as error:
        resolve_run("20260714-101502-issue-2787", tmp_path)
    assert "Did you mean [20260714-101502-issue-27874]?" in str(error.value)
    with pytest.raises(UnknownNameError, match=r"no run \[latest\]"):
        resolve_run("latest", tmp_path)
    with pytest.raises(UnknownNameError):
        resolve_run("", tmp_path)
    with pytest.raises(UnknownNameError, match="Known: none"):
        resolve_run("x", tmp_path / "nowhere")


def test_run_ids_are_those_with_a_result_and_not_latest(tmp_path: Path) -> None:
    for name in ("b", "a"):
        stored(tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "latest").symlink_to("b", target_is_directory=True)
    assert run_ids(tmp_path) == ["a", "b"]


def test_the_verdict_is_one_line_for_programs(tmp_path: Path) -> None:
    write_verdict(tmp_path, "worse", 1, ("because", "of this"), {"proof.md": ""})
    (line,) = (tmp_path / "verdict.json").read_text(encoding="utf-8").splitlines()
    assert json.loads(line) == {
        "verdict": "worse",
        "exit_code": 1,
        "reasons": ["because", "of this"],
        "files": ["result.json", "summary.md", "report.html", "proof.md"],
    }
