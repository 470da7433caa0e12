"""Commands: their names, options and help. Every target of the Makefile is one of them."""

from __future__ import annotations

import click

import harness
from harness.cli.lazy import LazyGroup

_COMMANDS = {
    "aa": "runs",
    "ask": "referee",
    "bisect": "referee",
    "clock": "runs",
    "faults": "runs",
    "codecs": "lists",
    "compare": "lists",
    "compat": "lists",
    "down": "compose",
    "exporter": "watching",
    "fleet": "runs",
    "history": "runs",
    "loadtest": "runs",
    "prepare": "compose",
    "prometheus": "watching",
    "referee": "referee",
    "releases": "releases",
    "report": "lists",
    "rollout": "runs",
    "scenarios": "lists",
    "twins": "runs",
    "ui": "runs",
    "up": "compose",
    "variants": "lists",
}
"""Module of `harness.cli`, by the name of the command."""


@click.group(
    cls=LazyGroup,
    lazy={name: f"harness.cli.{module}:{name}" for name, module in _COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(harness.__version__, prog_name="harness")
def main() -> None:
    """Load-test auth caches behind a multi-replica gateway, and reconcile all counts.

    Exit codes: 0 pass, or nothing was expected; 1 regression, 2 usage, 3 inconclusive, 4 invalid
    run, or the harness itself failed; 129 SIGHUP, 130 Ctrl-C, 143 SIGTERM.
    """
