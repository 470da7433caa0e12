"""Parses the mix of key scopes and the list of hosts that a user gives for a load."""

from __future__ import annotations

import math
from collections.abc import Iterable
from urllib.parse import urlsplit

from harness.authcache.words import LOAD_SCOPES
from harness.errors import UnknownNameError, UsageError


def parse_mix(text: str) -> dict[str, float]:
    """Weights by scope from ``team=3,user=2``; empty for an empty text.

    Raises:
        UsageError: for an unknown scope, one named twice, or a weight that is not positive.
    """
    mix: dict[str, float] = {}
    for part in _parts(text):
        scope, equals, weight = (piece.strip() for piece in part.partition("="))
        if scope not in LOAD_SCOPES:
            raise UnknownNameError("key scope", scope, LOAD_SCOPES, "Write e.g. team=3,user=2.")
        if scope in mix:
            raise UsageError(f"The mix names scope [{scope}] twice. Give each scope one weight.")
        mix[scope] = _weight(weight) if equals else 1.0
        if not mix[scope] > 0:
            raise UsageError(
                f"The weight of scope [{scope}] is [{weight}]. "
                "Give it a positive number, or leave the scope out."
            )
    return mix


def parse_hosts(text: str) -> list[str]:
    """Base URLs without a trailing slash from a comma-separated list; empty for an empty text.

    Raises:
        UsageError: for anything but an http or https URL, or a URL that is named twice.
    """
    hosts: list[str] = []
    for part in _parts(text):
        host = part.rstrip("/")
        url = urlsplit(host)
        if url.scheme not in ("http", "https") or not url.netloc:
            raise UsageError(
                f"The host [{part}] is no base URL of a replica. Write e.g. http://127.0.0.1:4000."
            )
        if host in hosts:
            raise UsageError(
                f"The host [{part}] is named twice, so that it would get twice the load. "
                "Name each replica once."
            )
        hosts.append(host)
    return hosts


def _parts(text: str) -> Iterable[str]:
    return (part.strip() for part in text.split(",") if part.strip())


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return math.nan
    return weight if math.isfinite(weight) else math.nan
