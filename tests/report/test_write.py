import json
from pathlib import Path

import pytest

from harness.errors import EXIT_USAGE, UnknownNameError, UsageError
from harness.report.write import load_result, resolve_run, run_ids, write_reports
from tests.report.sample import issue_27874
from tests.report.sample_pr import pr_26202


def stored(run_dir: Path, text: str | None = None) -> Path:
    run_dir.mkdir(parents=True)
    body = issue_27874().model_dump_json() if text is None else text
    (run_dir / "result.json").write_text(body, encoding="utf-8")
    return run_dir


@pytest.mark.parametrize("result", [issue_27874(), pr_26202()], ids=lambda r: r.scenario)
def test_a_result_is_read_as_it_was_written(tmp_path: Path, result: object) -> None:
    run = stored(tmp_path / "run", result.model_dump_json())  # type: ignore[attr-defined]  # a Result
    assert load_result(run) == result


def test_reports_stand_beside_the_result_and_can_be_made_again(tmp_path: Path) -> None:
    run = stored(tmp_path / "run")
    write_reports(load_result(run), run)
    first = {name: (run / name).read_bytes() for name in ("summary.md", "report.html")}
    write_reports(load_result(run), run)
    assert {name: (run / name).read_bytes() for name in first} == first
    assert first["summary.md"].startswith(b"## issue-27874")
    assert first["report.html"].startswith(b"<!doctype html>")


@pytest.mark.parametrize("manifest", [None, "", "[1]", "{"])
def test_a_report_does_without_a_manifest(tmp_path: Path, manifest: str | None) -> None:
    run = stored(tmp_path / "run")
    if manifest is not None:
        (run / "manifest.json").write_text(manifest)
    write_reports(load_result(run), run)
    assert "Machine and versions" not in (run / "report.html").read_text()


def test_the_manifest_is_in_the_report(tmp_path: Path) -> None:
    run = stored(tmp_path / "run")
    manifest = {"packages": {"redis": "8.1.0"}, "git": {"commit": None}, "command": ["a", "b<c"]}
    (run / "manifest.json").write_text(json.dumps(manifest))
    write_reports(load_result(run), run)
    text = (run / "report.html").read_text()
    assert "<dt>packages.redis</dt><dd>8.1.0</dd>" in text
    assert "<dt>git.commit</dt><dd>\u2013</dd>" in text
    assert "<dt>command</dt><dd>a b&lt;c</dd>" in text


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"Cannot write \[.*nowhere"):
        write_reports(issue_27874(), tmp_path / "nowhere")


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
        ('{"schema_version": 2}', "2"),
        ("{}", "None"),
        ("[]", "None"),
        ('{"schema_version": "1"}', "1"),
    ],
)
def test_another_schema_version_is_named(tmp_path: Path, text: str, version: str) -> None:
    with pytest.raises(UsageError, match=rf"schema_version \[{version}\], this harness reads 1"):
        load_result(stored(tmp_path / "run", text))


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
