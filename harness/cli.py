"""Commands: parse, call, print. Every target of the Makefile is one of them."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console

import harness
from harness.authcache.variants import BASELINE, Variant, differences, load_variants, override, pick
from harness.bench.options import GROUPS, Group, Options
from harness.errors import (
    EXIT_REGRESSION,
    EXIT_TERMINATED,
    HarnessError,
    UnknownNameError,
    UsageError,
)
from harness.experiment.stop import Stop
from harness.scenario.loader import Changes, load_scenario, scenario_names
from harness.scenario.schema import Scenario

T = TypeVar("T")
DEFAULT_SCENARIO = "issue-27874"


class _Commands(click.Group):
    """Turns the harness' errors into one line and the documented exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_code)


def _names(_: click.Context, __: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that `loadtest` and `fleet` share."""
    options = [
        click.option(
            "--scenario", default=DEFAULT_SCENARIO, show_default=True, metavar="NAME|FILE"
        ),
        click.option(
            "--variants", callback=_names, metavar="A,B", help="Instead of the scenario's."
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
        click.option(
            "--postgres-dsn", envvar="POSTGRES_DSN", help="Your own Postgres instead of ours."
        ),
        click.option("--redis-url", envvar="REDIS_URL", help="Your own Redis instead of ours."),
        click.option(
            "--runs-dir",
            type=click.Path(path_type=Path),
            default=Path("runs"),
            show_default=True,
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(harness.__version__, prog_name="harness")
def main() -> None:
    """Load-test auth caches behind a multi-replica gateway, and reconcile what everyone counted.

    Exit codes: 0 pass, 1 regression, 2 usage, 3 inconclusive, 4 invalid run, 130 Ctrl-C,
    143 SIGTERM.
    """


@main.command()
@_run_options
@click.option("--stack", type=click.Choice(["embedded"]), default="embedded", show_default=True)
@click.option("--time-scale", type=click.FloatRange(0, min_open=True), help="Factor on all times.")
@click.option("--rounds", type=click.IntRange(1, 100), help="Measured windows of each variant.")
@click.option("--seed", type=int, help="Of population and arrivals.")
def loadtest(
    *,
    scenario: str,
    variants: tuple[str, ...] | None,
    replicas: int | None,
    workers: int | None,
    premise: str | None,
    overrides: tuple[str, ...],
    variants_file: Path | None,
    postgres_dsn: str | None,
    redis_url: str | None,
    runs_dir: Path,
    stack: str,
    time_scale: float | None,
    rounds: int | None,
    seed: int | None,
) -> None:
    """Run a scenario and end with a verdict, a table and a report."""
    # Only a run needs servers, Locust and charts; the other commands stay quick without them.
    from harness.experiment.run import Servers, reference_arms, run  # noqa: PLC0415
    from harness.report.progress import progress_for  # noqa: PLC0415
    from harness.report.terminal import print_result  # noqa: PLC0415

    del stack  # There is one so far.
    console = Console()
    changes = Changes(replicas, workers, variants, time_scale, rounds, seed, _switched(premise))
    loaded = load_scenario(scenario, changes)
    arms = reference_arms(_variants(loaded, variants_file, overrides))
    progress = progress_for(console)

    async def go(stop: Stop) -> tuple[Any, Path]:
        try:
            return await run(
                loaded,
                arms,
                runs_dir=runs_dir,
                servers=Servers(postgres_dsn, redis_url),
                progress=progress,
                stop=stop,
            )
        finally:
            progress.close()

    (result, run_dir), code = _with_signals(go)
    print_result(result, console, run_dir)
    sys.exit(code or result.exit_code)


@main.command()
@_run_options
@click.option("--port", type=click.IntRange(1024, 65000), help="First replica's port.")
def fleet(
    *,
    scenario: str,
    variants: tuple[str, ...] | None,
    replicas: int | None,
    workers: int | None,
    premise: str | None,
    overrides: tuple[str, ...],
    variants_file: Path | None,
    postgres_dsn: str | None,
    redis_url: str | None,
    runs_dir: Path,
    port: int | None,
) -> None:
    """Keep fleets up until Ctrl-C, for Locust's web UI or a client of your own."""
    from harness.experiment.keep import keep_up  # noqa: PLC0415
    from harness.experiment.run import Servers, reference_arms  # noqa: PLC0415

    console = Console()
    changes = Changes(replicas, workers, variants, premises=_switched(premise))
    loaded = load_scenario(scenario, changes)
    arms = reference_arms(_variants(loaded, variants_file, overrides))

    async def go(stop: Stop) -> None:
        await keep_up(
            loaded,
            arms,
            runs_dir=runs_dir,
            servers=Servers(postgres_dsn, redis_url),
            base_port=port,
            say=lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True),
            stop=stop,
        )

    _, code = _with_signals(go)
    # Ctrl-C is how a kept fleet is meant to end.
    sys.exit(0 if code != EXIT_TERMINATED else code)


