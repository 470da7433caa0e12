"""docs/result-schema.md names every field, in the section of the part that has it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from harness.result import SCHEMA_VERSION, Result

ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "result-schema.md"


def models(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """A model and all that its fields hold, each once."""
    if model in seen:
        return
    seen.add(model)
    yield model
    for field in model.model_fields.values():
        for inner in parts(field.annotation):
            yield from models(inner, seen)


def parts(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from parts(argument)


ALL = list(models(Result, set()))


def section(name: str) -> str:
    text = DOC.read_text(encoding="utf-8")
    match = re.search(rf"^#+ .*`{name}`.*?$(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"no section for {name}"
    return match[1]


def documented(name: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", section(name), re.MULTILINE)


def test_all_parts_are_found() -> None:
    assert {m.__name__ for m in ALL} == {
        "Result", "Sizing", "VariantResult", "Window", "Range", "Latency", "Percentiles",
        "CombinedViewRow", "Ledger", "Equation", "Generator", "ExpectationResult",
    }  # fmt: skip


@pytest.mark.parametrize("model", ALL, ids=lambda m: m.__name__)
def test_every_field_is_documented_and_no_other(model: type[BaseModel]) -> None:
    assert documented(model.__name__) == list(model.model_fields)


def test_the_version_is_the_one_in_force() -> None:
    assert f"Schema version: {SCHEMA_VERSION}" in DOC.read_text(encoding="utf-8")


def test_every_row_has_all_its_fields() -> None:
    rows = [ln for ln in DOC.read_text(encoding="utf-8").splitlines() if ln.startswith("| `")]
    assert len(rows) == sum(len(model.model_fields) for model in ALL)
    assert all(len(re.split(r"(?<!\\)\|", row)) == 6 for row in rows)


def test_test_data_is_out_of_reach_of_the_product() -> None:
    for path in (ROOT / "harness").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"^\s*(from|import) tests\b", text, re.MULTILINE), path
