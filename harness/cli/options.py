"""Options that several commands share, and how a long command ends."""

from __future__ import annotations

import asyncio
import functools
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console

from harness.authcache.variants import Variant, load_variants, override, pick
from harness.errors import EXIT_TERMINATED, HarnessError, UnknownNameError, UsageError
from harness.experiment.stop import Stop
from harness.scenario.loader import Changes, load_scenario
from harness.scenario.schema import Scenario
from harness.targets.litellm.releases import (
    Release,
    is_range,
    is_release_name,
    parse_release,
)

T = TypeVar("T")
DEFAULT_SCENARIO = "issue-27874"
RUNS_DIR = click.option(
    "--runs-dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True
)
POSTGRES_DSN = click.option(
    "--postgres-dsn", envvar="POSTGRES_DSN", help="Your own Postgres instead of ours."
)
REDIS_URL = click.option("--redis-url", envvar="REDIS_URL", help="Your own Redis instead of ours.")


class Commands(click.Group):
    """Turns the harness' errors into one line and the documented exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_code)


def names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Names between commas, as click's callback of an option."""
    if value is None:
        return None
    return tuple(name.strip() for name in value.split(",") if name.strip())


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What `loadtest`, `fleet` and `ui` are all told: which fleets, on whose servers."""

    scenario: str
    variants: tuple[str, ...] | None
    replicas: int | None
    workers: int | None
    premise: str | None
    overrides: tuple[str, ...]
    variants_file: Path | None
    postgres_dsn: str | None
    redis_url: str | None
    runs_dir: Path

    def load(
        self, time_scale: float | None = None, rounds: int | None = None, seed: int | None = None
    ) -> tuple[Scenario, list[Variant | Release]]:
        """The scenario, with what the options change of it, and its variants.

        Args:
            time_scale: a factor on all times instead of the scenario's.
            rounds: measured windows of each variant instead of the scenario's.
            seed: instead of the scenario's.

        Raises:
            UsageError: something that is no scenario, no variant or no change of one.
            UnknownNameError: a name that nobody knows.
        """
        premises = switched(self.premise)
        changes = Changes(
            self.replicas, self.workers, self.variants, time_scale, rounds, seed, premises
        )
        scenario = load_scenario(self.scenario, changes)
        return scenario, chosen_variants(scenario, self.variants_file, self.overrides)


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of `RunOptions`, which the command takes as its first argument."""

    @functools.wraps(command)
    def gathered(**values: Any) -> Any:
        options = RunOptions(**{each.name: values.pop(each.name) for each in fields(RunOptions)})
        return command(options, **values)

    options = [
        click.option(
            "--scenario", default=DEFAULT_SCENARIO, show_default=True, metavar="NAME|FILE"
        ),
        click.option(
            "--variants", callback=names, metavar="A,B", help="Instead of the scenario's."
        ),
        click.option("--replicas", type=click.IntRange(1, 64), help="Replicas of each fleet."),
        click.option("--workers", type=click.IntRange(1, 16), help="Workers of each replica."),
        click.option(
            "--premise",
            type=click.Choice(["on", "off"]),
            help="Plant the scenario's premises (default) or leave them out.",
        ),
        click.option(
            "--override",
            "overrides",
            multiple=True,
            metavar="VARIANT:SWITCH=VALUE",
            help="Change a switch under a variant's name. Repeatable; also A:x=1,B:y=2.",
        ),
        click.option(
            "--variants-file",
            type=click.Path(path_type=Path),
            envvar="AUTHCACHE_VARIANTS_FILE",
            help="TOML file with variants of your own.",
        ),
        POSTGRES_DSN,
        REDIS_URL,
        RUNS_DIR,
    ]
    decorated: Callable[..., Any] = gathered
    for option in reversed(options):
        decorated = option(decorated)
    return decorated


def plainly(console: Console) -> Callable[[str], None]:
    """Prints a line as it is: addresses and commands are for copying, so nothing is wrapped."""
    return lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)


def switched(premise: str | None) -> bool | None:
    """Whether premises are planted; None leaves the scenario's word."""
    return None if premise is None else premise == "on"


def chosen_variants(
    scenario: Scenario, variants_file: Path | None, overrides: tuple[str, ...]
) -> list[Variant | Release]:
    """The variants of a run, overrides applied. Raises UnknownNameError, UsageError."""
    known, names = load_variants(variants_file), scenario.variants
    for expectation in scenario.expect:
        # An expectation of a variant that nobody knows could never fail.
        if expectation.variant not in known and not is_range(expectation.variant):
            raise UnknownNameError("variant in [[expect]]", expectation.variant, known)
    for name, changes in _parse_overrides(overrides).items():
        if name not in names:
            raise UnknownNameError("variant to override in this run", name, names)
        if name in known:
            known[name] = override(known[name], changes)
    releases = {name: parse_release(name) for name in names if is_release_name(name)}
    chosen = {variant.name: variant for variant in pick(known, names, besides=releases)}
    return [releases.get(name) or chosen[name] for name in names]


def _parse_overrides(overrides: tuple[str, ...]) -> dict[str, dict[str, str]]:
    parsed: dict[str, dict[str, str]] = {}
    for text in (part for item in overrides for part in item.split(",") if part.strip()):
        variant, colon, change = text.strip().partition(":")
        switch, equals, value = change.partition("=")
        if not (colon and equals and variant and switch and value):
            raise UsageError(
                f"The override [{text}] is not VARIANT:SWITCH=VALUE, "
                "e.g. recommended:codec=keep_none."
            )
        parsed.setdefault(variant, {})[switch] = value
    return parsed


def with_signals(work: Callable[[Stop], Awaitable[T]]) -> tuple[T, int]:
    """Run async work that ends early, and cleanly, on SIGINT and SIGTERM.

    Returns:
        What the work returned, and 0, 130 or 143 by the signal that came.
    """

    async def go() -> tuple[T, int]:
        stop = Stop()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.ask, number)
        return await work(stop), stop.exit_code

    return asyncio.run(go())


def until_ctrl_c(work: Callable[[Stop], Awaitable[None]]) -> NoReturn:
    """Run async work that Ctrl-C is meant to end, and exit: with 0 unless it was SIGTERM."""
    _, code = with_signals(work)
    sys.exit(0 if code != EXIT_TERMINATED else code)
