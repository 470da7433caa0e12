"""Commands that start fleets: `loadtest`, `fleet`, `ui`, and the studies from `twins` to `aa`."""

from __future__ import annotations

import click

from harness.cli.lazy import LazyCommand
from harness.cli.options import (
    EMBEDDED,
    FINISHED,
    JSON,
    OVERRIDES,
    POSTGRES_DSN,
    REDIS_URL,
    RELAX,
    REPLICAS,
    ROUNDS,
    RUNS_DIR,
    SCENARIO,
    STACKS,
    VARIANTS,
    VARIANTS_FILE,
    WORKERS,
    names,
    run_options,
    study_options,
)


@click.command(cls=LazyCommand, body="harness.cli.commands.runs:loadtest")
@run_options
@click.option("--stack", type=click.Choice(STACKS), default=EMBEDDED, show_default=True)
@click.option("--time-scale", type=click.FloatRange(0, min_open=True), help="Factor for all times.")
@ROUNDS
@click.option("--seed", type=int, help="Seed of population and arrivals.")
@click.option(
    "--prometheus",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="Record the run; auto: if prometheus is on PATH or in AUTHCACHE_PROMETHEUS.",
)
@click.option(
    "--strict", is_flag=True, help="Exit with 3 if nothing is expected of the variants (for CI)."
)
@JSON
def loadtest() -> None:
    """Run a scenario and end with a verdict, a table and a report."""


@click.command(cls=LazyCommand, body="harness.cli.commands.runs:fleet")
@run_options
@click.option("--port", type=click.IntRange(1024, 65000), help="First replica's port.")
def fleet() -> None:
    """Keep fleets up until Ctrl-C, for Locust's web UI or a client of your own."""


@click.command(cls=LazyCommand, body="harness.cli.commands.ui:ui")
@run_options
@click.option("--port", type=click.IntRange(1, 65535), default=8089, show_default=True)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address that the web UI listens on."
)
@click.option(
    "--locust-workers",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    help="Processes that drive the load under a Locust master; 0 is one process for all.",
)
def ui() -> None:
    """Start fleets and Locust's web UI with the tab "Auth cache", until Ctrl-C."""


@click.command(cls=LazyCommand, body="harness.cli.commands.studies:twins")
@click.option("--only", callback=names, metavar="A,B", help="Pairs, by variant or release.")
@study_options
def twins() -> None:
    """Compare reference variants with the releases they stand for.

    Exit codes: 0 no unexplained difference, 1 one or more, or a failed expectation, 3 a figure
    could not be compared, 4 invalid run.
    """


@click.command(cls=LazyCommand, body="harness.cli.commands.studies:history")
@click.option(
    "--releases",
    callback=names,
    metavar="A,B",
    help="Versions; by default one for each step of the defect.",
)
@RELAX
@study_options
def history() -> None:
    """Show what releases of LiteLLM do, oldest first, in one table and one chart.

    Exit codes: 0 all expectations hold, 1 one failed, 3 one is undecided, 4 invalid run.
    """


