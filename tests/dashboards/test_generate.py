from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from tests.dashboards.boards import FOLDER, NAMES
from tools.dashboards.__main__ import main
from tools.dashboards.generate import DASHBOARDS, stale, texts


def test_the_committed_json_is_what_the_code_makes() -> None:
    assert stale(FOLDER) == [], "run `make dashboards`"


def test_there_is_no_other_dashboard_in_the_folder() -> None:
    assert (
        sorted(path.name for path in FOLDER.glob("*.json")) == sorted(NAMES) == sorted(DASHBOARDS)
    )


def test_making_them_again_gives_the_same() -> None:
    assert texts() == texts()


def test_the_check_names_what_differs_and_writes_nothing(tmp_path: Path) -> None:
    runner = CliRunner()
    out = ["--out", str(tmp_path)]
    assert runner.invoke(main, ["generate", *out]).exit_code == 0
    assert runner.invoke(main, ["generate", "--check", *out]).exit_code == 0
    changed = tmp_path / NAMES[0]
    changed.write_text(changed.read_text().replace("Payload size", "Payload sise"))
    (tmp_path / NAMES[1]).unlink()
    before = changed.read_text()
    done = runner.invoke(main, ["generate", "--check", *out])
    assert done.exit_code == 1
    assert NAMES[0] in done.output
    assert NAMES[1] in done.output
    assert changed.read_text() == before