@main.command()
@click.argument("name", required=False)
@click.option("--variants-file", type=click.Path(path_type=Path), envvar="AUTHCACHE_VARIANTS_FILE")
def variants(name: str | None, variants_file: Path | None) -> None:
    """List the variants, or print the switches of one and what differs from litellm_1_84."""
    known = load_variants(variants_file)
    if name is None:
        width = max(map(len, known))
        for variant in known.values():
            click.echo(f"{variant.name:<{width}}  {variant.title} ({variant.stands_for})")
        return
    if name not in known:
        raise UnknownNameError("variant", name, known)
    variant = known[name]
    click.echo(f"{variant.name}: {variant.title}\nStands for {variant.stands_for}.\n")
    changed = differences(variant, known[BASELINE])
    for switch, value in variant.switches.model_dump().items():
        note = f"   ({BASELINE}: {changed[switch][0]})" if switch in changed else ""
        click.echo(f"  {switch:<18} {value}{note}")
    if name != BASELINE and not changed:
        click.echo(f"\nNo switch differs from {BASELINE}.")


@main.command()
def scenarios() -> None:
    """List the built-in scenarios."""
    names = scenario_names()
    width = max(map(len, names))
    for name, title in names.items():
        click.echo(f"{name:<{width}}  {title}")


@main.command()
def codecs() -> None:
    """List the codecs that a variant can name."""
    from harness.authcache.codecs import codec_names  # noqa: PLC0415

    names = codec_names()
    width = max(map(len, names))
    for name, summary in names.items():
        click.echo(f"{name:<{width}}  {summary}")


@main.command()
@click.argument("run", default="latest")
@click.option(
    "--runs-dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True
)
def report(run: str, runs_dir: Path) -> None:
    """Make the report of a run again from its data (an id, a path, or latest)."""
    from harness.report.terminal import print_result  # noqa: PLC0415
    from harness.report.write import load_result, resolve_run, write_reports  # noqa: PLC0415

    run_dir = resolve_run(run, runs_dir)
    result = load_result(run_dir)
    write_reports(result, run_dir)
    print_result(result, Console(), run_dir)


@main.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--markdown", is_flag=True, help="As Markdown, for a pull request.")
@click.option(
    "--runs-dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True
)
def compare(runs: tuple[str, ...], markdown: bool, runs_dir: Path) -> None:
    """Put two or more runs side by side."""
    from harness.report.compare import compare_markdown, compare_terminal  # noqa: PLC0415
    from harness.report.write import load_result, resolve_run  # noqa: PLC0415

    if len(runs) < 2:  # noqa: PLR2004 - a comparison takes two
        raise UsageError("A comparison takes two runs or more. Name them by id, path or latest.")
    results = [load_result(resolve_run(run, runs_dir)) for run in runs]
    if markdown:
        click.echo(compare_markdown(results))
    else:
        compare_terminal(results, Console())


@main.command()
@click.option("--rounds", type=click.IntRange(1, 100), default=5, show_default=True)
@click.option("--only", type=click.Choice(GROUPS), multiple=True, help="Repeatable.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    help="Instead of a new file in runs/bench/.",
)
@click.option("--no-bars", is_flag=True, help="Exit with 0 even where a bar is missed.")
@click.option("--quick", is_flag=True, help="Tiny counts, to test the benchmark itself.")
def bench(
    *, rounds: int, only: tuple[Group, ...], json_file: Path | None, no_bars: bool, quick: bool
) -> None:
    """Measure what each part costs, against bars. Exits with 1 where a bar is missed."""
    from harness.bench.report import finish  # noqa: PLC0415
    from harness.bench.run import run_bench  # noqa: PLC0415
    from harness.report.progress import progress_for  # noqa: PLC0415

    console = Console()
    progress = progress_for(console)

    async def go(stop: Stop) -> Any:
        try:
            return await run_bench(Options(rounds, only or GROUPS, quick), progress, stop)
        finally:
            progress.close()

    measured, code = _with_signals(go)
    held = finish(measured, console, json_file)
    sys.exit(code or (0 if held or no_bars else EXIT_REGRESSION))


def _switched(premise: str | None) -> bool | None:
    return None if premise is None else premise == "on"


def _variants(
    scenario: Scenario, variants_file: Path | None, overrides: tuple[str, ...]
) -> list[Variant]:
    known, names = load_variants(variants_file), scenario.variants
    for expectation in scenario.expect:
        # An expectation of a variant that nobody knows could never fail.
        if expectation.variant not in known:
            raise UnknownNameError("variant in [[expect]]", expectation.variant, known)
    for name, changes in _parse_overrides(overrides).items():
        if name not in names:
            raise UnknownNameError("variant to override in this run", name, names)
        if name in known:
            known[name] = override(known[name], changes)
    return pick(known, names)


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


def _with_signals(work: Callable[[Stop], Awaitable[T]]) -> tuple[T, int]:
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


if __name__ == "__main__":
    main()
