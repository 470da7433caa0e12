"""Commands: parse, call, print. Every target of the Makefile is one of them."""

from __future__ import annotations

import click

import harness
from harness.cli.bench import bench
from harness.cli.compose import down, prepare, up
from harness.cli.dashboards import dashboards
from harness.cli.exporter import exporter
from harness.cli.lists import codecs, scenarios, variants
from harness.cli.options import Commands
from harness.cli.prometheus import prometheus
from harness.cli.releases import releases
from harness.cli.reports import compare, report
from harness.cli.runs import fleet, loadtest
from harness.cli.studies import history, twins
from harness.cli.ui import ui


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(harness.__version__, prog_name="harness")
def main() -> None:
    """Load-test auth caches behind a multi-replica gateway, and reconcile what everyone counted.

    Exit codes: 0 pass, 1 regression, 2 usage, 3 inconclusive, 4 invalid run, 130 Ctrl-C,
    143 SIGTERM.
    """


for command in (
    *(loadtest, fleet, ui, variants, scenarios, codecs, releases),
    *(report, compare, bench, dashboards, exporter, prometheus),
    *(up, down, prepare),
    *(twins, history),
):
    main.add_command(command)
