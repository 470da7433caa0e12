"""Studies of real releases: `twins` and `history`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from harness.cli.options import POSTGRES_DSN, REDIS_URL, RUNS_DIR, chosen_variants, names
from harness.cli.running import Done, run_to_end
from harness.errors import UsageError
from harness.experiment import studies
from harness.experiment.studies import Study


def _study_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option(
            "--replicas", type=click.IntRange(1, 64), help="Replicas of each fleet; 2 by default."
        ),
        click.option("--rounds", type=click.IntRange(1, 100), help="Windows of each variant."),
        click.option(
            "--from", "finished", metavar="RUN", help="Of a run that is done: id, path or latest."
        ),
        POSTGRES_DSN,
        REDIS_URL,
        RUNS_DIR,
    ]
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.option("--only", callback=names, metavar="A,B", help="Pairs, by variant or by release.")
@_study_options
def twins(*, only: tuple[str, ...] | None, finished: str | None, **options: Any) -> None:
    """Hold reference variants against the releases that they stand for.

    Exit codes: 0 no unexplained difference, 1 one or more, or a failed expectation, 3 something
    could not be compared, 4 invalid run.
    """
    from harness.report.explained import known_explanations  # noqa: PLC0415
    from harness.report.twins import twin_test  # noqa: PLC0415
    from harness.report.twins_report import print_twins, twins_files  # noqa: PLC0415

    console = Console()
    pairs, register = studies.chosen_pairs(only), known_explanations()
    done = _done(studies.twins(pairs), console, finished, **options)
    asked = finished is None or only is not None
    test = twin_test(done.result, pairs, register, asked=asked)
    print_twins(test, done.result, console)
    _keep(done, twins_files(test, done.result), console)
    sys.exit(done.signal_code or test.exit_code(done.result))


@click.command()
@click.option("--releases", callback=names, metavar="A,B", help="Versions; all known by default.")
@_study_options
def history(*, releases: tuple[str, ...] | None, finished: str | None, **options: Any) -> None:
    """Tell what releases of LiteLLM do, oldest first, in one table and one chart."""
    from harness.report.history import require_releases  # noqa: PLC0415
    from harness.report.history_report import history_files, print_history  # noqa: PLC0415

    if finished is not None and releases is not None:
        raise UsageError("A run that is done has the releases that it has. Leave RELEASES out.")
    console = Console()
    done = _done(studies.history(releases), console, finished, **options)
    if finished is not None:
        require_releases(done.result)
    print_history(done.result, console)
    _keep(done, history_files(done.result), console)
    sys.exit(done.signal_code or done.result.exit_code)


def _done(
    study: Study,
    console: Console,
    finished: str | None,
    *,
    replicas: int | None,
    rounds: int | None,
    postgres_dsn: str | None,
    redis_url: str | None,
    runs_dir: Path,
) -> Done:
    """The study's run, or one that was done before."""
    from harness.report.write import load_result, resolve_run  # noqa: PLC0415

    if finished is None:
        scenario = study.load(replicas, rounds)
        choices = chosen_variants(scenario, None, ())
        return run_to_end(
            scenario,
            choices,
            console,
            runs_dir=runs_dir,
            postgres_dsn=postgres_dsn,
            redis_url=redis_url,
        )
    if replicas is not None or rounds is not None:
        raise UsageError(
            f"The run [{finished}] is done: its replicas and rounds cannot be changed. "
            "Leave REPLICAS and ROUNDS out, or RUN."
        )
    run_dir = resolve_run(finished, runs_dir)
    return Done(load_result(run_dir), run_dir, signal_code=0)


def _keep(done: Done, texts: dict[str, str], console: Console) -> None:
    """Write the study's files beside the usual reports, and say where."""
    from harness.report.write import write_texts  # noqa: PLC0415

    write_texts(done.run_dir, texts)
    line = f"Files: {done.run_dir}/ ({', '.join(texts)}, report.html, result.json)"
    console.print(line, markup=False, highlight=False, soft_wrap=True)
