"""The one way to the kinds of targets."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness
from harness.errors import UsageError
from harness.targets.registry import KINDS, REFERENCE, by_kind, kind_of, matches, register
from tests.targets.toy.kind import ToyKind

PACKAGE = Path(harness.__file__).parent
MANAGES_ENVIRONMENTS = "cli/commands/releases.py"


@pytest.mark.parametrize(
    ("variant", "kind"),
    [
        ("recommended", "reference"),
        ("litellm_1_84", "reference"),
        ("no such", "reference"),
        ("litellm==1.84.0rc1", "litellm"),
        ("litellm>=1.84", "litellm"),
        ("LiteLLM == nonsense", "litellm"),
    ],
)
def test_a_name_belongs_to_one_kind(variant: str, kind: str) -> None:
    assert kind_of(variant).name == kind


def test_names_are_grouped_by_their_kinds() -> None:
    names = ["litellm==1.94.0", "recommended", "litellm==1.84.0rc1"]
    assert [(kind.name, group) for kind, group in by_kind(names)] == [
        ("litellm", [names[0], names[2]]),
        ("reference", ["recommended"]),
    ]


@pytest.mark.parametrize(
    ("name", "variant", "meant"),
    [
        ("recommended", "recommended", True),
        ("recommended", "envelope", False),
        ("litellm>=1.84.0rc1,<1.91", "litellm==1.90.0", True),
        ("litellm>=1.84.0rc1,<1.91", "litellm==1.91.0", False),
        ("litellm>=1.84.0rc1,<1.91", "recommended", False),
    ],
)
def test_a_range_means_the_variants_of_its_kind(name: str, variant: str, meant: bool) -> None:
    assert matches(name, variant) is meant


def test_a_kind_is_made_known_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.targets.registry._kinds", dict(KINDS))
    assert kind_of("toy") is REFERENCE
    kind = ToyKind()
    register(kind)
    assert kind_of("toy") is kind
    with pytest.raises(UsageError, match=r"kind of target \[toy\] exists already"):
        register(ToyKind())


def test_nothing_but_targets_knows_a_kind_by_its_module_or_compares_it_by_name() -> None:
    knowing, compared = set(), []
    for path in PACKAGE.rglob("*.py"):
        if path.is_relative_to(PACKAGE / "targets"):
            continue
        place = str(path.relative_to(PACKAGE))
        nodes = [*ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
        # All imports, those within functions and of types alone included.
        if any(
            m.startswith(("harness.targets.litellm", "harness.targets.reference"))
            for m in _imports(nodes)
        ):
            knowing.add(place)
        compared += [
            f"{place}:{node.lineno}"
            for node in nodes
            if isinstance(node, ast.Compare)
            and any(isinstance(n, ast.Constant) and n.value in KINDS for n in ast.walk(node))
        ]
    assert knowing == {MANAGES_ENVIRONMENTS}
    assert compared == []


def _imports(nodes: list[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_names_are_parsed_without_what_it_takes_to_run_them() -> None:
    # Scenarios are read in Locust's process too, which has no asyncio.
    program = "import sys, harness.targets.registry; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"asyncio", "asyncpg", "harness.targets.litellm.install"} & set(done.stdout.split())
