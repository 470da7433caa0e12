"""The options of the web UI, in addition to those of the load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import UsageError
from harness.load.mix import parse_mix
from harness.load.options import given
from harness.ui.presets import NONE, presets

if TYPE_CHECKING:
    # importing Locust patches the sockets of the whole process
    from locust.argument_parser import LocustArgumentParser


@dataclass(frozen=True, slots=True)
class Reference:
    """The inputs of the reference line: one read for each object and TTL."""

    ttl_s: float
    objects: dict[str, float]
    """By key scope."""


def add_options(parser: LocustArgumentParser, **_: Any) -> None:
    """Declare the options; a given preset sets the defaults of its fields."""
    parser.add_argument(
        "--metrics",
        env_var="AUTHCACHE_METRICS",
        default="",
        include_in_web_ui=False,
        help="Metrics page of each worker: NAME=URL+URL,URL+URL;NAME=... (+ joins one replica's)",
    )
    parser.add_argument(
        "--snapshots",
        env_var="AUTHCACHE_SNAPSHOTS",
        default="",
        include_in_web_ui=False,
        help="The harness's exporter instead of --metrics, e.g. http://127.0.0.1:9464/snapshots",
    )
    parser.add_argument(
        "--changes",
        env_var="AUTHCACHE_CHANGES",
        default="",
        include_in_web_ui=False,
        help="Where a harness that keeps these fleets up makes changes; `harness ui` gives it",
    )
    parser.add_argument(
        "--reference",
        env_var="AUTHCACHE_REFERENCE",
        default="",
        include_in_web_ui=False,
        help="TTL in seconds and objects by key scope, e.g. 2;team=9,user=6",
    )
    parser.add_argument(
        "--note",
        env_var="AUTHCACHE_NOTE",
        default="",
        include_in_web_ui=False,
        help="A sentence above the tab's numbers, e.g. what is planted",
    )
    known = presets()
    parser.add_argument(
        "--preset",
        env_var="AUTHCACHE_PRESET",
        default=NONE,
        choices=[NONE, *known],
        help="a scenario's load model, arrival rate and mix",
    )
    chosen = known.get(given("--preset", "AUTHCACHE_PRESET"))
    if chosen is not None:
        parser.set_defaults(**chosen.fields())


def parse_reference(text: str) -> Reference | None:
    """The reference line's inputs; None for an empty text.

    Raises:
        UsageError: for anything but a positive number, a semicolon and a mix of objects.
    """
    if not text:
        return None
    ttl, _, objects = text.partition(";")
    try:
        ttl_s = float(ttl)
    except ValueError:
        ttl_s = 0.0
    if not ttl_s > 0:
        raise UsageError(
            f"The reference [{text}] has no TTL. Write seconds and objects, e.g. 2;team=9,user=6."
        )
    return Reference(ttl_s, parse_mix(objects))
