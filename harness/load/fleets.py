"""The fleets that a load can drive, as somebody types them.

    http://127.0.0.1:4000,http://127.0.0.1:4001
    litellm_1_84=http://127.0.0.1:4000,http://127.0.0.1:4001;recommended=http://127.0.0.1:5000

Fleets stand between semicolons, each with its name and the base URLs of its replicas (or of a load
balancer before them). One fleet alone needs no name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.domain.series import ALL
from harness.errors import UnknownNameError, UsageError
from harness.load.mix import parse_hosts

_NAMED = re.compile(r"(?P<name>[^\s,;/]+)\s*=\s*(?P<rest>(https?://.*)?)")
"""A name may hold equals signs itself, as ``litellm==1.84.0`` does."""


@dataclass(frozen=True, slots=True)
class LoadFleet:
    """One fleet as the load sees it."""

    name: str
    """Empty where there is one fleet and nobody named it."""
    hosts: tuple[str, ...]


def split_fleets(text: str) -> list[tuple[str, str]]:
    """Names and what stands after them; one part without a name has the name ``""``.

    Raises:
        UsageError: several parts of which one has no name, a name that comes twice, or ``all``.
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
                f"The fleet [{name or rest}] has no name that can be used. Write "
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
    # the same replica in two fleets would be the same mistake as twice in one
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


def even_hosts(fleets: Sequence[LoadFleet]) -> list[tuple[str, str]]:
    """Fleet name and host, each host as often as it takes for all fleets to get the same load."""
    most = math.lcm(*(len(fleet.hosts) for fleet in fleets))
    return [
        (fleet.name, host) for fleet in fleets for host in fleet.hosts * (most // len(fleet.hosts))
    ]
