"""The committed dashboards, as the tests read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tools.dashboards.substitute import PanelQuery, panels, substituted, targets

FOLDER = Path(__file__).resolve().parent.parent.parent / "dashboards"
NAMES = ("codec-variants-compared.json", "one-fleet.json")


def board(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return loaded


BOARDS = {name: board(name) for name in NAMES}
ALL_PANELS = [pytest_id for body in BOARDS.values() for pytest_id in panels(body)]
ALL_TARGETS: list[PanelQuery] = [target for body in BOARDS.values() for target in targets(body)]


def replaced(expr: str) -> str:
    """A query with stand-ins for its macros and variables, for parsers."""
    names = ("variant", "replica", "key_scope", "object")
    return substituted(expr, dict.fromkeys(names, ".*") | {"__rate_interval": "4s"})
