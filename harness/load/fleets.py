"""Parses the fleets that a load can drive.

    http://127.0.0.1:4000,http://127.0.0.1:4001
    litellm_1_84=http://127.0.0.1:4000,http://127.0.0.1:4001;recommended=http://127.0.0.1:5000

Semicolons separate fleets; each has a name and the base URLs of its replicas (or of a load balancer
in front of them). A single fleet needs no name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from harness.domain.series import ALL
from harness.errors import UnknownNameError, UsageError
from harness.load.mix import parse_hosts

_NAMED = re.compile(r"(?P<name>[^\s,;/]+)\s*=\s*(?P<rest>(https?://.*)?)")
"""A name may contain equals signs, as ``litellm==1.84.0`` does."""


@dataclass(frozen=True, slots=True)
class LoadFleet:
    """One fleet as the load sees it."""

    name: str
    """Empty for a single fleet without a name."""
    hosts: tuple[str, ...]


def split_fleets(text: str) -> list[tuple[str, str]]:
    """Names and the text after each ``NAME=``; a single part without a name has the name ``""``.

    Raises:
        UsageError: one of several parts has no name, or a name is used twice or is ``all``.
    """
    parts: list[tuple[str, str]] = []
    for part in (piece.strip() for piece in text.split(";")):
        if part:
            named = _NAMED.fullmatch(part)
            parts.append((named["name"], named["rest"]) if named else ("", part))
    names = [name for name, _ in parts]
    for name, rest in parts:
        if name == ALL or (not name and len(parts) > 1):
            raise UsageError(
                f"The fleet [{name or rest}] has no usable name. Write "
                f"NAME=URL,URL;NAME=URL, where a name is one word and not [{ALL}]."
            )
        if names.count(name) > 1:
            raise UsageError(f"The fleet [{name}] is named twice. Give each fleet one list.")
    return parts


def parse_fleets(text: str) -> list[LoadFleet]:
    """Fleets from a text; empty for an empty text.

    Raises:
        UsageError: see `split_fleets` and `harness.load.mix.parse_hosts`; a fleet without hosts.
    """
    fleets = [LoadFleet(name, tuple(parse_hosts(hosts))) for name, hosts in split_fleets(text)]
    for fleet in fleets:
        if not fleet.hosts:
            raise UsageError(
                f"The fleet [{fleet.name}] has no replica. Write {fleet.name}=http://127.0.0.1:4000."
            )
    # a replica in two fleets is as wrong as one that is named twice in one fleet
    parse_hosts(",".join(host for fleet in fleets for host in fleet.hosts))
    return fleets


def choose(fleets: Sequence[LoadFleet], name: str) -> list[LoadFleet]:
    """The fleet of a name, or all. Raises UnknownNameError."""
    if name in ("", ALL):
        return list(fleets)
    chosen = [fleet for fleet in fleets if fleet.name == name]
    if not chosen:
        raise UnknownNameError("fleet", name, [ALL, *(fleet.name for fleet in fleets)])
    return chosen


def known_as(fleet: str, known: Collection[str]) -> str:
    """The name of a fleet under load among those that its counters have.

    A fleet without a name is the only one there is; with several it stays without.
    """
    return next(iter(known)) if not fleet and len(known) == 1 else fleet


def even_hosts(fleets: Sequence[LoadFleet]) -> list[tuple[str, str]]:
    """Pairs of fleet name and host; hosts repeat so that all fleets get the same load."""
    most = math.lcm(*(len(fleet.hosts) for fleet in fleets))
    return [
        (fleet.name, host) for fleet in fleets for host in fleet.hosts * (most // len(fleet.hosts))
    ]
