"""Help loads the command line and nothing else; every lazy path leads to something."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import click
import pytest

from harness import cli
from harness.cli import main, options
from harness.cli.commands.options import RunOptions
from harness.cli.commands.referee import prepare
from harness.cli.lazy import LazyCommand, load
from harness.scenario.loader import scenario_names
from harness.stack import registry

HEAVY = {"asyncio", "msgspec", "pydantic", "rich"}
ASK = """
import contextlib, io, json, sys
from harness.__main__ import main
for line in sys.stdin:
    sys.argv, shown = ["harness", *json.loads(line), "--help"], io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main()
    print(json.dumps([shown.getvalue(), list(sys.modules)]))
"""


def commands(
    group: click.Group = main, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words, groups included."""
    context = click.Context(group)
    yield words, group
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield (*words, name), command


ALL = dict(commands())
BODIES = {words: one.body for words, one in ALL.items() if isinstance(one, LazyCommand)}


def test_help_loads_nothing_but_the_command_line() -> None:
    asked = "".join(f"{json.dumps(words)}\n" for words in ALL)
    done = subprocess.run(
        [sys.executable, "-c", ASK], input=asked, capture_output=True, text=True, check=True
    )
    allowed = {"harness", "harness.__main__", "harness.errors", "harness.cli"}
    # One process shows them all: what one has loaded stays, so the first in error is to blame.
    for words, line in zip(ALL, done.stdout.splitlines(), strict=True):
        shown, loaded = json.loads(line)
        ours = {name for name in loaded if name.partition(".")[0] == "harness"}
        assert shown.startswith(" ".join(("Usage: harness", *words))), words
        assert "harness.cli" in ours
        assert {name for name in ours if not name.startswith("harness.cli.")} <= allowed, words
        assert not HEAVY & {name.partition(".")[0] for name in loaded}, words


@pytest.mark.parametrize("words", BODIES, ids=" ".join)
def test_a_command_is_done_by_a_function_that_takes_its_options(words: tuple[str, ...]) -> None:
    body = load(BODIES[words])
    given = {str(parameter.name): None for parameter in ALL[words].params}

    inspect.signature(body).bind(**given)

    # Those that take the rest by name hand it to one of these.
    if any(p.kind is p.VAR_KEYWORD for p in inspect.signature(body).parameters.values()):
        named = set(inspect.signature(body).parameters)
        rest = given.keys() - named
        assert rest in (RUN_OPTIONS, RUN_OPTIONS - NOT_OF_UP, {"replicas", "rounds", *OWN}, OF_ONE)


RUN_OPTIONS = {field.name for field in fields(RunOptions)}
NOT_OF_UP = {
    *("overrides", "postgres_dsn", "redis_url", "relax"),
    *("environment", "config", "keep_callbacks"),
}
OWN = {"postgres_dsn", "redis_url", "runs_dir"}
OF_ONE = OWN | set(inspect.signature(prepare).parameters) - {"variants", "question"}


def test_every_path_in_the_command_line_leads_somewhere() -> None:
    folder = Path(cli.__file__).parent
    text = "".join(path.read_text() for path in folder.glob("*.py"))
    paths = set(re.findall(r'"(harness(?:\.\w+)+:\w+)"', text))

    assert set(BODIES.values()) < paths, "the list of releases is a group's own body"
    for path in paths:
        assert callable(load(path))


def test_words_of_the_command_line_are_those_of_their_owners() -> None:
    assert {*options.STACKS} == {*registry.STACKS}
    assert options.EMBEDDED == registry.EMBEDDED
    (scenario,) = (one for one in ALL["loadtest",].params if one.name == "scenario")
    assert scenario.default in scenario_names()


def test_every_command_has_a_line_of_help() -> None:
    assert len(ALL) > 18
    for words, command in ALL.items():
        assert command.help, words
