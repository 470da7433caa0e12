"""Declares and checks the options of the locustfile."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.domain.population import LoadKey, by_scope, read_keys
from harness.domain.rates import check_zipf
from harness.domain.series import ALL
from harness.errors import UnknownNameError, UsageError
from harness.load.fleets import LoadFleet, choose, parse_fleets
from harness.load.mix import parse_mix
from harness.load.plan import CLOSED, MODELS, OPEN, check_mix, check_rate

if TYPE_CHECKING:
    # importing Locust patches the sockets of the whole process
    from locust.argument_parser import LocustArgumentParser

FORM_FIELDS = ("fleet", "load_model", "arrival_rate", "mix", "zipf", "rate", "seed")
"""Fields that can always be changed in the form of the web interface."""
PLACES = ("hosts", "keys_file")
"""Where the load goes and with which keys; in the form only if not given as options."""
SHARE = "load_workers"
"""The option in which the master sends its workers the number of those that share the rate."""


@dataclass(frozen=True, slots=True)
class Drive:
    """The checked options of one load."""

    fleets: tuple[LoadFleet, ...]
    keys: tuple[LoadKey, ...]
    mix: dict[str, float]
    zipf: float
    """Exponent of the keys' popularity within each scope; 0: all alike."""
    model: str
    """`OPEN` or `CLOSED`."""
    arrival_rate: float
    """Open model: requests a second over all fleets and all Locust workers."""
    rate: float
    """Closed model: requests a second of one user."""
    seed: int


def add_options(parser: LocustArgumentParser, **_: Any) -> None:
    """Declare the options. Empty texts, not None: the web interface keeps a default's type."""
    hosts = given("--hosts", "AUTHCACHE_HOSTS")
    keys_file = given("--keys-file", "AUTHCACHE_KEYS")
    parser.add_argument(
        "--hosts",
        env_var="AUTHCACHE_HOSTS",
        default="",
        include_in_web_ui=not hosts,
        help="Base URLs of the replicas, separated by commas; NAME=URL,URL;NAME=URL for several "
        "fleets; without it, --host is used",
    )
    parser.add_argument(
        "--keys-file",
        env_var="AUTHCACHE_KEYS",
        default="",
        include_in_web_ui=not keys_file,
        help="The virtual keys: a JSON file that the harness wrote",
    )
    names = _fleet_names(hosts)
    parser.add_argument(
        "--fleet",
        env_var="AUTHCACHE_FLEET",
        default=ALL,
        choices=[ALL, *names] if names else None,
        include_in_web_ui=bool(names),
        help="the fleet that gets the load; all: every fleet gets an equal share",
    )
    parser.add_argument(
        "--load-model",
        env_var="AUTHCACHE_LOAD_MODEL",
        default=CLOSED,
        choices=MODELS,
        help="open: requests arrive at a rate; closed: each user waits for its reply",
    )
    parser.add_argument(
        "--arrival-rate",
        env_var="AUTHCACHE_ARRIVAL_RATE",
        type=float,
        default=100.0,
        help="open: requests per second in all",
    )
    parser.add_argument(
        "--mix",
        env_var="AUTHCACHE_MIX",
        default="",
        help="weights of the key scopes, e.g. team=3,user=2; empty: equal weights",
    )
    parser.add_argument(
        "--zipf",
        env_var="AUTHCACHE_ZIPF",
        type=float,
        default=0.0,
        help="popularity of the keys of a scope: the k-th gets weight 1/k^ZIPF; 0: all alike",
    )
    parser.add_argument(
        "--rate",
        env_var="AUTHCACHE_RATE",
        type=float,
        default=1.0,
        help="closed: requests per second of one user, at random moments",
    )
    parser.add_argument(
        "--seed", env_var="AUTHCACHE_SEED", type=int, default=42, help="open: seed of the arrivals"
    )
    parser.add_argument(
        f"--{SHARE.replace('_', '-')}",
        type=int,
        default=1,
        include_in_web_ui=False,
        help=argparse.SUPPRESS,
    )


def check_options(options: Any, host: str | None, scopes: Sequence[str]) -> Drive:
    """Check the options.

    Args:
        options: with the attributes that `add_options` declares.
        host: Locust's own --host.
        scopes: key scopes of the chosen users.

    Raises:
        UsageError: hosts or keys are missing, or the load cannot be driven.
    """
    fleets = parse_fleets(options.hosts) or parse_fleets(host or "")
    if not fleets:
        raise UsageError(
            "No replica is named [--hosts is empty]. Give --hosts or AUTHCACHE_HOSTS, "
            "e.g. --hosts http://127.0.0.1:4000,http://127.0.0.1:4001."
        )
    keys = _keys(options.keys_file)
    indices = by_scope(keys)
    mix = parse_mix(options.mix) or {scope: 1.0 for scope in scopes if scope in indices}
    check_mix(mix, indices)
    check_zipf(options.zipf)
    if options.load_model not in MODELS:
        raise UnknownNameError("load model", str(options.load_model), MODELS)
    if options.load_model == OPEN:
        check_rate(options.arrival_rate)
    elif not (math.isfinite(options.rate) and options.rate > 0):
        raise UsageError(
            f"The rate is [{options.rate}] requests/s per user. Give a positive number."
        )
    elif not any(scope in mix for scope in scopes):
        raise UsageError(
            f"None of the chosen users has a scope of the mix [{', '.join(mix)}]. "
            "Choose other users, or another mix."
        )
    return Drive(
        fleets=tuple(choose(fleets, options.fleet)),
        keys=tuple(keys),
        mix=mix,
        zipf=options.zipf,
        model=options.load_model,
        arrival_rate=options.arrival_rate,
        rate=options.rate,
        seed=options.seed,
    )


def given(flag: str, variable: str) -> str:
    """An option's value from the command line or environment, before the parser is complete."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(flag, dest="value", default=os.environ.get(variable, ""))
    return str(parser.parse_known_args()[0].value)


def _fleet_names(hosts: str) -> list[str]:
    try:
        return [fleet.name for fleet in parse_fleets(hosts) if fleet.name]
    except UsageError:
        # `check_options` reports the error; declaring the options must not fail
        return []


def _keys(keys_file: str) -> list[LoadKey]:
    if not keys_file:
        raise UsageError(
            "No virtual keys are given [--keys-file is empty]. Give --keys-file or AUTHCACHE_KEYS: "
            "the file that `make fleet` names."
        )
    return read_keys(Path(keys_file))
