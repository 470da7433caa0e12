"""Checks that class names are unambiguous, and that a module is worth a file.

1. No public class has the same name in two packages of the product.
2. A module that one module of the same folder imports, and no other, is part of that module: unless
   a test imports it, or a string names it, which is how it runs in another process or is imported
   late. `EXCUSED` lists exceptions with their reasons.

Run as ``python tools/names.py [ROOT]``. Prints what it finds and exits with 1; exits with 0 where
there is nothing to find, with 2 where ROOT has no harness.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

PRODUCT = ("harness", "benchmarks", "tools")
"""Folders of the product. ``standin`` is none of them: its classes have the names of Prisma's."""
IMPORTERS = (*PRODUCT, "standin", "locustfile.py")
EXCUSED: Mapping[str, str] = {
    "benchmarks.startup": "a step that starts servers: tests/benchmarks/test_run.py runs it within "
    "the whole benchmark, in another process",
    "harness.load.balancer": "runs within the load driver's process: tests/load/test_driver.py "
    "drives it there",
    "tools.dashboards.compared": "a dashboard a module: tests/dashboards tests what it makes",
    "tools.dashboards.fleet": "a dashboard a module: tests/dashboards tests what it makes",
}
"""Why a module stays although the second rule would fold it, by the module's dotted name."""
_SELF = Path("tools", "names.py")


class Module(NamedTuple):
    """A module's source."""

    path: Path
    """Below the root."""
    tree: ast.Module

    @property
    def name(self) -> str:
        """Dotted; ``__init__`` has the name of its package."""
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules(root: Path, *tops: str) -> dict[str, Module]:
    """Every module in the given files and folders of the root, by dotted name."""
    found = {}
    for top in tops:
        place = root / top
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            if path.exists():
                one = Module(path.relative_to(root), ast.parse(path.read_text(encoding="utf-8")))
                found[one.name] = one
    return found


def shared_classes(product: Mapping[str, Module]) -> dict[str, list[Path]]:
    """Names of public classes that two packages have, with the files."""
    files: dict[str, list[Path]] = defaultdict(list)
    for module in product.values():
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                files[node.name].append(module.path)
    return {
        name: paths
        for name, paths in sorted(files.items())
        if len({path.parent for path in paths}) > 1
    }


def imported(module: Module) -> Iterator[str]:
    """Dotted names of what a module imports, anywhere in it: modules, and names in modules."""
    package = module.path.parent.parts
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *([node.module] if node.module else [])))
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def named(module: Module) -> Iterator[str]:
    """Dotted names in a module's strings. Docstrings and other bare strings are prose."""
    prose = {
        id(node.value)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            for name in re.findall(r"\w+(?:\.\w+)+", node.value):
                parts = name.split(".")
                yield from (".".join(parts[:end]) for end in range(2, len(parts) + 1))


def parts_of_another(root: Path, product: Mapping[str, Module]) -> dict[str, str]:
    """The second rule's findings: a module, and the one module that it is part of."""
    importers: dict[str, set[str]] = defaultdict(set)
    used_otherwise: set[str] = set()
    for module in modules(root, *IMPORTERS).values():
        if module.path == _SELF:
            continue  # an entry in EXCUSED does not count as a use
        for name in set(imported(module)) - {module.name}:
            importers[name].add(module.name)
        used_otherwise.update(set(named(module)) - {module.name})
    for test in modules(root, "tests").values():
        used_otherwise.update(imported(test), named(test))
    found = {}
    for name, module in product.items():
        if module.path.stem in ("__init__", "__main__") or name in used_otherwise:
            continue
        if len(importers[name]) == 1:
            (importer,) = importers[name]
            its_path = product[importer].path if importer in product else None
            # An __init__ re-exports names to the importers of its package.
            if its_path and its_path.parent == module.path.parent and its_path.stem != "__init__":
                found[name] = importer
    return dict(sorted(found.items()))


def main(arguments: list[str]) -> int:
    """Check a tree and print what is wrong; returns the exit code."""
    root = Path(arguments[0]) if arguments else Path(__file__).parents[1]
    if not (root / "harness").is_dir():
        print(f"There is no harness in [{root}]. Name the root of a checkout.", file=sys.stderr)
        return 2
    product = modules(root, *PRODUCT)
    parts = parts_of_another(root, product)
    problems = [
        f"The class name [{name}] is in {', '.join(map(str, paths))}. Rename all but one."
        for name, paths in shared_classes(product).items()
    ]
    problems += [
        f"Only [{importer}] imports [{name}], and no test does. Fold it in, test it by itself, or "
        f"give a reason in EXCUSED of {Path(__file__).name}."
        for name, importer in parts.items()
        if name not in EXCUSED
    ]
    problems += [
        f"[{name}] needs no excuse any more. Take it off EXCUSED of {Path(__file__).name}."
        for name in EXCUSED
        if name not in parts
    ]
    print(
        "\n".join(problems) or f"{len(product)} modules, {len(EXCUSED)} excused: names and grain."
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
