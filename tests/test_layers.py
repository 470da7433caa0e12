"""The map of the package, as `make lint` holds it and CONTRIBUTING.md draws it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.installation import PACKAGE

ROOT = PACKAGE.parent
CONFIGURATION = "pyproject.toml"


def _rules() -> dict[str, Any]:
    text = (ROOT / CONFIGURATION).read_text(encoding="utf-8")
    rules: dict[str, Any] = tomllib.loads(text)["tool"]["importlinter"]
    return rules


def _contract(name: str) -> dict[str, Any]:
    (found,) = (one for one in _rules()["contracts"] if one["id"] == name)
    return dict(found)


def test_contributing_draws_the_layers_that_lint_holds() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (drawing,) = re.findall(r"^```layers\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    drawn: list[str] = []
    for line in drawing.splitlines():
        beside, name = re.match(r"(\| )?(\w+)  +\S", line).groups()  # type: ignore[union-attr]  # else it fails
        drawn = [*drawn[:-1], f"{drawn[-1]} | {name}"] if beside else [*drawn, name]
    assert drawn == _contract("layers")["layers"]


def test_no_contract_has_an_exception() -> None:
    assert not [one["id"] for one in _rules()["contracts"] if "ignore_imports" in one]
    assert _contract("layers")["exhaustive_ignores"] == ["__main__"]


def _plant(folder: Path, planted: dict[str, str]) -> None:
    """A copy of all code with some lines more."""
    for root in _rules()["root_packages"]:
        shutil.copytree(ROOT / root, folder / root, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / CONFIGURATION, folder)
    for name, text in planted.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        with path.open("a", encoding="utf-8") as file:
            file.write(text)


PLANTS: dict[str, tuple[str, dict[str, str], str]] = {
    "an upward import": (
        "layers",
        {"harness/domain/planted.py": "from harness.report import write\n"},
        "harness.domain.planted -> harness.report.write",
    ),
    "an import of a sibling": (
        "layers",
        {"harness/live/planted.py": "from harness.experiment import run\n"},
        "harness.live.planted -> harness.experiment.run",
    ),
    "a late import": (
        "layers",
        {"harness/domain/planted.py": "def go():\n    from harness.cli import main\n"},
        "harness.domain.planted -> harness.cli",
    ),
    "a new package": ("layers", {"harness/planted/__init__.py": ""}, "- harness.planted\n"),
    "a circle": (
        "circles",
        {
            "harness/report/planted_a.py": "from harness.report import planted_b\n",
            "harness/report/planted_b.py": "from harness.report import planted_a\n",
        },
        "No cycles are allowed in harness.report.\n",
    ),
    "a circle outside of the package": (
        "circles",
        {
            "benchmarks/planted_a.py": "from benchmarks import planted_b\n",
            "benchmarks/planted_b.py": "from benchmarks import planted_a\n",
        },
        "No cycles are allowed in benchmarks.\n",
    ),
    "a target's own from above": (
        "litellm",
        {"harness/analysis/planted.py": "from harness.targets.litellm import target\n"},
        "harness.analysis.planted -> harness.targets.litellm.target",
    ),
    "the proxy's own from above": (
        "reference",
        {"harness/plan/planted.py": "from harness.targets.reference import target\n"},
        "harness.plan.planted -> harness.targets.reference.target",
    ),
    "the stack of processes by name": (
        "embedded",
        {"benchmarks/planted.py": "from harness.stack.embedded import EmbeddedStack\n"},
        "benchmarks.planted -> harness.stack.embedded",
    ),
    "the other stack's own": (
        "compose",
        {"harness/live/planted.py": "from harness.stack.compose.project import image\n"},
        "harness.live.planted -> harness.stack.compose.project",
    ),
    "the harness in the stand-in": (
        "standin",
        {"standin/prisma/planted.py": "from harness import errors\n"},
        "standin.prisma.planted -> harness.errors",
    ),
    "what is not shipped": (
        "shipped",
        {"harness/report/planted.py": "from benchmarks import tables\n"},
        "harness.report.planted -> benchmarks.tables",
    ),
}
"""What is planted, in which files, which contract must refuse it, in which words."""


def _lint(folder: Path, planted: dict[str, str]) -> dict[str, str]:
    """What lint says of the broken contracts in a copy with these plants, by their names."""
    _plant(folder, planted)
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    names = "|".join(re.escape(one["name"]) for one in _rules()["contracts"])
    parts = re.split(rf"^({names})\n-+\n", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.fixture(scope="module")
def all_but_layers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of one copy with every plant but those of the layers, which hide each other."""
    texts: dict[str, str] = {}
    for contract, planted, _ in PLANTS.values():
        if contract != "layers":
            assert not texts.keys() & planted.keys(), "one plant a file"
            texts |= planted
    return _lint(tmp_path_factory.mktemp("planted"), texts)


@pytest.mark.integration  # whole commands
@pytest.mark.parametrize("what", PLANTS)
def test_what_breaks_the_map_turns_lint_red(
    what: str, tmp_path: Path, all_but_layers: dict[str, str]
) -> None:
    contract, planted, line = PLANTS[what]
    said = _lint(tmp_path, planted) if contract == "layers" else all_but_layers
    assert line in said.get(_contract(contract)["name"], "")


def test_every_contract_is_shown_to_be_able_to_fail() -> None:
    assert {contract for contract, _, _ in PLANTS.values()} == {
        one["id"] for one in _rules()["contracts"]
    }
