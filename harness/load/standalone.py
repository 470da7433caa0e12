"""Locust by itself: ``locust -f locustfile.py`` against any running fleet.

Its options also come from the environment and stand in the form of the web interface. They are
read anew at every start of a test, so that the form works.
"""

from __future__ import annotations

import logging
import math
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from locust import poisson
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.event import Events
from locust.exception import StopTest
from locust.runners import MasterRunner, WorkerRunner

from harness.errors import EXIT_USAGE, UsageError
from harness.load.feeds import FreeFeed
from harness.load.keys import LoadKey, by_scope, read_keys
from harness.load.mix import parse_hosts, parse_mix
from harness.load.plan import check_mix
from harness.load.session import attach, detach, make_session
from harness.load.users import KeyUser

TIMEOUT_S = 60.0
_CONNECTIONS = 1000
"""To one replica; Locust can add users at any time, so that there is no better number."""

_log = logging.getLogger("locust.authcache")


def register(events: Events) -> None:
    """Add the options, and what reads them, to Locust's events."""
    hooks: Any = events  # they have no types
    hooks.init_command_line_parser.add_listener(_add_options)
    hooks.init.add_listener(_on_init)
    hooks.test_start.add_listener(_on_test_start)
    hooks.test_stop.add_listener(_on_test_stop)


def configure(environment: Environment) -> None:
    """Give the users their keys, hosts and weights, from the options as they stand now.

    Raises:
        UsageError: if hosts or keys are missing, or the mix cannot be driven with them.
    """
    options: Any = environment.parsed_options or Namespace()
    hosts = _hosts(options, environment.host)
    keys = _keys(options)
    indices = by_scope(keys)
    classes = [c for c in environment.user_classes if issubclass(c, KeyUser)]
    mix = parse_mix(options.mix) or {c.scope: 1.0 for c in classes if c.scope in indices}
    check_mix(mix, indices)
    rate = float(options.rate)
    if not (math.isfinite(rate) and rate > 0):
        raise UsageError(f"The rate is [{rate}] requests/s per user. Give a positive number.")
    for user_class in classes:
        user_class.weight = mix.get(user_class.scope, 0)
    if not any(user_class.weight for user_class in environment.user_classes):
        raise UsageError(
            f"None of the chosen users has a scope of the mix [{', '.join(mix)}]. "
            "Choose other users, or another mix."
        )
    session = make_session(
        FreeFeed(indices, replicas=len(hosts)),
        hosts=hosts,
        keys=keys,
        pause=poisson(rate),
        connections=_CONNECTIONS,
        timeout_s=TIMEOUT_S,
    )
    attach(environment, session)


def _add_options(parser: LocustArgumentParser, **_: Any) -> None:
    # empty texts rather than None: the web interface keeps the type of what it finds
    parser.add_argument(
        "--hosts",
        env_var="AUTHCACHE_HOSTS",
        default="",
        help="Base URLs of the replicas, separated by commas; without it, --host is the only one",
    )
    parser.add_argument(
        "--keys-file",
        env_var="AUTHCACHE_KEYS",
        default="",
        help="The virtual keys: a JSON file that the harness wrote",
    )
    parser.add_argument(
        "--mix",
        env_var="AUTHCACHE_MIX",
        default="",
        help="Weights of the key scopes, e.g. team=3,user=2; without it, all that have keys alike",
    )
    parser.add_argument(
        "--rate",
        env_var="AUTHCACHE_RATE",
        type=float,
        default=1.0,
        help="Requests per second of one user, at random moments (poisson wait time)",
    )


def _hosts(options: Any, host: str | None) -> list[str]:
    hosts = parse_hosts(options.hosts) or parse_hosts(host or "")
    if not hosts:
        raise UsageError(
            "No replica is named [--hosts is empty]. Give --hosts or AUTHCACHE_HOSTS, "
            "e.g. --hosts http://127.0.0.1:4000,http://127.0.0.1:4001."
        )
    return hosts


def _keys(options: Any) -> list[LoadKey]:
    if not options.keys_file:
        raise UsageError(
            "No virtual keys are given [--keys-file is empty]. Give --keys-file or AUTHCACHE_KEYS: "
            "the file that `make fleet` names."
        )
    return read_keys(Path(options.keys_file))


def _on_init(environment: Environment, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        # its options come from the master, with the first start
        return
    try:
        configure(environment)
    except UsageError as error:
        options: Any = environment.parsed_options
        if options.headless or options.autostart:
            sys.stderr.write(f"{error}\n")
            sys.exit(EXIT_USAGE)
        _log.warning("%s Or fill in the form of the web interface.", error)


def _on_test_start(environment: Environment, **_: Any) -> None:
    try:
        configure(environment)
    except UsageError as error:
        raise StopTest(str(error)) from error


def _on_test_stop(environment: Environment, **_: Any) -> None:
    if not isinstance(environment.runner, MasterRunner):
        detach(environment)
