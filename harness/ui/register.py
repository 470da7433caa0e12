"""Connects the parts of the web UI to Locust's events."""

from __future__ import annotations

import logging
import sys
from typing import Any

from locust.env import Environment
from locust.event import Events
from locust.runners import WorkerRunner
from locust.web import WebUI

from harness.errors import EXIT_USAGE, UsageError
from harness.load import reporting
from harness.load.fleets import even_hosts, parse_fleets
from harness.load.standalone import elapsed_s, plans, read_options
from harness.ui.options import add_options, parse_reference
from harness.ui.push import Pusher
from harness.ui.sources import ChangesClient, make_source
from harness.ui.watcher import Watcher
from harness.ui.web import extend

NO_METRICS = (
    "No metrics pages of replicas are given, so only the load side's numbers are shown. Give "
    "--metrics or --snapshots (AUTHCACHE_METRICS, AUTHCACHE_SNAPSHOTS)."
)

_log = logging.getLogger("locust.authcache")


def register(events: Events) -> None:
    """Add options and tab to Locust; call it after `harness.load.standalone.register`."""
    hooks: Any = events  # they have no types
    hooks.init_command_line_parser.add_listener(add_options)

    def on_init(environment: Environment, web_ui: WebUI | None, **_: Any) -> None:
        options: Any = environment.parsed_options
        if options.snapshots and not isinstance(environment.runner, WorkerRunner):
            # before the tab, which waits for the replicas when a load starts
            _add_push(events, environment, options.snapshots)
        if web_ui is not None:
            _add_tab(events, environment, web_ui)

    hooks.init.add_listener(on_init)


def _add_tab(events: Events, environment: Environment, web_ui: WebUI) -> None:
    options: Any = environment.parsed_options
    try:
        source = make_source(options.metrics, options.snapshots)
        reference = parse_reference(options.reference)
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_USAGE)
    if options.hosts and not environment.host:
        # Locust's header shows it; requests carry whole addresses
        environment.host = "+".join(_names(options.hosts)) or None
    watcher = Watcher(environment, source)
    hooks: Any = events
    hooks.test_start.add_listener(lambda **_: watcher.begin())
    hooks.test_stop.add_listener(lambda **_: watcher.end())
    hooks.reset_stats.add_listener(watcher.reset)
    problems = [] if source is not None else [NO_METRICS]
    extend(environment, web_ui, watcher, reference, problems, ChangesClient(options.changes))


def _add_push(events: Events, environment: Environment, snapshots: str) -> None:
    pusher = Pusher(
        snapshots,
        lambda: reporting.counts(environment),
        lambda: elapsed_s(environment),
        lambda: reporting.complete(environment),
    )

    def begin(**_: Any) -> None:
        fleets = [name for name, _ in even_hosts(read_options(environment).fleets)]
        pusher.begin(fleets, plans(environment))

    hooks: Any = events
    hooks.test_start.add_listener(begin)
    hooks.test_stop.add_listener(lambda **_: pusher.end())
    hooks.quit.add_listener(lambda **_: pusher.close())


def _names(hosts: str) -> list[str]:
    try:
        return [fleet.name for fleet in parse_fleets(hosts)]
    except UsageError:
        # the check of the load's own options reports what is wrong
        return []
