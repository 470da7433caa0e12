"""`action.yml` and the workflows in docs/ci.md: actionlint accepts them, and they do what they say.

They were never run on GitHub: stand-ins take the place of the harness and of gh, and bash runs the
steps.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.releases import parse_release
from tests.programs import actionlint
from tests.silence import Silence
from tests.targets.litellm.upstream import upstream

ROOT = Path(__file__).parent.parent
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text())
BLOCKS = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "ci.md").read_text(), re.DOTALL)
WORKFLOWS = [yaml.safe_load(block) for block in BLOCKS]
STAND_IN = """#!/bin/sh
echo "$@" > called.txt
[ "$CODE" = 2 ] && exit 2
while [ "$1" != --runs-dir ]; do shift; done
mkdir -p "$2/run" && ln -sfn run "$2/latest"
cd "$2/run"
echo '{"verdict": "worse", "exit_code": 1, "reasons": [], "files": []}' > verdict.json
echo '**The head is worse.**' > comment.md
exit "$CODE"
"""

LINT = """
import { createLinter } from "actionlint";
let text = "";
for await (const part of process.stdin) text += part;
const lint = await createLinter();
console.log(JSON.stringify(lint(text, ".github/workflows/one.yml").map((one) => one.message)));
"""
GH = """#!/bin/sh
echo "$@" >> called.txt
case "$1 $2" in
  "run download")
    mkdir -p found/pull-request found/auth-cache-referee
    echo "$NUMBER" > found/pull-request/pull-request.txt
    [ -z "$COMMENT" ] || echo "$COMMENT" > found/auth-cache-referee/comment.md ;;
  "pr view") echo "$HEAD" ;;
  *) case "$*" in *--paginate*) echo "$OLD" ;; esac ;;
