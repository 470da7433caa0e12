"""Mutates the pure modules one place at a time, and checks that tests notice.

mutmut makes the mutants and runs the tests that reach each of them. What it changes and which
tests it runs is one table, ``[tool.mutmut]`` in pyproject.toml. This adds what mutmut lacks: a
bound for every module, and a list of the mutants that no test can kill (equivalent-mutants.toml).
Modules given as arguments (``make mutants ONLY=harness.analysis.reads``) are mutated alone.

Exits with 1 where fewer than 90 % of a module's mutants are killed, where a survivor is not listed,
or where a listed one no longer survives.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
EQUIVALENT = ROOT / "tools" / "equivalent-mutants.toml"
LEAST_KILLED = 0.9
_KILLED = "killed"
"""A timeout does not count: nothing here loops, so the machine was too busy."""


class Mutant(NamedTuple):
    """A changed function, and the lines of it that changed, without their indents."""

    function: str
    """Dotted, with its module."""
    was: str
    becomes: str


def _mutmut(*arguments: str, show: bool = False) -> str:
    command = [str(Path(sys.executable).parent / "mutmut"), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=not show, text=True, check=False)
    if done.returncode:
        last = (done.stdout or "")[-3000:] + (done.stderr or "")[-3000:]
        sys.exit(f"{last}\n[mutmut {' '.join(arguments)}] failed with [{done.returncode}].")
    return done.stdout or ""


def _outcomes(modules: Sequence[str]) -> dict[str, dict[str, str]]:
    """The outcome of each mutant, by module and mutmut's name of the mutant."""
    found: dict[str, dict[str, str]] = {module: {} for module in modules}
    for line in _mutmut("results", "--all", "true").splitlines():
        name, _, outcome = line.strip().partition(": ")
        module = name.rpartition(".")[0]
        if outcome and module in found:
            found[module][name] = outcome
    return found


def _mutant(name: str) -> Mutant:
    lines = _mutmut("show", name).splitlines()
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    module, _, function = name.partition("__mutmut_")[0].rpartition(".")
    sides = (" ".join(x[1:].strip() for x in changed if x[0] == sign) for sign in "-+")
    return Mutant(f"{module}.{function.removeprefix('x_')}", *sides)


def main(only: Sequence[str] = ()) -> None:
    """Run mutmut again and judge its results, of all modules or of some."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mutmut"]
    modules = [path.removesuffix(".py").replace("/", ".") for path in table["only_mutate"]]
    if unknown := set(only) - {*modules}:
        sys.exit(f"{sorted(unknown)} are not mutated. Name some of: {', '.join(modules)}.")
    modules = [module for module in modules if not only or module in only]
    listed = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["mutant"]
    equivalent = {
        Mutant(one["function"], one["was"], one["becomes"])
        for one in listed
        if one["function"].startswith(tuple(f"{module}." for module in modules))
    }
    # mutmut keeps its results, although the tests may have changed since.
    shutil.rmtree(ROOT / "mutants", ignore_errors=True)
    _mutmut("run", *(f"{module}.*" for module in only), show=sys.stdout.isatty())
    problems = []
    survivors: dict[Mutant, str] = {}
    for module, outcomes in _outcomes(modules).items():
        alive = [name for name, outcome in outcomes.items() if outcome != _KILLED]
        killed, total = len(outcomes) - len(alive), len(outcomes)
        print(f"{killed:4d} of {total:4d} killed, {killed / (total or 1):6.1%}  {module}")
        if killed < LEAST_KILLED * total or not total:
            problems.append(f"{module}: less than {LEAST_KILLED:.0%} of its mutants are killed.")
        survivors |= {_mutant(name): f"{name} ({outcomes[name]})" for name in alive}
    problems += [
        f"Kill [{name}] by a test, or list it in {EQUIVALENT.name}:\n"
        f'[[mutant]]\nfunction = "{one.function}"\nwas = {one.was!r}\nbecomes = {one.becomes!r}'
        for one, name in survivors.items()
        if one not in equivalent
    ]
    problems += [
        f"Take a mutant of {one.function} off {EQUIVALENT.name}: it is gone or killed. It was "
        f"[{one.was}], became [{one.becomes}]."
        for one in equivalent - survivors.keys()
    ]
    if problems:
        sys.exit("\n".join(problems))


if __name__ == "__main__":
    main(sys.argv[1:])
