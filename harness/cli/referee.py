"""Commands that answer a question about one or two sources: `referee`, `ask`, `bisect`."""

from __future__ import annotations

from typing import Any

import click

from harness.cli.lazy import LazyCommand, reported
from harness.cli.options import (
    CONFIG,
    ENVIRONMENT,
    FILE,
    JSON,
    KEEP_CALLBACKS,
    POSTGRES_DSN,
    REDIS_URL,
    RELAX,
    REPLICAS,
    ROUNDS,
    RUNS_DIR,
    VARIANTS_FILE,
    combined,
)

CANNOT_TELL = 125
BAD_QUESTION = 129
"""Exit code of a question that is no question. `git bisect run` takes 1 to 124 and 126, 127 for
*bad*, 125 for *skip*, and stops at anything above 127."""

_SCENARIO = click.option(
    "--scenario", default="referee", show_default=True, metavar="NAME|FILE", help="The load."
)
_run = combined(
    _SCENARIO,
    REPLICAS,
    ROUNDS,
    VARIANTS_FILE,
    RELAX,
    ENVIRONMENT,
    CONFIG,
    KEEP_CALLBACKS,
    POSTGRES_DSN,
    REDIS_URL,
    RUNS_DIR,
)


class AskCommand(LazyCommand):
    """Ends with no code that means *bad* to ``git bisect run`` unless the answer is no."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the options."""
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.show()
            raise click.exceptions.Exit(BAD_QUESTION) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Import the body and call it."""
        with reported(CANNOT_TELL):
            return super().invoke(ctx)


@click.command(cls=LazyCommand, body="harness.cli.commands.referee:referee")
@click.option("--repo", type=FILE, help="A checkout of LiteLLM: its merge base and its tree.")
@click.option("--base", metavar="REV", help="Base of --repo; default: merge base with origin/HEAD.")
@click.option("--head", metavar="REV", help="Head of --repo; default: the working tree.")
@click.option("--source", metavar="SOURCE", help="The head, instead of --repo.")
@click.option(
    "--against", metavar="SOURCE", help="The base of --source; plain: the same without --config."
)
@_run
@JSON
def referee() -> None:
    """Compare base and head of a change under the same load: better, same, worse or mixed.

    Exit codes: 0 not worse; 1 worse or mixed; 2 usage; 3 something could not be seen, or too little
    power; 4 invalid run.
    """


@click.command(cls=AskCommand, body="harness.cli.commands.referee:ask")
@click.option("--source", required=True, metavar="SOURCE", help="A variant, or what it comes from.")
@click.argument("question")
@_run
@JSON
def ask() -> None:
    """Ask one question about one source, e.g. "shared_id is healthy"; for git bisect run.

    The sentence is an [[expect]] of a scenario: SCOPE is CELL; FIGURE [in SCOPE] < NUMBER;
    FIGURE < NUMBER times that of VARIANT.

    Exit codes: 0 yes, 1 no, 125 cannot tell, 129 the question or an option is wrong.
    """


@click.command(cls=LazyCommand, body="harness.cli.commands.referee:bisect")
@click.option("--good", required=True, metavar="RELEASE", help="Where the answer is yes.")
@click.option("--bad", required=True, metavar="RELEASE", help="Where it is no.")
@click.argument("question")
@click.option("--installed", is_flag=True, help="Ask only releases that are installed here.")
@_run
def bisect() -> None:
    """Find the release of the package index with which the answer to a question changes.

    Exit codes: 0 found, 2 usage, 3 releases in between cannot be asked.
    """
