"""Options that several commands share, and the values that they take.

The values are repeated here although other modules own them, because ``--help`` must not import
those modules; `tests/cli/test_lazy.py` compares the two.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

EMBEDDED = "embedded"
STACKS = (EMBEDDED, "compose")

FILE = click.Path(path_type=Path)
SCENARIO = click.option("--scenario", default="issue-27874", show_default=True, metavar="NAME|FILE")
RUNS_DIR = click.option("--runs-dir", type=FILE, default=Path("runs"), show_default=True)
POSTGRES_DSN = click.option(
    "--postgres-dsn", envvar="POSTGRES_DSN", show_envvar=True, help="Use your own Postgres."
)
REDIS_URL = click.option(
    "--redis-url", envvar="REDIS_URL", show_envvar=True, help="Use your own Redis."
)


def names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Comma-separated names, as click's callback of an option."""
    if value is None:
        return None
    return tuple(name.strip() for name in value.split(",") if name.strip())


def variant_names(
    _: click.Context, __: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...] | None:
    r"""Names of a repeatable option, separated by commas; ``\,`` is a comma within a name."""
    if not value:
        return None
    parts = [part for text in value for part in re.split(r"(?<!\\),", text)]
    return tuple(name.replace("\\,", ",").strip() for name in parts if name.strip())


VARIANTS = click.option(
    "--variants",
    callback=variant_names,
    multiple=True,
    metavar="A,B",
    help="Use these variants, not the scenario's. Repeatable; a comma in a path is \\,.",
)
REPLICAS = click.option("--replicas", type=click.IntRange(1, 64), help="Replicas of each fleet.")
WORKERS = click.option("--workers", type=click.IntRange(1, 16), help="Workers of each replica.")
PREMISE = click.option(
    "--premise",
    type=click.Choice(["on", "off"]),
    help="Plant the scenario's premises (default) or leave them out.",
)
OVERRIDES = click.option(
    "--override",
    "overrides",
    multiple=True,
    metavar="VARIANT:SWITCH=VALUE",
    help="Change a switch of a variant. Repeatable; also A:x=1,B:y=2.",
)
FINISHED = click.option(
    "--from", "finished", metavar="RUN", help="Use a finished run: id, path or latest."
)
VARIANTS_FILE = click.option(
    "--variants-file",
    type=FILE,
    envvar="AUTHCACHE_VARIANTS_FILE",
    show_envvar=True,
    help="TOML file with variants of your own.",
)


def relaxed(_: click.Context, __: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """Names of a repeatable option, each of which may hold several, separated by commas."""
    return tuple(name.strip() for text in value for name in text.split(",") if name.strip())


RELAX = click.option(
    "--relax",
    callback=relaxed,
    multiple=True,
    metavar="PACKAGE",
    help=(
        "Where the index lacks what a release requires of this package: take the nearest version "
        "that it has, or go without. Repeatable; also A,B."
    ),
)
ENVIRONMENT = click.option(
    "--environment",
    metavar="RELEASE",
    help="Run trees and wheels of LiteLLM in this release's environment, not in the nearest.",
)
CONFIG = click.option(
    "--config",
    type=FILE,
    help="Start LiteLLM with your own config.yaml, under what the harness must set.",
)
KEEP_CALLBACKS = click.option(
    "--keep-callbacks",
    is_flag=True,
    help="Leave on what calls other services in --config: callbacks, alerting, guardrails.",
)
ROUNDS = click.option(
    "--rounds", type=click.IntRange(1, 100), help="Measured windows of each variant."
)


JSON = click.option(
    "--json",
    "json_to",
    type=click.Choice(["-"]),
    help="Put the result on standard output as JSON, and all talk on standard error.",
)


def combined(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """One decorator for several options; ``--help`` lists them in this order."""

    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


run_options = combined(
    SCENARIO,
    VARIANTS,
    REPLICAS,
    WORKERS,
    PREMISE,
    OVERRIDES,
    VARIANTS_FILE,
    RELAX,
    ENVIRONMENT,
    CONFIG,
    KEEP_CALLBACKS,
    POSTGRES_DSN,
    REDIS_URL,
    RUNS_DIR,
)
"""Fleets and their servers: the fields of `harness.cli.commands.options.RunOptions`."""

study_options = combined(
    click.option(
        "--replicas", type=click.IntRange(1, 64), help="Replicas of each fleet; 2 by default."
    ),
    ROUNDS,
    FINISHED,
    POSTGRES_DSN,
    REDIS_URL,
    RUNS_DIR,
)