@click.command(cls=LazyCommand, body="harness.cli.commands.studies:clock")
@VARIANTS
@REPLICAS
@WORKERS
@click.option(
    "--only", callback=names, metavar="A,B", help="Actions, as team-block or key-block:member."
)
@click.option(
    "--scopes",
    callback=names,
    metavar="A,B",
    help="Every action in these key scopes; by default each in one.",
)
@click.option(
    "--changes",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Of each action and scope, each on a key of its own.",
)
@click.option("--ttl-s", type=click.IntRange(1, 3600), help="TTL in seconds; 10 by default.")
@click.option(
    "--watch-ttls",
    type=click.FloatRange(2.25, 100),
    default=3.0,
    show_default=True,
    help="How long a change is watched at least, in TTLs.",
)
@click.option(
    "--idle",
    is_flag=True,
    help="Also change keys that are not in use, and ask one worker once for each.",
)
@OVERRIDES
@VARIANTS_FILE
@RELAX
@click.option("--strict", is_flag=True, help="Exit with 1 if any worker was over its promise.")
@FINISHED
@click.option(
    "--attach",
    callback=names,
    metavar="URL,URL",
    help="Time a fleet that runs already, at these addresses, by statuses alone.",
)
@click.option(
    "--admin-key-env", metavar="NAME", help="With --attach: the variable with its master key."
)
@click.option("--model", default="mock-model", show_default=True, help="With --attach: to ask for.")
@click.option(
    "--beyond-loopback", is_flag=True, help="With --attach: allow addresses of other machines."
)
@POSTGRES_DSN
@REDIS_URL
@RUNS_DIR
def clock() -> None:
    """Change objects and tell how long each worker serves what is no longer true.

    With --attach the fleet gets at most 20 requests/s, and keys, teams and users that are deleted
    in the end. Each request is a chat completion of one token.

    Exit codes: 0 the table is complete, 1 with --strict: a worker was over its promise, 3 a change
    could not be timed, 4 invalid run.
    """


@click.command(cls=LazyCommand, body="harness.cli.commands.studies:faults")
@VARIANTS
@click.option("--scenario", default="faults", show_default=True, metavar="NAME|FILE")
@REPLICAS
@WORKERS
@click.option("--only", callback=names, metavar="A,B", help="Faults, as redis-hang.")
@OVERRIDES
@VARIANTS_FILE
@RELAX
@click.option("--stack", type=click.Choice(STACKS), default=EMBEDDED, show_default=True)
@FINISHED
@click.option("--write", is_flag=True, help="In a checkout: write docs/faults.md.")
@RUNS_DIR
def faults() -> None:
    """Break Redis, Postgres and replicas under load, and show what callers saw of each fault.

    Exit codes: 0 all expectations hold, 1 one failed, 3 one is undecided, 4 invalid run, as where a
    fault took no effect.
    """


@click.command(cls=LazyCommand, body="harness.cli.commands.studies:rollout")
@click.option("--from", "old", metavar="A", required=True, help="What all replicas run first.")
@click.option("--to", "new", metavar="B", required=True, help="What takes its place.")
@REPLICAS
@WORKERS
@click.option(
    "--schema",
    type=click.Choice(["newer", "older"]),
    default="newer",
    show_default=True,
    help="Whose tables the database has: newer, as after the newer one's migrations.",
)
@click.option(
    "--drain",
    is_flag=True,
    help="Take a replica out of the load before it is ended; else its callers see what happens.",
)
@click.option("--scenario", default="rollout", show_default=True, metavar="NAME|FILE")
@VARIANTS_FILE
@RELAX
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with 1 if anything failed in any phase, requests of callers included.",
)
@POSTGRES_DSN
@REDIS_URL
@RUNS_DIR
def rollout() -> None:
    """Replace the replicas of one variant by those of another, and back, under load.

    One Redis and one database. Each phase has a window and a check of management calls and spend:
    no replica, one, half and all of them new, and back.

    Exit codes: 0 measured, 1 with --strict: something failed, 2 usage, 4 invalid run.
    """


@click.command(cls=LazyCommand, body="harness.cli.commands.studies:aa")
@SCENARIO
@click.option("--variant", default="recommended", show_default=True, help="Measured twice.")
@REPLICAS
@click.option(
    "--pairs",
    type=click.IntRange(1, 100),
    default=10,
    show_default=True,
    help="Pairs to measure; 100 pairs are made of their rounds.",
)
@click.option(
    "--write", is_flag=True, help="In a checkout: let reports and docs/calibration.md name it."
)
@POSTGRES_DSN
@REDIS_URL
@RUNS_DIR
def aa() -> None:
    """Calibrate: one variant twice, and with a planted TTL; what differs, and what is found?

    Exit codes: 0 at most 5 alarms in 100 pairs, and a TTL of 0.9 and 1.1 found in 80 each; 1 not
    so; 3 too few rounds for a pair; 4 invalid run.
    """
