"""What the product says of itself: exit codes, help texts, variables, series."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from tests.golden import product as p
from tests.golden import stored

RUN = "smoke"
"""The stored run whose ends are varied."""

SOURCES = Path(p.errors.__file__).resolve().parent
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]+(_[A-Z0-9]+)+")


def exit_codes(folder: Path) -> str:
    """Codes by name, by error and by outcome of a run: what a stored one would have come to."""
    constants = [(n, v) for n, v in vars(p.errors).items() if n.startswith("EXIT_")]
    tree = [(kind.__name__, kind.exit_code) for kind in _errors(p.errors.HarnessError)]
    lines = [f"{name} {code}" for name, code in [*sorted(constants), *sorted(tree)]]
    for text, ends in _ends().items():
        found = stored.analysed(RUN, folder, **ends)
        lines.append(f"{text}: {found.verdict} {found.exit_code}")
    return "\n".join(lines) + "\n"


def _ends() -> dict[str, dict[str, Any]]:
    windows = stored.load(RUN)["windows"]
    wrong = [{"kind": "cell", "variant": "litellm_1_84", "scope": "team", "is": "healthy"}]
    healthy = wrong[0] | {"variant": "recommended"}
    unbalanced = _generator(windows, unanswered={"timeout": 1})
    return {
        "every expectation holds": {"limits": {"bad_share_max": 0.12}},
        "too few requests for an expectation": {},
        "too few requests for an expectation, another fails": {"expect": [*wrong, healthy]},
        "no expectation": {"expect": []},
        "no expectation, strict": {"expect": [], "strict": True},
        "an expectation fails": {"expect": wrong},
        "a variant was not measured": {
            "windows": [w for w in windows if w["variant"] != "recommended"]
        },
        "nothing was measured": {"windows": []},
        "the ledger does not balance": {"windows": unbalanced},
        "the ledger does not balance, an expectation fails": {
            "windows": unbalanced,
            "expect": wrong,
        },
        "the generator was late": {"windows": _generator(windows, late=100)},
        "the generator sent too little": {"windows": _generator(windows, planned=10_000)},
        "a server died": {"problem": "died"},
        "a server died, an expectation fails": {"problem": "died", "expect": wrong},
        "SIGHUP": {"interrupted": 129, "problem": "died"},
        "Ctrl-C": {"interrupted": 130, "windows": unbalanced},
        "SIGTERM": {"interrupted": 143, "problem": "died"},
    }


def _generator(windows: Iterable[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    """Windows of which the generator would have told something else."""
    return [{**window, "generator": window["generator"] | changes} for window in windows]


def _errors(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == p.errors.__name__:
            yield from _errors(child)


def helps() -> str:
    """The help of every command, 80 columns wide."""
    return "".join(
        f"$ {' '.join(path)} --help\n"
        + CliRunner().invoke(p.main, [*path[1:], "--help"], terminal_width=80).output
        + "\n"
        for path in _commands(p.main, ("harness",))
    )


def _commands(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _commands(found, (*path, name))


def variables() -> str:
    """Environment variables that the code names, its own and those of programs that it starts.

    Many are read by names that are handed around, so every text in the shape of such a name
    counts; one that has no underscore counts where it is read.
    """
    found: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant):
                found |= {text for text in _texts(node) if _VARIABLE.fullmatch(text)}
            elif isinstance(node, ast.Call) and _reads(node.func):
                found |= set(_texts(*node.args[:1]))
    return "".join(f"{name}\n" for name in sorted(found))


def _reads(function: ast.expr) -> bool:
    """Whether it is a method of ``os.environ``, or ``os.getenv``."""
    if not isinstance(function, ast.Attribute):
        return False
    environ = isinstance(function.value, ast.Attribute) and function.value.attr == "environ"
    return environ or function.attr == "getenv"


def _texts(*nodes: ast.AST) -> list[str]:
    values = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [value for value in values if isinstance(value, str)]


def series() -> str:
    """Families of every page: type, name, help, and labels with their values."""
    build = {"codec": "c", "layout": "l", "target": "t", "version": "1"}
    inside = p.Instruments(p.InsideSettings(variant="v", version="1", dsn="", ttl_s=5.0))
    state = p.RunState.planned(
        {"v": 1}, {"v": {"all": 1.0, "team": 1.0}}, [("v", "measured", 1), ("v", "warmup", 1)]
    )
    state.counted(
        "v", p.GeneratorCount(planned=1, late=1, max_delay_s=1.0, requests={"team": {"200": 1}})
    )
    pages = {
        "worker of the reference proxy": p.Metrics("v", build).registry.collect(),
        "worker of a release": inside.metrics.registry.collect(),
        "exporter": [*state.metrics(), *p.merge_all(asyncio.run(_servers()))],
    }
    return "\n".join(f"# {page}\n" + "".join(_families(found)) for page, found in pages.items())


async def _servers() -> list[Any]:
    reader = p.ServerReader(p.FleetServers("v", None, "", None))
    counts = {kind: p.StatementCount(1, 1.0, 1) for kind in p.ObjectKind}
    # Without servers only these two can say what they would say.
    statements = reader._statements(counts)
    return [
        *await reader.read(),
        *statements,
        *(reader._up(server, answered=True) for server in ("postgres", "redis")),
    ]


def _families(families: Iterable[Any]) -> Iterator[str]:
    for family in sorted(families, key=lambda one: str(one.name)):
        yield f"{family.name} ({family.type}): {family.documentation}\n"
        samples = [s for s in family.samples if not s.name.endswith("_created")]
        if not samples:
            yield f"  {' '.join(sorted(family._labelnames))}\n"
        for name in sorted({s.name for s in samples}):
            values: dict[str, set[str]] = {}
            for sample in samples:
                if sample.name == name:
                    for label, value in sample.labels.items():
                        values.setdefault(label, set()).add(value)
            number = sum(sample.name == name for sample in samples)
            labels = " ".join(f"{k}={'|'.join(sorted(v))}" for k, v in sorted(values.items()))
            yield f"  {name} {number} {labels}\n"


def dashboards() -> str:
    """Hashes of the dashboards that the code makes."""
    return "".join(
        f"{hashlib.sha256(text.encode()).hexdigest()} {name}\n"
        for name, text in sorted(p.dashboards().items())
    )