esac
"""


def lint(text: str) -> list[str]:
    """What actionlint says about a workflow."""
    node = shutil.which("node")
    folder = actionlint()
    assert node is not None
    done = subprocess.run(
        [node, "--input-type=module", "--eval", LINT],
        cwd=folder,
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(done.stdout)
    return found


def as_workflow(action: dict[str, Any]) -> str:
    """A composite action as a workflow, which is all that actionlint reads."""
    inputs = {name: {"type": "string"} for name in action["inputs"]}
    job = {"runs-on": "ubuntu-latest", "steps": action["runs"]["steps"]}
    return yaml.safe_dump({"on": {"workflow_call": {"inputs": inputs}}, "jobs": {"one": job}})


@pytest.mark.integration
def test_actionlint_accepts_the_action_and_the_workflows() -> None:
    texts = [as_workflow(ACTION), *BLOCKS]
    assert [lint(text) for text in texts] == [[], [], []]


@pytest.mark.integration
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("inputs.rounds", "inputs.round", 'property "round" is not defined'),
        ("$REPO/x", "${{ github.event.pull_request.title }}", "untrusted"),
        ("shell: bash", "shell: basch", "shell name"),
    ],
)
def test_actionlint_would_speak(before: str, after: str, message: str) -> None:
    text = (ROOT / "action.yml").read_text().replace('git -C "$REPO"', 'git -C "$REPO/x"')
    said = lint(as_workflow(yaml.safe_load(text.replace(before, after))))
    assert any(message in one for one in said), said


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


def run_step(
    tmp_path: Path, repo: Path, base: str, *, code: int = 0, program: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """The step that compares, with its environment as GitHub would make it.

    Without a program a stand-in ends with the code.
    """
    (step,) = [one for one in ACTION["runs"]["steps"] if one.get("id") == "referee"]
    harness = tmp_path / "action"
    stand_in(harness / ".venv" / "bin" / "harness", STAND_IN)
    if program is not None:
        (harness / ".venv" / "bin" / "harness").write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    given = {
        "HARNESS": str(harness),
        "REPO": str(repo),
        "BASE": base,
        "REPLICAS": ACTION["inputs"]["replicas"]["default"],
        "ROUNDS": "" if program else "3",
    }
    assert given.keys() == step["env"].keys()
    (tmp_path / "temp").mkdir(exist_ok=True)
    files = {name: str(tmp_path / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    given |= files | {"CODE": str(code), "RUNNER_TEMP": str(tmp_path / "temp")}
    return bash(tmp_path, step["run"], given, "-eo", "pipefail")


def stand_in(program: Path, text: str) -> None:
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(text)
    program.chmod(0o755)


def bash(
    folder: Path, script: str, given: dict[str, str], *options: str
) -> subprocess.CompletedProcess[str]:
    """Run a step's script as GitHub does: with pipefail only where the step names its shell."""
    program = shutil.which("bash")
    assert program is not None
    return subprocess.run(
        [program, "--noprofile", "--norc", *options, "-c", script],
        cwd=folder,
        env=os.environ | given,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_step_compares_keeps_the_files_and_ends_as_the_harness_does(
    tmp_path: Path, checkout: Path
) -> None:
    done = run_step(tmp_path, checkout, git(checkout, "rev-parse", "HEAD~1"), code=1)
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
    assert run_step(tmp_path, checkout, "HEAD~1", code=2).returncode == 2
    assert not (tmp_path / "GITHUB_OUTPUT").exists()


@pytest.mark.parametrize("base", ["HEAD~1", "no such revision"])
def test_a_call_that_measures_nothing_publishes_nothing_of_an_earlier_one(
    tmp_path: Path, checkout: Path, base: str
) -> None:
    assert run_step(tmp_path, checkout, "HEAD~1", code=1).returncode == 1
    published = [tmp_path / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")]
    for file in published:
        # GitHub gives each step new ones.
        file.unlink()

    assert run_step(tmp_path, checkout, base, code=2).returncode == 2

    assert not [file for file in published if file.exists()]
    assert not [*(tmp_path / "auth-cache-referee").glob("*")]


def test_a_checkout_without_history_says_what_to_fetch(tmp_path: Path, checkout: Path) -> None:
    shallow = tmp_path / "shallow"
    source = f"file://{checkout}"
    subprocess.run(["git", "clone", "-q", "--depth", "1", source, str(shallow)], check=True)
    done = run_step(tmp_path, shallow, git(checkout, "rev-parse", "HEAD~1"), code=0)
    assert done.returncode == 2
    assert "::error::" in done.stdout
    assert "fetch-depth: 0" in done.stdout
    assert not (tmp_path / "called.txt").exists()


def test_the_install_step_is_one_that_make_knows(tmp_path: Path) -> None:
    step = ACTION["runs"]["steps"][0]
    given = {"HARNESS": str(ROOT), "MAKEFLAGS": "--dry-run"}
    done = bash(tmp_path, step["run"], given, "-eo", "pipefail")
    assert given.keys() - {"MAKEFLAGS"} == step["env"].keys()
    assert done.returncode == 0, done.stderr


@pytest.mark.long
@pytest.mark.alone
@pytest.mark.timeout(1800)
async def test_the_step_runs_the_referee_on_a_pull_request(tmp_path: Path) -> None:
    environment = await ensure_environment(parse_release("litellm==1.94.0"), Silence())
    made = upstream(environment, tmp_path / "repo")
    repo, git = made.repository.folder, made.repository.git
    git("checkout", "--quiet", "-b", "pull-request", made.key_read)
    # As GitHub checks one out: the merge of the pull request into its base.
    git("checkout", "--quiet", "-b", "merged", made.comment)
    git("merge", "--quiet", "--no-ff", "--message", "merge", "pull-request")
    program = Path(sys.executable).with_name("harness")
    done = run_step(tmp_path, repo, made.comment, program=program)
    assert done.returncode == 1, done.stdout + done.stderr
    kept = {path.name for path in (tmp_path / "auth-cache-referee").iterdir()}
    assert kept >= {"verdict.json", "proof.md", "comment.md", "result.json", "report.html"}
    assert (tmp_path / "GITHUB_OUTPUT").read_text() == "verdict=worse\n"


MARK = "<!-- auth-cache-referee -->"


@pytest.mark.parametrize(
    ("number", "head", "old", "called"),
    [
        ("12", "abc", "", "api repos/o/r/issues/12/comments -F body=@body.md"),
        ("12", "abc", "77", "api -X PATCH repos/o/r/issues/comments/77 -F body=@body.md"),
        ("12", "another commit", "", None),
        ("12; rm -rf .", "abc", "", None),
        ("", "abc", "", None),
    ],
)
def test_the_second_workflow_keeps_one_comment_of_the_commit_that_ran(
    tmp_path: Path, number: str, head: str, old: str, called: str | None
) -> None:
    (step,) = WORKFLOWS[1]["jobs"]["comment"]["steps"]
    stand_in(tmp_path / "bin" / "gh", GH)
    given = {"GH_REPO": "o/r", "RUN": "5", "SHA": "abc", "GH_TOKEN": "t"}
    assert given.keys() == step["env"].keys()
    # A fork writes both files, so nothing in them may be run.
    comment = "**The head is worse.** $(touch escaped) `touch escaped`"
    told = {"NUMBER": number, "HEAD": head, "OLD": old, "COMMENT": comment}
    path = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    assert "shell" not in step
    done = bash(tmp_path, step["run"], given | told | path, "-e")

    calls = (tmp_path / "called.txt").read_text().splitlines()
    written = [one for one in calls if "body=@" in one]
    assert (done.returncode == 0, written) == (called is not None, [called] if called else [])
    if called:
        assert (tmp_path / "body.md").read_text() == f"{MARK}\n{comment}\n"
    assert not (tmp_path / "escaped").exists()


def test_the_comment_of_an_older_commit_does_not_stay_where_nothing_ran(tmp_path: Path) -> None:
    (step,) = WORKFLOWS[1]["jobs"]["comment"]["steps"]
    stand_in(tmp_path / "bin" / "gh", GH)
    given = {"GH_REPO": "o/r", "RUN": "5", "SHA": "abc", "GH_TOKEN": "t"}
    told = {"NUMBER": "12", "HEAD": "abc", "OLD": "77", "COMMENT": ""}
    path = {"PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    done = bash(tmp_path, step["run"], given | told | path, "-e")
    assert done.returncode == 0, done.stderr
    assert "issues/comments/77" in (tmp_path / "called.txt").read_text()
    first, second = (tmp_path / "body.md").read_text().splitlines()
    assert (first, "Nothing was measured** of abc" in second) == (MARK, True)
