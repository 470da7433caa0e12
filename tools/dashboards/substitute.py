"""Expands the macros and template variables of a query, as Grafana does before it sends it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")
_SPECIAL = re.compile(r"([\\^$.*+?()\[\]{}|])")
EVERYTHING = ".*"
"""The value of "All"; the dashboards set it in ``allValue``."""


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query of one panel, as in the JSON."""

    dashboard: str
    panel: str
    ref: str
    expr: str
    legend: str

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.dashboard} / {self.panel} {self.ref}"


def rate_interval(step_s: float, scrape_s: float) -> str:
    """``$__rate_interval``: a step and a scrape, but no less than four scrapes."""
    return f"{round(max(step_s + scrape_s, 4 * scrape_s) * 1000)}ms"


def chosen(values: Sequence[str]) -> str:
    """The regular expression for the chosen values of a variable; none means all."""
    if not values:
        return EVERYTHING
    escaped = [_SPECIAL.sub(r"\\\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def substituted(expr: str, values: Mapping[str, str]) -> str:
    """A query with every ``$name`` and ``${name}`` replaced.

    Args:
        expr: the query.
        values: the value of each name, ``__rate_interval`` included.

    Raises:
        KeyError: the query uses a name that has no value.
    """
    return _NAME.sub(lambda match: values[match[1] or match[2]], expr)


def targets(board: Mapping[str, Any]) -> Iterator[PanelQuery]:
    """Every query of every panel of a dashboard."""
    for panel in panels(board):
        for target in panel["targets"]:
            yield PanelQuery(
                board["title"],
                panel["title"],
                target["refId"],
                target["expr"],
                target["legendFormat"],
            )


def panels(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every panel but the rows, those of collapsed rows too."""
    for panel in board["panels"]:
        if panel["type"] == "row":
            yield from panel.get("panels") or []
        else:
            yield panel


def legend(template: str, labels: Mapping[str, str]) -> str:
    """A series' name as Grafana writes it."""
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: labels.get(match[1], ""), template)
