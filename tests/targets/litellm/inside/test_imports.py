"""What runs inside a release, and the stand-in, import closed lists.

A release's environment has no package of ours: `boot` makes two findable, and everything else is of
the release, in a version that the harness does not choose.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import harness
from harness.targets.litellm.environment import Environment, installed
from harness.targets.litellm.inside.settings import BOOT
from harness.targets.litellm.install import ensure_environment
from harness.targets.litellm.releases import parse_release
from tests.silence import Silence

ROOT = Path(harness.__file__).parent
CHECKOUT = ROOT.parent
INSIDE = "harness.targets.litellm.inside"
STANDIN = "standin.prisma"
CLOSED = {
    "harness",
    "harness.authcache",
    "harness.authcache.digest",
    "harness.authcache.events",
    "harness.authcache.logs",
    "harness.authcache.words",
    "harness.domain",
    "harness.domain.series",
    "harness.domain.served",
    "harness.errors",
    "harness.process",
    "harness.process.groups",
    "harness.process.guard",
    "harness.process.waiting",
    "harness.targets",
    "harness.targets.clock",
    "harness.targets.counters",
    "harness.targets.litellm",
    "harness.targets.metrics",
    "harness.targets.page",
    "harness.targets.schema",
    "harness.targets.schema.statements",
    "harness.targets.settings",
    "harness.targets.workers",
}
"""The modules of the harness that `inside` may import, directly or through another."""
BROUGHT = {"click", "packaging", "prometheus_client", "uvicorn"}
"""Packages that a release has, or that `pins` installs beside it."""
RELEASE = "litellm==1.84.0rc1"
"""The one that CI installs; those that are there already are asked too."""


def module_file(name: str) -> Path | None:
    """The file of a module of the checkout; None where there is no such module."""
    path = CHECKOUT.joinpath(*name.split("."))
    found = (path / "__init__.py", path.with_suffix(".py"))
    return next((file for file in found if file.is_file()), None)


def imported(file: Path) -> Iterator[str]:
    """The full names that a file imports, wherever in it; not those for type checkers alone.

    Imports within a package's ``__getattr__`` are left out: they run on demand.
    """
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            folder = file.relative_to(CHECKOUT).parts[: -node.level] if node.level else ()
            base = ".".join([*folder, *([node.module] if node.module else [])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
        elif not (isinstance(node, ast.FunctionDef) and node.name == "__getattr__"):
            waiting += ast.iter_child_nodes(node)


def reached(modules: set[str]) -> tuple[set[str], set[str]]:
    """What modules of the harness lead to: modules of the harness, and other top-level packages."""
    ours: set[str] = set()
    others: set[str] = set()
    waiting = set(modules)
    while waiting:
        name = waiting.pop()
        file = module_file(name)
        if file is None or name in ours:
            continue
        ours.add(name)
        if "." in name:
            waiting.add(name.rpartition(".")[0])
        for found in imported(file):
            if found.split(".")[0] == "harness":
                waiting.add(found)
            else:
                others.add(found.split(".")[0])
    return ours, others - sys.stdlib_module_names


def modules_of(package: str) -> set[str]:
    """All modules below a package, and itself."""
    files = CHECKOUT.joinpath(*package.split(".")).rglob("*.py")
    paths = (".".join(file.relative_to(CHECKOUT).with_suffix("").parts) for file in files)
    return {path.removesuffix(".__init__") for path in paths}


def test_inside_leads_to_a_closed_list() -> None:
    ours, others = reached(modules_of(INSIDE))
    assert ours - modules_of(INSIDE) == CLOSED
    assert others == BROUGHT


def test_the_stand_in_imports_nothing_of_the_harness() -> None:
    names = modules_of(STANDIN)
    assert f"{STANDIN}.engine.errors" in names
    found = {
        name.split(".")[0]
        for module in names
        if (file := module_file(module)) is not None
        for name in imported(file)
    }
    assert found - sys.stdlib_module_names == {"asyncpg", "pydantic", "standin"}


@pytest.mark.parametrize("package", [INSIDE, STANDIN])
def test_no_two_modules_import_each_other(package: str) -> None:
    """Nor by way of others: a circle raises CycleError, which names it."""
    names = modules_of(package)
    graph = {}
    for name in names - {package}:
        file = module_file(name)
        assert file is not None
        graph[name] = names & set(imported(file)) - {package, name}
    assert len(list(TopologicalSorter(graph).static_order())) == len(names) - 1


def environments() -> list[str]:
    """Releases to ask: the one that CI installs, then whatever else is installed."""
    there = [f"litellm=={one.version}" for one in installed() if one.whole]
    return list(dict.fromkeys([RELEASE, *there]))


@pytest.fixture(params=environments())
async def environment(request: pytest.FixtureRequest) -> Environment:
    return await ensure_environment(parse_release(request.param), Silence())


def loaded(environment: Environment, code: str, folder: Path) -> dict[str, str | None]:
    """The modules, with their files, that a release's Python has after some code.

    As `boot` is started: the working directory is not on the path (``-P``).
    """
    told = "\nimport json\nprint(json.dumps({n: getattr(m, '__file__', None) for n, m in found}))"
    text = f"import sys\n{code}\nfound = list(sys.modules.items()){told}"
    command = [str(environment.python), "-P", "-c", text]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    modules: dict[str, str | None] = json.loads(done.stdout.splitlines()[-1])
    return modules


def booted(package: str, module: str) -> str:
    """Code that imports a module as `boot` makes it findable."""
    return (
        f"import runpy\nboot = runpy.run_path({str(BOOT)!r}, run_name='boot')\n"
        f"packages = boot['packages']('{{}}')\n"
        f"sys.meta_path.insert(0, boot['Finder']({{{package!r}: packages[{package!r}]}}))\n"
        f"import {module}"
    )


@pytest.mark.integration
def test_a_release_starts_with_the_closed_list_alone(
    environment: Environment, tmp_path: Path
) -> None:
    code = (
        f"import runpy\nsys.argv = ['boot', '--help']\n"
        f"try:\n    runpy.run_path({str(BOOT)!r}, run_name='__main__')\n"
        f"except SystemExit as end:\n    assert not end.code, end"
    )
    modules = loaded(environment, code, tmp_path)
    ours = {name for name in modules if name.split(".")[0] == "harness"}
    # What starts it is no module of the package there, and what reads payloads is no replica.
    assert ours == CLOSED | modules_of(INSIDE) - {f"{INSIDE}.boot", f"{INSIDE}.read_payloads"}
    assert all(Path(modules[name] or "").is_relative_to(ROOT) for name in ours)
    of_others = {name: modules[name] or "" for name in modules if name.split(".")[0] in BROUGHT}
    assert {name.split(".")[0] for name in of_others} == BROUGHT
    assert all(Path(file).is_relative_to(environment.folder) for file in of_others.values())


@pytest.mark.integration
def test_the_words_cost_a_release_nothing(environment: Environment, tmp_path: Path) -> None:
    modules = loaded(environment, booted("harness", "harness.authcache.words"), tmp_path)
    assert "harness.authcache.words" in modules
    assert {"msgspec", "redis", "pydantic"} & {name.split(".")[0] for name in modules} == set()
    assert {name for name in modules if name.startswith("harness")} == {
        "harness",
        "harness.authcache",
        "harness.authcache.words",
    }


@pytest.mark.integration
def test_the_stand_in_is_found_without_the_harness(
    environment: Environment, tmp_path: Path
) -> None:
    modules = loaded(environment, booted("prisma", "prisma"), tmp_path)
    assert Path(modules["prisma"] or "").is_relative_to(CHECKOUT / "standin")
    assert not [name for name in modules if name.split(".")[0] in {"harness", "msgspec", "redis"}]
    for name in ("asyncpg", "pydantic"):
        assert Path(modules[name] or "").is_relative_to(environment.folder)
