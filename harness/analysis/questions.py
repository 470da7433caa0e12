"""Questions in a sentence: one ``[[expect]]`` of a scenario, about one variant.

::

    SCOPE is CELL                     shared_id is healthy
    SCOPE has CELL                    member has stale
    FIGURE [in SCOPE] BOUND NUMBER    key reads per 1,000 in team < 10
    FIGURE [in SCOPE] < NUMBER times that of VARIANT
                                      reads per 1,000 < 1.1 times that of litellm==1.92.2

FIGURE is a metric's name in ``[[expect]]`` or one of `FIGURES`, with an object before it where the
metric has one. BOUND is one of `BOUNDS`; as in ``[[expect]]``, a bound holds for the limit itself.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from harness.analysis.expectations import METRICS
from harness.authcache.words import ObjectKind
from harness.domain.series import ALL
from harness.errors import UsageError, explain
from harness.scenario.schema import Cell, Expectation, ScopeName

SCOPES: tuple[str, ...] = get_args(ScopeName)
CELLS: tuple[str, ...] = get_args(Cell)
FIGURES = {
    "reads per 1000": "source_reads_per_1000",
    "source reads per 1000": "source_reads_per_1000",
    "reads over reference line": "source_reads_over_reference_line",
    "log pairs per 1000": "log_pairs_per_1000",
    "wrong values": "wrong_values",
    "deserialize failures per 1000": "deserialize_failures_per_1000",
    "entry age": "entry_age_max_s",
    "ttl kept": "ttl_kept",
    "reads per object and ttl": "reads_per_object_and_ttl",
    "memory hit share": "memory_hit_share",
    "stale replies": "stale_replies",
    "median": "service_p50_ms",
}
"""Metrics by what people call them."""
BOUNDS = {
    "<": "max",
    "<=": "max",
    "at most": "max",
    "below": "max",
    ">": "min",
    ">=": "min",
    "at least": "min",
    "above": "min",
}
"""Which bound of ``[[expect]]`` a sign or a word sets."""

_CELL = re.compile(r"(\S+) (is|has) (\S+)")
_BOUND = "|".join(re.escape(word) for word in sorted(BOUNDS, key=len, reverse=True))
_FIGURE = re.compile(
    rf"(?P<figure>.+?)(?: in (?P<scope>\S+))? ?(?P<bound>{_BOUND}) ?(?P<number>-?[\d.]+)"
    r"(?: (?P<times>times)(?: that of| of)? (?P<to>.+))?"
)
_STOP = re.compile(r"\?$|(?<=\w)\.$")
"""The end of a sentence. A dot after another sign belongs to a path, as in ``litellm@.``."""
_HINT = (
    'Ask e.g. "shared_id is healthy", "key reads per 1,000 in team < 10", or '
    '"reads per 1,000 < 1.1 times that of litellm==1.92.2".'
)
_EXPECTATION: TypeAdapter[Expectation] = TypeAdapter(Expectation)


def parse_question(text: str, variant: str) -> Expectation:
    """The expectation that a sentence asks of a variant.

    Raises:
        UsageError: it is no question of this grammar; the message suggests the nearest words.
    """
    sentence = re.sub(r"(?<=\d),(?=\d{3})", "", " ".join(text.split()))
    sentence = _STOP.sub("", sentence).rstrip()
    if found := _CELL.fullmatch(sentence):
        scope, verb, cell = found.groups()
        _known("scope", scope, SCOPES)
        _known("cell", cell, CELLS)
        return _made(text, kind="cell", variant=variant, scope=scope, **{verb: cell})
    found = _FIGURE.fullmatch(sentence)
    if found is None:
        raise UsageError(f"[{text}] is no question. {_HINT}")
    number = _number(text, found["number"])
    figure = _figure(found["figure"])
    scope = found["scope"] or ALL
    _known("scope", scope, (*SCOPES, ALL))
    bound = BOUNDS[found["bound"]]
    if not found["times"]:
        return _made(text, kind="limit", variant=variant, scope=scope, **figure, **{bound: number})
    if bound != "max" or "object" in figure:
        raise UsageError(
            f"[{text}]: a figure over another variant's has an upper bound and no object. {_HINT}"
        )
    return _made(
        text, kind="ratio", variant=variant, scope=scope, to=found["to"], max=number, **figure
    )


def _figure(words: str) -> dict[str, str]:
    """Metric and, where the words begin with one, the object."""
    first, _, rest = words.partition(" ")
    names = FIGURES | {name: name for name in METRICS}
    if words not in names and first in tuple(ObjectKind) and rest in names:
        return {"metric": names[rest], "object": first}
    _known("figure", words, names)
    return {"metric": names[words]}


def _known(noun: str, word: str, known: Any) -> None:
    if word in known:
        return
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    suggestion = f" Did you mean [{near[0]}]?" if near else ""
    raise UsageError(f"There is no {noun} [{word}].{suggestion} Known: {', '.join(known)}. {_HINT}")


def _number(text: str, word: str) -> float:
    try:
        return float(word)
    except ValueError as error:
        raise UsageError(f"[{text}]: [{word}] is no number. {_HINT}") from error


def _made(text: str, **fields: Any) -> Expectation:
    try:
        return _EXPECTATION.validate_python(fields)
    except ValidationError as error:
        raise UsageError(f"[{text}] cannot be asked. {explain(error)}") from error
