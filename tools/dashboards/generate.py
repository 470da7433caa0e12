"""Writes the dashboards' JSON, or lists the files that differ from it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from harness.errors import UsageError
from tools.dashboards.compared import compared
from tools.dashboards.fleet import fleet

DASHBOARDS: Mapping[str, Callable[[], builders.Dashboard]] = {
    "codec-variants-compared.json": compared,
    "one-fleet.json": fleet,
}
"""By file name."""


def texts() -> dict[str, str]:
    """The JSON of every dashboard, by file name. Every call gives the same."""
    return {name: _text(make()) for name, make in DASHBOARDS.items()}


def write(folder: Path) -> list[Path]:
    """Write all of them; returns the files. Raises UsageError."""
    paths = []
    for name, text in texts().items():
        path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"Cannot write [{path}]: {error.strerror}. Choose a folder."
            ) from error
        paths.append(path)
    return paths


def stale(folder: Path) -> list[Path]:
    """Files that are missing, or are not what the code makes."""
    return [
        folder / name
        for name, text in texts().items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]


def _text(board: builders.Dashboard) -> str:
    body: dict[str, Any] = json.loads(JSONEncoder().encode(board.build()))
    # Grafana gives an imported dashboard its own id; ours is the uid.
    body["id"] = None
    for number, panel in enumerate(body["panels"], start=1):
        panel["id"] = number
        if "repeat" not in panel:
            panel.pop("repeatDirection", None)
    for variable in body["templating"]["list"]:
        # The SDK writes an interval's fields into every kind of variable.
        for field in ("auto", "auto_count", "auto_min"):
            variable.pop(field, None)
    lines: dict[str, str] = {}
    for panel in body["panels"]:
        # One line per override: indented, they would be most of the file.
        overrides = panel.get("fieldConfig", {}).get("overrides", [])
        for place, override in enumerate(overrides):
            line = json.dumps(override, sort_keys=True, ensure_ascii=False)
            overrides[place] = f"override {len(lines)}"
            lines[f'"{overrides[place]}"'] = line
    text = json.dumps(body, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    return re.sub(r'"override \d+"', lambda found: lines[found[0]], text)
