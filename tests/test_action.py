"""`action.yml` and the workflows in docs/ci.md: they parse, and the steps do what they say.

They were never run on GitHub: a stand-in for the harness takes its place, and bash runs the steps.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
WORKFLOWS = [
    yaml.safe_load(block)
    for block in re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
]
STAND_IN = """#!/bin/sh
echo "$@" > called.txt
[ "$CODE" = 2 ] && exit 2
run=auth-cache-runs/run
mkdir -p $run && ln -sfn run auth-cache-runs/latest
echo '{"verdict": "worse", "exit_code": 1, "reasons": [], "files": []}' > $run/verdict.json
echo '**The head is worse.**' > $run/comment.md
exit "$CODE"
"""


def test_the_action_is_a_composite_whose_steps_have_a_shell() -> None:
    assert ACTION["runs"]["using"] == "composite"
    for step in ACTION["runs"]["steps"]:
        assert ("uses" in step) != ("run" in step)
        assert "run" not in step or step["shell"] == "bash"


def test_no_step_puts_an_expression_into_a_script() -> None:
    """Text from a pull request in a script is code; in a variable it is text."""
    scripts = [step["run"] for step in ACTION["runs"]["steps"] if "run" in step]
    scripts += [
        step["run"]
        for workflow in WORKFLOWS
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if "run" in step
    ]
    assert len(scripts) >= 4
    for script in scripts:
        assert set(re.findall(r"\$\{\{(.*?)\}\}", script)) <= {" github.event.number "}


def test_every_input_that_a_step_names_is_declared() -> None:
    text = (ROOT / "action.yml").read_text()
    assert {*re.findall(r"inputs\.(\w+)", text)} == {*ACTION["inputs"]}


def test_the_workflow_that_measures_has_no_right_to_write_and_the_other_runs_no_foreign_code() -> (
    None
):
    measure, comment = WORKFLOWS
    assert measure["permissions"] == {"contents": "read"}
    # YAML reads the key `on` as true.
    assert "pull_request_target" not in measure[True]
    assert comment[True]["workflow_run"]["workflows"] == [measure["name"]]
    assert not any("uses" in step for step in comment["jobs"]["comment"]["steps"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    repo = tmp_path / "repo"
    repo.mkdir()
    for number, words in enumerate((("init", "-q"), None, None)):
        if words:
            git(repo, *words)
        else:
            git(repo, "commit", "-q", "--allow-empty", "-m", str(number))
    return repo


def git(repo: Path, *words: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    command = ["git", "-C", str(repo), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def run_step(tmp_path: Path, repo: Path, code: int) -> subprocess.CompletedProcess[str]:
    """The step that compares, with its environment as GitHub would make it."""
    (step,) = [one for one in ACTION["runs"]["steps"] if one.get("id") == "referee"]
    harness = tmp_path / "action"
    program = harness / ".venv" / "bin" / "harness"
    program.parent.mkdir(parents=True)
    program.write_text(STAND_IN)
    program.chmod(0o755)
    given = {
        "HARNESS": str(harness),
        "REPO": str(repo),
        "BASE": git(repo, "rev-parse", "HEAD~1"),
        "REPLICAS": ACTION["inputs"]["replicas"]["default"],
        "ROUNDS": "3",
    }
    assert given.keys() == step["env"].keys()
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    bash = shutil.which("bash")
    assert bash is not None
    return subprocess.run(
        [bash, "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
        cwd=tmp_path,
        env=os.environ | given | files | {"CODE": str(code)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_step_compares_keeps_the_files_and_ends_as_the_harness_does(
    tmp_path: Path, checkout: Path
) -> None:
    done = run_step(tmp_path, checkout, 1)
    assert done.returncode == 1, done.stderr
    called = (tmp_path / "called.txt").read_text().split()
    assert called[:3] == ["referee", "--repo", str(checkout)]
    assert called[called.index("--base") + 1] == git(checkout, "rev-parse", "HEAD~1")
    assert called[called.index("--rounds") + 1] == "3"
    kept = tmp_path / "auth-cache-referee"
    assert json.loads((kept / "verdict.json").read_text())["verdict"] == "worse"
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == "verdict=worse\n"
    assert "The head is worse" in (tmp_path / "GITHUB_STEP_SUMMARY").read_text()


def test_the_step_ends_with_the_code_of_a_run_that_never_was(
    tmp_path: Path, checkout: Path
) -> None:
    assert run_step(tmp_path, checkout, 2).returncode == 2
    assert not (tmp_path / "GITHUB_OUTPUT").exists()


def test_the_install_step_names_a_target_of_the_makefile() -> None:
    (step,) = [one for one in ACTION["runs"]["steps"] if "make" in one.get("run", "")]
    target = step["run"].split()[-1]
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
