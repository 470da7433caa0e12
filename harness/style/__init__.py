"""The shared palette of all pages, and the colour of each variant.

A variant's colour depends only on its name, not on its place in a run or on the other variants.
So it is the same in the report, in the web UI and on every panel of the dashboards. Grafana cannot
hash a name: the dashboards know the names in `NAMED`, and `harness up` adds those of its fleets. On
a dashboard that was imported by hand, Grafana chooses the colours of any other variant.
"""

import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from zlib import crc32

PALETTE = files("harness.style").joinpath("palette.css")
"""A style sheet of custom properties: the colours of variants, outcomes and cells."""
COLOURS: tuple[str, ...] = tuple(
    re.findall(r"--v\d+: (#[0-9a-f]{6});", PALETTE.read_text(encoding="utf-8"))
)
"""Of variants, as ``#rrggbb``. One value for light and dark pages: Grafana takes only one."""
NAMED: Mapping[str, int] = {
    # The default scenario shows these four side by side.
    "litellm_1_84": 0,
    "fix_optional_user_id": 1,
    "fix_keep_none": 2,
    "recommended": 3,
    "fix_keep_required_none": 4,
    "all_prefixed": 5,
    "envelope": 6,
    "memory_only": 7,
    "raw_redis": 8,
    "litellm_1_83": 9,
    "litellm_1_94": 10,
    "litellm_1_93": 12,
    "litellm_1_91": 13,
    # A release shares a colour with a variant only if neither twins nor history draws both.
    "litellm==1.83.14": 6,
    "litellm==1.84.0rc1": 14,
    "litellm==1.84.10": 11,
    "litellm==1.90.0": 7,
    "litellm==1.91.0": 8,
    "litellm==1.93.0": 5,
    "litellm==1.94.0": 2,
    "litellm==1.109.1": 15,
    # These are in neither; the first two and `recommended` are what the study of freshness draws.
    "litellm==1.92.2": 1,
    "litellm==1.105.7": 0,
    "litellm==1.88.6": 10,
    "litellm==1.95.1": 9,
    "litellm==1.96.2": 4,
    "litellm==1.100.5": 12,
    "litellm==1.102.4": 13,
    "litellm==1.104.9": 2,
    "litellm==1.108.14": 14,
    "litellm==1.109.3": 11,
}
"""Places in `COLOURS` of built-in names. Any other name is hashed."""


def place(name: str) -> int:
    """The place in `COLOURS` of the variant of this name; the same in every process."""
    return NAMED[name] if name in NAMED else crc32(name.encode()) % len(COLOURS)


def colour(name: str) -> str:
    """The colour of the variant of this name, as ``#rrggbb``."""
    return COLOURS[place(name)]


def series_pattern(number: int, more: Iterable[str] = ()) -> str:
    """The pattern by which Grafana finds the series of one colour: their names begin with these.

    Args:
        number: of the colour, a place in `COLOURS`.
        more: names of variants beside those in `NAMED`; those of other colours are left out.
    """
    names = dict.fromkeys(name for name in (*NAMED, *more) if place(name) == number)
    return f"/^({'|'.join(map(re.escape, names))})( |$)/"


def marks(names: Iterable[str]) -> dict[str, str]:
    """The CSS classes of each variant in one picture, by name.

    ``vN`` sets the colour. If two variants have the same colour, the second keeps it and is drawn
    paler and dotted: ``vN again``.
    """
    found: dict[str, str] = {}
    for name in names:
        mark = f"v{place(name)}"
        found[name] = f"{mark} again" if mark in found.values() else mark
    return found
