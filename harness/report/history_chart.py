"""``history.svg``: log pairs and source reads of the scopes that failed, release by release.

It is a file of its own, shown by pages that know nothing of this project's style sheet; so it
brings its colours along, light and dark, and its own paper.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files

from harness.domain.result import Result, VariantResult
from harness.report.charts import Bar, columns
from harness.report.history import FAILING, log_pairs, releases_of
from harness.report.numbers import rate

LABEL = "Log pairs and source reads per 1,000 requests of shared_id and member, release by release"
_STYLE = "history.css"
_NAMESPACE = "http://www.w3.org/2000/svg"


def _reads(variant: VariantResult, scope: str) -> float | None:
    return variant.source_reads_per_1000.get(scope)


_MEASURES: dict[str, Callable[[VariantResult, str], float | None]] = {
    "log pairs": log_pairs,
    "source reads": _reads,
}


def history_svg(result: Result) -> str:
    """The chart as a file."""
    releases = releases_of(result)
    series: dict[str, list[Bar]] = {}
    for scope in FAILING:
        for name, measure in _MEASURES.items():
            values = [(version, measure(variant, scope)) for version, _, variant in releases]
            series[f"{scope}: {name}"] = [
                Bar(f"{version}, {scope}, {name}", value, rate(value), mark="")
                for version, value in values
            ]
    drawn = columns([r.version for r in releases], series, LABEL, title="per 1,000 requests")
    return _standalone(drawn)


def _standalone(drawn: str) -> str:
    style = files("harness.report").joinpath("templates", _STYLE).read_text(encoding="utf-8")
    head, rest = drawn.split(">", 1)
    head = head.replace("<svg", f'<svg xmlns="{_NAMESPACE}"', 1)
    return f"{head}>\n<style>\n{style}</style>\n{rest}\n"
