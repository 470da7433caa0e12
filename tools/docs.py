"""Generates parts of the docs from the code: ``python -m tools.docs`` (`make docs`).

A page keeps its prose; the text between ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->`` is
replaced. A test fails if a file differs from what this makes.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from harness.analysis.calibration import known_calibration
from harness.analysis.cells import CELLS
from harness.analysis.points import SEEN_THROUGH, Need
from harness.domain.result import Result
from harness.domain.series import HookPoint
from harness.observe.ledger import RULES
from harness.report.calibration import PAGE, calibration_page
from tests.plants.faults import FAULTS

ROOT = Path(__file__).parents[1]
_SCALARS = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "boolean",
    NoneType: "null",
    Any: "value",
}
_SUPERSCRIPT = "\u00b9"
_MINUS = "\u2212"


def files() -> dict[str, str]:
    """Every generated file, whole or in part, with its expected text."""
    return {
        PAGE: calibration_page(known_calibration()),
        "docs/method.md": _page(
            "docs/method.md", {"cells": _cells(), "ledger": _ledger(), "plants": _plants()}
        ),
        "docs/result-schema.md": _page(
            "docs/result-schema.md",
            {
                "points": _points(),
                "seen-through": _seen_through(),
                "result": "\n\n".join(_section(model) for model in models(Result, set())),
            },
        ),
        "docs/result.schema.json": _json_schema(),
    }


def models(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """A model and every model below it, each once, in the order of their fields."""
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            yield from models(part, seen)


def _parts(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


def _page(path: str, blocks: dict[str, str]) -> str:
    text = (ROOT / path).read_text(encoding="utf-8")
    for name, block in blocks.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise SystemExit(f"[{path}] needs the marks [{begin}] and [{end}], each once.")
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{block}\n\n{end}{rest.partition(end)[2]}"
    return text


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells() -> str:
    return _table(("cell", "when"), [(f"`{cell}`", when) for cell, when in CELLS.items()])


def _ledger() -> str:
    rows = [
        (
            f"`{rule.name}`",
            rule.description.replace(" - ", f" {_MINUS} "),
            rule.counted_by,
            rule.cannot_see,
            rule.in_changes or "the same",
            rule.in_fault.says.replace(" - ", f" {_MINUS} "),
        )
        for rule in RULES
    ]
    heads = ("equation", "left = right", "counted by", "cannot see")
    return _table((*heads, "in a window of changes", "in a window of a fault"), rows)


def _plants() -> str:
    return _table(
        ["planted fault", "kind", "noticed by", "exit"],
        (
            [fault.what, fault.kind, f"`{fault.noticed_by}`", str(fault.exit_code)]
            for fault in FAULTS.values()
        ),
    )


def _seen_through() -> str:
    def mark(need: Need) -> str:
        everywhere = need.releases == Need("").releases
        return f"`{need.point}`" if everywhere else f"`{need.point}`{_SUPERSCRIPT}"

    rows = [
        (measure.replace("_", " "), ", ".join(mark(need) for need in needs))
        for measure, needs in SEEN_THROUGH.items()
    ]
    limited = sorted(
        {n.releases for needs in SEEN_THROUGH.values() for n in needs} - {Need("").releases}
    )
    only = " and ".join(f"`{releases}`" for releases in limited)
    return f"{_table(('measure', 'seen through'), rows)}\n\n{_SUPERSCRIPT} In {only} only."


def _points() -> str:
    rows = []
    for point in HookPoint:
        needed = [
            measure.replace("_", " ")
            for measure, needs in SEEN_THROUGH.items()
            if any(need.point == point for need in needs)
        ]
        rows.append((f"`{point}`", point.wraps, point.proof, ", ".join(needed)))
    return _table(("point", "wraps", "how it proves that it counts", "measures"), rows)


def _section(model: type[BaseModel]) -> str:
    rows = [
        (f"`{name}`", _kind(field.annotation), _prose(field.description or ""))
        for name, field in model.model_fields.items()
    ]
    doc = _prose(inspect.getdoc(model) or "")
    return f"## `{model.__name__}`\n\n{doc}\n\n{_table(('field', 'type', 'meaning'), rows)}"


def _prose(text: str) -> str:
    """A docstring as Markdown, each paragraph on one line."""
    paragraphs = (" ".join(part.split()) for part in text.split("\n\n"))
    return re.sub(r"``(.+?)``", r"`\1`", "\n\n".join(paragraphs))


def _kind(annotation: Any) -> str:
    """A type in words; a map names what its keys are."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        text = str(arguments[1])
    elif origin is Literal:
        text = _either([f"`{value}`" for value in arguments])
    elif origin in (UnionType, Union):
        text = _either([_kind(one) for one in arguments])
    elif origin is dict:
        text = f"{{{_kind(arguments[0])}: {_kind(arguments[1])}}}"
    elif origin is list:
        text = f"list of {_kind(arguments[0])}"
    elif annotation in _SCALARS:
        text = _SCALARS[annotation]
    else:
        text = f"[`{annotation.__name__}`](#{annotation.__name__.lower()})"
    return text


def _either(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _json_schema() -> str:
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return json.dumps(dialect | Result.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, made in files().items():
        (ROOT / name).write_text(made, encoding="utf-8")
