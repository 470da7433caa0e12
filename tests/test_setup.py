"""The Makefile and the requirement files: what a stranger meets first."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "requirements").glob("*.txt"))
PINNED = re.compile(r"^([a-z0-9.-]+)==\S+( ; .*)? \\$", re.MULTILINE)


def made(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[<>=~! \[]", one, maxsplit=1)[0] for one in requirements}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_everything_is_pinned_by_hash_and_from_nowhere_in_particular(path: Path) -> None:
    text = path.read_text()
    entries = re.split(r"\n(?=[a-z])", text)

    assert PINNED.search(text)
    for entry in entries:
        assert PINNED.match(entry)
        assert "--hash=sha256:" in entry
    assert "://" not in text
    assert not re.search(r"--(index|extra-index|find-links|trusted)", text)
    assert "/" not in text


def test_what_the_project_asks_for_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pinned = {path.stem: dict(PINNED.findall(path.read_text())) for path in FILES}

    assert names(project["project"]["dependencies"]) <= set(pinned["runtime"])
    assert names(project["dependency-groups"]["dev"]) <= set(pinned["dev"])
    assert set(pinned["runtime"]) <= set(pinned["dev"])
    assert names(project["build-system"]["requires"]) | {"editables"} <= set(pinned["build"])


def test_help_names_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^\.PHONY: ([a-z-]+)$", makefile, re.MULTILINE))

    shown = made().stdout

    assert {"loadtest", "fleet", "test", "bench", "lint", "clean"} <= targets
    for target in targets:
        assert re.search(rf"^  make {target} +\S", shown, re.MULTILINE)
    for variable in ("REPLICAS", "VARIANTS", "SCENARIO", "TIME_SCALE", "PREMISE"):
        assert re.search(rf"^  {variable}=", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["loadtest"], "loadtest"),
        (
            ["loadtest", "REPLICAS=8", "VARIANTS=a,b", "PREMISE=off", "TIME_SCALE=1"],
            "loadtest --replicas '8' --variants 'a,b' --time-scale '1' --premise 'off'",
        ),
        (["fleet", "PORT=8000", "WORKERS=2"], "fleet --workers '2' --port '8000'"),
        (
            ["loadtest", "STACK=compose", "PROMETHEUS=off"],
            "loadtest --stack 'compose' --prometheus 'off'",
        ),
        (
            ["loadtest", "VARIANTS=litellm==1.84.0rc1,recommended"],
            "loadtest --variants 'litellm==1.84.0rc1,recommended'",
        ),
        (["ui", "REPLICAS=8", "LOCUST_WORKERS=2"], "ui --replicas '8' --locust-workers '2'"),
        (["twins", "ONLY=litellm_1_84"], "twins --only 'litellm_1_84'"),
        (["history", "RELEASES=1.94.0", "ROUNDS=2"], "history --rounds '2' --releases '1.94.0'"),
        (
            ["clock", "VARIANTS=a,b", "WORKERS=2", "ONLY=team-block", "STRICT=1"],
            "clock --variants 'a,b' --workers '2' --only 'team-block' --strict",
        ),
        (["up", "REPLICAS=8", "VARIANTS=a,b"], "up --replicas '8' --variants 'a,b'"),
        (["down"], "down"),
        (["prometheus", "RUN=x"], "prometheus 'x'"),
        (["lock-releases", "UPGRADE=1"], "releases lock --upgrade"),
        (["report"], "report 'latest'"),
        (["compare", "RUNS=a b"], "compare a b"),
        (["variants", "VARIANT=recommended"], "variants 'recommended'"),
        (["variants", "VARIANT=a'b"], r"variants 'a'\''b'"),
        (
            ["loadtest", "CONFIG=o'neil.yaml", "KEEP_CALLBACKS=0", "STRICT=1"],
            r"loadtest --config 'o'\''neil.yaml' --strict",
        ),
    ],
)
def test_a_target_passes_on_what_is_set_and_nothing_else(
    arguments: list[str], command: str
) -> None:
    assert passed_on(made("--dry-run", "--assume-old=runtime", *arguments)) == command


def passed_on(shown: subprocess.CompletedProcess[str]) -> str:
    last = shown.stdout.partition("exec .venv/bin/harness ")[2]
    return " ".join(last.replace("\\\n", " ").split())


def test_what_a_shell_has_for_something_else_is_left_out_and_named() -> None:
    dry = ("--dry-run", "--assume-old=runtime", "fleet")
    shown = made(*dry, "PORT=8000", PORT="8080", ENVIRONMENT="production", REPLICAS="3")

    assert passed_on(shown) == "fleet --replicas '3' --port '8000'"
    assert "ENVIRONMENT of the environment is left out" in shown.stderr
    assert "PORT of" not in shown.stderr


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("exit 3", r"older than 3\.11"),
        ("exit 4", r"without venv; on Debian: apt install"),
        ("exit 1", r"No usable Python"),
    ],
)
def test_an_unfit_python_is_refused_with_its_reason(
    tmp_path: Path, script: str, reason: str
) -> None:
    unfit = tmp_path / "python3.9"
    unfit.write_text(f"#!/bin/sh\n{script}\n")
    unfit.chmod(0o755)

    refused = subprocess.run(
        ["sh", str(ROOT / "requirements" / "find-python.sh"), str(unfit)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert refused.returncode == 1
    assert refused.stdout == ""
    assert re.search(reason, refused.stderr)
    assert "make PYTHON=" in refused.stderr


def test_this_python_is_fit() -> None:
    found = subprocess.run(
        ["sh", str(ROOT / "requirements" / "find-python.sh"), sys.executable],
        capture_output=True,
        text=True,
        check=True,
    )

    assert found.stdout.strip() == sys.executable
