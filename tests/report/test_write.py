import json
from pathlib import Path

import pytest

from harness.archive.directory import load_result
from harness.errors import UsageError
from harness.report.write import write_reports
from tests.report.sample import issue_27874


def stored(run_dir: Path, text: str | None = None) -> Path:
    run_dir.mkdir(parents=True)
    body = issue_27874().model_dump_json() if text is None else text
    (run_dir / "result.json").write_text(body, encoding="utf-8")
    return run_dir


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
